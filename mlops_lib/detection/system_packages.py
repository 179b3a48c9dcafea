"""Debian packages and distributions of the programs that a project starts."""

from __future__ import annotations

from mlops_lib.detection.words import words
from mlops_lib.errors import RefusedFileError
from mlops_lib.lazy_regex import lazy_regex
from mlops_lib.project import files as pushed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mlops_lib.detection.files import File

PACKAGES = {
    "wget": "wget",
    "curl": "curl",
    "unzip": "unzip",
    "zip": "zip",
    "git": "git",
    "ffmpeg": "ffmpeg",
    "ffprobe": "ffmpeg",
    "7z": "p7zip-full",
    "7za": "p7zip-full",
    "unar": "unar",
    "bzip2": "bzip2",
    "xz": "xz-utils",
    "dot": "graphviz",
    "tesseract": "tesseract-ocr",
    "sox": "sox",
    "convert": "imagemagick",
    "pdftotext": "poppler-utils",
    "jq": "jq",
    "xvfb-run": "xvfb",
    "Xvfb": "xvfb",
    "espeak": "espeak",
    "gcc": "gcc",
    "g++": "g++",
    "make": "make",
    "java": "default-jre-headless",
    "file": "file",
    "rsync": "rsync",
    "tree": "tree",
    "parallel": "parallel",
}
"""Programs and their Debian packages; those of a slim base image are left out."""
DISTRIBUTIONS = {
    "gdown": "gdown",
    "kaggle": "kaggle",
    "jupyter": "jupyter-core",
    "dvc": "dvc",
    "awscli": "awscli",
}
"""Program to the distribution that brings it."""
CALLED = words("""
    get_ipython().system os.system os.popen subprocess.getoutput subprocess.check_output
    subprocess.check_call subprocess.call subprocess.run subprocess.Popen
""")
_SEPARATORS = lazy_regex(r"&&|\|\||[;|\n]|\$\(|`")
_BEFORE = lazy_regex(r"^(?:sudo|time|nohup|then|do|else|!|[A-Z_]+=\S*)\s+")
_APT = lazy_regex(r"\bapt(?:-get)?\s+(?:-\S+\s+)*install\s+([^&;|\n]*)")
_PACKAGE = lazy_regex(r"[a-z0-9][a-z0-9+.-]+$")


def declared(folder: str) -> list[tuple[str, int]]:
    """Return the Debian packages in a project's apt.txt, one a line, with their lines."""
    try:
        lines = pushed.read_text("apt.txt", root=folder, limit=100_000).splitlines()
    except RefusedFileError:
        return []
    plain = [(line.partition("#")[0].strip(), number) for number, line in enumerate(lines, 1)]
    return [(line, number) for line, number in plain if _PACKAGE.match(line)]


def commands(file: File) -> list[tuple[str, int]]:
    """Return the shell commands of a file, with their lines."""
    called = ((call.first, call.line) for call in file.facts.calls if call.name in CALLED)
    return [*file.source.commands, *((command, line) for command, line in called if command)]


def of(files: list[File]) -> tuple[dict[str, tuple[str, int, str]], set[str]]:
    """Return what the shell commands of these files need.

    Returns:
        Debian package to where it is needed (file, line, what was seen), and distributions.
    """
    packages: dict[str, tuple[str, int, str]] = {}
    distributions: set[str] = set()
    for file in files:
        for command, line in commands(file):
            for program in _programs(command):
                if program in PACKAGES:
                    packages.setdefault(PACKAGES[program], (file.name, line, program))
                distributions.update({DISTRIBUTIONS[program]} if program in DISTRIBUTIONS else ())
            for match in _APT.finditer(command):
                for word in match[1].split():
                    if _PACKAGE.match(word):
                        packages.setdefault(word, (file.name, line, f"apt install {word}"))
    return packages, distributions


def _programs(command: str) -> list[str]:
    programs = []
    for part in _SEPARATORS.split(command[:20_000]):
        plain = part.strip().lstrip("({ ")
        while (shorter := _BEFORE.sub("", plain)) != plain:
            plain = shorter
        program = plain.split(maxsplit=1)[0] if plain else ""
        programs.append(program.rpartition("/")[2])
    return programs
