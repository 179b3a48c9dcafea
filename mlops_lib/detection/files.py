"""The files of a project: listed without touching the data, parsed on demand."""

from __future__ import annotations

import ast
import contextlib
import os
import re

from mlops_lib.detection import classify, own_packages, reachability, source, symbols
from mlops_lib.detection.facts import Call, Facts, Import, is_standard
from mlops_lib.detection.import_map import COMMON_NAMES, DISTRIBUTIONS
from mlops_lib.detection.symbols import FRAMEWORK_OF, is_keras
from mlops_lib.detection.visitor import gather
from mlops_lib.detection.words import words
from mlops_lib.errors import RefusedFileError
from mlops_lib.project import files as pushed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

SKIPPED = words("""
    __pycache__ venv env ENV node_modules site-packages build dist docs doc tests test testing
    outputs data dataset datasets wandb mlruns checkpoints logs third_party vendor
""")
"""Folders in which no entry stands. `data` and the like may hold code too, but only where nothing
else does.
"""
DATA_FOLDERS = words("data dataset datasets docs doc tests test testing outputs")
EXAMPLES = words("example examples demo demos tutorial tutorials recipes")
"""Folders within a package whose scripts use it as others do."""
FILES_LIMIT = 5000
ROUNDS = 20
"""Maximum depth of local modules that import each other."""
CODE_LIMIT = 8 << 20
"""Characters of all code of a project that is parsed."""
NOTEBOOK_LIMIT = 30_000_000
"""Bytes; what JSON holds can take fifty times its size in memory."""


class File:
    """One script or notebook, with its facts."""

    def __init__(self, path: str, name: str, root: str, *, budget: int = CODE_LIMIT) -> None:
        self.path = path
        self.name = name
        """Relative to the project's folder."""
        self.refused: RefusedFileError | None = None
        """Reason for not reading it."""
        self.source = self._read(root, budget)
        self.facts = Facts()
        self.local: list[File] = []
        """The local modules it imports."""
        self.modules: list[tuple[str, File]] = []
        """The same, each with the name it uses for it."""
        self.asks: dict[str, set[str]] = {}
        """Maps local modules to the names used other than by an import statement."""
        self.libraries: frozenset[str] = frozenset()
        """Those of the local packages that are libraries whose names say enough."""
        self.uses_local = False
        """True if it uses local modules beyond importing them."""
        self._conclusion: classify.Conclusion | None = None
        self._blocks: list[reachability.Block] | None = None
        self._reached: list[tuple[File, reachability.Reach]] | None = None
        self._index: dict[str, reachability.Statements] | None = None

    def _read(self, root: str, budget: int) -> source.Source:
        is_notebook = self.path.endswith(".ipynb")
        try:
            content = pushed.read(
                self.path, root=root, limit=NOTEBOOK_LIMIT if is_notebook else source.SIZE_LIMIT
            )
            if pushed.is_lfs_pointer(content):
                raise RefusedFileError(
                    "it is a pointer of Git LFS, not the file",
                    reason="pointer",
                    where=self.name,
                    remedy="Fetch the content: git lfs pull.",
                )
            if budget <= 0:
                raise RefusedFileError(
                    f"the project's code is larger than {CODE_LIMIT >> 20} MB, and what is beyond is not read",
                    reason="large",
                    remedy="Name the folder or file that trains.",
                )
            return source.read(content, notebook=is_notebook)
        except RefusedFileError as refused:
            refused.where = refused.where or self.name
            self.refused = refused
            return source.parse("")

    def reachable(self) -> list[File]:
        """Return the local modules that it imports, directly or not."""
        result: dict[str, File] = {}
        pending = list(self.local)
        while pending:
            one = pending.pop(0)
            if one is not self and one.path not in result:
                result[one.path] = one
                pending += one.local
        return list(result.values())

    @property
    def conclusion(self) -> classify.Conclusion:
        """Framework and families of the file and of the local code that it uses."""
        if self._conclusion is None:
            used = self._used() if self.uses_local else []
            self._conclusion = classify.conclude((self.name, self.facts), used)
        return self._conclusion

    @property
    def blocks(self) -> list[reachability.Block]:
        """Statements of the file's top level."""
        if self._blocks is None:
            self._blocks = reachability.blocks(self.source.tree)
        return self._blocks

    def imports_of(self, module: str) -> reachability.Statements:
        """Return the statements, at any depth, that import a module or from it."""
        if self._index is None:
            self._index = reachability.import_index(self.source.tree)
        return self._index.get(module, reachability.NO_STATEMENTS)

    def _used(self) -> list[tuple[str, Facts]]:
        """Return the facts of the local code that this file uses, directly or not."""
        return [
            (file.name, reachability.limited(file.facts, reach)) for file, reach in self.reached()
        ]

    def reached(self) -> list[tuple[File, reachability.Reach]]:
        """Return the local modules that this file uses, each with the statements that run or are
        used.
        """
        if self._reached is None:
            self._reached = self._reach()
        return self._reached

    def _reach(self) -> list[tuple[File, reachability.Reach]]:
        reaches = {self.path: reachability.Reach(self.blocks)}
        requests: dict[str, set[str]] = {self.path: set()}
        files: dict[str, File] = {}
        pending: dict[str, File] = {self.path: self}
        for _ in range(ROUNDS):  # modules may import each other: until nobody asks for more
            nearer, pending = pending, {}
            for file in nearer.values():
                for module, local in file.modules:
                    if local is self or module.partition(".")[0] in file.libraries:
                        continue
                    more = reachability.asked_of(
                        file.imports_of(module),
                        reaches[file.path],
                        module,
                        requests[file.path],
                    )
                    if module in file.asks:
                        more = (more or set()) | file.asks[module]
                    if file is self and more == set():
                        # What it names without using it says what it is about.
                        more = reachability.asked_of(
                            file.imports_of(module),
                            reaches[file.path],
                            module,
                            {reachability.EVERYTHING},
                        )
                    if more is not None and (
                        local.path not in files or not more <= requests[local.path]
                    ):
                        files[local.path] = local
                        requests.setdefault(local.path, set()).update(more)
                        blocks = reachability.reached(local.blocks, requests[local.path])
                        reaches[local.path] = reachability.Reach(blocks)
                        pending[local.path] = local
            if not pending:
                break
        return [(file, reaches[file.path]) for file in files.values()]

    @property
    def in_pieces(self) -> bool:
        """True if it makes layers that none of its imports provides."""
        return any(is_keras(call.name) for call in self.facts.undefined)

    @property
    def trains(self) -> bool:
        """True if the file trains a model."""
        return self.conclusion.trains


def _is_of_library(dotted: str, exports: dict[str, str]) -> bool:
    """Return whether a name of a module is the one that a library of this name has."""
    means = symbols.of(Call(dotted, 0))
    if means.part == symbols.NOTHING:
        return False
    here = exports.get(dotted.rpartition(".")[2], "")
    framework = symbols.framework_of(symbols.normal(here))
    return framework in ("", means.framework) or (framework, means.framework) in RUNS_ON


def _fits_by_trainer(call: Call) -> bool:
    return call.leaf == "fit" and call.receiver.endswith("Trainer()")


def _libraries(file: File) -> frozenset[str]:
    """Return the local packages that are libraries of the table of names.

    An example within the repository of a library uses it as any other script does: one name that
    means what the library's means tells, and nothing of the package is read for the others.
    """
    folders = file.name.lower().split(os.sep)
    is_example = bool(EXAMPLES & set(folders))
    tops = {
        top
        for module, one in file.modules
        if (top := module.partition(".")[0]) in symbols.FRAMEWORK_OF
        and (is_example or top not in folders)
    }
    if not tops:
        return frozenset()
    exports = {module: one.facts.exports for module, one in file.modules}
    used = [f"{one.module}.{name}" for one in file.facts.imports for name in one.names]
    used += [one.name for one in (*file.facts.calls, *file.facts.bases) if "()" not in one.name]
    return frozenset(
        top
        for dotted in used
        if (top := dotted.partition(".")[0]) in tops
        and _is_of_library(dotted, exports.get(dotted.rpartition(".")[0], {}))
    )


MAKERS = frozenset(("instantiate", "instantiate_from_config", "LightningCLI", "load_obj"))
"""Functions that create the objects named by a configuration."""
RUNS_ON = (("pytorch", "other"), ("sklearn", "other"), ("sklearn", "pytorch"))
"""Frameworks on which libraries of another one are made."""


def _is_skipped(name: str, skipped: frozenset[str]) -> bool:
    return name.startswith(".") or name in skipped or name.endswith(".egg-info")


class Files:
    """The files of one project."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._files: dict[str, File] = {}
        self._listed: dict[str, set[str]] = {}
        self._bases: dict[str, list[str]] = {}
        self._left = CODE_LIMIT
        self._paths: list[str] | None = None
        self._stems: set[str] | None = None
        self._develops: bool | None = None
        self._kedro: str | None = None
        self._sources: list[str] | None = None

    @property
    def kedro_package(self) -> str:
        """Package of a Kedro project, "" for other projects."""
        if self._kedro is None:
            text = ""
            if "pyproject.toml" in self._list(self.folder):
                with contextlib.suppress(RefusedFileError):
                    text = pushed.read_text("pyproject.toml", root=self.folder)
            table = text.partition("[tool.kedro]")[2]
            match = re.search(r"""^package_name\s*=\s*["'](\w+)["']""", table, re.M)
            self._kedro = match[1] if match else ""
        return self._kedro

    def paths(self) -> list[str]:
        """Scripts and notebooks that may be the entry, in order; the data is not touched."""
        if self._paths is None:
            result = list(self._scan(self.folder, SKIPPED))
            self._paths = result or list(self._scan(self.folder, SKIPPED - DATA_FOLDERS))
        return self._paths

    def _scan(self, folder: str, skipped: frozenset[str]) -> Iterator[str]:
        from mlops_lib.runner import protocol  # heavy, and not needed for a file that is named

        pending = [folder]
        count = 0
        while pending:
            place = pending.pop()
            folders = []
            names = []
            try:
                with os.scandir(place) as scanned:
                    entries = list(scanned)
                    for entry in entries:
                        name = entry.name
                        if name.endswith((".py", ".ipynb")):
                            names.append(name)
                        elif not _is_skipped(name, skipped) and entry.is_dir(follow_symlinks=False):
                            folders.append(name)
            except OSError:
                continue
            if place != folder and protocol.is_own_folder({entry.name for entry in entries}):
                continue
            for name in sorted(names):
                count += 1
                if count > FILES_LIMIT:
                    return
                yield os.path.join(place, name)
            if not os.path.isfile(os.path.join(place, "pyvenv.cfg")) or place == folder:
                pending += [os.path.join(place, name) for name in sorted(folders, reverse=True)]

    def file(self, path: str) -> File:
        """Return one file, parsed, with the local modules that it imports."""
        cached = self._files.get(path)
        if cached is not None:
            return cached
        file = File(path, os.path.relpath(path, self.folder), self.folder, budget=self._left)
        self._left -= file.source.size
        self._files[path] = file
        file.facts = gather(file.source.tree)
        modules = self._local_modules(file)
        if file.facts.dynamic or file.facts.configured:
            modules += self._named_by_text(file, modules)
        if os.path.basename(path) == "__main__.py" and self.kedro_package:
            modules += self._pipelines(file)
        file.modules = [(module, one) for module, one in modules if one is not file]
        file.local = list({one.path: one for _, one in file.modules}.values())
        file.uses_local = bool(file.asks) or _uses(file.facts, [name for name, _ in file.modules])
        file.libraries = _libraries(file)
        known_names = {
            f"{module}.{name}": value
            for module, one in file.modules
            if module.partition(".")[0] not in file.libraries
            for name, value in one.facts.exports.items()
            if not _is_of_library(f"{module}.{name}", one.facts.exports)
        }
        if known_names and _names(file.facts, known_names):
            added = file.facts.added_by_configuration
            file.facts = gather(file.source.tree, known_names)
            file.facts.add(*added)
        return file

    def refused(self) -> list[File]:
        """Return the files that were asked for and are not read."""
        return [one for one in self._files.values() if one.refused is not None]

    def _local_modules(self, file: File) -> list[tuple[str, File]]:
        """Return the local modules that a file imports, with the names it uses for them."""
        result: list[tuple[str, File]] = []
        folder = os.path.dirname(file.path)
        for imported in file.facts.imports:
            if is_standard(imported.module.partition(".")[0]) and not self._beside(
                folder, imported.module
            ):
                continue
            result += self._resolve(self.bases(file), imported.module, imported.names)
        for level, module, names, _ in file.facts.relative:
            base = folder
            for _ in range(level - 1):
                base = os.path.dirname(base)
            prefix = "." * level
            dotted = self._resolve([base], module, names) if module else []
            if not module:
                for name in names:
                    dotted += self._resolve([base], name, ())
            result += [(prefix + name, one) for name, one in dotted]
        return result

    def _pipelines(self, file: File) -> list[tuple[str, File]]:
        """Return the modules of a Kedro project's pipelines, which Kedro finds by itself."""
        folder = os.path.dirname(file.path)
        if os.path.basename(folder) != self.kedro_package:
            return []
        modules = []
        begin = os.path.join(folder, "pipelines") + os.sep
        for one in self.paths():
            if one.startswith(begin) and one.endswith(".py"):
                dotted = os.path.relpath(one, os.path.dirname(folder))[:-3].replace(os.sep, ".")
                modules.append((dotted, self.file(one)))
                file.asks[dotted] = {reachability.EVERYTHING}
        return modules

    def _makes_configured(self, file: File, local: list[tuple[str, File]]) -> bool:
        """Return whether a program, not a helper, creates the configured objects."""
        calls = {name.rpartition(".")[2] for name, _ in file.facts.configured}
        if calls & MAKERS and any(_fits_by_trainer(call) for call in file.facts.calls):
            return True  # `def train(config)` of a package: the program hands it the configuration
        if not file.facts.config_roots and not calls & {"main", "LightningCLI"}:
            return False
        if calls & MAKERS:
            return True
        helpers = {one.path: one for _, first in local for one in (first, *first.reachable())}
        return any(
            name.rpartition(".")[2] in MAKERS
            for helper in helpers.values()
            for name, _ in helper.facts.configured
        )

    def _named_by_text(
        self, file: File, imported_modules: list[tuple[str, File]]
    ) -> list[tuple[str, File]]:
        """Return the local modules that are imported by name, or that configurations name.

        What configurations name of other packages is called, and imported, by the file.
        """
        modules: list[tuple[str, File]] = []
        for module, _, _ in file.facts.dynamic:
            if module.endswith(".*"):
                modules += self._modules_in(file, module[:-2])
            else:
                file.asks.setdefault(module, set()).add(reachability.EVERYTHING)
        if not file.facts.configured:
            return modules
        from mlops_lib.detection import configuration

        calls = []
        imports = []
        if not self._makes_configured(file, imported_modules):
            return modules
        targets, sure = configuration.targets(
            self.folder, os.path.dirname(file.path), file.facts.config_roots, every=True
        )
        line = file.facts.configured[0][1]
        for target in targets:
            module, _, name = target.name.rpartition(".")
            local = self._resolve(self.bases(file), module, (name,))
            if local:
                modules += local
                file.asks.setdefault(module, set()).add(name)
                continue
            calls.append(Call(target.name, line))
            if sure:
                imports.append(Import(module, line, (name,), optional=False, nested=True))
        file.facts.add(calls, imports)
        return modules

    def _modules_in(self, file: File, package: str) -> list[tuple[str, File]]:
        """Return the modules of a local package that a composed name may import."""
        modules = []
        for base in self.bases(file):
            folder = os.path.join(base, *package.split("."))
            for name in sorted(self._list(folder)):
                stem = name.removesuffix(".py")
                if stem != name and stem.isidentifier() and stem != "__init__":
                    modules += self._module(os.path.join(folder, stem), f"{package}.{stem}")
            if modules:
                break
        for module, _ in modules:
            file.asks[module] = {reachability.EVERYTHING}
        return modules

    def bases(self, file: File) -> list[str]:
        """Return the folders in which a file's modules are looked for, in order."""
        if file.path in self._bases:
            return self._bases[file.path]
        folder = os.path.dirname(file.path)
        added = [
            os.path.normpath(os.path.join(folder, one))
            for one in file.facts.paths_added
            if one and not os.path.isabs(one)
        ]
        above = []
        place = folder
        while place != self.folder and place.startswith(self.folder):
            place = os.path.dirname(place)
            above.append(place)  # a module of a package names it from where the entry stands
        places = dict.fromkeys(
            [
                folder,
                *added,
                *above,
                self.folder,
                os.path.join(self.folder, "src"),
                *self._source_folders(),
            ]
        )
        self._bases[file.path] = [one for one in places if self._is_inside(one)]
        return self._bases[file.path]

    def _source_folders(self) -> list[str]:
        """Return the folders that the project declares for its packages."""
        if self._sources is None:
            folders = own_packages.source_folders(self.folder)
            self._sources = [os.path.join(self.folder, one) for one in folders]
        return self._sources

    def _is_inside(self, place: str) -> bool:
        """Return whether a folder is one of the project's: a path that leads out of it is not
        followed.
        """
        return place == self.folder or pushed.resolve(place, root=self.folder) is not None

    def _beside(self, folder: str, module: str) -> bool:
        return module.partition(".")[0] + ".py" in self._list(folder)

    def _list(self, folder: str) -> set[str]:
        if folder not in self._listed:
            self._listed[folder] = set(pushed.names_in(folder, root=self.folder))
        return self._listed[folder]

    def _resolve(
        self, bases: list[str], module: str, names: tuple[str, ...]
    ) -> list[tuple[str, File]]:
        parts = module.split(".")
        for number, base in enumerate(bases):
            if not self._is_here(base, module, names, first=number == 0):
                continue
            result = []
            place = base
            for depth, part in enumerate(parts, 1):
                place = os.path.join(place, part)
                result += self._module(place, ".".join(parts[:depth]))
            for name in names:
                if os.path.isdir(place) and name != "*":
                    result += self._module(os.path.join(place, name), f"{module}.{name}")
            return result
        return []

    def _module(self, place: str, dotted: str) -> list[tuple[str, File]]:
        for path in (place + ".py", os.path.join(place, "__init__.py")):
            resolved = pushed.resolve(path, root=self.folder) if os.path.isfile(path) else None
            if resolved is not None:
                return [(dotted, self.file(resolved if os.path.islink(path) else path))]
        return []

    def _is_here(self, base: str, module: str, names: tuple[str, ...], *, first: bool) -> bool:
        """Return whether an import resolves to a folder before an installed package of its name.

        A folder without __init__.py gives way to an installed package of its name, whatever stands
        first on the path: it is meant where it has the very module that is imported
        (`datasets/prices.py`), and nothing of that name is installed then. What is elsewhere in the
        project is only on the path when somebody puts it there.
        """
        top = module.partition(".")[0]
        is_distribution = top in DISTRIBUTIONS and top not in COMMON_NAMES
        listed = self._list(base)
        if (
            top + ".py" in listed and "." not in module
        ):  # a plain module has no submodules: a package of its name is meant
            return first or not is_distribution
        if top not in listed:
            return False
        inside = self._list(os.path.join(base, top))
        if "__init__.py" in inside:
            return (
                first
                or not is_distribution
                or ("." in module and top not in FRAMEWORK_OF and self._holds(base, module, ()))
                or (self._is_developed(base) and self._provides(base, module, names))
            )
        if is_distribution:
            return first and top not in FRAMEWORK_OF and self._holds(base, module, names)
        return any(n.endswith(".py") or os.path.isdir(os.path.join(base, top, n)) for n in inside)

    def _is_developed(self, base: str) -> bool:
        """Return whether packages in a folder are what this repository develops: they are meant, no
        release of them.
        """
        sources = (self.folder, os.path.join(self.folder, "src"), *self._source_folders())
        if base not in sources:
            return False
        if self._develops is None:
            self._develops = own_packages.is_developed(self.folder)
        return self._develops

    def _provides(self, base: str, module: str, names: tuple[str, ...]) -> bool:
        """Return whether a package of the project defines the imported names."""
        if "." in module:
            return self._holds(base, module, names)
        place = os.path.join(base, module, "__init__.py")
        bound = _bound(self.file(place).source.tree)
        return STAR in bound or all(
            name in bound or self._holds(base, f"{module}.{name}", ()) for name in names
        )

    def _is_around(self, base: str, module: str, folder: str) -> bool:
        """Return whether a module belongs to the package that contains the importing file."""
        top = module.partition(".")[0]
        around = (folder + os.sep).startswith(os.path.join(base, top) + os.sep)
        return (
            around and "." in module and top not in FRAMEWORK_OF and self._holds(base, module, ())
        )

    def _holds(self, base: str, module: str, names: tuple[str, ...]) -> bool:
        """Return whether a folder has the file of an imported module or of its names."""
        place = os.path.join(base, *module.split("."))
        return any(
            os.path.isfile(path)
            for one in (place, *(os.path.join(place, name) for name in names))
            for path in (one + ".py", os.path.join(one, "__init__.py"))
        )

    def is_local(self, file: File, module: str, names: tuple[str, ...] = ()) -> bool:
        """Return whether an imported module is the project's own, or written by the notebook
        itself.

        So is one that no distribution is known for and that stands in another folder: its path is
        set from outside.
        """
        top = module.partition(".")[0]
        bases = self.bases(file)
        if top in file.source.written or any(
            self._is_here(
                base, module, names, first=number == 0 or self._is_around(base, module, bases[0])
            )
            for number, base in enumerate(bases)
        ):
            return True
        return top not in DISTRIBUTIONS and top in self._modules_anywhere()

    def _modules_anywhere(self) -> set[str]:
        """Return the names of all modules in the project."""
        if self._stems is None:
            self._stems = {
                os.path.splitext(os.path.basename(path))[0]
                for path in self.paths()
                if path.endswith(".py")
            }
        return self._stems


STAR = "*"


def _bound(tree: ast.Module) -> set[str]:
    """Return the names that a module has: defined, imported or assigned; `STAR` if it imports all
    of another.
    """
    result: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            result.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            result.update(alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            result.add(node.id)
    return result


def _names(facts: Facts, dotted: dict[str, str]) -> bool:
    """Return whether a file calls, derives from or aliases one of these names."""
    if any("*" in names for _, _, names, _ in facts.relative) or any(
        "*" in imported.names for imported in facts.imports
    ):
        return True
    beginnings = {name for one in dotted for name in (one, one.rpartition(".")[0])}
    seen = {one.name for one in (*facts.calls, *facts.bases, *facts.mentions)}
    seen.update(facts.exports.values())
    return any(
        name[:end] in beginnings
        for name in seen
        for end in (*(n for n, letter in enumerate(name) if letter in ".("), len(name))
    )


def _uses(facts: Facts, modules: list[str]) -> bool:
    """Return whether anything of these modules is called, derived from or imported as a whole;
    by a program, also handed on: `zen(train)`.
    """
    beginnings = tuple(f"{module}." for module in modules)
    starred = any("*" in names for _, _, names, _ in facts.relative) or any(
        "*" in imported.names and imported.module in modules for imported in facts.imports
    )
    named = (*facts.calls, *facts.bases, *(facts.mentions if facts.has_main else ()))
    return starred or any(call.name.startswith(beginnings) for call in named)
