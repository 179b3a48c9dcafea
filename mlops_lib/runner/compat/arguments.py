"""Translation of renamed arguments, done only if a call gives an old one."""

import functools
import inspect
from typing import Any, Callable, Dict, Iterable, Mapping, Tuple

from mlops_lib.runner.compat.notes import Notes

Call = Tuple[Tuple[Any, ...], Dict[str, Any]]
Translate = Callable[[Any, Tuple[Any, ...], Dict[str, Any]], Call]
"""(self, positional, keyword) to (positional, keyword)."""


def translated(function: Callable[..., Any], translate: Translate) -> Callable[..., Any]:
    """The function, its arguments translated first."""

    @functools.wraps(function)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        args, kwargs = translate(self, args, kwargs)
        return function(self, *args, **kwargs)

    # Keras asks with getfullargspec, which does not follow wrappers.
    call.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    return call


def renamed(
    table: Mapping[str, str], notes: Notes, *, dropped: Iterable[str] = (), owner: str = ""
) -> Translate:
    """Return the keywords under their new names, without those that lost their meaning.

    Args:
        table: old name to new name.
        notes: journal of adaptations.
        dropped: keywords to leave out.
        owner: name of the callable, for the journal; by default that of `self`.
    """
    removed = frozenset(dropped)
    old = removed | set(table)

    def translate(self: Any, args: Tuple[Any, ...], kwargs: Dict[str, Any]) -> Call:
        if old.isdisjoint(kwargs):
            return args, kwargs
        called = owner or type(self).__name__
        fresh = dict(kwargs)
        for name in kwargs:
            if name in table:
                fresh.setdefault(table[name], fresh.pop(name))
                notes.say(f"{called}({name}=…) is {table[name]}= now")
            elif name in removed:
                fresh.pop(name)
                notes.say(f"{called}({name}=…) has no meaning any more and is left out")
        return args, fresh

    return translate


def with_renamed(
    original: Callable[..., Any],
    table: Mapping[str, str],
    notes: Notes,
    *,
    dropped: Iterable[str] = (),
) -> Callable[..., Any]:
    """Wrap a function or method so that it accepts keywords by their old names."""
    translate = renamed(table, notes, dropped=dropped, owner=original.__name__)

    @functools.wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        args, kwargs = translate(None, args, kwargs)
        return original(*args, **kwargs)

    return call


def by_name(
    called: str,
    signature: inspect.Signature,
    args: Tuple[Any, ...],
    kwargs: Dict[str, Any],
    notes: Notes,
) -> Call:
    """Pass surplus positional arguments by keyword, for parameters that became keyword-only.

    Args:
        called: name of the callable.
        signature: its present signature.
        args: positional arguments of the call.
        kwargs: keyword arguments of the call.
        notes: journal of adaptations.
    """
    kinds = {
        kind: [p.name for p in signature.parameters.values() if p.kind is kind]
        for kind in inspect._ParameterKind
    }
    places = (
        kinds[inspect.Parameter.POSITIONAL_ONLY] + kinds[inspect.Parameter.POSITIONAL_OR_KEYWORD]
    )
    named = kinds[inspect.Parameter.KEYWORD_ONLY]
    extra = args[len(places) :]
    if not extra or kinds[inspect.Parameter.VAR_POSITIONAL] or len(extra) > len(named):
        return args, kwargs
    names = named[: len(extra)]
    notes.say(f"{called}: {', '.join(names)} is given by name now")
    return args[: len(places)], {**dict(zip(names, extra)), **kwargs}
