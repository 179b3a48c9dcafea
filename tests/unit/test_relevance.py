"""Nothing is trained twice, and a run that is restored is the truth: which files of a project make
another run.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from mlops_lib import cli, run_directory
from mlops_lib.detection.relevance import relevance
from mlops_lib.pipeline import origin
from mlops_lib.pipeline.job import prepare, remember_files
from mlops_lib.project import fingerprint

FIT = "from sklearn.svm import SVC\nSVC().fit([[0], [1]], [0, 1])\n"
OTHERS = {
    "README.md": "text",
    "LICENSE": "text",
    "CHANGELOG.rst": "text",
    "docs/guide.md": "text",
    "docs/how.png": "picture",
    "Jenkinsfile": "mlopsPipeline()",
    ".github/workflows/test.yml": "on: push",
    ".gitignore": "*.pyc",
    "logo.svg": "picture",
    "tests/test_model.py": "assert True",
    "notebooks/look.ipynb": '{"cells": []}',
}


def project(folder: Path, entry: str, **more: str) -> Path:
    for path, text in {"train.py": entry, **OTHERS, **more}.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    return folder


def kept(folder: Path, *given: str) -> set[str]:
    """The files that decide the run, of those that usually do not."""
    found = relevance(folder, "train.py", fingerprint.project_files(folder), given=given)
    return set(OTHERS) - found.left_out


@pytest.mark.parametrize("path", OTHERS)
def test_a_commit_that_touches_only_what_no_training_reads_is_the_same_run(
    path: str, tmp_path: Path
) -> None:
    folder, home = project(tmp_path / "p", FIT), str(tmp_path / "home")
    git = [
        "git",
        "-C",
        str(folder),
        "-c",
        "user.name=Somebody",
        "-c",
        "user.email=somebody@example.com",
    ]
    subprocess.run([*git, "init", "-q"], check=True)

    def digest() -> str:
        subprocess.run([*git, "add", "-A"], check=True)
        subprocess.run([*git, "commit", "-q", "-m", "change", "--allow-empty"], check=True)
        return prepare(folder, backend="process", home=home).spec.digest

    before = digest()
    (folder / path).write_text("something else")
    assert digest() == before
    (folder / path).unlink()
    assert digest() == before
    (folder / "train.py").write_text(FIT + "# changed\n")
    assert digest() != before


@pytest.mark.parametrize(
    ("line", "counts"),
    [
        ("open('README.md')", {"README.md"}),
        ("text = 'see README.md for more'", {"README.md"}),
        ("open('READ' + 'ME.' + kind)", {"README.md"}),
        ("HALF = 'LICEN'\nopen(HALF + end)", {"LICENSE"}),
        ("PLAN = '%s_2.png'\nprint(PLAN)", set()),
        ("PLAN = 'ho%s'\nprint(PLAN % end)", set()),
        ("PLAN = '{}DME.md'\nprint(PLAN.format(end))", {"README.md"}),
        ("plt.savefig('curve.png')", set()),
        ("END = 'w.png'\nprint(name + END)", {"docs/how.png"}),
        ("open(f'{name}.md')", {"README.md", "docs/guide.md", "logo.svg", "docs/how.png"}),
        ("open('LICEN' + end)", {"LICENSE"}),
        ("open('%s.svg' % name)", {"logo.svg", "docs/how.png"}),
        ("import os\nos.listdir('docs')", {"docs/guide.md", "docs/how.png"}),
        (
            "from pathlib import Path\nlist(Path('docs').iterdir())",
            {"docs/guide.md", "docs/how.png"},
        ),
        ("import glob\nglob.glob('*.svg')", {"logo.svg"}),
        ("import os\nHERE = 'docs'\nos.walk(HERE)", {"docs/guide.md", "docs/how.png"}),
        ("import os\nos.listdir(os.path.join('docs', kind))", {"docs/guide.md", "docs/how.png"}),
        ("import tests.test_model", {"tests/test_model.py"}),
        ("def late():\n    from tests import test_model", {"tests/test_model.py"}),
        (
            "import importlib\nimportlib.import_module(name)",
            {"tests/test_model.py", "notebooks/look.ipynb"},
        ),
        (
            "import joblib\njoblib.load('old.joblib')",
            {"tests/test_model.py", "notebooks/look.ipynb"},
        ),
        ("import cv2\ncv2.imread(path)", {"logo.svg", "docs/how.png"}),
        ("images = map(open, names)", {"logo.svg", "docs/how.png"}),
        ("class Net(Module):\n    '''As README.md says.'''", set()),
        ("import pandas\npandas.read_csv('data.csv')", set()),
        ("import re\nre.compile('x')\nmodel.compile('adam')\nmodel.eval()", set()),
        ("import platform\nplatform.system()", set()),
        ("open('notes.txt')", set()),
        (
            "import tempfile\nwith tempfile.TemporaryDirectory() as folder: print('a.b'.split('.'))",
            set(),
        ),
        ("def make_folder(path): pass\nmake_folder(path)", set()),
    ],
)
def test_what_the_code_names_counts(line: str, counts: set[str], tmp_path: Path) -> None:
    assert (
        kept(project(tmp_path, f"name = kind = end = path = names = model = None\n{line}\n{FIT}"))
        == counts
    )


@pytest.mark.parametrize(
    "line",
    [
        "import os\nos.listdir()",
        "import os\nos.listdir('.')",
        "import os as o\no.walk(folder)",
        "from os import listdir as look\nlook(folder)",
        "import os\nlook = os.scandir\nlook(folder)",
        "from pathlib import Path\nlist(Path(__file__).parent.iterdir())",
        "from pathlib import Path\nHERE = Path(__file__).parent\nlist(HERE.rglob('*'))",
        "import glob\nglob.glob('**/*', recursive=True)",
        "import glob\nfor one in glob.glob('*'): print(one)",
        "import subprocess as sp\nsp.run(['ls'])",
        "import os\nos.system('ls')",
        "from os import popen\npopen('ls')",
        "exec(open('other.py').read())",
        "eval(text)",
        "import os\ngetattr(os, 'list' + 'dir')('.')",
        "import keras\nkeras.utils.image_dataset_from_directory(labels='inferred', directory=folder)",
        "open(''.join(map(chr, codes)))",
        "import shutil\nshutil.make_archive('all', 'zip')",
        "import runpy\nrunpy.run_path('other.py')",
        "from corpora import read_all\nread_all('.')",
        "from corpora import DirectoryLoader\nDirectoryLoader(folder)",
        "import audio\naudio.ClipFolder(root=folder)",
    ],
)
def test_where_the_code_reads_what_it_does_not_name_every_file_counts(
    line: str, tmp_path: Path
) -> None:
    folder = project(tmp_path, f"folder = text = codes = None\n{line}\n{FIT}")
    found = relevance(folder, "train.py", fingerprint.project_files(folder))
    assert found.left_out == frozenset()
    assert found.doubts[0].startswith("train.py:")


@pytest.mark.parametrize(
    "cell",
    ["!ls", "%run other.ipynb", "%%writefile other.py\\nx = 1", "files = !ls", "%load other.py"],
)
def test_a_notebook_that_starts_programs_may_read_every_file(cell: str, tmp_path: Path) -> None:
    def left_out(*lines: str) -> frozenset[str]:
        cells = [
            {
                "cell_type": "code",
                "metadata": {},
                "outputs": [],
                "source": [f"{one}\n" for one in lines],
            }
        ]
        (tmp_path / "train.ipynb").write_text(
            json.dumps(
                {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}, indent=1
            )
        )
        return relevance(tmp_path, "train.ipynb", ["train.ipynb", "README.md"]).left_out

    assert left_out("%matplotlib inline", "!pip install numpy", *FIT.splitlines()) == {"README.md"}
    assert left_out(cell.replace("\\n", "\n"), *FIT.splitlines()) == frozenset()


def test_modules_are_read_like_the_entry(tmp_path: Path) -> None:
    folder = project(
        tmp_path, f"import helpers.data\n{FIT}", **{"helpers/data.py": "open('README.md')\n"}
    )
    assert kept(folder) == {"README.md"}
    (folder / "helpers" / "data.py").write_text("from helpers import deeper\n")
    (folder / "helpers" / "deeper.py").write_text("import os\nos.listdir(place)\n")
    assert kept(folder) == set(OTHERS)
    assert (
        "helpers/data.py"
        not in relevance(folder, "train.py", fingerprint.project_files(folder)).left_out
    )


def test_arguments_input_and_settings_name_files_too(tmp_path: Path) -> None:
    folder = project(tmp_path, f"import sys\nopen(sys.argv[1])\n{FIT}")
    pictures = {"logo.svg", "docs/how.png"}  # one of them could be that argument
    assert kept(folder) == pictures
    assert kept(folder, "README.md") == pictures | {"README.md"}
    (folder / "conf.yaml").write_text("text: LICENSE\n")
    assert kept(folder) == pictures | {"LICENSE"}
    (folder / "pyproject.toml").write_text('[project]\nname = "p"\nreadme = "README.md"\n')
    assert kept(folder) == pictures | {"LICENSE"}, "a package's own readme is read by no training"


def test_what_cannot_be_read_leaves_nothing_out(tmp_path: Path) -> None:
    assert kept(project(tmp_path, "x = = 1\n" + FIT)) == set(OTHERS)


def test_show_says_which_file_made_a_run_new(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, home = project(tmp_path / "p", FIT), str(tmp_path / "home")

    def begun() -> Path:
        job = prepare(folder, backend="process", home=home)
        run_directory.write_spec(job.run_dir, job.spec)
        remember_files(job)
        return job.run_dir

    first = begun()
    assert origin.changes(first, home=Path(home)) == ()
    (folder / "README.md").write_text("another text")
    assert begun() == first
    (folder / "train.py").write_text(FIT + "import os\nos.listdir(os.curdir)\n")
    (folder / "data.csv").write_text("1,2\n")
    second = begun()
    assert second != first
    assert cli.main(["show", str(folder), "--backend", "process", "--home", home]) == 0
    shown = capsys.readouterr().out
    assert "New because" in shown
    for line in (
        "data.csv is new",
        "train.py changed",
        f"compared with {first.name}",
        "train.py:4: os.listdir()",
    ):
        assert line in shown
