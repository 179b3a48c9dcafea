"""Import name to distribution, for the field. A name that is not here is never guessed: see `declared`."""

from __future__ import annotations

DISTRIBUTIONS = {
    "tensorflow": "tensorflow", "keras": "keras", "tf_keras": "tf-keras", "keras_tuner": "keras-tuner",
    "kerastuner": "keras-tuner", "sklearn": "scikit-learn", "skimage": "scikit-image", "cv2": "opencv-python-headless",
    "PIL": "pillow", "yaml": "pyyaml", "bs4": "beautifulsoup4", "attr": "attrs", "docx": "python-docx",
    "imblearn": "imbalanced-learn", "numpy": "numpy", "pandas": "pandas", "scipy": "scipy", "matplotlib": "matplotlib",
    "seaborn": "seaborn", "plotly": "plotly", "torch": "torch", "torchvision": "torchvision", "torchaudio": "torchaudio",
    "pytorch_lightning": "pytorch-lightning", "lightning": "lightning", "xgboost": "xgboost", "lightgbm": "lightgbm",
    "catboost": "catboost", "joblib": "joblib", "nltk": "nltk", "spacy": "spacy", "gensim": "gensim", "h5py": "h5py",
    "tqdm": "tqdm", "requests": "requests", "statsmodels": "statsmodels", "jax": "jax", "jaxlib": "jaxlib", "flax": "flax",
    "optax": "optax", "haiku": "dm-haiku", "transformers": "transformers", "datasets": "datasets", "optuna": "optuna",
    "hyperopt": "hyperopt", "tensorflow_datasets": "tensorflow-datasets", "tensorflow_hub": "tensorflow-hub",
    "tensorflow_probability": "tensorflow-probability", "tensorflow_text": "tensorflow-text", "keras_cv": "keras-cv",
    "keras_nlp": "keras-nlp", "keras_hub": "keras-hub", "keras_core": "keras-core", "autokeras": "autokeras",
    "tensorboard": "tensorboard", "mlflow": "mlflow", "wandb": "wandb", "albumentations": "albumentations",
    "imageio": "imageio", "librosa": "librosa", "soundfile": "soundfile", "networkx": "networkx", "sympy": "sympy",
    "openpyxl": "openpyxl", "xlrd": "xlrd", "pydot": "pydot", "graphviz": "graphviz", "IPython": "ipython", "dill": "dill",
    "cloudpickle": "cloudpickle", "psutil": "psutil", "flask": "flask", "fastapi": "fastapi", "click": "click",
    "einops": "einops", "timm": "timm", "fastai": "fastai", "skorch": "skorch", "shap": "shap", "umap": "umap-learn",
    "hdbscan": "hdbscan", "faiss": "faiss-cpu", "gym": "gym", "gymnasium": "gymnasium", "dateutil": "python-dateutil",
    "dotenv": "python-dotenv", "git": "gitpython", "serial": "pyserial", "google.protobuf": "protobuf", "ruamel": "ruamel.yaml",
    "category_encoders": "category-encoders", "mlxtend": "mlxtend", "pyarrow": "pyarrow", "polars": "polars", "numba": "numba",
    "tabulate": "tabulate", "wordcloud": "wordcloud", "textblob": "textblob", "sentence_transformers": "sentence-transformers",
    "prettytable": "prettytable", "pydicom": "pydicom", "nibabel": "nibabel", "SimpleITK": "simpleitk", "patsy": "patsy",
    "keras_preprocessing": "keras-preprocessing", "keras_applications": "keras-applications",
    "torch_geometric": "torch-geometric", "dgl": "dgl", "stellargraph": "stellargraph", "pmdarima": "pmdarima",
    "prophet": "prophet", "yfinance": "yfinance", "toml": "toml", "termcolor": "termcolor", "colorama": "colorama",
}  # fmt: skip

IMPLIED = {
    "fastai": ("torch", "torchvision"), "skorch": ("torch",), "torchvision": ("torch",), "pytorch_lightning": ("torch",),
    "seaborn": ("matplotlib",), "tensorflow_datasets": ("tensorflow",), "tensorflow_hub": ("tensorflow",),
    "autokeras": ("tensorflow",), "keras_tuner": ("tensorflow",), "kerastuner": ("tensorflow",),
}  # fmt: skip
"""Imports that need another framework to run."""

CALLS_IMPLY = {
    "image_dataset_from_directory": "pillow", "flow_from_directory": "pillow", "load_img": "pillow",
    "read_excel": "openpyxl", "to_excel": "openpyxl", "read_parquet": "pyarrow", "plot_model": "pydot",
}  # fmt: skip
"""Calls that need a distribution the script does not import."""
