"""Moved modules and names, found only if Python would otherwise raise.

A finder at the very end of `sys.meta_path` answers for modules that no other finder knows, and a
module's `__getattr__` (PEP 562) for
names it lacks: code that runs without these shims meets neither.

Libraries get the same answers, since an old one may need them, but only the script's own use is
journaled: a library that merely looks whether an old name exists is nothing to change in the script.
"""

import importlib
import importlib.abc
import importlib.machinery
import os
import sys
from types import ModuleType
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple, Union

from mlops_lib.runner.compat.notes import Notes

Target = Union[str, Callable[[], Any]]
"""`module:name`, `module` alone for the module itself, or what makes the value."""
Names = Mapping[str, Target]


class GoneError(NotImplementedError):
    """A name used by the script that has no present counterpart; the message names the change."""


class GoneModuleError(GoneError, ImportError):
    """The same of a module."""


def find(target: Target) -> Any:
    """The object that a target names."""
    if not isinstance(target, str):
        return target()
    module, _, name = target.partition(":")
    value: Any = importlib.import_module(module)
    for part in name.split(".") if name else ():
        value = getattr(value, part)
    return value


def shown(target: Target) -> str:
    """A target as a person reads it."""
    return (
        ""
        if not isinstance(target, str)
        else target.replace(":", ".").replace("._tf_keras.keras", "")
    )


def lend(
    module: ModuleType,
    names: Names,
    notes: Notes,
    *,
    since: str = "",
    only_for: Optional[str] = None,
) -> None:
    """Let a module answer for names it lost.

    Args:
        module: the present module.
        names: lost name to its new place.
        notes: journal of adaptations.
        since: "Keras 2" or the like, for the journal.
        only_for: answer only files below this folder.
    """
    own = module.__dict__.get("__getattr__")

    def answer(name: str) -> Any:
        if own is not None:
            try:
                return own(name)
            except (
                AttributeError,
                ImportError,
            ):  # scikit-learn raises the latter for a data set it dropped
                if name not in names:
                    raise
        if name not in names or (only_for is not None and not _asked_from(only_for)):
            raise AttributeError(
                f"module {module.__name__!r} has no attribute {name!r}", name=name, obj=module
            )
        value = find(names[name])
        lost_names = f"{module.__name__}.{name}"
        now = shown(names[name])
        if not _asked_from(notes.work):
            return value  # not kept: the script may use it later, which is journaled
        notes.say(
            f"{lost_names} is {now if now and now != lost_names else 'adapted'}{' since ' + since if since else ''}"
        )
        module.__dict__[name] = value
        return value

    module.__dict__["__getattr__"] = answer


class _Loader(importlib.abc.Loader):
    def __init__(self, sources: Sequence[str], names: Names, notes: Notes) -> None:
        self._sources = sources
        self._names = names
        self._notes = notes

    def create_module(self, spec: Any) -> Optional[ModuleType]:
        return None

    def exec_module(self, module: ModuleType) -> None:
        modules = [importlib.import_module(name) for name in self._sources]
        public = {name for item in modules for name in dir(item) if not name.startswith("_")}
        module.__dict__["__all__"] = sorted(public | set(self._names))
        where = " and ".join(shown(source) for source in self._sources)
        if _asked_from(self._notes.work):
            self._notes.say(
                f"the module {module.__name__} is part of {where} now"
                if where
                else f"the module {module.__name__} is not here and stood in for"
            )
        names = self._names

        def answer(name: str) -> Any:
            if name in names:
                return find(names[name])
            for item in modules:
                if hasattr(item, name):
                    return getattr(item, name)
            raise AttributeError(
                f"module {module.__name__!r} has no attribute {name!r}", name=name, obj=module
            )

        module.__dict__["__getattr__"] = answer


class Finder(importlib.abc.MetaPathFinder):
    """The last to be asked: modules that existed once."""

    def __init__(
        self,
        modules: Mapping[str, Tuple[Sequence[str], Names]],
        notes: Notes,
        *,
        only_for: Optional[str] = None,
    ) -> None:
        self._modules = modules
        self._notes = notes
        self._only_for = only_for

    def find_spec(self, name: str, path: Any, target: Optional[ModuleType] = None) -> Any:
        """A specification for a module that is gone, None for any other."""
        result = self._modules.get(name)
        if result is None or (self._only_for is not None and not _asked_from(self._only_for)):
            return None
        sources, names = result
        spec = importlib.machinery.ModuleSpec(
            name, _Loader(sources, names, self._notes), is_package=True
        )
        spec.submodule_search_locations = []
        return spec


def _asked_from(folder: str) -> bool:
    """Return whether the import or attribute access under way stands in a file below `folder`."""
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if "importlib" not in name and name != __file__:
            return os.path.realpath(name).startswith(folder + os.sep)
        frame = frame.f_back  # type: ignore[assignment]
    return False


def install(
    modules: Mapping[str, Tuple[Sequence[str], Names]],
    notes: Notes,
    *,
    only_for: Optional[str] = None,
) -> None:
    """Answer for vanished modules from now on.

    Args:
        modules: old name to the modules that replace it, and names that moved elsewhere.
        notes: journal of adaptations.
        only_for: answer only import statements in files below this folder.
    """
    sys.meta_path.append(Finder(modules, notes, only_for=only_for))


def prefixed(table: Mapping[str, Any], prefixes: Sequence[str], *, root: str) -> Dict[str, Any]:
    """The rows whose module begins with `root`, for each prefix in its place."""
    result: Dict[str, Any] = {}
    for name, row in table.items():
        for prefix in prefixes:
            result[
                prefix + name[len(root) :] if name == root or name.startswith(root + ".") else name
            ] = row
    return result


def listed(text: str, module: str) -> Dict[str, str]:
    """`old=new` words as names of one module; a word alone keeps its name."""
    pairs: List[Tuple[str, str]] = []
    for word in text.split():
        old, _, new = word.partition("=")
        pairs.append((old, new or old))
    return {old: f"{module}:{new}" for old, new in pairs}
