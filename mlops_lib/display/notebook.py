"""Notebooks: records as HTML, live progress in a cell's output, and the magic `%%mlops`.

Progress is one HTML fragment that is replaced, by `IPython.display` alone: no widgets, no scripts, and the last state
stays in the saved notebook. Everything that comes from a script is escaped.
"""

from __future__ import annotations

import ast
import dataclasses
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from mlops_lib.display.terminal import Plain, Terminal, describe, numbers
from mlops_lib.display.text import printable
from mlops_lib.records import Record, SearchResult

if TYPE_CHECKING:
    from mlops_lib.tuning.in_memory import Improvement

REFRESH_S = 0.3
"""A cell's output is replaced no more often than this."""
LINES, TRIALS = 8, 15
"""Shown while a run is under way."""
CELL = "padding:2px 10px;text-align:left;vertical-align:top"
COLOURS = {"accepted": "#1a7f37", "rejected": "#cf222e", "undecided": "#9a6700"}


def is_running() -> bool:
    """Whether this is a notebook's kernel."""
    shell = _shell()
    return shell is not None and hasattr(shell, "kernel")


def _shell() -> Any:
    # Only what is loaded already is asked: a program without IPython does not load it.
    module = sys.modules.get("IPython")
    return module.get_ipython() if module is not None else None


def view() -> Any:
    """The live view that suits: in a cell's output, in a terminal, else none."""
    if is_running():
        return Page()
    return Terminal() if sys.stderr.isatty() else Plain(_Nowhere())  # type: ignore[arg-type]


class _Nowhere:
    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        pass


class Page:
    """Progress in a cell's output: the stage, the fit under way, the trials so far."""

    def __init__(self) -> None:
        self._display: Any = None
        self._shown = 0.0
        self._title = ""
        self._now = ""
        self._bar: tuple[int, int] = (0, 0)
        self._lines: list[str] = []
        self._trials: dict[int, Mapping[str, Any]] = {}
        self._asked: Mapping[str, Any] = {}

    def __call__(self, event: dict[str, Any]) -> None:
        """Take an event in, and show what stands now."""
        kind = event.get("event")
        if kind == "progress":
            self._progress(event)
        elif kind == "improve":
            self._asked, self._title = event, f"Improving {event['model']}"
        elif kind == "stage":
            self._title, self._now, self._bar = str(event["stage"]), "", (0, 0)
        elif kind == "epoch":
            self._now = describe(event).strip()
            self._bar = (int(event.get("epoch") or 0) + 1, self._bar[1])
        elif kind == "fit" and isinstance(event.get("epochs"), int):
            self._bar = (0, event["epochs"])
        elif kind == "trial" and isinstance(event.get("trial"), dict):
            self._trials[int(event["trial"].get("number", 0))] = event["trial"]
            self._now = ""
        elif line := describe(event).strip():
            self._lines = [*self._lines, line][-LINES:]
        self._show(now=kind in ("stage", "improve", "trial", "verdict"))

    def _progress(self, event: Mapping[str, Any]) -> None:
        if event.get("epoch") is not None:
            self._now = f"trial {event.get('trial')}, epoch {int(event['epoch']) + 1}  {numbers(event.get('metrics'))}"

    def _show(self, *, now: bool) -> None:
        if not now and time.monotonic() - self._shown < REFRESH_S:
            return
        self._shown = time.monotonic()
        content = _Fragment(self.html())
        if self._display is None:
            from IPython.display import display

            self._display = display(content, display_id=True)
        else:
            self._display.update(content)

    def html(self) -> str:
        """What stands now."""
        parts = [f"<p style='margin:0 0 4px'><strong>{_text(self._title)}</strong> {_text(self._now)}</p>"]
        done, total = self._bar
        if total > 1:
            parts.append(_meter(done / total))
        elif self._asked and self._trials:
            parts.append(_meter(max(self._trials) / max(1, int(self._asked["trials"]))))
        parts += [f"<p style='margin:0;opacity:.75'>{_text(line)}</p>" for line in self._lines]
        if self._trials:
            parts.append(_trials([self._trials[n] for n in sorted(self._trials)], self._asked))
        return "<div>" + "".join(parts) + "</div>"

    def close(self) -> None:
        """Show the last state."""
        self._now = ""
        if self._display is not None:
            self._show(now=True)


class _Fragment:
    def __init__(self, html: str) -> None:
        self._html = html

    def _repr_html_(self) -> str:
        return self._html

    def __repr__(self) -> str:
        return "mlops"


def _meter(share: float) -> str:
    width = f"{100 * min(1.0, max(0.0, share)):.0f}%"
    return (
        "<div style='max-width:30em;height:6px;background:rgba(128,128,128,.25);margin:4px 0'>"
        f"<div style='width:{width};height:6px;background:#2563c9'></div></div>"
    )


def _trials(trials: Sequence[Mapping[str, Any]], asked: Mapping[str, Any]) -> str:
    """The best trials as a table, in their order; the best one marked."""
    lower = asked.get("mode") == "min"
    scored = [t for t in trials if isinstance(t.get("score"), (int, float))]
    best = (min if lower else max)(scored, key=lambda t: t["score"], default=None)
    kept = sorted(scored, key=lambda t: t["score"], reverse=not lower)[: TRIALS - 3] + list(trials[-3:])
    rows = []
    for one in [t for t in trials if any(t is other for other in kept)]:
        score, curve = one.get("score"), one.get("curve") or ()
        shown = f"{score:.4f}" if isinstance(score, (int, float)) else str(one.get("state"))
        weight = "font-weight:bold" if one is best else ""
        words = "; ".join(map(str, one.get("edits") or ["as it was"]))[:300]
        cells = (str(one.get("number")), words, shown)
        rows.append(
            f"<tr style='{weight}'>"
            + "".join(f"<td style='{CELL}'>{_text(cell)}</td>" for cell in cells)
            + f"<td style='{CELL}'>{_spark(curve)}</td></tr>"
        )
    head = "".join(
        f"<th style='{CELL}'>{name}</th>" for name in ("trial", "changed", _text(asked.get("metric") or "score"), "")
    )
    return f"<table style='margin-top:6px'><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _spark(curve: Iterable[Any]) -> str:
    values = [float(v) for v in curve if isinstance(v, (int, float)) and v == v]
    if len(values) < 2:
        return ""
    low, high = min(values), max(values)
    spread = (high - low) or 1.0
    step = 80 / (len(values) - 1)
    points = " ".join(f"{i * step:.1f},{18 - 16 * (v - low) / spread:.1f}" for i, v in enumerate(values))
    return (
        f"<svg width='80' height='20' role='img' aria-label='from {values[0]:.3g} to {values[-1]:.3g}'>"
        f"<polyline points='{points}' fill='none' stroke='#2563c9' stroke-width='1.5'/></svg>"
    )


def _text(value: Any) -> str:
    return escape(printable(str(value)))


def record_html(record: Record) -> str:
    """A record as a table: a verdict first where it has one, then what is set, field by field."""
    values = {f.name: getattr(record, f.name) for f in dataclasses.fields(record)}  # type: ignore[arg-type]
    parts = [f"<p style='margin:0 0 4px'><strong>{_text(type(record).__name__)}</strong></p>"]
    if isinstance(values.get("verdict"), str) and "value" in values:
        parts = [_outcome(values)]
    if isinstance(record, SearchResult):
        parts.append(_trials([t.to_json() for t in record.trials], {"metric": record.metric, "mode": record.mode}))
        values.pop("trials")
    rows = [
        (name, _value(value)) for name, value in values.items() if name != "schema" and value not in (None, "", (), {})
    ]
    cells = "".join(
        f"<tr><th style='{CELL}'>{_text(n.replace('_', ' '))}</th><td style='{CELL}'>{v}</td></tr>" for n, v in rows
    )
    return f"<div>{''.join(parts)}<table><tbody>{cells}</tbody></table></div>"


def _outcome(values: Mapping[str, Any]) -> str:
    verdict, value = str(values["verdict"]), values.get("value")
    shown = f": {values.get('metric')} {value:.4g}" if isinstance(value, float) else ""
    bar = f", bar {values['target']:g}" if isinstance(values.get("target"), float) else ""
    colour = COLOURS.get(verdict, "inherit")
    return f"<p style='margin:0 0 4px'><strong style='color:{colour}'>{_text(verdict)}</strong>{_text(shown + bar)}</p>"


def _value(value: Any) -> str:
    if isinstance(value, Record):
        return record_html(value)
    if isinstance(value, tuple) and value and isinstance(value[0], Record):
        return _table([one.to_json() for one in value[:50]])
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, tuple):
        return "<br>".join(_text(f"{one:.4g}" if isinstance(one, float) else one) for one in value[:50])
    if isinstance(value, Mapping):
        return "<br>".join(_text(f"{key}={one}") for key, one in list(value.items())[:50])
    return _text(str(value)[:2000])


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    names = [name for name in rows[0] if name != "schema"]
    head = "".join(f"<th style='{CELL}'>{_text(name)}</th>" for name in names)
    body = "".join(
        "<tr>" + "".join(f"<td style='{CELL}'>{_text(str(row.get(name))[:200])}</td>" for name in names) + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def improvement_html(found: Improvement) -> str:
    """What became of a model."""
    colour = COLOURS["accepted" if found.met else "rejected"]
    reached = "not measured" if found.value is None else f"{found.value:.4g}"
    before = "" if found.before is None else f", before {found.before:.4g}"
    if found.gained is not None:
        before += f" ({found.gained.words()}{'' if found.gained.is_clear else ': no clear difference'})"
    interval = "" if found.interval is None else f" [{found.interval[0]:.3f}, {found.interval[1]:.3f}]"
    on = f" on {found.examples} examples" if found.examples else ""
    parts = [
        f"<p style='margin:0 0 4px'><strong style='color:{colour}'>{'met' if found.met else 'not met'}</strong>: "
        f"{_text(found.metric)} {reached}{interval}{on}, bar {found.target:g}{before}</p>"
    ]
    if found.search is not None:
        asked = {"metric": found.search.metric, "mode": found.mode}
        parts.append(_trials([t.to_json() for t in found.search.trials], asked))
        parts.append(_layers(found.search))
    parts += [f"<p style='margin:0;opacity:.75'>{_text(note)}</p>" for note in found.notes[:10]]
    return f"<div>{''.join(parts)}</div>"


def _layers(search: SearchResult) -> str:
    import difflib

    lines = [line for line in difflib.ndiff(list(search.before), list(search.after)) if not line.startswith("?")]
    if not any(line[0] in "+-" for line in lines):
        return ""
    colours = {"+": "color:#1a7f37", "-": "color:#cf222e"}
    shown = "".join(f"<div style='{colours.get(line[0], '')}'>{_text(line[:200])}</div>" for line in lines[:200])
    return f"<details><summary>architecture</summary><div style='font-family:monospace;white-space:pre'>{shown}</div></details>"


# The magic -------------------------------------------------------------------------------------------------------------

MEASURES = ("evaluate", "score")
_USAGE = "%%mlops [--target 0.9] [--metric accuracy] [--trials 12] [--minutes 30] [--seed 1] [--result NAME]"
_OPTIONS: Mapping[str, Callable[[str], Any]] = {
    "target": float, "metric": str, "trials": int, "minutes": float, "seed": int, "result": str,
}  # fmt: skip


def load(shell: Any) -> None:
    """Make `%%mlops` known to this IPython."""

    def mlops(line: str, cell: str) -> Any:
        return improve_cell(shell, line, cell)

    mlops.__doc__ = f"Run a cell that trains a model, and improve the model until it meets the bar.\n\n    {_USAGE}"
    shell.register_magic_function(mlops, magic_kind="cell")


def improve_cell(shell: Any, line: str, cell: str) -> Any:
    """Run a cell, then improve the last model it fitted, in place: every name for it names the better one afterwards.

    What the cell evaluates or scores the model on after its fit is what decides, else the fit's own validation data.

    Returns:
        the `Improvement`, also kept under the name `--result` gives; None where the cell failed.

    Raises:
        UsageError: the line is wrong, or the cell fits no model on targets.
    """
    from mlops_lib.errors import UsageError
    from mlops_lib.tuning.in_memory import improve

    given = _options(line)
    name = given.pop("result", "")
    witness = _Witness()
    shell.user_ns["__mlops_call__"] = witness
    shell.ast_transformers.append(_Calls())
    try:
        done = shell.run_cell(cell)
    finally:
        shell.ast_transformers.pop()
        shell.user_ns.pop("__mlops_call__", None)
    if not done.success:
        return None
    if witness.fitted is None:
        raise UsageError("the cell fits no model on targets", where="%%mlops", remedy="Let it call model.fit(x, y, …).")
    model, x, y, validation = witness.fitted
    found = improve(model, x, y, validation_data=witness.measured or validation, in_place=True, **given)
    if name:
        shell.user_ns[name] = found
    return found


def _options(line: str) -> dict[str, Any]:
    from mlops_lib.errors import UsageError

    words, given = shlex.split(line.replace("=", " ")), {}
    while words:
        flag = words.pop(0)
        convert = _OPTIONS.get(flag.removeprefix("--"))
        if not flag.startswith("--") or convert is None or not words:
            raise UsageError(f"{flag!r} is not understood", where="%%mlops", remedy=_USAGE)
        try:
            given[flag[2:]] = convert(words.pop(0))
        except ValueError as error:
            raise UsageError(str(error), where=f"%%mlops {flag}", remedy=_USAGE) from None
    return given


class _Calls(ast.NodeTransformer):
    """`model.fit(…)` as `__mlops_call__(model, "fit", …)`, and so for what measures a model."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        called = node.func
        if not isinstance(called, ast.Attribute) or called.attr not in ("fit", *MEASURES):
            return node
        witness = ast.copy_location(ast.Name("__mlops_call__", ast.Load()), node)
        method = ast.copy_location(ast.Constant(called.attr), node)
        return ast.copy_location(ast.Call(witness, [called.value, method, *node.args], node.keywords), node)


class _Witness:
    """Sees which model was fitted last, on what, and what it was measured on then."""

    def __init__(self) -> None:
        self.fitted: tuple[Any, Any, Any, Any] | None = None
        self.measured: tuple[Any, Any] | None = None

    def __call__(self, owner: Any, method: str, *args: Any, **kwargs: Any) -> Any:
        result = getattr(owner, method)(*args, **kwargs)
        x = args[0] if args else kwargs.get("x", kwargs.get("X"))
        y = args[1] if len(args) > 1 else kwargs.get("y")
        if method == "fit" and y is not None and (hasattr(owner, "predict") or hasattr(owner, "compile")):
            self.fitted, self.measured = (owner, x, y, kwargs.get("validation_data")), None
        elif method in MEASURES and self.fitted is not None and owner is self.fitted[0] and y is not None:
            self.measured = (x, y)
        return result
