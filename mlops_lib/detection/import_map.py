"""Import name to distribution, for the field. A name that is not here is never guessed: see
`declared`.
"""

from __future__ import annotations

import os

from mlops_lib.detection.words import words

TABLE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data", "import_map.txt")


def _read(path: str) -> dict[str, str]:
    """Return import names and their distributions."""
    table = {}
    with open(path, encoding="utf-8") as stream:
        for line in stream:
            words = line.split()
            if words and not line.startswith("#"):
                table[words[0]] = words[1] if words[1:] else words[0].replace("_", "-")
    return table


DISTRIBUTIONS = _read(TABLE)
"""Imports and the distribution they come from."""

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
    "setuptools<81": words("pkg_resources"),
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
