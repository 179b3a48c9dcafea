"""Which file of a project is the one that trains: rules that say why.

Every script is first looked at as bytes only, so that a repository of a thousand files costs
little; the few that may be the entry are then parsed and asked whether they train.
"""

from __future__ import annotations

import os
import re

from mlops_lib.detection import commands
from mlops_lib.detection.classify import SERVERS
from mlops_lib.detection.files import File, Files
from mlops_lib.detection.tables import FRAMEWORK_OF
from mlops_lib.detection.words import words
from mlops_lib.errors import DetectionError, RefusedFileError
from mlops_lib.project import files as pushed

NOT_ENTRIES = re.compile(
    r"^(setup|conftest|__init__|test_.*|.*_test|tests?|noxfile|fabfile|tasks|manage|versioneer)$"
)
USUAL = (
    "train",
    "main",
    "training",
    "train_model",
    "model_train",
    "run",
    "mlcode",
    "model",
    "code",
)
"""Names of entries, the usual ones first."""
OTHER_DUTIES = re.compile(
    r"(^|[_\W])(predict|prediction|infer|inference|serve|server|deploy|api|app|demo|eval|evaluate|utils?|helpers?|plot|visuali[sz]e"
    r"|preprocess|download|convert|export|benchmark|example|tweak(?:er|ed|ing|s)?|tun(?:er|ing)|change|check(?:er|ing|s)?|re-?build"
    r"|re-?train|re-?run|new|mail|notif(?:y|ier|ication)|success|fail(?:ed|ure)?|old|backup|copy|tmp|draft|playground|upgrade)"
    r"([_\W\d]|$)",
    re.I,
)
"""Words in a name that say its file is for something other than the training itself."""
PRESENTERS = SERVERS | words("tkinter customtkinter pyqt5 pyqt6 pyside2 pyside6 wx kivy pygame")
PARSED_LIMIT = 40
SKETCH_LIMIT = 3_000_000
"""Bytes of one file that are looked at to see whether it may train."""
SKETCHES_LIMIT = 300_000_000
"""Bytes of all of them."""
_SAYS_TRAINING = re.compile(
    rb"\.\s*(?:fit|fit_generator|fit_one_cycle|fit_partial|fine_tune|train_on_batch|partial_fit|fit_predict|backward|minimize"
    rb"|optimize_loss|apply_gradients|train|train_and_evaluate|cv|update|apply_updates)\s*\(|value_and_grad|jax\.grad|[^\w]grad\("
    rb"|cross_val_score|\.sst|fit_transform|lasagne\.updates|SVI\(|MCMC\(|StanModel\(|pm\.sample|window_adaptation"
)
_SAYS_FRAMEWORK = re.compile(
    rb"keras|tensorflow|torch|sklearn|xgboost|lightgbm|catboost|\bjax\b|flax|haiku|statsmodels|fastai|skorch|transformers|mxnet|theano"
    rb"|gensim|imblearn|lightning|tflearn|prophet|surprise|pyspark|chainer|paddle"
)
_LOADS_MODEL = re.compile(rb"[^\w](?:load_model|load_weights|joblib\.load|pickle\.load)\s*\(")
_IMPORTS = re.compile(
    rb"(?:^|\n|\"|\\n)[ \t]*(?:from[ \t]+([.\w]+)[ \t]+import[ \t]+([\w, \t*]+)|import[ \t]+([\w., \t]+))"
)


class Choice:
    """The entry, and why it is the one."""

    __slots__ = ("file", "reason", "where")

    def __init__(self, file: File, reason: str, where: tuple[str, int]) -> None:
        self.file = file
        self.reason = reason
        self.where = where
        """File and line that say so."""


class _Sketch:
    """What the bytes of a file suggest."""

    __slots__ = (
        "goes_on",
        "has_main",
        "has_tests",
        "imports",
        "may_train",
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
        try:
            content = pushed.read_start(path, root=root, limit=limit)
        except RefusedFileError:
            content = b""
        self.size = len(content)
        if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
            content = content.decode("utf-16", "replace").encode()
        self.has_main = b"__main__" in content
        self.has_tests = b"def test_" in content
        trains, loads = _SAYS_TRAINING.search(content), _LOADS_MODEL.search(content)
        self.says_training = trains is not None
        self.goes_on = trains is not None and loads is not None and loads.start() < trains.start()
        """Whether it seems to train a model that another script has left."""
        self.imports: set[str] = set()
        for match in _IMPORTS.finditer(content):
            modules = match[1].decode() if match[1] else match[3].decode()
            for module in modules.split(","):
                dotted = module.split(" as ")[0].strip()
                self.imports.add(dotted)
                if match[2]:
                    self.imports.update(
                        f"{dotted}.{n.split(' as ')[0].strip()}"
                        for n in match[2].decode().split(",")
                    )
        self.says_framework = _SAYS_FRAMEWORK.search(content) is not None or any(
            module.partition(".")[0] in FRAMEWORK_OF for module in self.imports
        )
        self.may_train = self.says_training and self.says_framework


def choose(files: Files) -> Choice:
    """The file that trains.

    Raises:
        DetectionError: nothing does, or several do and nothing says which one is meant.
    """
    paths = files.paths()
    if not paths:
        raise DetectionError(
            "no Python script and no notebook in it",
            where=files.folder,
            remedy="Give a folder with training code.",
        )
    sketches = _sketches(paths, files.folder)
    others = [s for s in sketches if NOT_ENTRIES.match(s.stem)]
    sketches = [s for s in sketches if s not in others] or sketches
    hopeful = _hopeful(sketches)
    named = _mentions(files.folder, hopeful)
    training = _training(files, sorted(hopeful, key=lambda s: (s.name not in named, *_rank(s))))
    if not training:  # `train_test.py` may train where no other file does
        more = [s for s in _hopeful([*sketches, *others]) if s in others and not s.has_tests]
        hopeful += more
        training = _training(files, sorted(more, key=_rank))
    by_name = {sketch.name: sketch for sketch in hopeful}
    if not training:
        # Jobs that put a script together from pieces leave its call of fit elsewhere.
        pieces = [file for file in map(files.file, (s.path for s in hopeful)) if file.in_pieces]
        built = [file for file in pieces if file.conclusion.framework != "none"]
        if len(built) == 1:
            return Choice(
                built[0],
                "the only file that makes a model; none is seen to train one",
                _where_trains(built[0]),
            )
        raise _nothing_trains(files, sketches, hopeful)
    if len(training) == 1:
        return Choice(training[0], "the only file that trains", _where_trains(training[0]))
    reasons: list[str] = []
    for reason, rule in _RULES:
        kept = rule(training, named, by_name)
        if kept and len(kept) < len(training):
            reasons.append(reason)
            training = kept
        if len(training) == 1:
            chosen = training[0]
            return Choice(chosen, "; ".join(reasons), named.get(chosen.name, _where_trains(chosen)))
    names = ", ".join(file.name for file in training[:8]) + (
        f" and {len(training) - 8} more" if len(training) > 8 else ""
    )
    raise DetectionError(
        f"several files train: {names}",
        where=files.folder,
        remedy='Choose one: --entry FILE, or entry = "FILE" in mlops.toml.',
    )


def _sketches(paths: list[str], root: str) -> list[_Sketch]:
    """What the bytes of the scripts suggest, as far as a few hundred megabytes go."""
    left = SKETCHES_LIMIT
    found = []
    for path in paths:
        found.append(
            _Sketch(path, os.path.relpath(path, root), root, limit=min(left, SKETCH_LIMIT))
        )
        left -= found[-1].size
    return found


def _training(files: Files, sketches: list[_Sketch]) -> list[File]:
    """Those that train, of the first few."""
    return sorted(
        (
            file
            for file in (files.file(sketch.path) for sketch in sketches[:PARSED_LIMIT])
            if file.trains
        ),
        key=lambda file: file.name,
    )


def _where_trains(file: File) -> tuple[str, int]:
    seen = file.conclusion.where.get("framework")
    return (seen[0], seen[2]) if seen else (file.name, 1)


def _hopeful(sketches: list[_Sketch]) -> list[_Sketch]:
    """Files that may train by themselves or through the local modules they import."""
    by_module = {s.stem: s for s in sketches if s.path.endswith(".py")}
    hopeful = {s.name for s in sketches if s.may_train} or {
        s.name for s in sketches if s.says_framework
    }
    for _ in range(3):
        for sketch in sketches:
            if sketch.name not in hopeful:
                tops = {
                    part.lower() for dotted in sketch.imports for part in dotted.split(".")[-2:]
                }
                local = [
                    by_module[top]
                    for top in tops
                    if top in by_module and by_module[top] is not sketch
                ]
                if any(
                    one.name in hopeful or (sketch.says_training and one.says_framework)
                    for one in local
                ):
                    hopeful.add(sketch.name)
    return [s for s in sketches if s.name in hopeful]


def _rank(sketch: _Sketch) -> tuple[int, int, int, str]:
    usual = next((n for n, word in enumerate(USUAL) if sketch.stem == word), len(USUAL))
    return (bool(OTHER_DUTIES.search(sketch.stem)), sketch.name.count(os.sep), usual, sketch.name)


_BUILD_FILES = (
    ("dockerfile", 0),
    ("jenkinsfile", 1),
    ("mlproject", 2),
    ("dvc.yaml", 2),
    ("makefile", 3),
    ("procfile", 4),
    ("readme.md", 5),
    ("readme.rst", 5),
    ("readme.txt", 5),
    ("readme", 5),
)
_RUNS = re.compile(
    r"(?:python[\d.]*|ipython|papermill|nbconvert|--execute)[\"',\s]+(?:-[\w-]+\s+)*[\"']?((?:[\w.-]*/)*[\w.-]+\.(?:py|ipynb))\b"
)


def _mentions(folder: str, sketches: list[_Sketch]) -> dict[str, tuple[str, int]]:
    """Entries that the project's own build files or README run, with the place that does."""
    found: dict[str, tuple[int, str, int]] = {}
    present = {name.lower(): name for name in pushed.names_in(folder, root=folder)}
    wanted: dict[str, list[str]] = {}
    for sketch in sketches:
        wanted.setdefault(os.path.basename(sketch.name), []).append(sketch.name)
    for lower, name in present.items():
        rank = next(
            (
                r
                for begin, r in _BUILD_FILES
                if lower == begin or (r == 0 and lower.startswith(begin))
            ),
            None,
        )
        if rank is None and lower.endswith((".sh", ".jenkinsfile")):
            rank = 4
        if rank is None:
            continue
        try:
            text = pushed.read_start(name, root=folder, limit=300_000).decode("utf-8", "replace")
        except RefusedFileError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            for match in _RUNS.finditer(line[:2000]):
                said = match[1].removeprefix("./")
                for one in wanted.get(os.path.basename(said), ()):
                    same = (
                        one == said
                        or said.endswith("/" + one)
                        or ("/" not in said and os.path.basename(one) == said)
                    )
                    if same and (one not in found or rank < found[one][0]):
                        found[one] = (rank, name, number)
    return {name: (file, line) for name, (_, file, line) in found.items()}


def _not_imported(files: list[File], named: object, sketches: dict[str, _Sketch]) -> list[File]:
    """A program of a usual name stays one when a search or a benchmark imports it."""
    spectators = {
        file.path
        for file in files
        if any(_trains_on_import(local, file) for local in file.reachable())
    }
    imported = {
        local.path for file in files if file.path not in spectators for local in file.reachable()
    } | spectators
    programs = {f.path for f in files if _stem(f) in USUAL[:2] and sketches[f.name].has_main}
    programs = {
        path
        for path in programs
        if not any(
            _stem(f) in USUAL and not _presents(f)
            for f in files
            if path in {local.path for local in f.reachable()}
        )
    }
    return [file for file in files if file.path not in imported - programs]


def _trains_on_import(local: File, by: File) -> bool:
    """Whether a file is a program of its own that another, which trains nothing itself, imports to
    look at its results.
    """
    seen = by.conclusion.where.get("framework", ("", "", 0))
    return seen[0] == local.name and any(
        call.line == seen[2] and not call.scope for call in local.facts.calls
    )


def _presents(file: File) -> bool:
    """Whether a file opens windows or serves: training is a button of it."""
    return any(
        imported.module.partition(".")[0].lower() in PRESENTERS for imported in file.facts.imports
    )


def _not_presenting(files: list[File], named: object, sketches: object) -> list[File]:
    """What a server fits by the way, to explain a prediction, is not what the project trains."""
    return [file for file in files if not _presents(file)]


def _run_by_the_project(
    files: list[File], named: dict[str, tuple[str, int]], sketches: object
) -> list[File]:
    said = [file for file in files if file.name in named]
    order = dict(_BUILD_FILES)
    ranks = {file.name: order.get(named[file.name][0].lower(), 4) for file in said}
    best = min(ranks.values(), default=0)
    first = [file for file in said if ranks[file.name] == best]
    # A project whose README runs everything it has says nothing.
    return first if len(first) <= max(1, len(files) // 2) else []


def _trained_by_the_project(files: list[File], named: object, sketches: object) -> list[File]:
    """What a target `train`, a stage `train` or an entry point `main` runs."""
    folder = files[0].path.removesuffix(files[0].name).rstrip(os.sep)
    said = commands.training(folder)
    return [file for file in files if file.name in said]


def _only_training(files: list[File], named: object, sketches: object) -> list[File]:
    return [file for file in files if not OTHER_DUTIES.search(_stem(file))]


def _in_no_folder_of_another_duty(files: list[File], named: object, sketches: object) -> list[File]:
    return [file for file in files if not OTHER_DUTIES.search(os.path.dirname(file.name))]


def _scripts_first(files: list[File], named: object, sketches: object) -> list[File]:
    """Notebooks beside scripts are mostly the drafts of them."""
    scripts = [file for file in files if file.name.endswith(".py")]
    stems = {_plain(_stem(file)) for file in scripts}
    if len(scripts) == 1 or any(_stem(file) in USUAL[:7] for file in scripts):
        return scripts
    return [file for file in files if file.name.endswith(".py") or _plain(_stem(file)) not in stems]


def _shallow(files: list[File], named: object, sketches: object) -> list[File]:
    usual = [f for f in files if _stem(f) in USUAL[:5]]
    depth = min(file.name.count(os.sep) for file in files)
    top = [file for file in files if file.name.count(os.sep) == depth]
    return top if not usual or any(f in top for f in usual) or len(usual) != 1 else usual


def _usual_names(files: list[File], named: object, sketches: object) -> list[File]:
    for name in USUAL:
        usual = [file for file in files if _stem(file) == name]
        if usual:
            return usual
    return [
        f
        for f in files
        if f.name.endswith(".py") and re.search(r"(^|[_\W])train(ing)?([_\W\d]|$)", _stem(f))
    ]


def _begins(files: list[File], named: object, sketches: dict[str, _Sketch]) -> list[File]:
    return [file for file in files if not sketches[file.name].goes_on]


def _uses_the_others(files: list[File], named: object, sketches: object) -> list[File]:
    return [file for file in files if file.local]


def _has_main(files: list[File], named: object, sketches: dict[str, _Sketch]) -> list[File]:
    return [file for file in files if sketches[file.name].has_main]


def _stem(file: File) -> str:
    return os.path.splitext(os.path.basename(file.name))[0].lower()


def _plain(stem: str) -> str:
    return re.sub(r"[\W_\d]", "", stem)


_RULES = (
    ("the project's own files run it", _run_by_the_project),
    ("the project's target for training runs it", _trained_by_the_project),
    ("no other file that trains imports it", _not_imported),
    ("it serves nothing and opens no window", _not_presenting),
    ("its name says nothing but training", _only_training),
    ("a script, not the notebook it came from", _scripts_first),
    ("nearest to the project's root", _shallow),
    ("its name is a usual one for an entry", _usual_names),
    ("the others go on with a model that was saved", _begins),
    ("it uses the project's other modules", _uses_the_others),
    ("it runs as a program", _has_main),
    ("its folder's name says nothing but training", _in_no_folder_of_another_duty),
)


def _nothing_trains(
    files: Files, sketches: list[_Sketch], hopeful: list[_Sketch]
) -> DetectionError:
    """The error where no file trains: a broken one may be the reason."""
    for sketch in [*hopeful, *sketches][:20]:
        file = files.file(sketch.path)
        if file.refused is not None and file.refused.reason != "missing":
            return file.refused
        if file.source.problems and file.path.endswith(".py"):
            problem = file.source.problems[0]
            return DetectionError(
                f"syntax error: {problem.message}",
                where=f"{file.name}:{problem.line}",
                remedy="Mend the line, or name another entry with --entry.",
            )
    return DetectionError(
        f"nothing in it trains a model ({len(sketches)} files read)",
        where=files.folder,
        remedy='If a file does train, name it: --entry FILE, or entry = "FILE" in mlops.toml.',
    )
