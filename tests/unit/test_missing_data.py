"""Data that is not there, told before a training begins: only what a script surely reads first."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops_lib import detect
from mlops_lib.detection import missing_data

FIT = "LogisticRegression().fit([[float(v) for v in row[:-1]] for row in rows], [row[-1] for row in rows])\n"
READ = {
    "a call": 'rows = list(csv.reader(open("sales.csv")))\n',
    "a comprehension": 'rows = [row for row in csv.reader(open("sales.csv"))]\n',
    "a comprehension with a condition": 'rows = [row for row in csv.reader(open("sales.csv")) if row and row[0]]\n',
    "a generator": 'rows = sorted(row for row in csv.reader(open("sales.csv")))\n',
    "a loop": 'rows = []\nfor row in csv.reader(open("sales.csv")):\n    rows.append(row)\n',
    "a with": 'with open("sales.csv") as stream:\n    rows = [row for row in csv.reader(stream)]\n',
    "after a seed": 'random.seed(1)\nprint("begins")\nrows = [row for row in csv.reader(open("sales.csv"))]\n',
    "a function it begins with": 'def load():\n    return [row for row in csv.reader(open("sales.csv"))]\nrows = load()\n',
    "main": "def main():\n    rows = list(csv.reader(open('sales.csv')))\nif __name__ == '__main__':\n    main()\n",
}
UNSURE = {
    "a condition": 'rows = list(csv.reader(open("sales.csv"))) if os.environ.get("SALES") else [[1, 2]]\n',
    "a later loop of a comprehension": 'rows = [row for name in sys.argv[1:] for row in csv.reader(open("sales.csv"))]\n',
    "a condition of a comprehension": 'rows = [line for line in sys.argv[1:] if line in open("sales.csv").read()]\n',
    "after what may make it": 'download()\nrows = [row for row in csv.reader(open("sales.csv"))]\n',
    "an attempt": 'try:\n    rows = list(csv.reader(open("sales.csv")))\nexcept OSError:\n    rows = [[1, 2]]\n',
    "a function that is called with what may make it": (
        'def load(kind):\n    return list(csv.reader(open("sales.csv")))\nrows = load(download())\n'
    ),
}


def missing(text: str, folder: Path) -> list[missing_data.Missing]:
    head = "import csv, os, random, sys\nfrom sklearn.linear_model import LogisticRegression\n"
    (folder / "train.py").write_text(head + text + FIT)
    return list(missing_data.missing(detect(folder)))


@pytest.mark.parametrize("kind", READ)
def test_what_is_surely_read_is_certain(kind: str, tmp_path: Path) -> None:
    (found,) = missing(READ[kind], tmp_path)
    assert (found.path, found.certain) == ("sales.csv", True)
    assert int(found.where.partition(":")[2]) > 2
    (tmp_path / "sales.csv").write_text("1,2\n")
    assert not missing(READ[kind], tmp_path)


@pytest.mark.parametrize("kind", UNSURE)
def test_what_may_not_be_read_is_only_told(kind: str, tmp_path: Path) -> None:
    (found,) = missing(UNSURE[kind], tmp_path)
    assert (found.path, found.certain) == ("sales.csv", False)


def test_the_script_that_writes_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "prepare.py").write_text(
        "import pandas as pd\npd.DataFrame([[1, 2]]).to_csv('./sales.csv')\n"
    )
    (found,) = missing(READ["a call"], tmp_path)
    assert (found.where, found.maker) == ("train.py:3", "prepare.py")


def test_data_that_dvc_tracks_and_that_was_not_pulled_is_named(tmp_path: Path) -> None:
    (tmp_path / "data" / "raw").mkdir(parents=True)
    (tmp_path / "data" / "raw" / "cancer.csv.dvc").write_text("outs:\n- path: cancer.csv\n")
    (tmp_path / "pictures.dvc").write_text("outs:\n- path: pictures\n")
    (tmp_path / "train.py").write_text(
        "import pandas\nfrom sklearn.svm import SVC\nparams = open('params.yaml').read()\n"
        "first = pandas.read_csv('data/raw/cancer.csv')\nsecond = pandas.read_csv('pictures/labels.csv')\n"
        "third = pandas.read_csv('other.csv')\nSVC().fit(first, second)\n"
    )
    found = missing_data.not_pulled(detect(tmp_path))
    assert found == {
        "data/raw/cancer.csv": "data/raw/cancer.csv.dvc",
        "pictures/labels.csv": "pictures.dvc",
    }
    assert list(missing_data.not_pulled(detect(tmp_path), given=["data/raw"])) == [
        "pictures/labels.csv"
    ]
    (tmp_path / "data" / "raw" / "cancer.csv").write_text("a\n1\n")
    assert list(missing_data.not_pulled(detect(tmp_path))) == ["pictures/labels.csv"]
