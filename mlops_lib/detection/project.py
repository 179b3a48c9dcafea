"""From the files of a project to a Detection."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from mlops_lib.detection import declared, knowledge
from mlops_lib.detection.distributions import CALLS_IMPLY, DISTRIBUTIONS, IMPLIED
from mlops_lib.detection.facts import Call, Facts, gather, is_standard
from mlops_lib.detection.source import Source, read
from mlops_lib.errors import DetectionError
from mlops_lib.records import Detection, Environment, Evidence

SKIPPED = {
    ".git",
    ".mlops",
    "__pycache__",
    ".venv",
    "venv",
    "env",
    "node_modules",
    "site-packages",
    "build",
    "dist",
    "tests",
    "test",
    "docs",
}
FILES_LIMIT = 5000
USUAL_ENTRIES = ("train", "main", "model", "run", "training", "mlcode", "app")


@dataclass
class File:
    """One file of the project, with what the local modules it imports say too."""

    path: Path
    source: Source
    facts: Facts
    framework: str = "none"
    families: tuple[str, ...] = ()
    evidence: list[Evidence] = field(default_factory=list)
    local: list[File] = field(default_factory=list)

    @property
    def trains(self) -> bool:
        """Whether it trains a model of any kind."""
        return self.framework != "none"


def detect(project: str | Path, *, entry: str | None = None) -> Detection:
    """Say what a project is and what it needs.

    Args:
        project: a folder, one script or one notebook.
        entry: which file trains, relative to the folder; found by itself where only one does.

    Raises:
        DetectionError: there is no such project, nothing in it trains, several files do, or the entry cannot be read.
    """
    place = Path(project).expanduser()
    if not place.exists():
        raise DetectionError(
            "no such file or folder", where=str(project), remedy="Give a project's folder or its script."
        )
    place = place.resolve()
    if place.is_file():
        if place.suffix not in (".py", ".ipynb"):
            raise DetectionError(
                "neither a Python script nor a notebook", where=str(project), remedy="Give a .py or .ipynb file."
            )
        folder, entry = place.parent, entry or place.name
    else:
        folder = place
    return _Project(folder).detection(entry)


class _Project:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files: dict[Path, File] = {}

    def detection(self, entry: str | None) -> Detection:
        """The conclusions, about the given entry or the one found."""
        if entry:
            path = (self.folder / entry).resolve()
            if not path.is_file() or self.folder not in path.parents:
                raise DetectionError(
                    "no such entry in the project",
                    where=entry,
                    remedy="Name a file of the project, relative to its folder.",
                )
            chosen = self._file(path)
            self._require_readable(chosen)
        else:
            chosen = self._find_entry()
        return self._conclude(chosen)

    def _paths(self) -> list[Path]:
        found: list[Path] = []
        for folder, folders, names in os.walk(self.folder):
            folders[:] = sorted(n for n in folders if n not in SKIPPED and not n.startswith("."))
            found += [Path(folder, name) for name in sorted(names) if name.endswith((".py", ".ipynb"))]
            if len(found) > FILES_LIMIT:
                break
        return found

    def _find_entry(self) -> File:
        paths = self._paths()
        if not paths:
            raise DetectionError(
                "no Python script and no notebook in it",
                where=str(self.folder),
                remedy="Give a folder with training code.",
            )
        files = [
            self._file(path)
            for path in paths
            if path.name not in ("setup.py", "conftest.py", "__init__.py") and not path.name.startswith("test_")
        ]
        imported = {local.path for file in files for local in self._reachable(file)}
        training = [f for f in files if f.trains and f.path not in imported]
        if not training:
            broken = next((f for f in files if f.source.tree is None), None)
            if broken is not None:
                self._require_readable(broken)
            raise DetectionError(
                f"nothing in it trains a model ({len(files)} files read)", where=str(self.folder),
                remedy="If a file does train, name it: --entry FILE, or entry = \"FILE\" in mlops.toml.",
            )  # fmt: skip
        if len(training) > 1:
            training = self._prefer(training)
        if len(training) > 1:
            names = ", ".join(str(f.path.relative_to(self.folder)) for f in training[:8])
            raise DetectionError(
                f"several files train: {names}", where=str(self.folder),
                remedy="Choose one: --entry FILE, or entry = \"FILE\" in mlops.toml.",
            )  # fmt: skip
        return training[0]

    def _prefer(self, files: list[File]) -> list[File]:
        """The usual names, and the folder's top before what is deeper."""
        depth = min(len(f.path.relative_to(self.folder).parts) for f in files)
        top = [f for f in files if len(f.path.relative_to(self.folder).parts) == depth]
        if len(top) == 1:
            return top
        for name in USUAL_ENTRIES:
            usual = [f for f in top if f.path.stem.lower() == name]
            if len(usual) == 1:
                return usual
        return top

    def _require_readable(self, file: File) -> None:
        error = file.source.error
        if file.source.tree is None and error is not None:
            raise DetectionError(
                f"syntax error: {error.msg}", where=f"{file.path.relative_to(self.folder)}:{error.lineno or 1}",
                remedy="Mend the line, or name another entry with --entry.",
            )  # fmt: skip

    def _file(self, path: Path) -> File:
        known = self._files.get(path)
        if known is not None:
            return known
        try:
            source = read(path)
        except OSError as error:
            source = Source(path, None, SyntaxError(f"cannot be read: {error.strerror}", (str(path), 1, 1, "")))
        file = File(path, source, gather(source.tree) if source.tree is not None else Facts())
        self._files[path] = file
        file.local = [self._file(found) for found in self._local_modules(file)]
        _classify(file, self._reachable(file), self.folder)
        return file

    def _local_modules(self, file: File) -> list[Path]:
        found = []
        for module in (*file.facts.imports, *file.facts.optional):
            found += self._resolve(file.path.parent, module)
        for level, module, _ in file.facts.relative:
            base = file.path.parent
            for _ in range(level - 1):
                base = base.parent
            found += self._resolve(base, module) if module else []
        return [path for path in dict.fromkeys(found) if path != file.path]

    def _resolve(self, folder: Path, module: str) -> list[Path]:
        """The project's own files behind a module name, as Python would find them."""
        relative = Path(*module.split("."))
        for base in (folder, self.folder):
            place = base / relative
            if place.with_suffix(".py").is_file():
                return [place.with_suffix(".py").resolve()]
            if place.is_dir():
                return [p.resolve() for p in (place / "__init__.py",) if p.is_file()]
            parent = place.parent.with_suffix(".py")
            if len(relative.parts) > 1 and parent.is_file():
                return [parent.resolve()]
        return []

    def is_local(self, file: File, module: str) -> bool:
        """Whether a top-level name is the project's own."""
        bases = (file.path.parent, self.folder)
        return any((base / f"{module}.py").is_file() or _is_package(base / module) for base in bases)

    def _reachable(self, file: File) -> list[File]:
        found: list[File] = []
        pending = list(file.local)
        while pending:
            one = pending.pop()
            if one is not file and one not in found:
                found.append(one)
                pending += one.local
        return found

    def _conclude(self, file: File) -> Detection:
        everything = [file, *self._reachable(file)]
        required, optional = self._third_party(everything)
        evidence, warnings = list(file.evidence), []
        wanted, source = declared.requirements(self.folder)
        if not wanted and file.source.installs:
            wanted, source = file.source.installs, "pip install in the notebook"
        guessed, unknown = _distributions(required, everything)
        if source:
            evidence.append(Evidence(file=source, line=1, saw=", ".join(wanted)[:200], means="declared requirements"))
        for module in unknown:
            if module not in {declared.name_of(w).replace("-", "_") for w in wanted}:
                warnings.append(
                    f"the import {module!r} is not known: if it is a distribution, declare it in requirements.txt"
                    " (one that merely has the same name is never installed)"
                )
        for name, module in guessed.items():
            where = required.get(module)
            if where is not None and where[0]:
                evidence.append(Evidence(file=where[0], line=where[1], saw=f"import {module}", means=f"needs {name}"))
        requirements = wanted or sorted(guessed)
        python = "3.11"
        environment = _environment(file, requirements, python)
        facts = file.facts
        data = [
            p for f in everything for p in f.facts.data if p not in {w for g in everything for w in g.facts.written}
        ]
        if file.source.error is not None and file.source.tree is not None:
            warnings.append(
                f"{file.path.name}:{file.source.error.lineno}: not valid Python 3 ({file.source.error.msg})"
            )
        main = next((f for f in knowledge.MAIN_ORDER if f in file.families), "none" if not file.trains else "other")
        return Detection(
            project=str(self.folder), entry=str(file.path.relative_to(self.folder)), framework=file.framework,
            family=main, families=file.families, environment=environment, imports=tuple(sorted(required)),
            optional_imports=tuple(sorted(set(optional) - set(required))), requirements=tuple(requirements),
            python=python, args_needed=_args_needed(facts),
            data_paths=tuple(dict.fromkeys(data)), evidence=tuple(evidence), warnings=tuple(warnings),
        )  # fmt: skip

    def _third_party(self, files: list[File]) -> tuple[dict[str, tuple[str, int]], set[str]]:
        required: dict[str, tuple[str, int]] = {}
        optional: set[str] = set()
        for file in files:
            name = os.path.relpath(file.path, self.folder)
            for module, line in file.facts.imports.items():
                top = module.split(".")[0]
                if top and not is_standard(top) and not self.is_local(file, top):
                    required.setdefault(top, (name, line))
            for module in file.facts.optional:
                top = module.split(".")[0]
                if top and not is_standard(top) and not self.is_local(file, top):
                    optional.add(top)
        return required, optional


def _args_needed(facts: Facts) -> int:
    indices = () if facts.counts_arguments else facts.argument_indices
    return max([*indices, facts.required_options], default=0)


def _is_package(folder: Path) -> bool:
    return folder.is_dir() and ((folder / "__init__.py").is_file() or any(folder.glob("*.py")))


def framework_of(name: str) -> str:
    """The framework a dotted name belongs to, "" if none."""
    plain = name.replace("()", "")
    parts = plain.split(".")
    for length in range(min(3, len(parts)), 0, -1):
        found = knowledge.ROOTS.get(".".join(parts[:length]))
        if found:
            return found
    return ""


def _classify(file: File, local: list[File], folder: Path) -> None:
    """Decide framework and families from the calls made."""
    seen: dict[str, tuple[File, Call]] = {}
    families: dict[str, tuple[File, Call]] = {}
    trains: dict[str, tuple[File, Call]] = {}
    for one in (file, *local):
        for call in (*one.facts.calls, *one.facts.bases):
            framework = framework_of(call.name)
            if framework:
                seen.setdefault(framework, (one, call))
                if call.leaf in knowledge.MODELS.get(framework, ()) or (framework == "sklearn" and _is_estimator(call)):
                    trains.setdefault(framework, (one, call))
            if call.leaf in knowledge.WRONG_LEAVES or not (framework or call.name.startswith("?")):
                continue
            if framework and call.leaf in knowledge.BACKBONES:
                families.setdefault("cnn", (one, call))
            for family, leaves in knowledge.FAMILY.items():
                if framework and call.leaf in leaves:
                    families.setdefault(family, (one, call))
    file.framework = _choose(file, local, trains, seen)
    if file.framework in knowledge.TREES and not families:
        families["tree"] = trains[file.framework]
    relevant = {f: where for f, where in families.items() if _belongs(file.framework, where[1])}
    if set(relevant) & {"cnn", "rnn", "transformer"}:
        relevant.pop("dense", None)
    file.families = tuple(f for f in knowledge.MAIN_ORDER if f in relevant)
    shown = [(file.framework, trains.get(file.framework) or seen.get(file.framework), "framework")]
    shown += [(family, relevant[family], "family") for family in file.families]
    for means, where, kind in shown:
        if where is not None and file.framework != "none":
            name = os.path.relpath(where[0].path, folder)
            file.evidence.append(Evidence(file=name, line=where[1].line, saw=where[1].name, means=f"{kind} {means}"))


def _is_estimator(call: Call) -> bool:
    return any(call.leaf in leaves for leaves in knowledge.FAMILY.values()) or call.leaf in (
        "Pipeline", "make_pipeline", "GridSearchCV", "RandomizedSearchCV", "VotingClassifier", "StackingClassifier",
        "PCA", "TransformedTargetRegressor", "OneVsRestClassifier",
    )  # fmt: skip


def _belongs(framework: str, call: Call) -> bool:
    found = framework_of(call.name)
    return found == framework or {found, framework} == {"keras", "tensorflow"}


def _choose(
    file: File, local: list[File], trains: dict[str, tuple[File, Call]], seen: dict[str, tuple[File, Call]]
) -> str:
    """The framework that trains: one that makes models and is made to fit them."""
    leaves = {call.leaf for one in (file, *local) for call in one.facts.calls}
    fits = bool(
        leaves
        & {"fit", "fit_generator", "train", "partial_fit", "fit_predict", "train_on_batch", "cv", "fit_transform"}
    )
    if "pytorch" in seen and (
        "backward" in leaves or ("pytorch" in trains and leaves & set(knowledge.TRAINING["pytorch"]))
    ):
        return "pytorch"
    if "jax" in seen and leaves & set(knowledge.TRAINING["jax"]):
        return "jax"
    if "keras" in trains and (fits or "apply_gradients" in leaves):
        return "keras"
    if "keras" in seen and leaves & {"fit", "fit_generator"} and leaves & knowledge.BACKBONES:
        return "keras"
    if ({"tensorflow", "keras"} & set(seen)) and leaves & set(knowledge.TRAINING["tensorflow"]):
        return "keras" if "keras" in trains else "tensorflow"
    for framework in ("xgboost", "lightgbm", "catboost"):
        if framework in trains and fits:
            return framework
    if "sklearn" in trains and (fits or leaves & {"cross_val_score", "cross_validate"}):
        return "sklearn"
    if "statsmodels" in seen and "fit" in leaves:
        return "statsmodels"
    return "none"


def _distributions(required: dict[str, tuple[str, int]], files: list[File]) -> tuple[dict[str, str], list[str]]:
    """Distribution to the import it comes from, and the imports nothing is known about."""
    found: dict[str, str] = {}
    unknown = []
    for module in sorted(required):
        if module in DISTRIBUTIONS:
            found[DISTRIBUTIONS[module]] = module
        elif module not in ("google", "mpl_toolkits", "pkg_resources", "setuptools", "pip"):
            unknown.append(module)
        for implied in IMPLIED.get(module, ()):
            found.setdefault(DISTRIBUTIONS[implied], module)
    for call in (call for file in files for call in file.facts.calls):
        if call.leaf in CALLS_IMPLY:
            found.setdefault(CALLS_IMPLY[call.leaf], call.leaf)
    if "keras" in found and "tensorflow" not in found and "jax" not in found and "torch" not in found:
        found["tensorflow"] = "keras"
    return found, unknown


def _environment(file: File, requirements: list[str], python: str) -> Environment:
    """The catalog row that fits, with what the project needs on top."""
    from mlops_lib.images import catalog

    row = next(
        row for row in catalog()
        if file.framework in row["frameworks"]
        and (not row.get("families") or set(row["families"]) & set(file.families))
    )  # fmt: skip
    own = [str(line) for line in row["requirements"]]
    have = {declared.name_of(line) for line in own}
    if "tensorflow-cpu" in have:
        have |= {"tensorflow", "tensorflow-gpu"}
    if "opencv-python-headless" in have:
        have |= {"opencv-python", "opencv-contrib-python"}
    versioned = {declared.name_of(line): line for line in requirements if any(c in line for c in "<>=!~")}
    # A version that the project declares wins over the row's.
    lines = [versioned.get(declared.name_of(line), line) for line in own]
    lines += [line for line in requirements if declared.name_of(line) not in have]
    family = next((f for f in knowledge.MAIN_ORDER if f in file.families), "other" if file.trains else "none")
    return Environment(
        name=str(row["name"]), framework=file.framework, family=family, python=python, requirements=tuple(lines),
        system=tuple(row.get("system", ())), variables=dict(row.get("variables", {})),
    )  # fmt: skip
