"""What the code is, decided by the calls it makes."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from mlops_lib.detection import arguments, detect, source
from mlops_lib.errors import DetectionError

ROOT = Path(__file__).resolve().parents[2]

SAMPLES = {
    "cancer_pipeline": ("train.py", "sklearn", "linear", "sklearn"),
    "digits_cnn": ("train.py", "keras", "cnn", "keras-cnn"),
    "digits_layers": ("mlcode.py", "keras", "dense", "keras"),
    "digits_lstm": ("digits_lstm.py", "keras", "rnn", "keras"),
    "digits_tree": ("tree.py", "sklearn", "tree", "sklearn"),
    "moons_notebook": ("Two Moons.ipynb", "keras", "dense", "keras"),
    "wine_dense": ("wine.py", "keras", "dense", "keras"),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_samples(name: str) -> None:
    found = detect(ROOT / "model_repo" / name)
    assert (found.entry, found.framework, found.family, found.environment.name) == SAMPLES[name]
    assert {e.means.split()[0] for e in found.evidence} >= {"framework", "family"}
    assert all(e.line > 0 for e in found.evidence)


CODE = {
    "aliases": (
        "from keras import layers as L, Sequential\nRNN = L.LSTM\nm = Sequential([RNN(8), L.Dense(1)])\n"
        "m.compile('adam', 'mse')\nm.fit(x, y)",
        ("keras", "rnn"),
    ),
    "only mentioned": (
        "# from keras import Conv2D\ntext = 'keras.layers.Conv2D'\n'''import keras'''\n",
        ("none", "none"),
    ),
    "keras only prepares": (
        "from keras.utils import to_categorical\nfrom sklearn.svm import SVC\nSVC().fit(x, to_categorical(y))",
        ("sklearn", "svm"),
    ),
    "pytorch": (
        "import torch\nfrom torch import nn\nclass Net(nn.Module):\n    def __init__(self):\n"
        "        self.c = nn.Conv2d(1, 2, 3)\nloss.backward()\noptimizer.step()",
        ("pytorch", "cnn"),
    ),
    "xgboost": ("import xgboost as xgb\nbooster = xgb.train({}, d)", ("xgboost", "tree")),
    "lightgbm": (
        "from lightgbm import LGBMClassifier\nLGBMClassifier().fit(x, y)",
        ("lightgbm", "tree"),
    ),
    "python 2": (
        "from keras.models import Sequential\nfrom keras.layers import Conv2D\nm = Sequential()\nm.add(Conv2D(3, 3))\n"
        "m.fit(x, y)\nprint 'done', m",
        ("keras", "cnn"),
    ),
    "no transformer": (
        "from sklearn.base import TransformerMixin\nfrom sklearn.linear_model import Ridge\n"
        "class T(TransformerMixin): pass\nRidge().fit(x, y)",
        ("sklearn", "linear"),
    ),
}


@pytest.mark.parametrize("case", CODE)
def test_calls_decide(case: str, tmp_path: Path) -> None:
    text, expected = CODE[case]
    (tmp_path / "script.py").write_text(text)
    found = detect(tmp_path / "script.py")
    assert (found.framework, found.family) == expected


def test_models_built_in_local_modules_count(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "import keras\ndef build():\n    return keras.Sequential([keras.layers.LSTM(3)])\n"
    )
    (tmp_path / "train.py").write_text(
        "import cv2, net\nmodel = net.build()\nmodel.fit(cv2.imread('a.png'), 1)\n"
    )
    found = detect(tmp_path)
    assert (found.entry, found.framework, found.family) == ("train.py", "keras", "rnn")
    assert found.imports == ("cv2", "keras")
    assert set(found.requirements) == {"keras", "opencv-python"}
    assert any(line.startswith("opencv-python-headless") for line in found.environment.requirements)
    assert found.data_paths == ("a.png",)


def test_an_unknown_import_is_never_installed(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(
        "import secretcorp\nfrom sklearn.svm import SVC\nSVC().fit(x, y)\n"
    )
    found = detect(tmp_path)
    assert "secretcorp" not in found.requirements
    assert any(
        "secretcorp" in warning and "requirements.txt" in warning for warning in found.warnings
    )


def test_optional_imports_are_not_required(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(
        "try:\n    import shap\nexcept ImportError:\n    shap = None\nfrom sklearn.svm import SVC\nSVC().fit(x, y)\n"
    )
    found = detect(tmp_path)
    assert found.optional_imports == ("shap",)
    assert "shap" not in found.requirements


def test_declared_requirements_win(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text(
        "scikit-learn==1.8.0\n--index-url https://example.com\npandas\n"
    )
    (tmp_path / "train.py").write_text("from sklearn.svm import SVC\nSVC().fit(x, y)\n")
    found = detect(tmp_path)
    assert found.requirements == ("scikit-learn==1.8.0", "pandas")
    assert "scikit-learn==1.8.0" in found.environment.requirements


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "no Python script"),
        ({"a.py": "print(1)"}, "nothing in it trains"),
        (
            {
                "one.py": "from sklearn.svm import SVC\nSVC().fit(x, y)",
                "two.py": "from sklearn.svm import SVC\nSVC().fit(x, y)",
            },
            "several files train: one.py:2 sklearn, two.py:2 sklearn",
        ),
        ({"train.py": "import keras\nx = = 3\n"}, "syntax error"),
        (
            {
                "README.md": "Run `python train.py --algorithm ppo`.",
                "train.py": "import sys, torch, zoo\nzoo.find(sys.argv[1]).train_model(torch.ones(3))",
                "study.py": "from sklearn.svm import SVC\nSVC().fit(x, y)",
            },
            r"the project runs train.py \(by README.md:1; .*study.py:2 sklearn",
        ),
        (
            {
                "learning.py": "from sklearn.svm import SVC\ndef learn(x, y):\n    SVC().fit(x, y)",
                "study.ipynb": '{"cells": [{"cell_type": "code", "source": '
                '"from sklearn.svm import SVC\\nSVC().fit(x, y)"}]}',
            },
            "several files train: learning.py:3 sklearn, study.ipynb:2 sklearn",
        ),
    ],
)
def test_what_cannot_be_detected_is_said(
    files: dict[str, str], message: str, tmp_path: Path
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(DetectionError, match=message) as caught:
        detect(tmp_path)
    assert caught.value.remedy
    if message == "syntax error":
        assert caught.value.where == "train.py:2"


@pytest.mark.parametrize(
    "content",
    [
        b"\0\0\0",
        b"\xff\xfei\0m\0",
        b"caf\xe9 = 1",
        b"<<<<<<< HEAD\nx=1\n=======\n",
        b"{",
        b"(" * 100_000,
    ],
)
def test_no_file_crashes_it(content: bytes, tmp_path: Path) -> None:
    for name in ("odd.py", "odd.ipynb"):
        (tmp_path / name).write_bytes(content)
    (tmp_path / "train.py").write_text("from sklearn.svm import SVC\nSVC().fit(x, y)\n")
    assert detect(tmp_path).entry == "train.py"


def test_arguments_that_a_script_needs(tmp_path: Path) -> None:
    fit = "from sklearn.svm import SVC\nSVC().fit(x, y)\n"
    (tmp_path / "needs.py").write_text("import sys\nc = sys.argv[2]\n" + fit)
    assert detect(tmp_path / "needs.py").args_needed == 2
    (tmp_path / "manages.py").write_text(
        "import sys\nc = sys.argv[1] if len(sys.argv) > 1 else 0\n" + fit
    )
    assert detect(tmp_path / "manages.py").args_needed == 0


@pytest.mark.parametrize(
    ("code", "needed"),
    [
        ("if len(sys.argv) != 3: sys.exit(1)", 2),
        ("if len(sys.argv) < 2:\n    print('usage')\n    exit()", 1),
        ("if len(sys.argv) <= 2: raise SystemExit('two')", 2),
        ("if 3 > len(sys.argv): quit()", 2),
        ("if len(sys.argv) == 1:\n    usage()", 1),
        ("if len(sys.argv) not in (2, 3): sys.exit()", 1),
        ("if not len(sys.argv) == 4: sys.exit()", 3),
        ("if len(sys.argv[1:]) < 2: sys.exit()", 2),
        ("args = sys.argv[1:]\nif len(args) != 2: sys.exit('x')", 2),
        ("if not sys.argv[1:]: sys.exit()", 1),
        ("if len(sys.argv) == 3:\n    go()\nelse:\n    sys.exit(2)", 2),
        ("if len(sys.argv) > 2:\n    go()\nelse:\n    raise ValueError", 2),
        ("assert len(sys.argv) == 2", 1),
        ("if len(sys.argv) < 2 or len(sys.argv) > 4: sys.exit()", 1),
        ("if len(sys.argv) > 1:\n    rate = float(sys.argv[1])", 0),
        ("if len(sys.argv) > 3: sys.exit('too many')", 0),
        ("rate = sys.argv[1] if len(sys.argv) > 1 else 3", 0),
        ("if len(rows) < 2: sys.exit()", 0),
        ("if debug and len(sys.argv) < 2: sys.exit()", 0),
    ],
)
def test_arguments_that_a_script_insists_on(code: str, needed: int) -> None:
    assert arguments.insisted_on(ast.parse(f"import sys\n{code}")) == needed


@pytest.mark.parametrize(
    ("code", "mended"),
    [
        ("i = sys.argv[1]\nif i == 1: go()", "i = int(sys.argv[1])\nif i == 1: go()"),
        ("if sys.argv[1] != 0: go()", "if int(sys.argv[1]) != 0: go()"),
        ("ü = sys.argv[2]; print('é', 2 == ü)", "ü = int(sys.argv[2]); print('é', 2 == ü)"),
        (
            "p = ArgumentParser()\np.add_argument('--layers', help='how many')\na = p.parse_args()\nif a.layers == 2: go()",
            "p = ArgumentParser()\np.add_argument('--layers', help='how many', type=int)\n"
            "a = p.parse_args()\nif a.layers == 2: go()",
        ),
        ("i = int(sys.argv[1])\nif i == 1: go()", ""),
        ("i = sys.argv[1]\nif i == '1': go()", ""),
        ("i = sys.argv[1]\ni = float(i)\nif i == 1: go()", ""),
        ("p.add_argument('--layers', type=int)\na = p.parse_args()\nif a.layers == 2: go()", ""),
        ("if len(sys.argv) == 1: go()", ""),
    ],
)
def test_an_argument_compared_as_text_is_named_and_mended(code: str, mended: str) -> None:
    found = arguments.compared_as_text(ast.parse(code))
    assert ([one.mended(code) for one in found] or [""]) == [mended]


def test_tables_of_numbers_take_little_memory_and_move_no_line() -> None:
    row = "    [0.123456, -1.234567, 2e-5, 3.456789],\n"
    text = f"A = [\n{row * 3000}]\nB = [{'1, 2.5, ' * 20000}3]\nfit(A, B)\n"
    found = source.parse(text)
    assert not found.problems
    assert [statement.lineno for statement in found.tree.body] == [1, 3003, 3004]
    assert sum(1 for _ in ast.walk(found.tree)) < 100


@pytest.mark.parametrize(
    "text",
    [
        "1" * 60_000 + "x\n",
        "[" + "1," * 40_000 + "x",
        "x = [" + "1-2-3," * 20_000 + "]\n",
        "1, 2, 3\n" * 9_000,
        "(1, 2,\n" + "3, 4),\n" * 9_000,
        "x = '''\n" + "1, 2, 3,\n" * 9_000 + "'''\n",
    ],
)
def test_text_that_only_begins_like_a_table_is_parsed_as_it_is(text: str) -> None:
    try:
        ast.parse(text)
        expected = False
    except SyntaxError:
        expected = True
    assert bool(source.parse(text).problems) == expected
