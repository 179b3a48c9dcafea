"""Find the classes that configuration files name: those of Hydra, OmegaConf and LightningCLI.

Code such as `trainer = hydra.utils.instantiate(cfg.trainer)` names no class; the YAML files that
are composed do, as `_target_:` (Hydra), `class_path:` (LightningCLI), `target:` (latent
diffusion) or `class_name:` (a helper `load_obj`). The defaults list of a configuration says which other files belong to it.
"""

from __future__ import annotations

import os
import re

from mlops_lib.errors import RefusedFileError
from mlops_lib.project import files as pushed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

KEYS = ("_target_", "class_path", "target", "class_name")
FOLDERS = ("config", "conf", "cfg", "hparams")
"""Beginnings of the names of folders in which configurations mostly lie."""
USUAL = ("train", "config", "main", "default")
"""Names of the configuration that a program begins with, if it does not say."""
SIZE_LIMIT = 200_000
"""Bytes of one configuration."""
FILES_LIMIT = 200
DEPTH_LIMIT = 8
"""Maximum depth of configurations that include each other."""
_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
_NAMED = re.compile(
    r"""^\s*-?\s*["']?(?:_target_|class_path|target|class_name)["']?\s*:\s*["']?([\w.]+)""", re.M
)


class Target:
    """A class or function that a configuration names."""

    __slots__ = ("file", "line", "name")

    def __init__(self, name: str, file: str, line: int) -> None:
        self.name = name
        self.file = file
        """Relative to the project's folder."""
        self.line = line


class Configurations:
    """The configuration files of a project, read while they are composed.

    Args:
        root: the project's folder.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self.targets: dict[str, Target] = {}
        self._read: set[str] = set()

    def compose(self, base: str, name: str, depth: int = 0) -> bool:
        """Read a configuration and those that its defaults list includes.

        Args:
            base: the folder of all configurations.
            name: the configuration's name in it, with or without `.yaml`.
            depth: how many configurations have included each other to get here.

        Returns:
            Whether there is such a file.
        """
        path = os.path.join(base, name if name.endswith((".yaml", ".yml")) else name + ".yaml")
        text = self._text(path)
        if text is None:
            return False
        content = _parse(text)
        self._collect(content, path, text)
        if isinstance(content, dict) and depth < DEPTH_LIMIT:
            group = os.path.dirname(os.path.relpath(path, base))
            for included in _defaults(content.get("defaults"), group):
                self.compose(base, included, depth + 1)
        return True

    def collect_all(self, folder: str) -> None:
        """Read every configuration below a folder; which of them is used is not known."""
        for path in _yaml_files(folder, self.root):
            text = self._text(path)
            for match in _NAMED.finditer(text or ""):
                self._add(match[1], path, text or "")

    def _text(self, path: str) -> str | None:
        if path in self._read or len(self._read) >= FILES_LIMIT:
            return None
        self._read.add(path)
        try:
            return pushed.read_text(path, root=self.root, limit=SIZE_LIMIT)
        except RefusedFileError:
            return None

    def _collect(self, content: Any, path: str, text: str) -> None:
        pending = [content]
        seen = 0
        while pending and seen < 20_000:  # aliases make a small file large
            seen += 1
            one = pending.pop()
            if isinstance(one, dict):
                for key in KEYS:
                    if isinstance(one.get(key), str):
                        self._add(one[key], path, text)
                pending += one.values()
            elif isinstance(one, list):
                pending += one

    def _add(self, name: str, path: str, text: str) -> None:
        if _DOTTED.fullmatch(name) and name not in self.targets:
            line = text.count("\n", 0, max(text.find(name), 0)) + 1
            self.targets[name] = Target(name, os.path.relpath(path, self.root), line)


def _parse(text: str) -> Any:
    import yaml

    try:
        return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, RecursionError, ValueError):
        return None


def _defaults(listed: Any, group: str) -> Iterator[str]:
    """Yield the configurations of a defaults list, as paths below the common folder."""
    for item in listed if isinstance(listed, list) else ():
        if isinstance(item, str) and item != "_self_":
            yield os.path.join(group, item) if not item.startswith("/") else item[1:]
        elif isinstance(item, dict):
            for key, option in item.items():
                words = str(key).split()
                place = words[-1].partition("@")[0] if words else ""
                if not place or place.lstrip("/").startswith("hydra"):
                    continue
                place = place[1:] if place.startswith("/") else os.path.join(group, place)
                options = option if isinstance(option, list) else [option]
                yield from (os.path.join(place, str(one)) for one in options if one)


def _yaml_files(folder: str, root: str) -> Iterator[str]:
    pending = [folder]
    count = 0
    while pending and count < FILES_LIMIT:
        place = pending.pop()
        for name in sorted(pushed.names_in(place, root=root)):
            path = os.path.join(place, name)
            if name.endswith((".yaml", ".yml")):
                count += 1
                yield path
            elif not name.startswith(".") and os.path.isdir(path) and not os.path.islink(path):
                pending.append(path)


def _folders(root: str, folder: str) -> Iterator[str]:
    """Yield the configuration folders beside and above a file, nearest first."""
    place = folder
    while True:
        for name in sorted(pushed.names_in(place, root=root)):
            path = os.path.join(place, name)
            if name.lower().startswith(FOLDERS) and os.path.isdir(path):
                yield path
        if place == root or not place.startswith(root):
            return
        place = os.path.dirname(place)


def targets(
    root: str, folder: str, begins: list[tuple[str, str]], *, every: bool
) -> tuple[list[Target], bool]:
    """Return what the configurations of one file name.

    Args:
        root: the project's folder.
        folder: the file's folder.
        begins: folder (relative to the file's) and name of the configurations that it begins with.
        every: read all configurations if none of these is found.

    Returns:
        The classes and functions, and whether the file surely uses them.
    """
    configurations = Configurations(root)
    for place, name in begins:
        bases = [os.path.normpath(os.path.join(folder, place))]
        bases += [os.path.normpath(os.path.join(root, place))]
        for base in dict.fromkeys(bases):
            if pushed.resolve(base, root=root) is not None and configurations.compose(base, name):
                break
    if configurations.targets or not every:
        return list(configurations.targets.values()), True
    names = [name for _, name in begins] or USUAL
    for base in _folders(root, folder):
        if any(configurations.compose(base, name) for name in names) and configurations.targets:
            return list(configurations.targets.values()), False
    above = ""
    for base in _folders(root, folder):
        if os.path.dirname(base) != above and configurations.targets:
            break
        above = os.path.dirname(base)
        configurations.collect_all(base)
    return list(configurations.targets.values()), False
