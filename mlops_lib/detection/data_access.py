"""Calls that read data which must exist, and calls that write."""

from __future__ import annotations

from mlops_lib.detection.words import words

READERS = words("""
    read_csv read_table read_excel read_json read_parquet read_pickle read_hdf read_feather read_fwf
    read_sas read_stata load loadtxt genfromtxt fromfile imread open listdir scandir walk
    flow_from_directory image_dataset_from_directory text_dataset_from_directory ImageFolder
    load_img File loadmat load_svmlight_file load_files imread_collection load_npz read_file
    from_folder from_csv DMatrix
""")
WRITERS = words("""
    to_csv to_excel to_pickle to_parquet to_json savetxt save savez savez_compressed dump imsave
    imwrite
""")

_OPENERS = (
    "open",
    "io.open",
    "codecs.open",
    "gzip.open",
    "bz2.open",
    "PIL.Image.open",
    "zipfile.ZipFile",
    "tarfile.open",
)
_LOADERS = (
    "numpy.load",
    "joblib.load",
    "torch.load",
    "sklearn.externals.joblib.load",
    "pickle.load",
    "cPickle.load",
)
_WITH_ROOT = {
    "open": _OPENERS,
    "load": _LOADERS,
    "walk": ("os.walk",),
    "listdir": ("os.listdir",),
    "scandir": ("os.scandir",),
    "File": ("h5py.File",),
    "DMatrix": ("xgboost.DMatrix",),
    "read_file": ("tensorflow.io.read_file", "tensorflow.read_file"),
}


def is_data(name: str) -> bool:
    """Return whether a call of this name reads the path in its first argument."""
    allowed = _WITH_ROOT.get(name.rpartition(".")[2])
    return allowed is None or name in allowed
