"""Look library names up in data/library_names.txt: their framework, the part they play, their
family.
"""

from __future__ import annotations

import os

from mlops_lib.detection import tables
from mlops_lib.detection.facts import Call

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MODEL = "model"
LAYER = "layer"
CONTAINER = "container"
TRANSFORM = "transform"
TRAINS = "trains"
FIT = "fit"
CONTAINER_FIT = "containerfit"
LOADED = "loaded"
"""A model that was trained elsewhere."""
LOADS = ("load", "load_from_checkpoint", "load_model")
"""Class methods that load a model which was trained elsewhere."""
BACKTESTS = ("historical_forecasts", "backtest")
"""Methods that train unless the model was loaded."""
NOTHING = ""
CAPITAL = "[A-Z]"
"""Beginning of a pattern in the table: the name must begin with a capital."""

TABLE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data", "library_names.txt")
CACHE_LIMIT = 50_000
"""Names whose row is remembered; a process that looks at many projects must not grow without end.
"""


class Meaning:
    """The framework, part and family of a name; each may be ""."""

    __slots__ = ("family", "framework", "part")

    def __init__(self, framework: str, part: str, family: str = "") -> None:
        self.framework = framework
        self.part = part
        self.family = family


NONE = Meaning("", NOTHING)


class _Names:
    """Words of a row that a name is matched with: `Conv* [A-Z]* -Sequential`."""

    __slots__ = ("any", "exact", "excluded", "lower", "patterns", "upper")

    def __init__(self, text: str) -> None:
        words = text.split()
        self.excluded = [one[1:].split("*") for one in words if one.startswith("-")]
        words = [one for one in words if not one.startswith("-")]
        self.any = "*" in words
        self.upper = "[A-Z]*" in words
        self.lower = "[a-z]*" in words
        self.exact = frozenset(one for one in words if "*" not in one)
        self.patterns = [
            (one.startswith(CAPITAL), one.removeprefix(CAPITAL).split("*"))
            for one in words
            if "*" in one and one not in ("*", "[A-Z]*", "[a-z]*")
        ]

    def match(self, name: str) -> bool:
        """Return whether a last name is among them."""
        if not (
            self.any
            or name in self.exact
            or (self.upper and name[:1].isupper())
            or (self.lower and name[:1].islower())
            or any(
                (not capital or name[:1].isupper()) and _fits(name, parts)
                for capital, parts in self.patterns
            )
        ):
            return False
        return not any(_fits(name, parts) for parts in self.excluded)


class _Places:
    """Beginnings of a dotted name: `torch. *.estimator. -torch.utils`."""

    __slots__ = ("excluded", "patterns", "roots")

    def __init__(self, text: str) -> None:
        words = text.split()
        self.excluded = tuple(one[1:] for one in words if one.startswith("-"))
        named = [one for one in words if not one.startswith("-")]
        self.roots = {one.partition(".")[0].partition("*")[0] for one in named}
        """Top-level modules that it names; "" among them stands for all of the framework's."""
        self.patterns = [[*one.split("*"), ""] for one in named]

    def match(self, name: str) -> bool:
        """Return whether a dotted name begins like one of them."""
        if self.excluded and name.startswith(self.excluded):
            return False
        return any(_fits(name, parts) for parts in self.patterns)


def _fits(name: str, parts: Sequence[str]) -> bool:
    """Return whether a name is the parts of a pattern with anything between them."""
    if len(parts) == 1:
        return name == parts[0]
    if not name.startswith(parts[0]):
        return False
    at = len(parts[0])
    for part in parts[1:-1]:
        at = name.find(part, at)
        if at < 0:
            return False
        at += len(part)
    last = parts[-1]
    return not last or (name.endswith(last) and len(name) - len(last) >= at)


class _Row:
    """One row of the table."""

    __slots__ = ("family", "keywords", "leaves", "part", "places")

    def __init__(self, cells: Sequence[str]) -> None:
        where, leaves, part, family, keywords = (*cells, "", "", "")[:5]
        self.places = _Places(where)
        self.leaves = _Names(leaves)
        self.part = part
        self.family = family
        self.keywords = frozenset(keywords.split())
        """Keyword arguments of which the call must have one."""


class _Table:
    """The rows by framework and top-level module, and which framework a module is."""

    def __init__(self, text: str) -> None:
        self.framework: dict[str, str] = {}
        self._unread: dict[str, list[tuple[list[str], str]]] = {}
        """The lines of each framework that no name was looked up for, with their modules.

        A script uses one or two of thirty frameworks, and to read the rows of all takes longer than
        to look at the script.
        """
        self.kinds: dict[str, str] = {}
        """Framework to the kind of its models, in the order of the table."""
        self.training: set[str] = set()
        """Last names that train."""
        self._rows: dict[tuple[str, str], list[_Row]] = {}
        section = ""
        modules: list[str] = []
        for line in _joined(text):
            if line.startswith("["):
                head, _, listed = line[1:].partition("]")
                section, _, kind = (part.strip() for part in head.partition(":"))
                self.kinds[section] = kind
                modules = listed.split()
                for module in modules:
                    self.framework.setdefault(module, section)
                    self._rows[(section, module)] = []
                continue
            self._unread.setdefault(section, []).append((modules, line))
            _, leaves, part = (*line.split("|", 3), "", "")[:3]
            if part.strip() in (TRAINS, FIT, CONTAINER_FIT):
                self.training.update(word for word in leaves.split() if word.isidentifier())

    def _read(self, section: str) -> None:
        for modules, line in self._unread.pop(section, ()):
            row = _Row([cell.strip() for cell in line.split("|")])
            for module in modules if "" in row.places.roots else row.places.roots:
                rows = self._rows.get((section, module))
                if rows is not None:
                    rows.append(row)

    def find(self, framework: str, name: str, leaf: str) -> list[_Row]:
        """Return the rows that fit a name, up to the first without a keyword condition."""
        self._read(framework)
        matches = []
        for row in self._rows.get((framework, name.partition(".")[0]), ()):
            if row.leaves.match(leaf) and row.places.match(name):
                matches.append(row)
                if not row.keywords:
                    break
        return matches


def _joined(text: str) -> Iterable[str]:
    """Yield the lines of the table without comments, continued ones joined."""
    logical_line = ""
    for line in text.splitlines():
        if line.startswith("#") or not line.strip():
            continue
        if line[0].isspace():
            logical_line += " " + line.strip()
            continue
        if logical_line:
            yield logical_line
        logical_line = line
    if logical_line:
        yield logical_line


with open(TABLE, encoding="utf-8") as _stream:
    _TABLE = _Table(_stream.read())
_FOUND: dict[tuple[str, str], list[_Row]] = {}

TRAINING_NAMES = _TABLE.training - tables.STEPS
"""Last names of rows that train, without the verbs that say as much of anything else."""
FRAMEWORK_OF = _TABLE.framework
"""Top-level module to the framework that it is or runs on."""
NETWORKS = tuple(name for name, kind in _TABLE.kinds.items() if kind == "network")
BOOSTERS = tuple(name for name, kind in _TABLE.kinds.items() if kind == "boosting")
CLASSICAL = tuple(name for name, kind in _TABLE.kinds.items() if kind in ("estimators", "boosting"))
UNSORTED = tuple(name for name in _TABLE.kinds if name not in (*NETWORKS, *CLASSICAL))
"""Frameworks whose models are of either kind: the one that is called `other` holds many."""


def normal(name: str) -> str:
    """Return a name under the one of its aliases that the table uses."""
    if name.startswith("tensorflow.") or name.startswith(
        ("keras", "tf_keras", "lightning", "jax.ex", "optuna")
    ):
        for prefix, plain in tables.PREFIXES:
            if name.startswith(prefix):
                return plain + name[len(prefix) :]
        if name in ("tensorflow.keras", "keras_core", "tf_keras", "tensorflow.python.keras"):
            return "keras"
    return name


def framework_of(name: str) -> str:
    """Return the framework of a normal name; "" if it has none."""
    root = name.partition(".")[0].partition("(")[0]
    if root == "transformers":
        return _transformers_backend(name)
    return FRAMEWORK_OF.get(root, "")


def _transformers_backend(name: str) -> str:
    what = name[len("transformers.") :]
    if what.startswith(("TF", "modeling_tf", "create_optimizer", "keras_callbacks")):
        return "keras"
    return "jax" if what.startswith("Flax") else "pytorch"


def of(call: Call) -> Meaning:
    """Return the meaning of a call, a base class or a mention."""
    name = normal(call.name)
    head, _, leaf = name.rpartition(".")
    if not head:
        return NONE
    if head.endswith("()") or "()." in name:
        return _of_method(call, name, head, leaf)
    framework = framework_of(name)
    if not framework:
        return NONE
    meaning = _look_up(framework, name, leaf, call)
    constructor = head.rpartition(".")[2]
    if meaning is not NONE or not constructor:
        return meaning
    if framework == "statsmodels" or (leaf.startswith("from_") and constructor[:1].isupper()):
        return _look_up(framework, head, constructor, call)  # sm.OLS.from_formula(…)
    if leaf in LOADS and constructor[:1].isupper():
        model = _look_up(framework, head, constructor, call)
        if model.part == MODEL:
            return Meaning(model.framework, LOADED, model.family)
    return meaning


def is_keras(name: str) -> bool:
    """Return whether a bare name is a Keras model, or a layer with a family."""
    meaning = of(Call(f"keras.layers.{name}", 0))
    return meaning.part == MODEL or (meaning.part == LAYER and meaning.family != "")


def _look_up(framework: str, name: str, leaf: str, call: Call) -> Meaning:
    rows = _FOUND.get((framework, name))
    if rows is None:
        rows = _TABLE.find(framework, name, leaf)
        if len(_FOUND) < CACHE_LIMIT:
            _FOUND[(framework, name)] = rows
    row = next((one for one in rows if not one.keywords or one.keywords & set(call.keywords)), None)
    if row is None or row.part == "tool":
        return NONE
    family = _family(row.family, name, leaf, call.first) if "?" in row.family else row.family
    part = row.part
    if ":" in part:
        framework, _, part = part.partition(":")
    return Meaning(framework, NOTHING if part == "note" else part, family)


def _family(rule: str, name: str, leaf: str, first: str) -> str:
    """Return the family of a call by a rule such as `first?Cnn=cnn,=dense`."""
    source, _, choices = rule.partition("?")
    model = name.partition("models.")[2].partition(".")[0]
    network = {"leaf": leaf, "first": first, "model": model, "name": name}[source]
    text = f"{network} {first}".lower() if source == "model" else network
    for choice in choices.split(","):
        word, _, family = choice.partition("=")
        if word in text or word in text.lower():
            if family == "@!":
                return _pretrained("", first) if first else ""
            return _pretrained(network, first) if family == "@" else family
    return ""


def _pretrained(name: str, first: str = "") -> str:
    """Return the family of a pretrained network by its name in the library."""
    plain = "".join(letter for letter in name.lower() if letter.isalnum())
    if any(word in plain for word in tables.GENERATIVE_NAMES):
        return "generative"
    text = plain + " " + first.lower()
    if plain.startswith(tables.TRANSFORMER_NAMES) or any(
        word in text for word in ("bert", "transformer", "vit_", "/vit", "gpt")
    ):
        return "transformer"
    return "cnn"


def _of_method(call: Call, name: str, head: str, leaf: str) -> Meaning:
    """Return the meaning of a method by the object that it belongs to."""
    if name.startswith("prettytensor."):  # layers are methods of what it wraps
        layer = of(call.renamed(f"tensorflow.layers.{leaf}"))
        return layer if layer.part == LAYER else NONE
    if name.startswith("pycaret."):  # an experiment has the functions of its module as methods
        return of(call.renamed(f"pycaret.{leaf}"))
    constructor = head.partition("()")[0]
    root = constructor.partition(".")[0]
    if leaf in tables.STEPS and constructor.rpartition(".")[2] in tables.SAMPLERS.get(root, ()):
        return Meaning(framework_of(constructor), FIT)
    if leaf in ("mm", "matmul") and framework_of(constructor) == "pytorch":
        return Meaning("pytorch", NOTHING, "product")
    framework = framework_of(constructor)
    if not framework or leaf not in tables.FITS:
        return NONE
    maker = of(Call(constructor, 0))
    if maker.part == LOADED and leaf in BACKTESTS:
        return NONE
    if maker.part in (MODEL, CONTAINER, LOADED) or (
        framework in ("pytorch", "other") and maker.part != TRANSFORM
    ):
        return Meaning(framework, FIT if maker.part != CONTAINER else CONTAINER_FIT, maker.family)
    if framework == "sklearn" and maker.part == TRANSFORM:
        return Meaning(framework, TRANSFORM)
    if framework == "keras" and maker.part == LAYER:
        return NONE  # the tensor of a functional model, or an adapted layer
    trainable = ("keras", "tensorflow", "statsmodels", *BOOSTERS)
    if framework in trainable and leaf != "fit_transform":
        return Meaning(framework, FIT, maker.family)
    return NONE
