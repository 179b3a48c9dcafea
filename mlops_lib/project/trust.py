"""Trust levels of pushed code, and the download cache that each may use.

A pull request is a stranger: what its training wrote must not be loaded by another project, nor by
a branch of the same one. Both the level and the project's identity come from the operator (an
argument, the build server's variables, the folder's path), never from a file that was pushed.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path

BRANCH = "branch"
"""Level of code in a branch of the repository itself, which needs write access."""
CHANGES = (
    "CHANGE_ID",
    "CI_MERGE_REQUEST_IID",
    "BITBUCKET_PR_ID",
    "SYSTEM_PULLREQUEST_PULLREQUESTID",
    "ghprbPullId",
    "gitlabMergeRequestIid",
    "CHANGE_URL",
    "CHANGE_TARGET",
)
"""Variables in which build servers give the number of the pull request that they build."""
_PULL = re.compile(r"refs/pull/(\d+)/")
_LEVEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_CACHE = re.compile(r"[0-9a-f]{16}-[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def level_of(environ: Mapping[str, str] = os.environ) -> tuple[str, str]:
    """Return the trust level by the build server's variables, and the decisive variable.

    Example:
        >>> level_of({"CHANGE_ID": "12"})
        ('change-12', 'CHANGE_ID')
        >>> level_of({})
        ('branch', '')
    """
    for name in CHANGES:
        if environ.get(name):
            return f"change-{_safe(environ[name])}", name
    pull = _PULL.match(environ.get("GITHUB_REF", ""))
    if pull:
        return f"change-{pull[1]}", "GITHUB_REF"
    if environ.get("GITHUB_EVENT_NAME", "").startswith(
        "pull_request"
    ):  # its code is often checked out all the same
        return f"change-{_safe(environ.get('GITHUB_HEAD_REF') or 'unknown')}", "GITHUB_EVENT_NAME"
    return BRANCH, ""


def _safe(text: str) -> str:
    """Return the text itself if it is a plain number or word, else a digest of it."""
    return (
        text
        if _LEVEL.fullmatch(text) and len(text) < 40
        else hashlib.sha256(text.encode()).hexdigest()[:16]
    )


def is_level(text: str) -> bool:
    """Return whether a text can name a trust level."""
    return _LEVEL.fullmatch(text) is not None


def is_strangers(cache: str) -> bool:
    """Return whether a cache's name is one of a pull request."""
    return cache.partition("-")[2] not in ("", BRANCH)


def cache_name(project: Path, level: str, environ: Mapping[str, str] = os.environ) -> str:
    """Return the name of the download cache for a project at a trust level.

    On a build server the job is the project, whichever workspace it is checked out to; a job of a
    multibranch project shares it with the project's other branches. Elsewhere the project's folder
    is the project.

    Args:
        project: the project's folder.
        level: "branch", or the name of a change.
        environ: the environment.
    """
    job = environ.get("JOB_NAME", "")
    if job and environ.get("BRANCH_NAME"):
        job = job.rpartition("/")[0] or job
    identity = (
        ["job", environ.get("JENKINS_URL", ""), job]
        if job
        else ["folder", os.fsdecode(project.resolve())]
    )
    digest = hashlib.sha256("\0".join(identity).encode(errors="surrogateescape")).hexdigest()
    return f"{digest[:16]}-{level}"


def is_cache_name(text: str) -> bool:
    """Return whether a text can name a download cache: one folder, below the caches."""
    return _CACHE.fullmatch(text) is not None
