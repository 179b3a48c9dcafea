"""A build's verdict as a check of its commit, for Jenkins' Checks API.

The values are those of the step `publishChecks`: https://github.com/jenkinsci/checks-api-plugin
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from mlops_lib.ci import builds, sarif
from mlops_lib.records import Verdict
from mlops_lib.reporting import markdown
from mlops_lib.run_directory import RunDirectory
from mlops_lib.runner import protocol

TEXT_LIMIT = 60_000
"""Characters of a summary or text; GitHub accepts 65,535."""
ANNOTATIONS_LIMIT = 50
PATCH_LIMIT = 1 << 20
CONCLUSIONS = {"accepted": "SUCCESS", "rejected": "FAILURE", "undecided": "NEUTRAL"}
_HUNK = re.compile(r"@@ -(\d+)(?:,(\d+))? \+\d+(?:,\d+)? @@.*")


def check(run_dir: Path, *, against: builds.Branch | None) -> dict[str, Any]:
    """Return the check of a run: its number, the target branch's, report and patch.

    Args:
        run_dir: the run directory.
        against: the result of the target branch of the build's pull request.
    """
    run = RunDirectory(run_dir)
    spec = run.spec
    verdict = run.verdict
    conclusion, title = _outcome(verdict, against)
    fields: dict[str, Any] = {
        "name": f"mlops / {spec.name if spec else run_dir.name}",
        "title": title,
        "status": "COMPLETED",
        "conclusion": conclusion,
        "summary": markdown(run_dir, against=against)[:TEXT_LIMIT],
    }
    patch = _patch(run_dir)
    if patch:
        folder = sarif.repository_folder(Path(spec.project)) if spec else ""
        fields["text"] = f"The change that the search found:\n\n{fenced(patch)}"
        fields["annotations"] = list(annotated_hunks(patch, folder=folder))
    page = builds.artifact_url("report/index.html")
    return {**fields, "detailsURL": page} if page else fields


def comment(run_dir: Path, *, against: builds.Branch | None) -> str:
    """Return the text of a pull request comment: the short report and the patch."""
    patch = _patch(run_dir)
    page = builds.artifact_url("report/index.html")
    parts = [markdown(run_dir, against=against)[:TEXT_LIMIT].rstrip("\n")]
    parts += (
        [f"The change that the search found; `git apply` takes it:\n\n{fenced(patch)}"]
        if patch
        else []
    )
    parts += [f"[The whole report]({page})"] if page else []
    return "\n\n".join(parts)


def _outcome(verdict: Verdict | None, against: builds.Branch | None) -> tuple[str, str]:
    """Return the check's conclusion and title."""
    failure = builds.failure()
    build = builds.outcome()
    # First: an aborted build may have failing stages as well.
    if build.result == "ABORTED":
        return "CANCELED", build.reason or "aborted"
    if failure is not None:
        return "FAILURE", " ".join(f"{failure.name} failed: {failure.reason}".split())[:250]
    if verdict is None:
        return "NEUTRAL", "not judged"
    title = (
        verdict.verdict
        if verdict.value is None
        else f"{verdict.metric} {builds.number(verdict.value)}, {verdict.verdict}"
    )
    if against is not None and against.value is not None and verdict.value is not None:
        title += f"; {verdict.value - against.value:+.4f} against {against.branch}"
    return CONCLUSIONS[verdict.verdict], title


def annotated_hunks(patch: str, *, folder: str = "") -> Iterator[dict[str, Any]]:
    """Yield the hunks of a unified diff as annotations at the lines that they replace.

    Args:
        patch: the diff, with paths relative to the project.
        folder: the project's folder within its repository.
    """
    path = ""
    count = 0
    lines = patch.splitlines()
    for number, line in enumerate(lines):
        if line.startswith("+++ "):
            path = line[4:].split("\t")[0].removeprefix("b/")
        hunk = _HUNK.fullmatch(line)
        # A deleted file has no line to annotate.
        if hunk is None or not path or path == "/dev/null" or count == ANNOTATIONS_LIMIT:
            continue
        body = _body(lines, number + 1)
        first, last = _replaced(body, int(hunk[1]))
        count += 1
        yield {
            "path": str(PurePosixPath(folder, path)),
            "startLine": first,
            "endLine": last,
            "annotationLevel": "NOTICE",
            "title": "The search suggests",
            "message": "\n".join(body)[:TEXT_LIMIT],
        }


def _body(lines: list[str], start: int) -> list[str]:
    body: list[str] = []
    for line in lines[start:]:
        # An empty line stands for an empty line of context, which some tools strip.
        if line[:1] not in (" ", "+", "-", "") or line.startswith(("--- ", "+++ ")):
            break
        body.append(line)
    return body


def _replaced(body: list[str], start: int) -> tuple[int, int]:
    """Return the first and last line of the pushed file that a hunk changes.

    If it only adds lines, this is the line above them.
    """
    removed: list[int] = []
    above = 0
    at = start
    for line in body:
        if line.startswith("+"):
            above = above or max(1, at - 1)
        else:
            removed += [at] if line.startswith("-") else []
            at += 1
    lines = removed or [above or start]
    return lines[0], lines[-1]


def _patch(run_dir: Path) -> str:
    """Return the search's patch, which the host wrote; "" if there is none."""
    try:
        return (run_dir / protocol.PATCH).read_bytes()[:PATCH_LIMIT].decode(errors="replace")
    except OSError:
        return ""


def fenced(patch: str) -> str:
    """Return a patch as a Markdown block.

    The fence is longer than any run of backticks in the patch.
    """
    longest = max((len(row) for row in re.findall("`+", patch)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}diff\n{patch[:TEXT_LIMIT].rstrip()}\n{fence}"


def of_build(
    run_dir: Path, *, against: builds.Branch | None, environ: Mapping[str, str]
) -> dict[str, Any]:
    """Return the check and the comment of a build; empty outside of a build."""
    if not environ.get(builds.FOLDER):
        return {}
    values: dict[str, Any] = {"check": check(run_dir, against=against)}
    return (
        {**values, "comment": comment(run_dir, against=against)}
        if environ.get("CHANGE_ID")
        else values
    )
