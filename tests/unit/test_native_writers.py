"""The pushed project is never changed, whatever library writes.

Writers are Python, C and C++; targets are links to folders and paths of the project itself.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy
import pytest
from running import run_runner

from mlops_lib.runner.script import workdir

BEGIN = """
import os, pathlib
PROJECT = os.environ["MLOPS_PROJECT"]
"""
WRITERS = {
    "open": "open('notes.bin', 'wb').write(b'new')",
    "append": "open('big.csv', 'a').write('new')",
    "pathlib": "pathlib.Path('picture.png').write_bytes(b'new')",
    "os.open": "os.write(os.open('big.csv', os.O_WRONLY), b'new')",
    "truncate": "os.truncate('big.csv', 0)",
    "chmod": "os.chmod('big.csv', 0o600)",
    "utime": "os.utime('big.csv', (1, 1))",
    "rename over": "open('new', 'w').write('new'); os.replace('new', 'picture.png')",
    "remove": "os.remove('picture.png'); os.remove('model.ubj')",
    "a link to a folder": "open('linked/new.txt', 'w').write('new'); open('linked/old.txt', 'a').write('new')",
    "the project's own path": "open(os.path.join(PROJECT, 'big.csv'), 'w').write('new')",
    "a new file by the project's path": "open(os.path.join(PROJECT, 'made.txt'), 'w').write('new')",
    "a folder by the project's path": "os.makedirs(os.path.join(PROJECT, 'out')); os.remove(PROJECT + '/notes.bin')",
    "a resolved link": "open(os.path.realpath('picture.png'), 'wb').write(b'new')",
    "a shell": "os.system('echo new > model.ubj; echo new >> settings.conf')",
    "xgboost": (
        "import numpy, xgboost\n"
        "made = xgboost.train({}, xgboost.DMatrix(numpy.eye(9), label=numpy.arange(9)), 1)\n"
        "made.save_model('model.ubj'); made.save_model('picture.png')"
    ),
    "lightgbm": (
        "import numpy, lightgbm\n"
        "data = lightgbm.Dataset(numpy.random.rand(60, 2), label=numpy.arange(60))\n"
        "lightgbm.train({'verbose': -1}, data, 1).save_model('deep/model.xyz'); data.save_binary('big.csv')"
    ),
    "h5py": "import h5py\nwith h5py.File('weights.h5', 'w') as file: file['a'] = 1",
    "sqlite": "import sqlite3\nwith sqlite3.connect('base.parquet') as base: base.execute('create table t (a)')",
    "numpy": "import numpy\nnumpy.save('big.npy', numpy.zeros(3))",
    "memory map": "import numpy\nnumpy.memmap('big.npy', mode='r+', dtype='u1')[-1] = 7",
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    made = tmp_path / "project"
    (made / "deep").mkdir(parents=True)
    for name in (
        "notes.bin",
        "picture.png",
        "model.ubj",
        "settings.conf",
        "deep/model.xyz",
        "weights.h5",
    ):
        (made / name).write_bytes(b"as pushed")
    (made / "deep" / "old.txt").write_text("as pushed")
    (made / "big.csv").write_text("a,b\n" * (workdir.MAX_TEXT_BYTES // 2))
    (made / "base.parquet").write_bytes(b"")
    numpy.save(made / "big.npy", numpy.ones(1000))
    (made / "linked").symlink_to("deep")
    return made


def content(project: Path) -> dict[str, tuple[str, int, int]]:
    found = {}
    for path in sorted(project.rglob("*")):
        status = path.lstat()
        digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        found[str(path.relative_to(project))] = (digest, status.st_mode, status.st_mtime_ns)
    return found


@pytest.mark.parametrize("writer", WRITERS)
def test_the_pushed_project_is_never_changed(writer: str, project: Path, tmp_path: Path) -> None:
    (project / "train.py").write_text(BEGIN + WRITERS[writer])
    before = content(project)
    done = run_runner(project, tmp_path / "inside")
    assert done.returncode == 0, done.stderr
    assert content(project) == before
    outputs = [path for path in (tmp_path / "inside" / "outputs").rglob("*") if path.is_file()]
    assert outputs or writer in ("remove", "a folder by the project's path"), (
        "what was written is kept"
    )
    assert not [path for path in outputs if "inside" in path.parts[len(tmp_path.parts) + 2 :]]
