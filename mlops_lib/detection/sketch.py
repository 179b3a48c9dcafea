"""Guess from a file's bytes whether it may train, to parse few files of a large project."""

from __future__ import annotations

import os
import re

from mlops_lib.detection.symbols import FRAMEWORK_OF, TRAINING_NAMES
from mlops_lib.detection.tables import FITS, TRAINING_FUNCTIONS
from mlops_lib.errors import RefusedFileError
from mlops_lib.project import files as pushed

SCRIPT_LIMIT = 3_000_000
"""Bytes of one script that are looked at."""
NOTEBOOK_LIMIT = 30_000_000
"""Of a notebook, whose first picture may be larger than all of its code."""
ALL_LIMIT = 300_000_000
"""Bytes of all files that are looked at."""
ROUNDS = 3
"""Maximum depth of modules that import each other."""

_TRAINS = frozenset(name.encode() for name in FITS | TRAINING_FUNCTIONS | TRAINING_NAMES)
_CALLED = re.compile(rb"(\w+)\s*\(")
_TRAINS_OTHERWISE = re.compile(
    rb"\w*(?:trainer|runner|engine)\w*\s*\.\s*run\s*\("
    rb"|value_and_grad|jax\.grad|\.sst|lasagne\.updates|pm\.sample|window_adaptation"
)
_SAYS_FRAMEWORK = re.compile(
    rb"keras|tensorflow|torch|sklearn|xgboost|lightgbm|catboost|\bjax\b|flax|haiku|statsmodels"
    rb"|fastai|skorch|transformers|mxnet|theano|gensim|imblearn|lightning|tflearn|prophet|surprise"
    rb"|pyspark|chainer|paddle|hydra"
)
_LOADS_MODEL = re.compile(rb"[^\w](?:load_model|load_weights|joblib\.load|pickle\.load)\s*\(")
_IMPORTS = re.compile(
    rb"(?:^|\n|\"|\\n)[ \t]*"
    rb"(?:from[ \t]+([.\w]+)[ \t]+import[ \t]+([\w, \t*]+)|import[ \t]+([\w., \t]+))"
)
_ACTS = re.compile(
    rb"^(?:for|while|with|if|try|async)\b|^[A-Za-z_][\w.]*\s*\(|^[A-Za-z_][^#\n]*=[^#\n]*\(",
    re.MULTILINE,
)
"""Statements at a module's top level that may do something when it is run."""
_OUTPUTS = re.compile(
    rb'"(?:image/[\w.+-]+|text/html|application/[\w.+-]+)"\s*:\s*(?:"[^"]*"|\[[^\]]*\])'
)
"""Pictures and pages that a notebook shows."""


class Sketch:
    """First impression of a file, from its bytes.

    Args:
        path: the file.
        name: its path relative to the project's folder.
        root: the project's folder.
        limit: bytes that are looked at.
    """

    __slots__ = (
        "acts",
        "goes_on",
        "has_main",
        "has_tests",
        "imports",
        "name",
        "path",
        "says_framework",
        "says_training",
        "size",
        "stem",
    )

    def __init__(self, path: str, name: str, root: str, *, limit: int) -> None:
        self.path = path
        self.name = name
        self.stem = os.path.splitext(os.path.basename(name))[0].lower()
        content = _read(path, root, limit)
        self.size = len(content)
        if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
            content = content.decode("utf-16", "replace").encode()
        if path.endswith(".ipynb"):
            content = _OUTPUTS.sub(b"", content)
        self.has_main = b"__main__" in content
        self.acts = self.has_main or not path.endswith(".py") or _ACTS.search(content) is not None
        """True if running it may do more than define functions and classes."""
        self.has_tests = b"def test_" in content
        self.says_training = _says_training(content)
        loads = _LOADS_MODEL.search(content) if self.says_training else None
        self.goes_on = loads is not None and not _says_training(content[: loads.start()])
        """True if it seems to continue another script's training."""
        self.imports = set(_imported(content))
        self.says_framework = _SAYS_FRAMEWORK.search(content) is not None or any(
            module.partition(".")[0] in FRAMEWORK_OF for module in self.imports
        )

    @property
    def may_train(self) -> bool:
        """True if the file is worth parsing."""
        return self.says_training and self.says_framework


def _read(path: str, root: str, limit: int) -> bytes:
    try:
        return pushed.read_start(path, root=root, limit=limit)
    except RefusedFileError:
        return b""


def _says_training(content: bytes) -> bool:
    return (
        not _TRAINS.isdisjoint(_CALLED.findall(content))
        or _TRAINS_OTHERWISE.search(content) is not None
    )


def _imported(content: bytes) -> list[str]:
    """Return the dotted names of a file's imported modules and members."""
    result = []
    for match in _IMPORTS.finditer(content):
        modules = (match[1] or match[3]).decode()
        for module in modules.split(","):
            dotted = module.split(" as ")[0].strip()
            result.append(dotted)
            for name in match[2].decode().split(",") if match[2] else ():
                result.append(f"{dotted}.{name.split(' as ')[0].strip()}")
    return result


def of_all(paths: list[str], root: str) -> list[Sketch]:
    """Return the sketches of files, as far as `ALL_LIMIT` bytes go."""
    budget = ALL_LIMIT
    result = []
    for path in paths:
        most = NOTEBOOK_LIMIT if path.endswith(".ipynb") else SCRIPT_LIMIT
        result.append(Sketch(path, os.path.relpath(path, root), root, limit=min(budget, most)))
        budget -= result[-1].size
    return result


def hopeful(sketches: list[Sketch]) -> list[Sketch]:
    """Return files that may train, themselves or through local modules they import."""
    by_module = {one.stem: one for one in sketches if one.path.endswith(".py")}
    by_package: dict[str, list[Sketch]] = {}
    for one in by_module.values():
        by_package.setdefault(os.path.basename(os.path.dirname(one.name)).lower(), []).append(one)
    names = {one.name for one in sketches if one.may_train}
    names = names or {one.name for one in sketches if one.says_framework}
    for _ in range(ROUNDS):
        for sketch in sketches:
            if sketch.name not in names:
                tops = {part.lower() for one in sketch.imports for part in one.split(".")[-2:]}
                local = [by_module[top] for top in tops if top in by_module]
                if sketch.has_main:  # `from engine import train_one_epoch`: by engine/__init__.py
                    local += [one for top in tops for one in by_package.get(top, ())]
                if any(
                    one.name in names or (sketch.says_training and one.says_framework)
                    for one in local
                    if one is not sketch
                ):
                    names.add(sketch.name)
    return [one for one in sketches if one.name in names]
