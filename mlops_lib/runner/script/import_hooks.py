"""Call a function once a module has been imported, however the script imports it."""

import importlib.abc
import importlib.machinery
import sys
from types import ModuleType
from typing import Any, Callable, Dict, List, Optional, Sequence

Hook = Callable[[ModuleType], None]


class _Loader(importlib.abc.Loader):
    """Run the real loader, then the hooks.

    A module is hooked after its code has run: before that it has no attributes to patch.
    """

    def __init__(self, loader: Any, hooks: List[Hook]) -> None:
        self._loader = loader
        self._hooks = hooks

    def create_module(self, spec: Any) -> Optional[ModuleType]:
        module: Optional[ModuleType] = self._loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        # Packages use their loader later to read data files and sources: it must be the real one.
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        for hook in self._hooks:
            hook(module)


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, hooks: Dict[str, List[Hook]]) -> None:
        self.hooks = hooks
        self._busy: "set[str]" = set()

    def find_spec(
        self, name: str, path: Optional[Sequence[str]], target: Optional[ModuleType] = None
    ) -> Any:
        if name not in self.hooks or name in self._busy:
            return None
        # The other finders may import this very name while they search.
        self._busy.add(name)
        try:
            for finder in sys.meta_path:
                if finder is self:
                    continue
                spec = finder.find_spec(name, path, target)
                if spec is not None:
                    if spec.loader is not None and hasattr(spec.loader, "exec_module"):
                        spec.loader = _Loader(spec.loader, self.hooks[name])
                    return spec
            return None
        finally:
            self._busy.discard(name)


def after_import(hooks: Dict[str, Hook]) -> None:
    """Run each hook right after its module has run; at once if it is already loaded."""
    finder = _Finder({})
    for name, hook in hooks.items():
        if name in sys.modules:
            hook(sys.modules[name])
        else:
            finder.hooks.setdefault(name, []).append(hook)
    sys.meta_path.insert(0, finder)
