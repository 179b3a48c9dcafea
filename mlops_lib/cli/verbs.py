"""Tables for the parser and its help: the verbs, their own options, and examples."""

from __future__ import annotations

from typing import Any

from mlops_lib.cli.command import Options

VERBS = {
    "run": (
        "the whole chain: detect, build, train, judge, search if needed, register, report, notify"
    ),
    "detect": "what the code is and what it needs, with evidence",
    "build": "make the environment (image or virtual environment)",
    "train": "run the script as it is written, resumable",
    "judge": "the verdict on the trained model",
    "search": "tweak a rejected model until it meets the bar",
    "cluster": "choose address and token of a Ray cluster, for a search with its head here",
    "work": "lend this machine to a search on another one, until it ends",
    "register": "make an accepted model a version in the registry",
    "report": "write the HTML report",
    "notify": "tell people how the run ended",
    "watch": "watch a run, or all of them, and resume those whose process died",
    "stop": "stop a run's containers; the run stays resumable",
    "images": "list the environments kept on this machine, or remove what no run needs",
    "runs": "list the runs",
    "show": "one run: what was asked and how it stands",
    "compare": "two runs side by side",
    "registry": (
        "registered models: list them, name the champion, roll it back, remove old versions"
    ),
    "replay": "make a registered model again from its lineage, and say whether it is identical",
    "config": "every setting, its value and where it comes from",
    "doctor": "what is missing on this machine and how to fix it",
    "init": "write a Jenkinsfile and an mlops.toml into a project",
    "completion": "print the completion script for a shell",
}
WITHOUT_PROJECT = {
    "cluster",
    "work",
    "images",
    "runs",
    "doctor",
    "compare",
    "registry",
    "replay",
    "completion",
}
OPTIONS = {*Options.__annotations__, "verb"}
"""Keys of MLOPS_PARAMS that are options of a verb, not settings."""
PIPELINE = ("label", "hours", "worker_label", "comment")
"""Keys of MLOPS_PARAMS that the Jenkins pipeline itself reads.

They are listed so that a misspelt one is refused.
"""

ACTIONS = ("list", "champion", "rollback", "gc", "alias")
EXAMPLES = {
    "run": (
        "mlops run model_repo/digits_cnn",
        "mlops run train.py --target 0.9 --trials 20 --minutes 10",
        "mlops run . --json",
    ),
    "detect": (
        "mlops detect model_repo/cancer_pipeline",
        "mlops detect notebook.ipynb --json",
        "mlops detect . --sarif > warnings.sarif",
    ),
    "build": ("mlops build .", "mlops build . --print", "mlops build . --with-code"),
    "train": ("mlops train .", "mlops train . --mount /data/cifar10.npz:cifar10.npz"),
    "judge": (
        "mlops judge . --target 0.95",
        "mlops judge ~/.mlops/runs/digits_cnn-7666f0507e9b --strict",
    ),
    "search": ("mlops search . --trials 30 --minutes 60",),
    "cluster": ("mlops cluster --json",),
    "work": ("mlops work --on 10.0.0.5:6379",),
    "register": ("mlops register .",),
    "report": (
        "mlops report . --open",
        "mlops report . --markdown > summary.md",
        "mlops report . --artifacts build/mlops",
    ),
    "notify": ("mlops notify .", "mlops notify --test"),
    "watch": ("mlops watch . --until-done",),
    "stop": ("mlops stop .",),
    "images": ("mlops images", "mlops images --prune"),
    "runs": ("mlops runs", "mlops runs --state rejected --name 'digits*'"),
    "show": ("mlops show .", "mlops show . --json"),
    "compare": (
        "mlops compare ~/.mlops/runs/digits_cnn-7666f0507e9b ~/.mlops/runs/digits_cnn-c7b1ffe4a6f1",
    ),
    "registry": (
        "mlops registry list",
        "mlops registry list digits_cnn",
        "mlops registry champion digits_cnn 3",
        "mlops registry rollback digits_cnn",
        "mlops registry alias digits_cnn 2 production",
        "mlops registry gc digits_cnn --keep 3",
    ),
    "replay": ("mlops replay digits_cnn", "mlops replay digits_cnn@3 --json"),
    "config": ("mlops config .",),
    "doctor": ("mlops doctor",),
    "init": ("mlops init .",),
    "completion": (
        "source <(mlops completion bash)",
        "mlops completion fish > ~/.config/fish/completions/mlops.fish",
    ),
}

_FLAG: dict[str, Any] = {"action": "store_true", "default": None}
_QUIET = (("--quiet", "-q"), {**_FLAG, "help": "no progress, only the result"})
OWN: dict[str, tuple[tuple[tuple[str, ...], dict[str, Any]], ...]] = {
    **dict.fromkeys(("run", "train", "judge", "search", "register"), (_QUIET,)),
    "watch": ((("--until-done",), {**_FLAG, "help": "end when the run has ended"}), _QUIET),
    "detect": (
        (
            ("--sarif",),
            {**_FLAG, "help": "print its warnings as SARIF, for code hosts and Jenkins"},
        ),
    ),
    "notify": ((("--test",), {**_FLAG, "help": "send one message to every channel"}),),
    "report": (
        (("--open",), {**_FLAG, "help": "show it in the browser"}),
        (("--markdown",), {**_FLAG, "help": "print a summary for a pull request instead"}),
        (("--artifacts",), {"metavar": "DIR", "help": "also gather what a build server keeps"}),
        (
            ("--tensorboard",),
            {"metavar": "DIR", "help": "also write the curves as TensorBoard logs"},
        ),
    ),
    "build": (
        (
            ("--print",),
            {**_FLAG, "dest": "print_dockerfile", "help": "print the Dockerfile, build nothing"},
        ),
        (
            ("--with-code",),
            {**_FLAG, "help": "an image that holds the project and trains by itself"},
        ),
        _QUIET,
    ),
    "images": ((("--prune",), {**_FLAG, "help": "remove what no run of this home needs"}),),
    "runs": (
        (
            ("--state",),
            {"metavar": "STATE", "help": "only these: accepted, rejected, failed, running …"},
        ),
    ),
    "compare": (
        (
            ("runs",),
            {"nargs": 2, "metavar": "PROJECT|RUN", "help": "two runs, or projects for their runs"},
        ),
    ),
    "registry": (
        (("action",), {"choices": ACTIONS, "help": "; ".join(ACTIONS)}),
        (
            ("model",),
            {
                "nargs": "?",
                "metavar": "NAME",
                "help": "the model's name; list without one shows all",
            },
        ),
        (("version",), {"nargs": "?", "metavar": "VERSION", "help": "a number or an alias"}),
        (
            ("alias",),
            {
                "nargs": "?",
                "metavar": "ALIAS",
                "help": "for alias: the word that shall name the version",
            },
        ),
        (
            ("--keep",),
            {
                "type": int,
                "metavar": "N",
                "help": "for gc: how many of the newest stay (default: 5)",
            },
        ),
    ),
    "replay": (
        (
            ("version",),
            {"metavar": "NAME[@VERSION]", "help": "the champion of NAME unless VERSION is given"},
        ),
    ),
    "completion": ((("shell",), {"metavar": "bash|zsh|fish", "help": "for which shell"}),),
}
