"""Names that matplotlib dropped, and drawing without a screen."""

import functools
import math
from typing import Any, Callable, Dict, Mapping, Sequence, Tuple

from mlops_lib.runner.compat.arguments import with_renamed
from mlops_lib.runner.compat.notes import Notes

COLOURS = {
    "spectral": "nipy_spectral",
    "Vega10": "tab10",
    "Vega20": "tab20",
    "Vega20b": "tab20b",
    "Vega20c": "tab20c",
}
GONE_SETTINGS = (
    "axes.color_cycle",
    "text.latex.unicode",
    "text.latex.preview",
    "savefig.frameon",
    "verbose.level",
    "savefig.jpeg_quality",
    "backend.qt4",
    "examples.directory",
    "datapath",
)
METHODS: Dict[str, Mapping[str, str]] = {
    "hist": {"normed": "density"},
    "bar": {"left": "x"},
    "barh": {"bottom": "y"},
    "grid": {"b": "visible"},
}
"""Methods of axes, with their renamed arguments."""


def no_screen(module: Any, notes: Notes) -> None:
    """Replace a backend with windows by one without; figures are drawn all the same."""
    switch = module.switch_backend

    @functools.wraps(switch)
    def switch_backend(backend: Any) -> None:
        try:
            switch(backend)
        except ImportError:
            notes.say(
                f"matplotlib's {backend}: there is no screen here, figures are drawn without one"
            )
            switch("Agg")

    module.switch_backend = switch_backend


def styles(module: Any, notes: Notes) -> None:
    """Matplotlib's seaborn styles by their old names."""
    use = module.use

    @functools.wraps(use)
    def use_(style: Any) -> None:
        names = [style] if isinstance(style, (str, dict)) else style
        use(
            [
                _style(item, module.available, notes) if isinstance(item, str) else item
                for item in names
            ]
        )

    module.use = use_


def _style(name: str, available: Sequence[str], notes: Notes) -> str:
    fresh = name.replace("seaborn", "seaborn-v0_8", 1)
    if name.startswith("seaborn") and name not in available and fresh in available:
        notes.say(f"the style {name!r} is {fresh!r} now")
        return fresh
    return name


def matplotlib(module: Any, notes: Notes) -> None:
    """`matplotlib.use(…, warn=False)` and settings that ended."""
    module.use = with_renamed(module.use, {}, notes, dropped=("warn",))
    put = module.RcParams.__setitem__

    @functools.wraps(put)
    def set_item(self: Any, key: str, value: Any) -> None:
        if key in GONE_SETTINGS and key not in self.validate:
            notes.say(f"the setting {key} of matplotlib has no meaning any more and is left out")
        else:
            put(self, key, value)

    module.RcParams.__setitem__ = set_item


def axes(module: Any, notes: Notes) -> None:
    """Arguments and methods of axes."""
    owner = module.Axes
    owner.__init__ = with_renamed(owner.__init__, {"axisbg": "facecolor"}, notes)
    for name, table in METHODS.items():
        setattr(owner, name, with_renamed(getattr(owner, name), table, notes))
    for name, value in (
        ("set_axis_bgcolor", lambda self, colour: self.set_facecolor(colour)),
        ("get_axis_bgcolor", lambda self: self.get_facecolor()),
        ("hold", lambda self, *args: None),
        ("set_color_cycle", lambda self, colours: self.set_prop_cycle(color=colours)),
    ):
        if not hasattr(owner, name):
            setattr(owner, name, value)


def pyplot(module: Any, notes: Notes) -> None:
    """The same arguments of `plt.hist`, `plt.bar` …"""
    for name, table in METHODS.items():
        setattr(module, name, with_renamed(getattr(module, name), table, notes))
    module.subplot = _placed(module.subplot, notes)


def figure(module: Any, notes: Notes) -> None:
    """Restore `figure.gca(projection="3d")`, and ignore options that `savefig` lost."""
    owner = module.Figure
    plain = owner.gca

    @functools.wraps(plain)
    def gca(self: Any, **kwargs: Any) -> Any:
        if not kwargs:
            return plain(self)
        notes.say("figure.gca(…) with arguments is figure.add_subplot(…) now")
        return self.add_subplot(**kwargs)

    owner.gca, owner.add_subplot = gca, _placed(owner.add_subplot, notes)
    owner.savefig = with_renamed(owner.savefig, {}, notes, dropped=("frameon", "papertype"))


def _placed(original: Callable[..., Any], notes: Notes) -> Callable[..., Any]:
    """`subplot("211")`, `subplot(4 / 2, 1, 1)`."""

    @functools.wraps(original)
    def subplot(*args: Any, **kwargs: Any) -> Any:
        whole = tuple(
            int(item) if isinstance(item, float) or _is_digits(item) else item for item in args
        )
        if any(item is not other for item, other in zip(whole, args)):
            notes.say(f"{original.__name__} takes whole numbers now")
        return original(*whole, **kwargs)

    return subplot


def _is_digits(value: Any) -> bool:
    return isinstance(value, str) and value.isdigit()


def canvas(module: Any) -> None:
    """Let a canvas take a window title; there is no window here."""
    if not hasattr(module.FigureCanvasBase, "set_window_title"):
        module.FigureCanvasBase.set_window_title = lambda self, title: None


def colours(module: Any) -> None:
    """Colour maps by their old names."""
    known_names = module._colormaps
    for old, new in COLOURS.items():
        if old not in known_names:
            known_names.register(known_names[new], name=old)
            module.__dict__[old] = known_names[new]


def normpdf(x: Any, mu: float, sigma: float) -> Any:
    """`matplotlib.mlab.normpdf`: the density of a normal distribution."""
    import numpy

    return numpy.exp(-0.5 * ((numpy.asarray(x) - mu) / sigma) ** 2) / (
        sigma * math.sqrt(2 * math.pi)
    )


HOOKS: Tuple[Tuple[str, Callable[[Any, Notes], None]], ...] = (
    ("matplotlib", matplotlib),
    ("matplotlib.pyplot", no_screen),
    ("matplotlib.pyplot", pyplot),
    ("matplotlib.style", styles),
    ("matplotlib.axes", axes),
    ("matplotlib.figure", figure),
    ("matplotlib.backend_bases", lambda module, notes: canvas(module)),
    ("matplotlib.cm", lambda module, notes: colours(module)),
)
"""Module name to the function to call after its import."""
