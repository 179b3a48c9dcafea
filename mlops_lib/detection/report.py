"""Assemble all values of a Detection for an entry."""

from __future__ import annotations

import os
import re

from mlops_lib.detection import (
    api_generation,
    arguments,
    commands,
    declared_requirements,
    system_packages,
)
from mlops_lib.detection.facts import is_standard
from mlops_lib.detection.files import File, Files
from mlops_lib.detection.import_map import (
    CALLS_HELPED,
    CALLS_IMPLY,
    COMES_WITH,
    DISTRIBUTIONS,
    IMPLIED,
    LAST_WITH,
    MOVED,
    NOT_INSTALLED,
    SAME_AS,
    STOOD_IN,
    UNBUILDABLE,
)
from mlops_lib.detection.reachability import Reach
from mlops_lib.detection.source import installed_by
from mlops_lib.errors import DetectionError
from mlops_lib.project import files as pushed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any

IMPORTS_LIMIT = 1000
WARNINGS_LIMIT = 100
DEEP_FAMILIES = ("cnn", "rnn", "transformer", "generative", "gnn")


class Needs:
    """The imports of an entry and its local modules."""

    def __init__(self) -> None:
        self.required: dict[str, tuple[str, int]] = {}
        """Top-level import name to file and line."""
        self.optional: dict[str, tuple[str, int]] = {}
        self.dotted: dict[str, tuple[str, int]] = {}
        """Full names of all imports."""
        self.missing: dict[str, tuple[str, int]] = {}
        """Imports of a platform that no index has."""
        self._known: list[str] | None = None

    @property
    def known(self) -> list[str]:
        """Return the dotted names that are distributions of their own; there are few."""
        if self._known is None:
            self._known = [one for one in self.dotted if "." in one and one in DISTRIBUTIONS]
        return self._known


def needs(files: Files, programs: Sequence[File]) -> Needs:
    """Return what programs import that is not Python's own and not the project's."""
    result = Needs()
    for file in dict.fromkeys(file for one in programs for file in (one, *one.reachable())):
        for imported in file.facts.imports:
            where = (file.name, imported.line)
            top = imported.module.partition(".")[0]
            # The project's own modules shadow packages of the same name, as they do when the script
            # runs.
            if not top or is_standard(top) or files.is_local(file, imported.module, imported.names):
                continue
            # The runner answers for these (modules of Colab and Kaggle), and no index has them.
            if imported.module.startswith(STOOD_IN):
                continue
            for dotted in (
                imported.module,
                # `from google.cloud import storage` may name a module, and with it a distribution
                # of its own.
                *(f"{imported.module}.{name}" for name in imported.names),
            ):
                result.dotted.setdefault(dotted, where)
            distribution = _known_name(imported.module, imported.names)
            if distribution == "":
                result.missing.setdefault(top, where)
                continue
            name = SAME_AS.get(top, top)
            (result.optional if imported.optional else result.required).setdefault(name, where)
    if len(result.required) + len(result.optional) > IMPORTS_LIMIT:
        raise DetectionError(
            f"it imports more than {IMPORTS_LIMIT} different packages",
            where=programs[0].name,
            remedy="Name the script that trains: --entry FILE.",
        )
    return result


def unreached(files: Files, entry: File, needed: Needs) -> set[str]:
    """Return required imports that only unused functions of local modules contain."""
    nested = [
        (file, imported)
        for file in entry.reachable()
        for imported in file.facts.imports
        if imported.nested and not imported.optional and _import_name(imported) in needed.required
    ]
    if not nested:
        return set()
    reached = {file.path: reach for file, reach in entry.reached()}
    idle = {
        id(imported)
        for file, imported in nested
        if not (reached.get(file.path) or Reach(file.blocks)).holds(imported.line)
    }
    runs = {
        _import_name(imported)
        for file in [entry, *entry.reachable()]
        for imported in file.facts.imports
        if id(imported) not in idle and not imported.optional
    }
    return {_import_name(imported) for _, imported in nested if id(imported) in idle} - runs


def _import_name(imported: Any) -> str:
    name = _known_name(imported.module, imported.names)
    top = imported.top
    return "" if name == "" else SAME_AS.get(top, top)


def _known_name(module: str, names: tuple[str, ...]) -> str:
    """Return the longest known beginning of a dotted import, or ""."""
    parts = module.split(".")
    candidates = [
        *(f"{module}.{name}" for name in names),
        *(".".join(parts[:n]) for n in range(len(parts), 0, -1)),
    ]
    entry = next((name for name in candidates if name in DISTRIBUTIONS), None)
    if entry is not None and parts[0] not in ("setuptools", "pip"):
        return entry
    return "" if parts[0] in NOT_INSTALLED else parts[0]


def _around(plan: commands.Plan | None) -> Iterator[tuple[commands.Command, str]]:
    """Return the noteworthy commands of a plan, each with its meaning."""
    if plan is None:
        return
    yield from ((one, "runs before it") for one in plan.before)
    if plan.entry.args:
        yield plan.entry, "its arguments"
    yield from ((one, "measures what it trained") for one in plan.after)


class _Notes:
    """Evidence and warnings about a program, in the order in which they are reported."""

    def __init__(self, everything: list[File]) -> None:
        self.evidence: list[dict[str, Any]] = []
        self.warnings: list[str] = []
        self._by_name = {file.name: file for file in everything}

    def see(self, file: str, line: int, what: str, means: str) -> None:
        """Note evidence; in a notebook the place is a cell and its line."""
        source = self._by_name[file].source if file in self._by_name else None
        cell, inside = ("", line) if source is None else source.place(line)
        self.evidence.append({"file": file, "line": inside, "saw": f"{cell}{what}", "means": means})


def findings(
    files: Files, entry: File, *, reason: str = "", where: tuple[str, int] = ("", 0)
) -> dict[str, Any]:
    """Return the whole report about an entry, ready to become a Detection or JSON."""
    conclusion = entry.conclusion
    plan = commands.plan(files.folder, entry.name)
    programs_run = [entry, *(step for step in _steps(files, plan) if step is not entry)]
    needed = needs(files, programs_run)
    everything = list(
        dict.fromkeys(file for one in programs_run for file in (one, *one.reachable()))
    )
    notes = _Notes(everything)
    _note_program(notes, entry, plan, reason=reason, where=where)
    _note_generation(notes, everything)
    declaration = declared_requirements.of_entry(entry.path, files.folder)
    requirements = _note_requirements(notes, declaration, entry, needed, everything)
    notes.warnings += _moved(needed, {file.name: file for file in everything})
    notes.warnings += _unread(everything)
    notes.warnings += [
        f"{one.name}: {one.refused.what}" for one in files.refused() if one.refused is not None
    ]
    packages, tools = _note_packages(notes, files, everything)
    helpers = tools | {
        CALLS_HELPED[call.leaf]
        for file in everything
        for call in file.facts.calls
        if call.leaf in CALLS_HELPED
    }
    helpers -= {declared_requirements.name_of(line) for line in requirements}
    notes.warnings += _no_effect(entry)
    data = _data_paths(everything)
    notes.warnings += [
        f"{name}: it is a pointer of Git LFS, not the data: git lfs pull"
        for name in pushed.lfs_pointers(_places(data, entry, files), root=files.folder)
    ]
    family = conclusion.main if conclusion.framework != "none" else "none"
    return {
        "schema": 1,
        "project": files.folder,
        "entry": entry.name,
        "framework": conclusion.framework,
        "family": family,
        "families": list(conclusion.families),
        "environment": _environment(
            conclusion.framework,
            conclusion.families,
            family,
            [*requirements, *sorted(helpers | _either(needed, everything))],
            packages,
            backend=_backend(everything) if conclusion.framework == "keras" else "",
            python=declaration.python,
            locked=declaration.locked,
        ),
        "imports": sorted(needed.required),
        "optional_imports": sorted(set(needed.optional) - set(needed.required)),
        "unreached_imports": sorted(unreached(files, entry, needed)),
        "requirements": requirements,
        "python": declaration.python,
        "args_needed": _args_needed(entry),
        "command": None if plan is None else plan.entry.to_json(),
        "before": [] if plan is None else [one.to_json() for one in plan.before],
        "after": [] if plan is None else [one.to_json() for one in plan.after],
        "data_paths": data,
        "evidence": notes.evidence,
        "warnings": _shortened(list(dict.fromkeys(notes.warnings))),
    }


def _steps(files: Files, plan: commands.Plan | None) -> list[File]:
    """Return the scripts that the project's own files run around the entry."""
    if plan is None:
        return []
    return [
        files.file(os.path.join(files.folder, command.script))
        for command in (*plan.before, *plan.after)
    ]


def _note_program(
    notes: _Notes,
    entry: File,
    plan: commands.Plan | None,
    *,
    reason: str,
    where: tuple[str, int],
) -> None:
    """Note the reason for the entry, its command, and the models that it trains."""
    if reason:
        notes.see(where[0], where[1], f"entry {entry.name}", reason)
    for command, means in _around(plan):
        line = " ".join((command.script, *command.args))[:200]
        notes.see(command.where[0], command.where[1], line, means)
    conclusion = entry.conclusion
    verb = "trains" if conclusion.trains else "is built, not trained"
    for what in ("framework", *conclusion.families):
        seen = conclusion.where.get(what)
        if seen is None:
            continue
        is_framework = what == "framework"
        means = f"framework {conclusion.framework} {verb}" if is_framework else f"family {what}"
        notes.see(seen[0], seen[2], seen[1], means)


def _note_generation(notes: _Notes, everything: list[File]) -> None:
    """Note for which generation of its framework's API the code was written."""
    dated = api_generation.date(
        [(file.name, file.facts) for file in everything],
        python2=[
            (file.name, file.source.python2.line)
            for file in everything
            if file.source.python2 is not None
        ],
    )
    for file, line, what, means in dated.evidence:
        notes.see(file, line, what, means)


def _note_requirements(
    notes: _Notes,
    declaration: declared_requirements.Declared,
    entry: File,
    needed: Needs,
    everything: list[File],
) -> list[str]:
    """Note the program's requirements, and return them."""
    guessed = _distributions(needed, everything)
    for name, (file, line, what) in guessed.items():
        notes.see(file, line, what, f"needs {name}")
    requirements, evidence, warnings = _requirements(declaration, entry, needed, guessed)
    for item in evidence:
        notes.see(*item)
    notes.warnings += warnings
    return requirements


def _note_packages(
    notes: _Notes, files: Files, everything: list[File]
) -> tuple[Iterable[str], set[str]]:
    """Note the needed Debian packages; return them, and distributions with programs."""
    packages, tools = system_packages.of(everything)
    packages.update(
        {name: ("apt.txt", line, name) for name, line in system_packages.declared(files.folder)}
    )
    for package, (file, line, what) in packages.items():
        notes.see(file, line, what, f"needs {package} (Debian)")
    return packages, tools


def _shortened(warnings: list[str]) -> list[str]:
    more = len(warnings) - WARNINGS_LIMIT
    return [*warnings[:WARNINGS_LIMIT], f"… and {more} more warnings"] if more > 0 else warnings


def _distributions(needed: Needs, everything: list[File]) -> dict[str, tuple[str, int, str]]:
    """Return the distributions of imports and calls, with their evidence."""
    result: dict[str, tuple[str, int, str]] = {}
    for module, (file, line) in sorted(needed.required.items()):
        for name in _names_of(module, needed):
            result.setdefault(name, (file, line, f"import {module}"))
        for name in IMPLIED.get(module, ()):
            result.setdefault(name, (file, line, f"import {module}"))
    for one in everything:
        for call in one.facts.calls:
            implied = CALLS_IMPLY.get(call.leaf)
            if implied and not (call.leaf == "array_to_img" and "()" in call.name):
                result.setdefault(implied, (one.name, call.line, f"{call.leaf}(…)"))
    for dotted, where in needed.dotted.items():
        for moved, (name, _) in MOVED.items():
            if name and (dotted == moved or dotted.startswith(moved + ".")):
                result.setdefault(name, (*where, f"import {dotted}"))
    return result


def _names_of(module: str, needed: Needs) -> list[str]:
    if module not in DISTRIBUTIONS:
        within = module + "."
        return [DISTRIBUTIONS[one] for one in needed.known if one.startswith(within)]
    return (
        [DISTRIBUTIONS[module]]
        if module in DISTRIBUTIONS and DISTRIBUTIONS[module] not in UNBUILDABLE
        else []
    )


def _declarations(declaration: declared_requirements.Declared) -> list[tuple[str, int, str, str]]:
    """Return the declarations of requirements, versions and Python."""
    evidence = []
    if declaration.requirements:
        text = ", ".join(declaration.requirements)[:200]
        evidence.append((declaration.source, 1, text, "declared requirements"))
    if declaration.lock:
        exact = sum("==" in line for line in declaration.requirements) + len(declaration.locked)
        evidence.append((declaration.lock, 1, f"{exact} exact versions", "locked versions"))
    if declaration.python_wish is not None:
        wish = declaration.python_wish
        evidence.append(
            (wish.source, wish.line, f"Python {wish.text}", f"Python {declaration.python}")
        )
    return evidence


def _requirements(
    declaration: declared_requirements.Declared,
    entry: File,
    needed: Needs,
    guessed: dict[str, tuple[str, int, str]],
) -> tuple[list[str], list[tuple[str, int, str, str]], list[str]]:
    """Return the requirements, the evidence for them, and warnings."""
    evidence = _declarations(declaration)
    requirements = list(declaration.requirements)
    warnings = list(declaration.warnings)
    if not requirements:
        installed = _installed_in_code(entry)
        requirements = [line for line, _ in installed]
        if installed:
            lines = ", ".join(requirements)[:200]
            evidence.append((entry.name, installed[0][1], lines, "pip install in the code"))
    outer = {declared_requirements.name_of(line): line for line in declaration.outer}
    requirements += [
        line
        for name, line in outer.items()
        if any(_names(module) & {name} for module in needed.required)
        and name not in {declared_requirements.name_of(one) for one in requirements}
    ]
    names = {declared_requirements.name_of(line) for line in requirements}
    missing = sorted(name for name in guessed if not _has(names, name))
    missing = [name for name in missing if name not in COME_ALONG or not names]
    if declaration.source and missing:
        warnings.append(
            f"imported but not declared in {declaration.source}: {', '.join(missing)}; the"
            " environment has it all the same"
        )
    warnings += _unknown_imports(needed, names)
    requirements += [
        f"{name}=={declaration.pins[name]}" if name in declaration.pins else name
        for name in missing
    ]
    evidence += _held(requirements, needed)
    return requirements, evidence, warnings


def _installed_in_code(entry: File) -> list[tuple[str, int]]:
    """Return requirements that the code itself installs, each with its line."""
    installed = {
        declared_requirements.name_of(requirement): (requirement, line)
        for command, line in system_packages.commands(entry)
        for requirement in installed_by(command)
        if declared_requirements.is_requirement(requirement)
    }
    return [
        requirement
        for name, requirement in installed.items()
        if name not in declared_requirements.TOOLS
    ]


def _unknown_imports(needed: Needs, names: set[str]) -> list[str]:
    """Return warnings about imports that nothing installs.

    Args:
        needed: the imports.
        names: the distributions that the project declares.
    """
    warnings = []
    for module, (file, line) in sorted({**needed.optional, **needed.required}.items()):
        is_known = _names_of(module, needed) or _is_declared(module, names)
        if module not in needed.required or is_known:
            continue
        distribution = DISTRIBUTIONS.get(module)
        if distribution in UNBUILDABLE:
            warnings.append(
                f"{file}:{line}: import {module}: {distribution} cannot be installed from the index"
            )
        else:
            warnings.append(
                f"{file}:{line}: the import {module!r} is not known: if it is a distribution,"
                " declare it in requirements.txt (one that merely has the same name is never"
                " installed)"
            )
    for module, (file, line) in sorted(needed.missing.items()):
        platform = NOT_INSTALLED.get(module, module)
        if module not in ("pip", "setuptools", "wheel"):
            warnings.append(
                f"{file}:{line}: import {module} belongs to {platform}, which is not there outside"
                " of it"
            )
    return warnings


def _names(module: str) -> set[str]:
    """Return the declared distributions that may provide an import."""
    plain = declared_requirements.name_of(module)
    known = declared_requirements.name_of(DISTRIBUTIONS.get(module, ""))
    return {known} if known else {plain, f"python-{plain}", f"py{plain}"}


def _held(requirements: list[str], needed: Needs) -> list[tuple[str, int, str, str]]:
    """Bound what the code imports a lost part of, where the project does not do so itself; returns
    the evidence.
    """
    evidence = []
    for bounded, lost in LAST_WITH.items():
        dotted = next(
            (
                one
                for one in needed.dotted
                if any(f"{one}.".startswith(f"{part}.") for part in lost)
            ),
            "",
        )
        name, _, end = bounded.partition("<")
        for place, line in enumerate(requirements if dotted else ()):
            if declared_requirements.name_of(line) == name and not re.search(r"==|~=|<|;", line):
                requirements[place] = f"{line}{',' if '>' in line else ''}<{end}"
                evidence.append(
                    (
                        *needed.dotted[dotted],
                        f"import {dotted}",
                        f"needs {bounded}, the last to have it",
                    )
                )
    return evidence


COME_ALONG = frozenset(("numpy", "six"))
"""Distributions that every other one of the field brings along."""


def _either(needed: Needs, everything: list[File]) -> set[str]:
    """Return one distribution for each pair of alternative imports."""
    result: set[str] = set()
    for file in everything:
        for tried, otherwise in file.facts.alternatives:
            tops = {tried.top, otherwise.top}
            if tops <= set(needed.optional) - set(needed.required):
                result.update(name for name in _names_of(tried.top, needed)[:1])
    return result


BACKENDS = ("jax", "torch")
"""What else than TensorFlow Keras 3 trains with: the values of KERAS_BACKEND, and the distributions
that bring it.
"""
_VARIANTS = (
    (
        "opencv-python",
        "opencv-python-headless",
        "opencv-contrib-python",
        "opencv-contrib-python-headless",
    ),
    (
        "tensorflow",
        "tensorflow-cpu",
        "tensorflow-gpu",
        "tf-nightly",
        "intel-tensorflow",
        "tensorflow-macos",
    ),
    ("psycopg2-binary", "psycopg2"),
    ("pytorch-lightning", "lightning"),
    ("faiss-cpu", "faiss-gpu"),
    ("keras", "keras-nightly"),
    ("pyro-ppl", "pyro"),
)
"""Distributions that stand for each other."""


def _has(names: set[str], distributions: str) -> bool:
    return distributions in names or any(
        distributions in group and names & set(group) for group in _VARIANTS
    )


def _is_declared(module: str, names: set[str]) -> bool:
    plain = module.lower().replace("_", "-")
    return any(
        name == plain or name.endswith("-" + plain) or name.startswith(plain + "-")
        for name in names
    )


def _moved(needed: Needs, by_name: dict[str, File]) -> list[str]:
    messages = []
    for dotted, (file, line) in needed.dotted.items():
        for moved, (_, message) in MOVED.items():
            if dotted == moved or dotted.startswith(moved + "."):
                cell, inside = by_name[file].source.place(line)
                messages.append(f"{file}:{cell}{inside}: {message}")
    return messages


def _unread(everything: list[File]) -> list[str]:
    messages = []
    for file in everything:
        for problem in file.source.problems[:3]:
            cell, line = file.source.place(problem.line)
            messages.append(f"{file.name}:{cell}{line}: not valid Python 3 ({problem.message})")
        if file.source.python2 is not None:
            messages.append(
                f"{file.name}:{file.source.python2.line}: not valid Python 3 (Python 2 syntax)"
            )
        if file.source.language != "python":
            messages.append(f"{file.name}: a notebook in {file.source.language}, not in Python")
    return messages


def _no_effect(entry: File) -> list[str]:
    """Say which arguments of the entry have no effect, because they are compared as what they are
    not.
    """
    messages = []
    for one in arguments.compared_as_text(entry.source.tree)[:3]:
        cell, line = entry.source.place(one.line)
        messages.append(
            f"{entry.name}:{cell}{line}: the argument has no effect: it is text, compared with a number"
            f" (`{one.text}`): write {one.remedy}"
        )
    return messages


def _args_needed(entry: File) -> int:
    facts = entry.facts
    indices = () if facts.counts_arguments else facts.argument_indices
    reads_any = any(imported.top == "sys" for imported in facts.imports)
    counted = arguments.insisted_on(entry.source.tree) if reads_any else 0
    needed: list[int] = [*indices, facts.required_options, counted]
    return max(needed)


def _data_paths(everything: list[File]) -> list[str]:
    written = {path for file in everything for path in file.facts.written}
    return list(
        dict.fromkeys(
            path for file in everything for path, _ in file.facts.data if path not in written
        )
    )


def _places(paths: list[str], entry: File, files: Files) -> list[str]:
    """Return where data lies in the project, as the script names it from there or from its own
    folder.
    """
    bases = dict.fromkeys(("", os.path.dirname(entry.name)))
    here = [
        os.path.normpath(os.path.join(base, one))
        for one in paths
        if not os.path.isabs(one)
        for base in bases
    ]
    return [one for one in dict.fromkeys(here) if pushed.exists(one, root=files.folder)]


def _backend(everything: list[File]) -> str:
    """Return the backend that the code sets for Keras 3, "" for TensorFlow."""
    named = [
        file.facts.settings["KERAS_BACKEND"]
        for file in everything
        if "KERAS_BACKEND" in file.facts.settings
    ]
    return named[0] if named and named[0] in BACKENDS else ""


def _environment(
    framework: str,
    families: tuple[str, ...],
    family: str,
    requirements: list[str],
    packages: Iterable[str],
    *,
    backend: str = "",
    python: str,
    locked: Sequence[str] = (),
) -> dict[str, Any]:
    """Return the catalog row that fits, with the project's own needs on top."""
    row = _row(framework, families)
    own = [str(line) for line in row["requirements"]]
    have = {declared_requirements.name_of(line) for line in own}
    for group in _VARIANTS:
        if have & set(group):
            have |= set(group)
    requirements = [*requirements, *locked]
    versioned = {
        declared_requirements.name_of(line): line
        for line in requirements
        if any(c in line for c in "<>=!~")
    }
    # A version that the project declares wins over the row's.
    lines = [versioned.get(declared_requirements.name_of(line), line) for line in own]
    brought = set().union(
        *(COMES_WITH.get(declared_requirements.name_of(line), ()) for line in own)
    ) - set(versioned)
    lines += [
        _headless(line)
        for line in requirements
        if declared_requirements.name_of(line) not in have | brought
    ]
    variables = dict(row.get("variables", {}))
    if backend:
        variables["KERAS_BACKEND"] = backend
        if backend not in {declared_requirements.name_of(line) for line in lines}:
            lines.append(backend)
    return {
        "name": str(row["name"]),
        "framework": framework,
        "family": family,
        "python": python,
        "requirements": lines,
        "system": sorted({*row.get("system", ()), *packages}),
        "owner": "",
        "unlocked": False,
        "torch_index": "",
        "sdists": [],
        "variables": variables,
    }


def _row(framework: str, families: tuple[str, ...]) -> dict[str, Any]:
    """Return the first fitting catalog row, or the one for frameworks without a row."""
    from mlops_lib.detection.rows import rows

    fitting = [
        row for row in rows() if not row.get("families") or set(row["families"]) & set(families)
    ]
    by_framework = (
        row for name in (framework, "other") for row in fitting if name in row["frameworks"]
    )
    return next(by_framework)


def _headless(line: str) -> str:
    """Return a requirement with OpenCV's build that needs no GUI libraries."""
    name = declared_requirements.name_of(line)
    if name in ("opencv-python", "opencv-contrib-python"):
        return line.replace("-python", "-python-headless", 1)
    return line
