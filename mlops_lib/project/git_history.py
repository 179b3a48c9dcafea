"""Commit, author and history of a project that lies in a git checkout."""

from __future__ import annotations

from pathlib import Path

from mlops_lib.project import repository


def commit(project: Path) -> str | None:
    """The checked-out commit, None outside a checkout."""
    checkout = repository.find(project)
    return None if checkout is None else checkout.head


def repository_name(project: Path) -> str | None:
    """Return the name of the repository that the project is a checkout of.

    None for a folder within a checkout, or without a remote.
    """
    checkout = repository.find(project)
    if checkout is None or checkout.top != project.resolve():
        return None
    return (
        checkout.origin.rstrip("/").replace(":", "/").rpartition("/")[2].removesuffix(".git")
        or None
    )


def author(project: Path) -> str:
    """Return the checked-out commit's author as `Name <address>`; "" if there is none."""
    checkout = repository.find(project)
    return "" if checkout is None else checkout.author


def commits_since(project: Path, before: str | None, *, limit: int = 5) -> list[str]:
    """Return the project's commits after `before`, newest first, each in a line.

    A line is `id author: subject`. Empty if the history is not known.
    """
    checkout = repository.find(project)
    if before is None or checkout is None:
        return []
    lines = checkout.commits_since(before, project, limit=limit + 1)
    return [*lines[:limit], "…"] if len(lines) > limit else lines
