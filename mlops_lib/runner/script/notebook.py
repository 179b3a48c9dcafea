"""Run a notebook: its cells in order, their output stored in an executed copy.

Output is in the format of nbformat 4 (https://nbformat.readthedocs.io), which every notebook viewer
reads.
"""

import ast
import asyncio
import base64
import inspect
import io
import json
import sys
import traceback
from typing import Any, Callable, Dict, List, Optional, Tuple

OUTPUT_LIMIT = 1 << 20
"""Characters of text stored per cell."""

Compile = Callable[..., Any]
"""(source, file name, flags of `compile`) to a code object."""


class _CapturedStream:
    """A stream that also stores its output for the cell."""

    def __init__(self, stream: Any, name: str, outputs: List[Dict[str, Any]]) -> None:
        self._stream = stream
        self._name = name
        self._outputs = outputs

    def write(self, text: str) -> int:
        """Write through, and store a copy."""
        last = self._outputs[-1] if self._outputs else None
        # Interleaved stdout and stderr become separate outputs, as notebook viewers expect.
        if last is None or last.get("name") != self._name:
            last = {"output_type": "stream", "name": self._name, "text": ""}
            self._outputs.append(last)
        if len(last["text"]) < OUTPUT_LIMIT:
            last["text"] += text
        return int(self._stream.write(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class Notebook:
    """One running notebook.

    Args:
        path: the notebook, which is replaced by its executed copy.
        content: its JSON.
        cells: (index into the notebook's cells, source) of its code.
    """

    def __init__(self, path: str, content: Dict[str, Any], cells: List[Tuple[int, str]]) -> None:
        self.path = path
        self.content = content
        self.cells = cells
        self._outputs: List[Dict[str, Any]] = []

    def run(self, names: Dict[str, Any], full: str, compile_: Compile) -> None:
        """Execute every cell; an exception propagates once the copy is written."""
        names["display"] = self.display
        line = 0
        try:
            for count, (index, text) in enumerate(self.cells, 1):
                self._outputs = []
                try:
                    # The leading line ends give the cell the line numbers of the joined program,
                    # which tracebacks show.
                    self._cell("\n" * line + text, names, full, compile_, count)
                finally:
                    self._store_outputs(index, count)
                line += text.count("\n") + 1
        finally:
            self._write()

    def _cell(
        self, text: str, names: Dict[str, Any], full: str, compile_: Compile, count: int
    ) -> None:
        streams = sys.stdout, sys.stderr
        sys.stdout = _CapturedStream(streams[0], "stdout", self._outputs)
        sys.stderr = _CapturedStream(streams[1], "stderr", self._outputs)
        try:
            body, last = _split(text)
            _execute(compile_(body, full, _AWAIT), names)
            if last is not None:
                value = eval(compile(last, full, "eval", _AWAIT, dont_inherit=True), names)
                value = asyncio.run(value) if inspect.iscoroutine(value) else value
                if value is not None:
                    self._show(value, count)
            self._figures()
        except BaseException as error:
            formatted = traceback.format_exception(type(error), error, error.__traceback__)
            self._outputs.append(
                {
                    "output_type": "error",
                    "ename": type(error).__name__,
                    "evalue": str(error),
                    "traceback": "".join(formatted).splitlines(),
                }
            )
            raise
        finally:
            sys.stdout, sys.stderr = streams

    def display(self, *values: Any, **kwargs: Any) -> None:
        """Replace IPython's `display`: print and store the values, as HTML if possible."""
        for value in values:
            self._show(value, None)

    def _show(self, value: Any, count: Optional[int]) -> None:
        text = repr(value)
        sys.stdout._stream.write(text + "\n")  # type: ignore[union-attr]
        data: Dict[str, Any] = {"text/plain": text[:OUTPUT_LIMIT]}
        html = getattr(value, "_repr_html_", None)
        markup = html() if callable(html) and not inspect.isclass(value) else None
        if isinstance(markup, str) and len(markup) < OUTPUT_LIMIT:
            data["text/html"] = markup
        kind = "display_data" if count is None else "execute_result"
        output = {"output_type": kind, "data": data, "metadata": {}}
        self._outputs.append(output if count is None else {**output, "execution_count": count})

    def _figures(self) -> None:
        """Store the cell's figures, as IPython's inline backend does."""
        pyplot = sys.modules.get("matplotlib.pyplot")
        for number in pyplot.get_fignums() if pyplot is not None else ():
            assert pyplot is not None
            content = io.BytesIO()
            pyplot.figure(number).savefig(content, format="png")
            picture = base64.b64encode(content.getvalue()).decode()
            self._outputs.append(
                {"output_type": "display_data", "data": {"image/png": picture}, "metadata": {}}
            )
            pyplot.close(number)

    def _store_outputs(self, index: int, count: int) -> None:
        cell = _cells_of(self.content)[index]
        cell["outputs"], cell["execution_count"] = self._outputs, count

    def _write(self) -> None:
        with open(self.path, "w", encoding="utf-8") as stream:
            json.dump(self.content, stream, indent=1)


_AWAIT = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT


def _cells_of(content: Dict[str, Any]) -> List[Dict[str, Any]]:
    cells: List[Dict[str, Any]] = (
        content["cells"] if "cells" in content else content["worksheets"][0]["cells"]
    )
    return cells


def _split(text: str) -> "Tuple[str, Any]":
    """Return the cell without its last expression, and that expression.

    The expression is None if it is not displayed. Text that is not Python 3 is returned whole.
    """
    try:
        tree = compile(text, "<cell>", "exec", ast.PyCF_ONLY_AST | _AWAIT, dont_inherit=True)
    except SyntaxError:
        return text, None
    if not tree.body or not isinstance(tree.body[-1], ast.Expr) or text.rstrip().endswith(";"):
        return text, None
    last = tree.body[-1]
    lines = text.splitlines()
    first = last.lineno - 1
    column = last.col_offset
    # `col_offset` counts bytes of UTF-8.
    before = lines[first].encode()[:column].decode()
    body = "\n".join([*lines[:first], before.rstrip().rstrip(";")])
    return body, ast.Expression(last.value)


def _execute(code: Any, names: Dict[str, Any]) -> None:
    value = eval(code, names)  # a coroutine if the cell has a top-level await
    if inspect.iscoroutine(value):
        asyncio.run(value)
