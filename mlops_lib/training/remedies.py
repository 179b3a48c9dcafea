"""Remedies for failed trainings, by the failure's kind and message."""

from __future__ import annotations

import re

from mlops_lib.errors import TrainingError
from mlops_lib.records import RunResult

REMEDIES = {
    "import": (
        "Declare the package in requirements.txt, a program or a library of the system in apt.txt."
    ),
    "oom": "Raise --memory, or make batches smaller.",
    "disk": "Free disk space there and run it again: it continues from its checkpoint.",
    "nan": (
        "Lower the learning rate, scale the inputs, or look for missing values in the data; "
        "the run is kept."
    ),
    "network": (
        "Check that what it needs can be reached (the setting `network`), and run it again: "
        "it continues."
    ),
    "hang": (
        "Look at the end of the log for what it waits for. Run it again and it continues. The "
        "setting idle_minutes allows longer pauses."
    ),
    "crash": "The end of the log may tell more. Run it again and it continues from its checkpoint.",
}
"""By the kind of a failure (`records.Failure.kind`)."""


HINTS = (
    (
        r"No module named '\w+\.|cannot import name",
        "Write what it is called now, or name the version that has it in requirements.txt.",
    ),
    (
        r"Found no NVIDIA driver|No CUDA GPUs are available|Torch not compiled with CUDA",
        "The script asks for a GPU, and there is none: name the processor in its arguments "
        "(--args) or its code, or train where "
        "the engine offers one (the setting gpus).",
    ),
    (
        r"'float' object cannot be interpreted as an integer|slice indices must be integers"
        r"|only integers, slices \(`:`\), ellipsis \(`\.\.\.`\)|list indices must be integers or slices, not float",
        "Python 2 divided whole numbers into whole numbers: write // for the / that gives "
        "this number; the run is kept.",
    ),
    (
        r"inhomogeneous shape",
        "Rows of different lengths are no array since numpy 1.24: write np.array(…, dtype=object).",
    ),
    (
        r"only 0-dimensional arrays can be converted|setting an array element with a sequence\.",
        "An array that holds one number is no number since numpy 2.4: write x.item(), or "
        "require numpy<2.4.",
    ),
    (
        r"codec can't decode byte",
        'The file is in another encoding, as Windows writes it: open(…, encoding="latin-1"), '
        'read_csv(…, encoding="latin-1").',
    ),
    (
        r"Expected 2D array, got 1D array",
        "One column is x.reshape(-1, 1), or table[['name']]; one example x.reshape(1, -1).",
    ),
    (
        r"invalid index to scalar variable",
        "scipy.stats.mode and others keep no dimensions now: leave the last [0] out.",
    ),
    (
        r"asks for input\(\) and there is no terminal",
        'Give one answer for each question: --input "10 64", or input = ["10", "64"] in '
        "mlops.toml.",
    ),
    (r"SystemExit: arguments: ", 'Give them with --args "…", or args = […] in mlops.toml.'),
)
"""Pattern of a failure's message, and its remedy; the first match counts. Most are about old code
with present releases of libraries.
"""


_SYSTEM = tuple(
    f"/{name}/"
    for name in ["bin", "dev", "etc", "lib", "proc", "run", "sbin", "sys", "tmp", "usr", "var/tmp"]
)
"""Folders below which the runner redirects no path: a mount must have exactly that path."""
_QUOTED = re.compile(r"No such file or directory: '([^'\n]{1,300})'")


def mount_for(path: str) -> str:
    """Return a `--mount` argument that makes a file available at a script's path.

    A target must lie in the project. The runner takes a file there for one that the script names
    above the project, on another machine's disk or drive, if the ends of their paths agree.

    Example:
        >>> mount_for("./../train_data/a.csv")
        '--mount FILE:train_data/a.csv'
    """
    if path.startswith(_SYSTEM):
        return f"--mount FILE:{path}"
    plain = re.sub(r"^([A-Za-z]:)?[\\/.~]*[\\/]", "", path.replace("\\", "/"))
    parts = [part for part in plain.split("/") if part not in ("", ".", "..")]
    return f"--mount FILE:{'/'.join(parts) or path}"


def missing_file(message: str) -> str:
    """Return the remedy for a file that a script did not find.

    Args:
        message: the exception's message, which names the file.
    """
    path = _QUOTED.search(message)
    how = mount_for(path[1]) if path else "--mount FILE:PATH, PATH as the script names it"
    return f"Push the file with the project, or give it with {how}."


def training_error(result: RunResult) -> TrainingError:
    """Return the error for a training that did not finish."""
    failure = result.failure
    if failure is None:
        return TrainingError(
            "the training was stopped",
            where=result.run_dir,
            remedy="Run it again: it continues from its checkpoint.",
        )
    remedy = REMEDIES.get(failure.kind, "Fix the script; the run is kept.")
    remedy = next((hint for pattern, hint in HINTS if re.search(pattern, failure.message)), remedy)
    if "FileNotFoundError" in failure.message and failure.kind != "import":
        remedy = missing_file(failure.message)
    return TrainingError(
        failure.message, where=failure.where or result.run_dir, remedy=remedy, log=failure.log
    )
