"""Habits of real projects: odd folders, numbers in files, notebooks, hard exits."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mlops_lib.detection import detect, missing_data
from mlops_lib.project import fingerprint
from mlops_lib.runner import protocol
from mlops_lib.runner.metrics.reported_numbers import read_accuracy
from mlops_lib.runner.script import workdir
from mlops_lib.training import remedies

ROOT = Path(__file__).resolve().parents[2]


class Ran:
    """One script by the runner."""

    def __init__(
        self,
        project: Path,
        inside: Path,
        entry: str = "train.py",
        *,
        path: Path = ROOT,
        **spec: Any,
    ) -> None:
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(dict.fromkeys((str(ROOT), str(path)))),
            "PYTHONHASHSEED": "1",
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "MPLBACKEND": "Agg",
            "MLOPS_STRICT": "1",
            "MLOPS_PROJECT": str(project),
            "MLOPS_INSIDE": str(inside),
            "MLOPS_SPEC": json.dumps(spec),
        }
        self.inside = inside
        self.done = subprocess.run(
            [sys.executable, "-m", "mlops_lib.runner", entry],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            cwd=inside.parent,
        )

    def events(self, kind: str) -> list[dict[str, Any]]:
        lines = (self.inside / "events.jsonl").read_text().splitlines()
        return [event for event in map(json.loads, lines) if event["event"] == kind]

    @property
    def warnings(self) -> list[str]:
        return [event["message"] for event in self.events("warning")]


def project(folder: Path, **files: str) -> Path:
    """A project with these files; `__` in a name stands for a slash."""
    for name, text in files.items():
        suffix = "" if "." in name else ".py"
        place = folder / "project" / (name.replace("__", "/") + suffix)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    return folder / "project"


def run(
    folder: Path,
    entry: str = "train.py",
    *,
    data: dict[str, str] | None = None,
    spec: Any = None,
    **files: str,
) -> Ran:
    pushed = project(folder, **files)
    for name, text in (data or {}).items():
        (pushed / name).parent.mkdir(parents=True, exist_ok=True)
        (pushed / name).write_text(text)
    return Ran(pushed, folder / "inside", entry, **(spec or {}))


ABSOLUTE = """
import os
here = os.path.dirname(os.path.abspath(__file__))
os.chdir('/')
os.chdir(here)
print(open('/no-such-ws/layers.txt').read(), os.path.exists('/no-such-ws/code/data'), os.path.exists('/no-such-ws/other'))
print(sorted(os.listdir('/no-such-ws/code/data')))
print(open('/etc/hostname', 'rb').read() != b'never')
try:
    open('/etc/no-such-folder/x', 'w')
except OSError as error:
    print(type(error).__name__)
"""


def test_a_pushed_file_is_found_by_the_absolute_path_of_another_machine(tmp_path: Path) -> None:
    ran = run(
        tmp_path, train=ABSOLUTE, data={"layers.txt": "3", "data/a.csv": "1", "data/b.csv": "2"}
    )
    assert ran.done.stdout.splitlines() == [
        "3 True False",
        "['a.csv', 'b.csv']",
        "True",
        "FileNotFoundError",
    ], ran.done.stderr
    assert any(one.startswith("/no-such-ws is not on this machine") for one in ran.warnings)


@pytest.mark.parametrize(
    "path",
    [
        "./../train_data/a.csv",
        "../../deep/train_data/a.csv",
        "train_data/a.csv",
        "/no-such-ws/train_data/a.csv",
        r"C:\\Users\\me\\train_data\\a.csv",
        "~/train_data/a.csv",
    ],
)
def test_proposed_mount_works(path: str, tmp_path: Path) -> None:
    source = tmp_path / "elsewhere.csv"
    source.write_text("found")
    reads = f"import os\nprint(open(os.path.expanduser('{path}')).read())"
    missing = run(tmp_path, train=reads)
    assert missing.done.returncode == 1
    proposed = remedies.missing_file(missing.events("end")[0]["error"]["message"])
    target = re.search(r"--mount FILE:(\S+)\.$", proposed)
    assert target is not None, proposed
    again = Ran(tmp_path / "project", tmp_path / "inside", links={target[1]: str(source)})
    assert again.done.stdout == "found\n", again.done.stderr


WRITES = """
import os, subprocess
import numpy as np
os.mkdir('/no-such-ws/deep/models')
np.savetxt('/no-such-ws/deep/models/w.csv', [1.0])
open('/no-such-ws/deep/accuracy.txt', 'w').write('93.5')
print(open('/no-such-ws/deep/accuracy.txt').read(), os.listdir('/no-such-ws/deep/models'))
os.system('echo shell > /no-such-ws/deep/note.txt')
print(subprocess.run('cat /no-such-ws/deep/note.txt', shell=True, capture_output=True, text=True).stdout.strip())
os.rename('/no-such-ws/deep/note.txt', '/no-such-ws/deep/renamed.txt')
"""


ELSEWHERE = r"""
import os
print(open(r'C:\Users\me\Desktop\data.csv').read(), open('..\\parts\\more.csv').read(), open('parts\\more.csv').read())
print(open('../input/titles/data.csv').read(), open(os.path.expanduser('~/no-such-folder/data.csv')).read())
os.chdir('/no-such-ws')
print(open('data.csv').read(), os.path.exists(r'C:\nowhere.csv'), os.path.exists('../nowhere.csv'))
"""


def test_a_pushed_file_is_found_by_the_path_of_another_system(tmp_path: Path) -> None:
    fits = "import sklearn.svm\nsklearn.svm.SVC().fit([[0], [1]], [0, 1])\n"
    ran = run(tmp_path, train=ELSEWHERE + fits, data={"data.csv": "1", "parts/more.csv": "2"})
    assert ran.done.stdout.splitlines() == ["1 2 2", "1 1", "1 False False"], ran.done.stderr
    assert not list(missing_data.missing(detect(tmp_path / "project")))


def test_script_in_a_folder_finds_files_beside_it_and_creates_folders(
    tmp_path: Path,
) -> None:
    text = """
import os
print(open("data.csv").read())
if not os.path.exists("models"):
    os.mkdir("models")
open("models/out.txt", "w").write("1")
"""
    ran = run(
        tmp_path,
        "src/train.py",
        src__train=text,
        data={"src/data.csv": "1,2", "src/models/__init__.py": ""},
    )
    assert ran.done.returncode == 0, ran.done.stderr
    assert ran.done.stdout == "1,2\n"
    assert (tmp_path / "inside" / "outputs" / "models" / "out.txt").read_text() == "1"
    assert any("beside the script" in warning for warning in ran.warnings)


EMPTY_FOLDERS = """
import json
import os
import h5py
import numpy as np
import pandas as pd
with open("models/deep/numbers.json", "w") as stream:
    json.dump([1], stream)
np.save("arrays/x.npy", np.zeros(3))
pd.DataFrame({"a": [1]}).to_csv("tables/a.csv")
h5py.File("weights/w.h5", "w").close()
try:
    open("never/read.txt")
except FileNotFoundError:
    print("still missing", os.path.exists("never"))
"""


def test_folder_that_git_did_not_store_is_created(tmp_path: Path) -> None:
    ran = run(tmp_path, train=EMPTY_FOLDERS)
    assert ran.done.stdout.splitlines()[-1:] == ["still missing False"], ran.done.stderr
    kept = sorted(
        str(path.relative_to(ran.inside / "outputs"))
        for path in (ran.inside / "outputs").rglob("*.*")
    )
    assert kept == ["arrays/x.npy", "models/deep/numbers.json", "tables/a.csv", "weights/w.h5"]
    assert sum("git keeps no empty ones" in said for said in ran.warnings) == 4


def test_files_for_a_folder_of_another_machine_are_collected(
    tmp_path: Path,
) -> None:
    ran = run(tmp_path, train=WRITES)
    assert ran.done.returncode == 0, ran.done.stderr
    assert ran.done.stdout.splitlines() == ["93.5 ['w.csv']", "shell"]
    kept = ran.inside / "outputs" / "absolute" / "no-such-ws" / "deep"
    assert sorted(path.name for path in kept.iterdir()) == ["accuracy.txt", "models", "renamed.txt"]
    (metric,) = ran.events("metric")
    assert (metric["metric"], metric["value"], metric["source"]) == ("accuracy", 0.935, "file")
    assert not Path("/no-such-ws").exists()


def test_own_folders_within_a_project_are_not_part_of_it(tmp_path: Path) -> None:
    pushed = project(
        tmp_path,
        train="import sklearn.svm\nsklearn.svm.SVC().fit([[0], [1]], [0, 1])\n",
        data__a="x = 1\n",
    )
    before = fingerprint.manifest(pushed)
    for run_dir in (pushed / "home" / "runs" / "a", pushed / "out"):
        (run_dir / "inside" / "work").mkdir(parents=True)
        (run_dir / "spec.json").write_text("{}")
        shutil.copy(pushed / "train.py", run_dir / "inside" / "work" / "other.py")
    (pushed / "home" / protocol.HOME_MARKER).touch()
    (pushed / "home" / "environments").mkdir()
    assert fingerprint.manifest(pushed) == before
    assert detect(pushed).entry == "train.py"
    inside = pushed / "out" / "inside"  # in a container it is mounted elsewhere, and no path tells
    assert Ran(pushed, inside).done.returncode == 0
    work = tmp_path / "work"
    workdir.build(str(pushed), str(work))
    assert sorted(path.relative_to(work).as_posix() for path in work.rglob("*")) == [
        "data",
        "data/a.py",
        "train.py",
    ]


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("accuracy.txt", "0.9312\n", 0.9312),
        ("acc.txt", "93.12", 0.9312),
        ("accuracy", "97 %", 0.97),
        ("accuracy.txt", "[0.2, 0.55, 0.91]", 0.91),
        ("result.txt", "loss: 0.3\nTest accuracy: 0.88\n", 0.88),
        ("score.json", '{"loss": 0.2, "accuracy": 0.75}', 0.75),
        ("accuracy.txt", "Accuracy of model = 91.5%", 0.915),
        ("output.txt", "12", None),
        ("accuracy.txt", "1", None),
        ("accuracy.txt", "no number", None),
        ("accuracy.txt", "1234.5", None),
        ("result.txt", "epoch 3", None),
    ],
)
def test_numbers_in_files(name: str, text: str, value: float | None, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    found = read_accuracy(str(tmp_path / name))
    assert found == (value if value is None else pytest.approx(value))


def test_measured_number_takes_precedence_over_a_written_one(tmp_path: Path) -> None:
    text = "from sklearn.svm import SVC\nm = SVC().fit([[0], [1]], [0, 1])\nm.score([[0]], [0])\n"
    text += "open('accuracy.txt', 'w').write('0.3')\n"
    assert [event["source"] for event in run(tmp_path, train=text).events("metric")] == [
        "sklearn.score"
    ]


def test_script_may_replace_its_standard_input(tmp_path: Path) -> None:
    text = (
        "import sys\nsys.stdin = open('/no-such-ws/in.txt')\nprint(int(input()) + int(input()))\n"
    )
    assert (
        run(tmp_path, train=text, data={"in.txt": "1\n2\n"}, spec={"input": ["7"]}).done.stdout
        == "3\n"
    )


def test_hard_exit_keeps_written_files(tmp_path: Path) -> None:
    ran = run(
        tmp_path,
        train="import os\nopen('a.txt', 'w').write('x')\nprint('last', flush=True)\nos._exit(0)\n",
    )
    assert (ran.done.returncode, ran.done.stdout) == (0, "last\n")
    assert (ran.inside / "outputs" / "a.txt").read_text() == "x"
    assert ran.events("end")[0]["exit_code"] == 0


PROCESSES = """
import multiprocessing, os, subprocess, sys
def square(x):
    return x * x
if __name__ == '__main__':
    for kind in ('fork', 'spawn'):
        with multiprocessing.get_context(kind).Pool(2) as pool:
            print(kind, pool.map(square, [1, 2, 3]))
    os.chdir('sub')
    print(subprocess.check_output([sys.executable, 'other.py'], text=True).strip())
    sys.exit()
"""


def test_processes_of_a_script(tmp_path: Path) -> None:
    ran = run(tmp_path, train=PROCESSES, sub__other="print('child')\n")
    assert ran.done.stdout.splitlines() == ["fork [1, 4, 9]", "spawn [1, 4, 9]", "child"], (
        ran.done.stderr
    )
    assert len(ran.events("end")) == 1


def test_an_entry_in_a_package(tmp_path: Path) -> None:
    ran = run(
        tmp_path,
        "pkg/train.py",
        pkg__model="VALUE = 3\n",
        pkg____init__="",
        shared__other="OTHER = 4\n",
        pkg__train="from .model import VALUE\nfrom shared.other import OTHER\nprint(VALUE + OTHER, __name__)\n",
    )
    assert ran.done.stdout == "7 __main__\n", ran.done.stderr


def test_executed_notebook_is_an_output(tmp_path: Path) -> None:
    sources = [
        "%matplotlib inline\nimport matplotlib.pyplot as plt\nn = int(input('n? '))\nn + 1",
        "import asyncio\nawait asyncio.sleep(0)\ndisplay({'a': n})\nplt.plot([1, 2])\nplt.show()",
        "!echo hi\n1 / 0 if n == 0 else None",
    ]
    cells = [
        {
            "cell_type": "code",
            "source": text,
            "outputs": [],
            "execution_count": None,
            "metadata": {},
        }
        for text in sources
    ]
    content = {
        "cells": [{"cell_type": "markdown", "source": "# title", "metadata": {}}, *cells],
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {},
    }
    ran = run(
        tmp_path, "book.ipynb", data={"book.ipynb": json.dumps(content)}, spec={"input": ["4"]}
    )
    assert ran.done.returncode == 0, ran.done.stderr
    done = json.loads((ran.inside / "outputs" / "book.ipynb").read_text())["cells"][1:]
    assert [[output["output_type"] for output in cell["outputs"]] for cell in done] == [
        ["stream", "execute_result"],
        ["display_data", "display_data"],
        ["stream"],
    ]
    assert done[0]["outputs"][1]["data"]["text/plain"] == "5"
    assert "image/png" in done[1]["outputs"][1]["data"]
    broken = run(tmp_path, "book.ipynb", spec={"input": ["0"]})
    assert broken.done.returncode == 1
    assert broken.events("end")[-1]["error"]["line"] == 11


IPYTHON = [
    "%matplotlib inline\n!no-such-program\nfiles = !ls | wc -l\nprint('%d file'\n      % int(files.s))",
    "%%bash\nmkdir data\nfor i in 1 2; do echo $i >> data/x.csv; done",
    "place = 'data/x.csv'\n!cat {place} | tr '\\n' ' '\n!tail -1 $place",
    "%%writefile helper.py\nRATE = 3\n",
    "from helper import RATE\n%time rate = RATE + 1\n%env GREETING=hi",
    "%%capture kept\nprint('unseen')",
    "?rate\nrate.real?\nif rate:\n    !echo $GREETING {rate} \\\n  again\nkept.stdout.split()",
    "%cd data\nimport os\nget_ipython().run_line_magic('matplotlib', 'inline')\nos.listdir('.')",
]


def test_notebook_may_use_ipython_syntax(tmp_path: Path) -> None:
    cells = [
        {"cell_type": "code", "source": text, "outputs": [], "metadata": {}} for text in IPYTHON
    ]
    content = {"cells": cells, "nbformat": 4, "nbformat_minor": 5, "metadata": {}}
    ran = run(tmp_path, "book.ipynb", data={"book.ipynb": json.dumps(content)})
    assert ran.done.returncode == 0, ran.done.stderr
    said = ran.done.stdout.splitlines()
    assert "no-such-program" in said[0]
    assert said[1:] == ["1 file", "1 2 2", "hi 4 again", "['unseen']", "['x.csv']"]


def test_ten_thousand_pictures_are_not_copied(tmp_path: Path) -> None:
    pictures = tmp_path / "project" / "pictures"
    pictures.mkdir(parents=True)
    for number in range(10_000):
        (pictures / f"{number}.jpg").touch()
    workdir.build(str(tmp_path / "project"), str(tmp_path / "work"))
    assert len(workdir.manifest(str(tmp_path / "work"))) == 10_000
    assert all(
        (tmp_path / "work" / "pictures" / f"{number}.jpg").is_symlink() for number in (0, 9_999)
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "import tensorflow as tf\nx = tf.contrib.slim.conv2d\n",
            ("tf.keras layers", "tensorflow.contrib.slim"),
        ),
        ("from keras.layers import Highway\nHighway()\n", ("Gone", "Multiply")),
        ("from sklearn.linear_model import Lasso\nLasso(normalize=True)\n", ("StandardScaler",)),
    ],
)
@pytest.mark.slow
def test_unsupported_script_is_reported_with_a_remedy(
    text: str, words: tuple[str, ...], tmp_path: Path
) -> None:
    ran = run(tmp_path, train=text)
    assert ran.done.returncode == 1
    for word in words:
        assert word in ran.done.stderr
    assert ran.events("end")[0]["error"]["line"] == 2
    assert "mlops_lib/" not in ran.done.stderr, "no frame of ours"


def test_the_repositorys_package_is_trained_not_an_installed_one_of_its_name(
    tmp_path: Path,
) -> None:
    pushed = ROOT / "tests" / "cases" / "detection" / "package_under_development"
    site = tmp_path / "site" / "tcn"
    site.mkdir(parents=True)
    (site / "__init__.py").write_text(
        "from sklearn.tree import DecisionTreeClassifier as TCN\nTCN.repository = False\n"
    )
    (tmp_path / "begin").mkdir()
    (tmp_path / "begin" / "sitecustomize.py").write_text(
        f"import sys\nsys.path.append({str(site.parent)!r})\n"
    )
    ran = Ran(pushed, tmp_path / "inside", "tasks/train.py", path=tmp_path / "begin")
    assert ran.done.returncode == 0, ran.done.stderr
    assert ran.done.stdout == "OWN True\n"


def test_unreadable_picture_is_named_and_editor_folders_are_no_class(
    tmp_path: Path,
) -> None:
    from PIL import Image

    for folder in ("cats", "dogs", ".ipynb_checkpoints"):
        place = tmp_path / "project" / "pictures" / folder
        place.mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(place / "good.png")
    (tmp_path / "project" / "pictures" / "dogs" / "page.jpg").write_bytes(b"<html>not found</html>")
    (tmp_path / "project" / "pictures" / "dogs" / "empty.png").touch()
    reads = (
        "import io, os\nfrom PIL import Image\nprint(sorted(os.listdir('pictures')))\n"
        "for folder, _, names in os.walk('pictures'):\n    for name in names:\n"
        "        Image.open(io.BytesIO(open(os.path.join(folder, name), 'rb').read()))\n"
    )
    ran = run(tmp_path, train=reads)
    assert ran.done.stdout == "['cats', 'dogs']\n"
    message = ran.events("end")[0]["error"]["message"]
    assert (
        "pictures/dogs/empty.png (it is empty), pictures/dogs/page.jpg (it begins with b'<html>no')"
        in message
    )
    assert "good.png" not in message


RUNS_OUT = """
import keras, numpy, tensorflow
x = numpy.random.rand(64, 3).astype("float32")
data = tensorflow.data.Dataset.from_tensor_slices((x, (x[:, 0] > 0.5).astype(int))).batch(16)
model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, activation="softmax")])
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(data, epochs=2, steps_per_epoch=10, verbose=0)
model.evaluate(data, steps=9, verbose=0)
"""


def test_the_end_of_data_of_unknown_length_is_no_shortage(tmp_path: Path) -> None:
    unknown = RUNS_OUT.replace(".batch(16)", ".filter(lambda x, y: True).batch(16)")
    ran = run(
        tmp_path / "unasked",
        train=unknown.replace("steps_per_epoch=10, ", "").replace("steps=9, ", ""),
    )
    assert ran.warnings == []
    short = run(tmp_path / "asked", train=unknown)
    assert "4 of the 10 batches" in "".join(short.warnings)


def test_exhausted_data_is_reported_once_and_only_its_examples_are_judged(tmp_path: Path) -> None:
    ran = run(tmp_path, train=RUNS_OUT)
    assert ran.done.returncode == 0, ran.done.stderr
    said = [one for one in ran.warnings if one.startswith("the data ran out")]
    assert len(said) == 1
    assert "4 of the 10 batches" in said[0]
    assert [
        event["examples"] for event in ran.events("metric") if event["source"] == "keras.evaluate"
    ] == [64]
