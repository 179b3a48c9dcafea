"""Note the facts in single calls: arguments, settings, data and configuration."""

from __future__ import annotations

import ast
import os

from mlops_lib.detection.data_access import READERS, WRITERS, is_data
from mlops_lib.detection.facts import Call, Facts
from mlops_lib.detection.name_resolution import DYNAMIC_IMPORTS
from mlops_lib.detection.syntax import bound_name, folder_above, literal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mlops_lib.detection.imports import ImportCollector
    from mlops_lib.detection.name_resolution import NameResolver

_PATH_KEYWORDS = (
    "filepath_or_buffer",
    "path",
    "file",
    "filename",
    "directory",
    "root",
    "io",
    "filepath",
    "fname",
)
_PATH_LENGTH = 250
"""A longer text is data, not the path of a file."""
_HYDRA = ("hydra.main", "hydra.compose", "hydra.initialize")
_CONFIGURED = ("instantiate", "LightningCLI", "instantiate_from_config", "load", "load_obj")
"""Functions of Hydra and Lightning that create the objects named by a configuration."""


class CallNotes:
    """Facts that follow from one call, added to those of its file."""

    def __init__(self, facts: Facts, resolver: NameResolver, imports: ImportCollector) -> None:
        self.facts = facts
        self.resolver = resolver
        self.imports = imports
        self.tables: dict[str, dict[str, ast.expr]] = {}
        """Assigned dictionaries that name a configuration: `PARAMS = {"config_name": …}`."""

    def note(self, call: Call, node: ast.Call) -> None:
        """Note the facts in a call."""
        leaf = call.leaf
        if call.name == "len" and node.args and self.resolver.name(node.args[0]) == "sys.argv":
            self.facts.counts_arguments = True
        elif leaf == "add_argument":
            self._option(node)
        elif leaf in ("putenv", "setdefault"):
            self._setting(call, node)
        elif call.name in ("sys.path.append", "sys.path.insert"):
            added = self.resolver.text(node.args[-1]) if node.args else ""
            path = added or folder_above(node.args[-1] if node.args else node)
            self.facts.paths_added.append(path)
        elif leaf in DYNAMIC_IMPORTS:
            self.imports.by_name(call, node)
        elif leaf == "partial" and node.args:
            name = self.resolver.name(node.args[0])
            if "." in name and "()" not in name:  # `@partial(jax.value_and_grad, …)`
                self.facts.mentions.append(Call(name, node.lineno, scope=call.scope))
        elif leaf in _CONFIGURED or call.name in _HYDRA:
            self._configured(call, node)
        elif call.name == "eval" and node.args and not isinstance(node.args[0], ast.Constant):
            # `eval(config["agent"])` names one of what `from agents import *` brought.
            self.facts.dynamic += [(f"{one}.*", "", node.lineno) for one in self.resolver.stars]
        if leaf in READERS or leaf in WRITERS:
            self._data(call, node)

    def assigned(self, node: ast.Assign) -> None:
        """Note `os.environ["NAME"] = "value"` and dictionaries that name a configuration."""
        if isinstance(node.value, ast.Dict):
            table = {
                literal(key): value
                for key, value in zip(node.value.keys, node.value.values, strict=True)
                if key is not None
            }
            if "config_name" in table:
                self.tables.update({bound_name(target): table for target in node.targets})
            return
        if not isinstance(node.value, ast.Constant) or not isinstance(node.value.value, str):
            return
        for target in node.targets:
            if isinstance(target, ast.Subscript):
                is_environment = self.resolver.name(target.value) == "os.environ"
                variable = literal(target.slice)
                if is_environment and variable:
                    self.facts.settings[variable] = node.value.value

    def looked_up(self, node: ast.Subscript) -> None:
        """Note `sys.argv[…]`."""
        if self.resolver.name(node.value) != "sys.argv":
            return
        index = node.slice
        if isinstance(index, ast.Constant) and isinstance(index.value, int) and index.value > 0:
            self.facts.argument_indices.add(index.value)
        elif isinstance(index, ast.Slice):
            self.facts.counts_arguments = True

    def _setting(self, call: Call, node: ast.Call) -> None:
        sets = call.name in ("os.environ.setdefault", "os.putenv") and len(node.args) == 2
        value = self.resolver.text(node.args[1]) if sets else ""
        if call.first and value:
            self.facts.settings[call.first] = value

    def _configured(self, call: Call, node: ast.Call) -> None:
        """Note a call that reads a configuration, or makes what one names."""
        if call.name in _HYDRA:
            given = {one.arg: one.value for one in node.keywords if one.arg}
            for one in node.keywords:
                if one.arg is None and isinstance(one.value, ast.Name):  # hydra.main(**PARAMS)
                    given.update(self.tables.get(one.value.id, {}))
            name = self.resolver.text(given["config_name"]) if "config_name" in given else ""
            path = self._folder(given["config_path"]) if "config_path" in given else ""
            if not name and path.endswith((".yaml", ".yml")):  # before Hydra 1.0
                path, name = os.path.split(path)
            if name:
                self.facts.config_roots.append((path, name))
            self.facts.configured.append((call.name, node.lineno))
        elif call.name.endswith("OmegaConf.load"):
            if call.first.endswith((".yaml", ".yml")):
                self.facts.config_roots.append(os.path.split(call.first))
        elif "." in call.name:
            self.facts.configured.append((call.name, node.lineno))

    def _folder(self, node: ast.expr) -> str:
        """Return a folder's path, or its last literal part (`str(ROOT / "configs")`)."""
        parts = [one for one in ast.walk(node) if isinstance(one, ast.Constant)]
        texts = [one.value for one in parts if isinstance(one.value, str)]
        return self.resolver.text(node) or (texts[-1] if texts else "")

    def _option(self, node: ast.Call) -> None:
        names = [
            a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)
        ]
        keywords = {k.arg: k.value for k in node.keywords}
        needed = keywords.get("required")
        optional = keywords.get("nargs")
        if isinstance(needed, ast.Constant) and needed.value is True and names:
            self.facts.required_options += 2
        elif names and not names[0].startswith("-"):
            manages = isinstance(optional, ast.Constant) and optional.value in ("?", "*")
            self.facts.required_options += not manages

    def _data(self, call: Call, node: ast.Call) -> None:
        path = call.first
        if not path:
            keyword = next((k.value for k in node.keywords if k.arg in _PATH_KEYWORDS), None)
            path = self.resolver.text(keyword) if keyword is not None else ""
        if (
            not path
            or "://" in path
            or not path.strip()
            or len(path) > _PATH_LENGTH
            or "\n" in path
        ):
            return
        modes = [
            self.resolver.text(a)
            for a in [*node.args[1:2], *(k.value for k in node.keywords if k.arg == "mode")]
        ]
        if call.leaf in WRITERS or (
            call.leaf == "open" and any(set(mode) & set("wax") for mode in modes)
        ):
            self.facts.written.add(path)
        elif is_data(call.name):
            self.facts.data.append((path, call.line))
