"""Choose the file of a project that trains, by rules that say why.

Every script is first looked at as bytes only, so that a repository of a thousand files costs
little; the few that may be the entry are then parsed and asked whether they train.
"""

from __future__ import annotations

import ast
import os
import re

from mlops_lib.detection import commands, mentions, sketch
from mlops_lib.detection.classify import SERVERS
from mlops_lib.detection.files import File, Files
from mlops_lib.detection.mentions import Mention
from mlops_lib.detection.sketch import Sketch
from mlops_lib.detection.tally import FREE_FITS
from mlops_lib.detection.words import words
from mlops_lib.errors import DetectionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container

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
    r"(^|[_\W])(predict|prediction|infer|inference|serve|server|deploy|api|app|demo|eval|evaluate"
    r"|utils?|helpers?|plots?|figures?|visuali[sz]e|preprocess|download|convert|export|benchmark|example"
    r"|tweak(?:er|ed|ing|s)?|tun(?:er|ing)|change|check(?:er|ing|s)?|re-?build|re-?train|re-?run"
    r"|new|mail|notif(?:y|ier|ication)|success|fail(?:ed|ure)?|old|backup|copy|tmp|draft"
    r"|playground|upgrade|smoke|cli|profil(?:e|er|ing)|debug|monitor|drift|schedule|promote"
    r"|backfill|explain(?:er|ability)?|hpo|hp_?opt|hyperopt|sweep)([_\W\d]|$)",
    re.I,
)
"""Words in a name that say its file is for something other than the training itself."""
_AND_MEASURES = re.compile(
    r"(?<=train)(?:ing)?_?(?:and_?|n_|_)?(?:eval|evaluate|evaluation|validate|test|predict)(?![^_\W])",
    re.I,
)
"""Suffix of names that also measure the trained model: `train_and_evaluate`, `train_test`."""
PRESENTERS = SERVERS | words("tkinter customtkinter pyqt5 pyqt6 pyside2 pyside6 wx kivy pygame")
CHOOSE = 'Choose one: --entry FILE, or entry = "FILE" in mlops.toml.'
"""Remedy if several files may be the entry."""
ACTS = "it does something when it is run"
ONLY = "the only file that trains"
MODULES_LIMIT = 12
"""Modules that only define things and are looked at although a script trains."""
PARSED_LIMIT = 60
PROJECTS = 4
"""In how many folders candidates stand if these are projects of their own."""
SHOWN_LIMIT = 12
"""Candidates that an error lists."""
HARMLESS = words("""
    load_dotenv basicConfig append insert filterwarnings simplefilter set_option seed manual_seed
    set_theme set_style use set set_verbosity set_verbosity_error set_tracking_uri register update
    set_seed setLevel disable getLogger print configure setup_logging set_float32_matmul_precision
    extend addHandler warn enable_eager_execution seed_everything setup_root
""")
"""Calls at a module's top level that do nothing by themselves."""
_SAYS_TRAINING = re.compile(r"(^|[_\W])train(ing)?([_\W\d]|$)")
ORCHESTRATES = re.compile(r"flow|pipeline|orchestrat|dag|schedul|workflow", re.I)


class Choice:
    """The entry, and why it is the one."""

    __slots__ = ("file", "reason", "where")

    def __init__(self, file: File, reason: str, where: tuple[str, int]) -> None:
        self.file = file
        self.reason = reason
        self.where = where
        """File and line that say so."""


class _Candidates:
    """Candidates for the entry, and the facts known about them."""

    __slots__ = ("files", "folder", "mentions", "sketches")

    def __init__(
        self,
        files: list[File],
        mentioned: dict[str, Mention],
        sketches: dict[str, Sketch],
        folder: str,
    ) -> None:
        self.files = files
        self.mentions = mentioned
        """Places at which the project's own files run them."""
        self.sketches = sketches
        self.folder = folder

    def only(self, files: list[File]) -> _Candidates:
        """Return the same with other files."""
        return _Candidates(files, self.mentions, self.sketches, self.folder)


def choose(files: Files) -> Choice:
    """Return the file that trains.

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
    sketches = sketch.of_all(paths, files.folder)
    others = [one for one in sketches if NOT_ENTRIES.match(one.stem)]
    sketches = [one for one in sketches if one not in others] or sketches
    kedro = _kedro_program(files)
    if kedro is not None:
        return Choice(kedro, "`kedro run` starts it", ("pyproject.toml", 1))
    hopeful = sketch.hopeful(sketches)
    mentioned = mentions.find(files.folder, [one.name for one in hopeful])
    training = _training(
        files,
        sorted(hopeful, key=lambda one: (one.name not in mentioned, *_rank(one))),
        mentioned,
    )
    if not training:  # `train_test.py` may train where no other file does
        more = [
            one
            for one in sketch.hopeful([*sketches, *others])
            if one in others and not one.has_tests
        ]
        hopeful += more
        training = _training(files, sorted(more, key=_rank))
    if not training:
        return _in_pieces(files, sketches, hopeful)
    by_name = {one.name: one for one in hopeful}
    choice = _choose(_Candidates(training, mentioned, by_name, files.folder))
    if choice.file.name not in mentioned:
        _ask_if_another_is_run(files, choice, mentioned)
    return choice


def _ask_if_another_is_run(files: Files, choice: Choice, mentioned: dict[str, Mention]) -> None:
    """Raise if the project runs another file for training, in which nothing is seen to train.

    What it trains may be found at run time, by a name in a registry or a configuration.
    """
    trained = {choice.file.path, *(local.path for local in choice.file.reachable())}
    others = []
    for name in sorted(mentioned):
        stem = os.path.splitext(os.path.basename(name))[0].lower()
        path = os.path.join(files.folder, name)
        if _has_other_duty(stem) or path in trained:
            continue
        file = files.file(path) if _SAYS_TRAINING.search(stem) or stem in USUAL else None
        if file is not None and not file.trains and (stem not in USUAL or _may_train(file, stem)):
            others.append(name)
    if not others:
        return
    said = ", ".join(
        f"{name} (by {mentioned[name].file}:{mentioned[name].line}; nothing in it is seen to train)"
        for name in others[:SHOWN_LIMIT]
    )
    raise DetectionError(
        f"the project runs {said}, but what trains is {_listed([choice.file])}",
        where=files.folder,
        remedy=CHOOSE,
    )


def _may_train(file: File, stem: str) -> bool:
    """Return whether a program of a usual name speaks of training, or makes what a configuration
    names: `main.py` may be anything.
    """
    return _SAYS_TRAINING.search(stem) is not None or bool(file.facts.configured)


def _choose(candidates: _Candidates) -> Choice:
    """Apply the rules in order; each may leave fewer candidates."""
    if len(candidates.files) == 1:
        only = candidates.files[0]
        reason = ACTS if len(candidates.sketches) > MODULES_LIMIT and only.facts.has_main else ONLY
        return Choice(only, reason, _where_trains(only))
    reasons: list[str] = []
    shortlist = candidates
    for reason, rule in _RULES:
        # A rule that would leave none, or all, says nothing about this project.
        remaining = rule(candidates)
        if remaining and len(remaining) < len(candidates.files):
            if rule is _acting and _are_other_notebooks(candidates, remaining):
                break
            reasons.append(reason)
            candidates = candidates.only(remaining)
        if rule in _NO_CANDIDATES:
            shortlist = candidates
        if len(candidates.files) == 1:
            chosen = candidates.files[0]
            mention = candidates.mentions.get(chosen.name)
            where = (mention.file, mention.line) if mention else _where_trains(chosen)
            return Choice(chosen, "; ".join(reasons), where)
    raise DetectionError(
        f"several files train: {_listed(shortlist.files)}",
        where=candidates.folder,
        remedy=CHOOSE,
    )


def _are_other_notebooks(candidates: _Candidates, remaining: list[File]) -> bool:
    """Return whether only notebooks are left, while modules train that none of them uses.

    Then a program that is not seen to train runs the modules, and the notebooks explore.
    """
    if any(file.path.endswith(".py") for file in remaining):
        return False
    used = {local.path for file in remaining for local in file.reachable()}
    return any(file.path not in used for file in candidates.files if file not in remaining)


def _listed(candidates: list[File]) -> str:
    """Return the candidates, each with the line that makes it one."""
    lines = []
    for file in candidates[:SHOWN_LIMIT]:
        place, line = _where_trains(file)
        at = f"{file.name}:{line}" if place == file.name else f"{file.name} (by {place}:{line})"
        lines.append(f"{at} {file.conclusion.framework}")
    more = len(candidates) - SHOWN_LIMIT
    return ", ".join(lines) + (f" and {more} more" if more > 0 else "")


def _kedro_program(files: Files) -> File | None:
    """Return the program of a Kedro project's package, which runs its pipelines."""
    package = files.kedro_package
    paths = [path for path in files.paths() if path.endswith(f"{package}{os.sep}__main__.py")]
    return files.file(paths[0]) if package and paths else None


def _training(files: Files, sketches: list[Sketch], mentioned: Container[str] = ()) -> list[File]:
    """Return those that train, of the first few.

    If a script does when it is run, the many modules of a library that only define things are not
    looked at: to follow what each uses in turn takes long, and none of them would be the entry.
    """
    first = [
        files.file(one.path) for one in sketches[:PARSED_LIMIT] if one.acts or one.name in mentioned
    ]
    programs = [file for file in first if file.name in mentioned or does_something(file)]
    training = [file for file in programs if file.trains]
    looked_at = {file.path for file in programs}
    modules = [one.path for one in sketches[:PARSED_LIMIT] if one.path not in looked_at]
    is_clear = any(file.path.endswith(".py") and not _presents(file) for file in training)
    if not is_clear or len(modules) <= MODULES_LIMIT:
        training += [file for file in map(files.file, modules) if file.trains]
    return sorted(training, key=lambda file: file.name)


def _where_trains(file: File) -> tuple[str, int]:
    seen = file.conclusion.where.get("framework")
    return (seen[0], seen[2]) if seen else (file.name, 1)


def _in_pieces(files: Files, sketches: list[Sketch], hopeful: list[Sketch]) -> Choice:
    """Return the only file that makes a model: jobs that join a script from pieces fit it
    elsewhere.
    """
    pieces = [file for file in map(files.file, (s.path for s in hopeful)) if file.in_pieces]
    built = [file for file in pieces if file.conclusion.framework != "none"]
    if len(built) == 1:
        reason = "the only file that makes a model; none is seen to train one"
        return Choice(built[0], reason, _where_trains(built[0]))
    raise _nothing_trains(files, sketches, hopeful)


def _rank(one: Sketch) -> tuple[int, int, int, str]:
    usual = next((n for n, word in enumerate(USUAL) if one.stem == word), len(USUAL))
    return (_has_other_duty(one.stem), one.name.count(os.sep), usual, one.name)


# The rules


def _not_presenting(candidates: _Candidates) -> list[File]:
    """Drop servers and GUIs; a model fitted to explain a prediction is not the project's."""
    return [file for file in candidates.files if not _presents(file)]


def _presents(file: File) -> bool:
    """Return whether a file opens windows or serves: training is a button of it."""
    return any(
        imported.module.partition(".")[0].lower() in PRESENTERS for imported in file.facts.imports
    )


def _trained_by_the_project(candidates: _Candidates) -> list[File]:
    """Keep scripts of a target `train`, a stage `train` or an entry point `main`."""
    commanded = commands.training(candidates.folder)
    return [file for file in candidates.files if file.name in commanded]


def _run_by_the_project(candidates: _Candidates) -> list[File]:
    ranks = {
        file.name: candidates.mentions[file.name].rank
        for file in candidates.files
        if file.name in candidates.mentions and _is_run_to_train(file, candidates)
    }
    best = min(ranks.values(), default=0)
    first = [file for file in candidates.files if ranks.get(file.name) == best]
    # A project whose README runs everything it has says nothing.
    return first if len(first) <= max(1, len(candidates.files) // 2) else []


def _is_run_to_train(file: File, candidates: _Candidates) -> bool:
    """Return whether the command that runs a file may be that of the training: its name speaks of
    nothing else, and in a CI file, which runs all sorts of things, of training.
    """
    stem = _stem(file)
    is_workflow = "workflows" in candidates.mentions[file.name].file
    return not _has_other_duty(stem) and (
        not is_workflow or stem in USUAL or "train" in stem or "fit" in stem
    )


def _acting(candidates: _Candidates) -> list[File]:
    """Drop modules that only define things, unless the project runs them."""
    return [
        file
        for file in candidates.files
        if file.name in candidates.mentions or does_something(file)
    ]


def does_something(file: File) -> bool:
    """Return whether running a file does more than define functions and classes."""
    if not file.path.endswith(".py") or file.facts.has_main:
        return True
    return any(_acts(statement) for statement in file.source.tree.body)


def _acts(statement: ast.stmt) -> bool:
    if isinstance(statement, (ast.For, ast.While, ast.With)):
        return True
    if isinstance(statement, (ast.If, ast.Try)):
        return any(_acts(one) for one in statement.body)
    value = statement.value if isinstance(statement, (ast.Expr, ast.Assign)) else None
    if not isinstance(value, ast.Call):
        return False
    leaf = getattr(value.func, "attr", getattr(value.func, "id", ""))
    return leaf in FREE_FITS or (isinstance(statement, ast.Expr) and leaf not in HARMLESS)


def _not_imported(candidates: _Candidates) -> list[File]:
    """Drop files that another one imports, except programs of a usual name."""
    spectators = {file.path for file in candidates.files if _watches(candidates, file)}
    # A file that only looks at what another has trained does not make that one a library.
    imported = spectators | {
        local.path
        for file in candidates.files
        if file.path not in spectators
        for local in file.reachable()
    }
    programs = {
        file.path
        for file in candidates.files
        if _stem(file) in USUAL[:2] and candidates.sketches[file.name].has_main
    }
    led = [file for file in candidates.files if _stem(file) in USUAL and not _presents(file)]
    programs -= {local.path for file in led for local in file.reachable()}
    return [file for file in candidates.files if file.path not in imported - programs]


def _watches(candidates: _Candidates, file: File) -> bool:
    """Return whether a file trains only through another program: to look at what that one has
    trained, or as one step of a flow.
    """
    programs = {
        one.path: one
        for one in candidates.files
        if one is not file and does_something(one) and one.facts.has_main
    }
    seen = file.conclusion.where.get("framework", ("", "", 0))
    for local in file.reachable():
        if seen[0] != local.name:
            continue
        if any(call.line == seen[2] and not call.scope for call in local.facts.calls):
            return True
        is_step = local.path in programs and _stem(file) not in USUAL
        if is_step and (ORCHESTRATES.search(file.name) or "train" in _stem(local)):
            return True
    return False


def _only_training(candidates: _Candidates) -> list[File]:
    return [file for file in candidates.files if not _has_other_duty(_stem(file))]


def _scripts_first(candidates: _Candidates) -> list[File]:
    """Notebooks beside scripts are mostly the drafts of them."""
    scripts = [file for file in candidates.files if file.name.endswith(".py")]
    stems = {_plain(_stem(file)) for file in scripts}
    if len(scripts) == 1 or any(_stem(file) in USUAL[:7] for file in scripts):
        return scripts
    return [f for f in candidates.files if f.name.endswith(".py") or _plain(_stem(f)) not in stems]


def _only_usual_name(candidates: _Candidates) -> list[File]:
    """Keep a single `train.py` in a folder before a draft beside the README."""
    scripts = [file for file in candidates.files if file.name.endswith(".py")]
    usual = [file for file in scripts or candidates.files if _stem(file) in USUAL[:5]]
    return usual if len(usual) == 1 and not _are_projects(candidates) else []


def _are_projects(candidates: _Candidates) -> bool:
    """Return whether the candidates belong to several projects side by side."""
    folders = [os.path.dirname(file.name) for file in candidates.files]
    return len(set(folders)) >= PROJECTS and len(set(folders)) * 3 >= len(folders) * 2


def _shallow(candidates: _Candidates) -> list[File]:
    depth = min(file.name.count(os.sep) for file in candidates.files)
    return [file for file in candidates.files if file.name.count(os.sep) == depth]


def _usual_names(candidates: _Candidates) -> list[File]:
    if _are_projects(candidates):
        return []
    scripts = [file for file in candidates.files if file.name.endswith(".py")]
    # In the order of the list: `train.py` wins over `main.py`, which may be anything.
    for name in USUAL:
        usual = [file for file in scripts or candidates.files if _stem(file) == name]
        if usual:
            return usual
    return [
        f for f in candidates.files if f.name.endswith(".py") and _SAYS_TRAINING.search(_stem(f))
    ]


def _begins(candidates: _Candidates) -> list[File]:
    return [file for file in candidates.files if not candidates.sketches[file.name].goes_on]


def _uses_the_others(candidates: _Candidates) -> list[File]:
    return [file for file in candidates.files if file.local]


def _has_main(candidates: _Candidates) -> list[File]:
    """Keep programs; a file that the project runs is one, whatever calls its `main`."""
    return [
        file
        for file in candidates.files
        if candidates.sketches[file.name].has_main or file.name in candidates.mentions
    ]


def _in_no_folder_of_another_duty(candidates: _Candidates) -> list[File]:
    return [
        file for file in candidates.files if not OTHER_DUTIES.search(os.path.dirname(file.name))
    ]


def _stem(file: File) -> str:
    return os.path.splitext(os.path.basename(file.name))[0].lower()


def _has_other_duty(stem: str) -> bool:
    return OTHER_DUTIES.search(_AND_MEASURES.sub("", stem)) is not None


def _plain(stem: str) -> str:
    return re.sub(r"[\W_\d]", "", stem)


_RULES: tuple[tuple[str, Callable[[_Candidates], list[File]]], ...] = (
    ("it serves nothing and opens no window", _not_presenting),
    (ACTS, _acting),
    ("the project's own files run it", _run_by_the_project),
    ("the project's target for training runs it", _trained_by_the_project),
    ("no other file that trains imports it", _not_imported),
    ("its name says nothing but training", _only_training),
    ("a script, not the notebook it came from", _scripts_first),
    ("the only one of a usual name for an entry", _only_usual_name),
    ("nearest to the project's root", _shallow),
    ("its name is a usual one for an entry", _usual_names),
    ("the others go on with a model that was saved", _begins),
    ("it uses the project's other modules", _uses_the_others),
    ("it runs as a program", _has_main),
    ("its folder's name says nothing but training", _in_no_folder_of_another_duty),
)


_NO_CANDIDATES = (_not_presenting, _acting, _not_imported)
"""Rules whose losers are no plausible entries: they are left out of the question."""


def _nothing_trains(files: Files, sketches: list[Sketch], hopeful: list[Sketch]) -> DetectionError:
    """Return the error for a project that trains nothing; a broken file may be the cause."""
    for one in [*hopeful, *sketches][:20]:
        file = files.file(one.path)
        if file.refused is not None and file.refused.reason != "missing":
            return file.refused
        if file.source.problems and file.path.endswith(".py"):
            problem = file.source.problems[0]
            return DetectionError(
                f"syntax error: {problem.message}",
                where=f"{file.name}:{problem.line}",
                remedy="Mend the line, or name another entry with --entry.",
            )
    near = [files.file(one.path) for one in sorted(hopeful, key=_rank)[:PARSED_LIMIT]]
    near = [file for file in near if file.conclusion.framework != "none"]
    nearest = f"; the nearest to it: {_listed(near)}" if near else ""
    return DetectionError(
        f"nothing in it trains a model ({len(sketches)} files read){nearest}",
        where=files.folder,
        remedy='If a file does train, name it: --entry FILE, or entry = "FILE" in mlops.toml.',
    )
