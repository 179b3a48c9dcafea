"""The declarative pipeline's grammar, as far as Jenkins' own linter knows it: sections at each
level, one to a line.

Only the structure is read: blocks and statements. What Groovy itself refuses, the compiler of the
other tests says.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Set
from dataclasses import dataclass, field

PIPELINE = {
    "agent",
    "environment",
    "libraries",
    "options",
    "parameters",
    "post",
    "stages",
    "tools",
    "triggers",
}
BODIES = {"steps", "stages", "parallel", "matrix"}
STAGE = {"agent", "environment", "failFast", "input", "options", "post", "tools", "when"} | BODIES
CONDITIONS = {
    "aborted",
    "always",
    "changed",
    "cleanup",
    "failure",
    "fixed",
    "regression",
    "success",
    "unstable",
    "unsuccessful",
}
WHEN = {
    "allOf",
    "anyOf",
    "beforeAgent",
    "beforeInput",
    "beforeOptions",
    "branch",
    "buildingTag",
    "changelog",
    "changeRequest",
    "changeset",
    "environment",
    "equals",
    "expression",
    "not",
    "tag",
    "triggeredBy",
}
STAGE_OPTIONS = {"retry", "skipDefaultCheckout", "timeout", "timestamps"}
OPTIONS = STAGE_OPTIONS | {
    "buildDiscarder",
    "disableConcurrentBuilds",
    "disableResume",
    "durabilityHint",
    "overrideIndexTriggers",
    "parallelsAlwaysFailFast",
    "preserveStashes",
    "quietPeriod",
    "skipStagesAfterUnstable",
}
TRIGGERS = {"cron", "pollSCM", "upstream"}
NEVER_EMPTY = PIPELINE | BODIES | CONDITIONS | {"when"}


@dataclass
class Block:
    """A statement, and what is in its braces if it has any."""

    head: str
    line: int
    children: list[Block] | None = None
    starts_line: bool = True
    code: str = field(default="", repr=False)

    @property
    def name(self) -> str:
        """The first word."""
        found = re.match(r"[\w.]+", self.head)
        return found.group() if found else self.head


def parse(text: str) -> Block:
    """The `pipeline` block of a file."""
    plain = _without_comments_and_strings(text)
    start = re.search(r"^\s*pipeline \{", plain, flags=re.MULTILINE)
    assert start is not None, "no pipeline"
    at = plain.index("{", start.start())
    children, _ = _block(plain, at + 1)
    return Block("pipeline", plain[:at].count("\n") + 1, children)


def _without_comments_and_strings(text: str) -> str:
    def blank(found: re.Match[str]) -> str:
        lines = "\n" * found.group().count("\n")
        return lines if found.group().startswith("/") else f"''{lines}"

    return re.sub(
        r"/\*.*?\*/|//[^\n]*|'(?:\\.|[^'\\\n])*'|\"(?:\\.|[^\"\\\n])*\"",
        blank,
        text,
        flags=re.DOTALL,
    )


def _block(text: str, at: int) -> tuple[list[Block], int]:
    """The statements from `at` to the closing brace, and where that is."""
    found: list[Block] = []
    while True:
        gap = re.compile(r"[\s;]*").match(text, at)
        assert gap is not None
        starts_line = "\n" in gap.group() or ";" in gap.group()
        at = gap.end()
        if text[at] == "}":
            return found, at
        end, depth = at, 0
        while depth or text[end] not in "{}\n;":
            depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(text[end], 0)
            end += 1
        one = Block(text[at:end].strip(), text[:at].count("\n") + 1, starts_line=starts_line)
        if text[end] == "{":
            one.children, closing = _block(text, end + 1)
            one.code, end = text[end + 1 : closing], closing + 1
        found.append(one)
        at = end


def problems(text: str) -> list[str]:
    """What Jenkins would refuse, one line each."""
    pipeline = parse(text)
    return [
        *_sections(pipeline, PIPELINE, needed={"agent", "stages"}),
        *(problem for block in _walk(pipeline) for problem in _shared_lines(block)),
        *(
            problem
            for section in pipeline.children or []
            for problem in _section(section, in_stage=False)
        ),
    ]


def _walk(block: Block) -> Iterator[Block]:
    yield block
    for child in block.children or []:
        if child.name != "script":
            yield from _walk(child)


def _shared_lines(block: Block) -> Iterator[str]:
    for one in (block.children or [])[1:]:
        if not one.starts_line:
            yield f"{one.line}: {one.name} shares its line with what comes before"


def _sections(block: Block, allowed: Set[str], *, needed: Set[str] = frozenset()) -> Iterator[str]:
    names = [child.name for child in block.children or []]
    for child in block.children or []:
        if child.name not in allowed:
            yield f"{child.line}: {child.name} is no section of {block.name}"
    yield from (
        f"{block.line}: {name} twice in {block.name}"
        for name in sorted(set(names))
        if names.count(name) > 1
    )
    yield from (f"{block.line}: {block.name} lacks {name}" for name in sorted(needed - set(names)))


def _section(block: Block, *, in_stage: bool, in_parallel: bool = False) -> Iterator[str]:
    if block.children == [] and block.name in NEVER_EMPTY:
        yield f"{block.line}: {block.name} is empty"
    if block.name in ("stages", "parallel"):
        yield from _stages(block, in_parallel=in_parallel or block.name == "parallel")
    elif block.name == "post":
        yield from _sections(block, CONDITIONS)
        yield from (problem for condition in block.children or [] for problem in _steps(condition))
    elif block.name == "steps":
        yield from _steps(block)
    elif block.name == "when":
        names = {child.name for child in _walk(block) if child is not block}
        names -= {
            child.name
            for one in _walk(block)
            if one.name == "expression"
            for child in one.children or []
        }
        yield from (
            f"{block.line}: {name} is no condition of when" for name in sorted(names - WHEN)
        )
    elif block.name == "options":
        yield from _sections(block, STAGE_OPTIONS if in_stage else OPTIONS)
    elif block.name == "triggers":
        yield from _sections(block, TRIGGERS)
    elif block.name == "environment":
        yield from (
            f"{one.line}: not NAME = value"
            for one in block.children or []
            if not re.match(r"\w+ = \S", one.head)
        )


def _stages(block: Block, *, in_parallel: bool) -> Iterator[str]:
    for stage in block.children or []:
        if stage.name != "stage" or stage.children is None:
            yield f"{stage.line}: {stage.name} among stages"
            continue
        yield from _sections(stage, STAGE)
        names = {child.name for child in stage.children}
        if len(names & BODIES) != 1:
            yield f"{stage.line}: a stage has exactly one of {', '.join(sorted(BODIES))}"
        if in_parallel and names & {"parallel", "matrix"}:
            yield f"{stage.line}: parallel within parallel"
        if names & {"parallel", "matrix"} and names & {"agent", "tools"}:
            yield f"{stage.line}: a stage with parallel has no agent or tools of its own"
        for section in stage.children:
            yield from _section(section, in_stage=True, in_parallel=in_parallel)


def _steps(block: Block) -> Iterator[str]:
    """Outside of `script` there are only steps: no assignment, no branch, no method of an object."""
    for step in block.children or []:
        if step.name == "script" and step.children is not None:
            continue
        if not re.fullmatch(r"\w+(\(.*\)| .*)?", step.head, flags=re.DOTALL) or re.match(
            r"\w+ *=|def |if\b|for\b", step.head
        ):
            yield f"{step.line}: {step.head.splitlines()[0]} is no step"
