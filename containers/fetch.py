"""Resolve requirements and download their wheels; nothing that is downloaded is installed or run.

    python -I fetch.py FOLDER PIP-ARGUMENT…

pip can read the password of the package index here. So this process starts no other one: a source distribution, which runs
code of its own when it is built, cannot be, whether the index offers it or a package's metadata names its address. For the
same reason the wheels are installed in another step: a wheel may replace modules of Python and of pip, which loads some late.

`--torch-index URL` is the index of PyTorch's own builds: what else of PyTorch is needed than is installed comes from there, alone and
without any setting of the usual index.

FOLDER receives the wheels, and `replaced.txt` with the installed distributions that they replace. Only the standard library
and the pip of the environment; Python 3.8 and later.
"""

import hashlib
import importlib.metadata
import json
import os
import re
import sys
import tempfile
from urllib.parse import unquote, urlsplit

COMMON = ["--disable-pip-version-check", "--progress-bar=off", "--only-binary", ":all:"]
TORCH = ("torch", "torchvision", "torchaudio")
TORCH_CONFIG = "/run/secrets/torch"
HELD = "/mlops/torch-held.txt"
OLDEST_PIP = (22, 2)
"""The first that reports what it would install."""
PROCESSES = {
    "subprocess.Popen", "os.exec", "os.posix_spawn", "os.spawn", "os.system", "os.fork", "os.forkpty", "pty.spawn",
    "os.startfile",
}


def refuse_processes(event, arguments):
    """Audit hook: let no other program start."""
    if event in PROCESSES:
        raise PermissionError(
            "a package wants to be built from source while the settings of the package index can be read (%s)" % event
        )


def normal(name):
    """Return a distribution's name as the index knows it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pin(entry):
    """Return the requirement line of one entry of pip's report, with the hash of its file."""
    download, metadata = entry["download_info"], entry["metadata"]
    hashes = download.get("archive_info", {}).get("hashes", {})
    digest = hashes.get("sha256", "")
    place = urlsplit(download["url"])
    if not digest and place.scheme == "file":
        with open(unquote(place.path), "rb") as wheel:
            digest = hashlib.sha256(wheel.read()).hexdigest()
    return "%s==%s" % (metadata["name"], metadata["version"]), digest


def from_torch_index(pip, folder, index, lines):
    """Download builds of PyTorch from their own index; return pip's exit status."""
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"):
        os.environ.pop(name, None)
    os.environ["PIP_CONFIG_FILE"] = TORCH_CONFIG if os.path.isfile(TORCH_CONFIG) else os.devnull
    return pip(["download", *COMMON, "--no-deps", "--dest", folder, "--index-url", index, *lines])


def main(folder, asked):
    """Run both steps; return pip's exit status."""
    sys.addaudithook(refuse_processes)
    index = ""
    if "--torch-index" in asked:
        place = asked.index("--torch-index")
        index, asked = asked[place + 1], [*asked[:place], *asked[place + 2 :]]
    if os.path.isfile(HELD):
        asked = [*asked, "-c", HELD]
    import pip as package

    if tuple(int(part) for part in package.__version__.split(".")[:2]) < OLDEST_PIP:
        print("mlops: pip %s is too old: the base image needs 22.2 or later" % package.__version__, file=sys.stderr)
        return 2
    from pip._internal.cli.main import main as pip

    os.makedirs(folder, exist_ok=True)
    links = [word for place, word in enumerate(asked) if "--find-links" in (word, asked[place - 1] if place else "")]
    with tempfile.TemporaryDirectory() as scratch:
        report, pins = os.path.join(scratch, "report.json"), os.path.join(scratch, "pins.txt")
        dry = ["install", *COMMON, "--root-user-action=ignore", "--dry-run", "--report", report]
        status = pip([*dry, *asked])
        if status:
            return status
        found = []
        if os.path.exists(report):  # there is none if nothing was asked for
            with open(report, encoding="utf-8") as stream:
                found = [pin(entry) for entry in json.load(stream)["install"]]
        torch = [line.partition("+")[0] for line, _ in found if index and normal(line.split("==")[0]) in TORCH]
        found = [(line, digest) for line, digest in found if not index or normal(line.split("==")[0]) not in TORCH]
        checked = all(digest for _, digest in found)
        with open(pins, "w", encoding="utf-8") as stream:
            for line, digest in found:
                stream.write(line + (" --hash=sha256:" + digest if checked else "") + "\n")
        installed = {normal(one.metadata["Name"] or "") for one in importlib.metadata.distributions()}
        with open(os.path.join(folder, "replaced.txt"), "w", encoding="utf-8") as stream:
            stream.writelines(
                line.split("==")[0] + "\n"
                for line in [*(line for line, _ in found), *torch]
                if normal(line.split("==")[0]) in installed
            )
        status = pip(["download", *COMMON, "--no-deps", "--dest", folder, *links, "-r", pins]) if found else 0
        return from_torch_index(pip, folder, index, torch) if torch and not status else status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
