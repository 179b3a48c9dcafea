"""A whole Jenkins from code, as far as it can be checked without its images."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parent))

import declarative

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
PLUGINS = dict(
    line.split(":", 1) for line in (DEPLOY / "controller" / "plugins.txt").read_text().splitlines()
)
CASC = (DEPLOY / "controller" / "jenkins.yaml").read_text()
COMPOSE = (DEPLOY / "compose.yaml").read_text()
# Which plugin gives a part of the configuration its meaning; the core's parts need none.
OWNERS = {
    "credentials": "credentials-binding",
    "basicSSHUserPrivateKey": "ssh-slaves",
    "string": "plain-credentials",
    "ssh": "ssh-slaves",
    "globalLibraries": "workflow-aggregator",
    "gitHostKeyVerificationConfiguration": "git",
    "modernSCM": "workflow-aggregator",
    "git": "git",
    "jobs": "job-dsl",
}
CORE = {"jenkins", "security", "unclassified", "location"}


# What Configuration as Code and the plugins name, as far as this configuration uses it: a leaf is a
# text, a number or a flag; a list holds values of one shape.
SHAPE = {
    "jenkins": {
        "systemMessage": "",
        "numExecutors": 0,
        "securityRealm": {"local": {"allowsSignup": False, "users": [{"id": "", "password": ""}]}},
        "authorizationStrategy": {"loggedInUsersCanDoAnything": {"allowAnonymousRead": False}},
        "globalNodeProperties": [{"envVars": {"env": [{"key": "", "value": ""}]}}],
        "nodes": [
            {
                "permanent": {
                    "name": "",
                    "labelString": "",
                    "numExecutors": 0,
                    "remoteFS": "",
                    "retentionStrategy": "",
                    "launcher": {
                        "ssh": {
                            "host": "",
                            "port": 0,
                            "credentialsId": "",
                            "sshHostKeyVerificationStrategy": {
                                "manuallyTrustedKeyVerificationStrategy": {
                                    "requireInitialManualTrust": False
                                }
                            },
                        }
                    },
                }
            }
        ],
    },
    "credentials": {
        "system": {
            "domainCredentials": [
                {
                    "credentials": [
                        {
                            "basicSSHUserPrivateKey": {
                                "scope": "",
                                "id": "",
                                "username": "",
                                "privateKeySource": {"directEntry": {"privateKey": ""}},
                            },
                            "string": {"scope": "", "id": "", "secret": ""},
                        }
                    ]
                }
            ]
        }
    },
    "security": {"gitHostKeyVerificationConfiguration": {"sshHostKeyVerificationStrategy": ""}},
    "unclassified": {
        "location": {"url": ""},
        "globalLibraries": {
            "libraries": [
                {
                    "name": "",
                    "defaultVersion": "",
                    "allowVersionOverride": False,
                    "retriever": {"modernSCM": {"scm": {"git": {"remote": ""}}}},
                }
            ]
        },
    },
    "jobs": [{"script": ""}],
}
INSTRUCTIONS = {
    "ARG",
    "FROM",
    "COPY",
    "RUN",
    "ENV",
    "USER",
    "WORKDIR",
    "ENTRYPOINT",
    "CMD",
    "LABEL",
    "EXPOSE",
}


def misfits(value: Any, shape: Any, where: str = "") -> list[str]:
    """Places where a value has another shape."""
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            return [f"{where}: not a mapping"]
        unknown = [f"{where}.{key}: unknown" for key in value.keys() - shape.keys()]
        return unknown + [
            m
            for key in value.keys() & shape.keys()
            for m in misfits(value[key], shape[key], f"{where}.{key}")
        ]
    if isinstance(shape, list):
        if not isinstance(value, list):
            return [f"{where}: not a list"]
        return [
            m
            for number, one in enumerate(value)
            for m in misfits(one, shape[0], f"{where}[{number}]")
        ]
    return [] if type(value) is type(shape) else [f"{where}: not a {type(shape).__name__}"]


def keys(value: Any) -> set[str]:
    """All keys in a YAML value."""
    if isinstance(value, dict):
        return set(value) | {key for item in value.values() for key in keys(item)}
    return {key for item in value for key in keys(item)} if isinstance(value, list) else set()


def test_plugins_are_pinned_and_enough_for_the_pipeline() -> None:
    assert all(re.fullmatch(r"[\w.]*\d[\w.-]*", version) for version in PLUGINS.values()), PLUGINS
    needed = {
        "pipeline-groovy-lib",
        "pipeline-model-definition",
        "script-security",
        "workflow-durable-task-step",
        "workflow-multibranch",
        "branch-api",
        "cloudbees-folder",
        "checks-api",
        "htmlpublisher",
    }
    assert needed <= set(PLUGINS), (
        "their behaviour is relied on: how libraries are loaded, killed commands, scans …"
    )
    assert int(PLUGINS["pipeline-groovy-lib"].split(".")[0]) >= 798, (
        "libraries are searched for links (SECURITY-3727)"
    )
    needed = {
        "configuration-as-code",
        "workflow-aggregator",
        "git",
        "junit",
        "credentials-binding",
        "timestamper",
    }
    assert needed <= set(PLUGINS)


def test_the_configuration_has_the_shape_that_its_plugins_name() -> None:
    assert misfits(yaml.safe_load(CASC), SHAPE) == []
    assert misfits({"jenkins": {"numExecutors": "0", "nodes": {}, "mode": ""}}, SHAPE) != []


# What the job-dsl plugin of this version knows, read from its source (MultibranchWorkflowJob,
# GitBranchSourceContext, DefaultOrphanedItemStrategyContext) and from the trigger's own constructor
# (cloudbees-folder: PeriodicFolderTrigger).
JOB_DSL = "3654.vdf58f53e2d15"
WORDS = {
    "multibranchPipelineJob": {
        "branchSources": {
            "git": {
                word: {}
                for word in (
                    "id",
                    "remote",
                    "credentialsId",
                    "includes",
                    "excludes",
                    "ignoreOnPushNotifications",
                )
            }
        },
        "triggers": {"periodicFolderTrigger": {"interval": {}}},
        "orphanedItemStrategy": {"discardOldItems": {"numToKeep": {}, "daysToKeep": {}}},
    }
}
INTERVALS = {
    "1m",
    "2m",
    "3m",
    "5m",
    "10m",
    "15m",
    "20m",
    "25m",
    "30m",
    "1h",
    "2h",
    "4h",
    "8h",
    "12h",
    "1d",
    "2d",
    "7d",
    "14d",
    "28d",
}


def foreign(words: list[declarative.Block], known: dict[str, Any], where: str = "") -> list[str]:
    """Words of a script that job-dsl does not know at their place."""
    found = []
    for word in words:
        if word.name not in known:
            found.append(f"{where}{word.name}")
        else:
            found += foreign(word.children or [], known[word.name], f"{where}{word.name}.")
    return found


def test_the_jobs_script_is_what_the_pinned_job_dsl_knows() -> None:
    assert PLUGINS["job-dsl"] == JOB_DSL, (
        "read the new version's source, and bring the table up to date"
    )
    [job] = yaml.safe_load(CASC)["jobs"]
    script = declarative.parse(f"pipeline {{\n{job['script']}\n}}").children or []
    assert foreign(script, WORDS) == []
    assert [word.name for word in script] == ["multibranchPipelineJob"]
    for part in WORDS["multibranchPipelineJob"]:
        assert f"{part} {{" in job["script"]
    [interval] = re.findall(r"interval\('(\w+)'\)", job["script"])
    assert interval in INTERVALS
    assert foreign(
        declarative.parse("pipeline {\nmultibranchPipelineJob('x') {\nbranches {\n}\n}\n}").children
        or [],
        WORDS,
    ) == ["multibranchPipelineJob.branches"]


def test_every_part_of_the_configuration_has_its_plugin() -> None:
    configuration = yaml.safe_load(CASC)
    assert set(configuration) | set(configuration["unclassified"]) <= CORE | set(OWNERS)
    for key in keys(configuration) & set(OWNERS):
        assert OWNERS[key] in PLUGINS, key


def test_every_variable_of_the_configuration_is_given() -> None:
    compose = yaml.safe_load(COMPOSE)
    controller = compose["services"]["controller"]
    given = set(controller["environment"]) | set(controller["secrets"])
    for name, default in re.findall(r"\$\{(\w+)(:-[^}]*)?\}", CASC):
        assert name in given or default, name
    for secret in controller["secrets"]:
        assert compose["secrets"][secret]["file"] == f"secrets/{secret}"


def test_credentials_that_are_used_exist() -> None:
    configuration = yaml.safe_load(CASC)
    entries = configuration["credentials"]["system"]["domainCredentials"][0]["credentials"]
    known = {one["id"] for entry in entries for one in entry.values()}
    node = configuration["jenkins"]["nodes"][0]["permanent"]
    variables = {
        one["key"]: one["value"]
        for one in configuration["jenkins"]["globalNodeProperties"][0]["envVars"]["env"]
    }
    assert {
        node["launcher"]["ssh"]["credentialsId"],
        *re.findall(r"=([\w-]+)", variables["MLOPS_CREDENTIALS"]),
    } == known


def test_what_the_operator_sets_are_settings() -> None:
    from mlops_lib import config

    variables = set(re.findall(r'key: "(MLOPS_\w+)"', CASC))
    known = {setting.variable for setting in config.SETTINGS} | {
        "MLOPS_PACKAGE",
        "MLOPS_CREDENTIALS",
    }
    assert variables <= known


def test_data_has_the_same_path_inside_and_outside() -> None:
    """The agent names the folders of a training to the engine, which knows the host's paths only."""
    mounts = yaml.safe_load(COMPOSE)["services"]["agent"]["volumes"]
    assert "${MLOPS_DATA:-/srv/mlops}:${MLOPS_DATA:-/srv/mlops}" in mounts


@pytest.mark.parametrize("part", ["controller", "agent"])
def test_dockerfiles_build_from_a_pinned_base_and_files_that_exist(part: str) -> None:
    text = (DEPLOY / part / "Dockerfile").read_text()
    base = re.search(r"^ARG (\w+)=(\S+):(\S+)$", text, flags=re.MULTILINE)
    assert base is not None
    assert re.search(r"\d+\.\d+", base[3]), "the base image's version"
    assert f"FROM ${{{base[1]}}}" in text
    for line in re.findall(r"^COPY (.*)$", text, flags=re.MULTILINE):
        source = next(word for word in line.split() if not word.startswith("--"))
        assert (DEPLOY / part / source).is_file(), source
    logical = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE)).split("\n")
    assert {line.split()[0] for line in logical if line.strip()} <= INSTRUCTIONS
    if "apt-get install" in text:
        assert "rm -rf /var/lib/apt/lists/*" in text


@pytest.mark.parametrize(
    "script",
    [
        "deploy/up.sh",
        "deploy/agent/mlops-agent",
        "deploy/agent/mlops-watch",
        "resources/mlops/agent.sh",
    ],
)
def test_shell_scripts_are_posix(script: str) -> None:
    text = (ROOT / script).read_text()
    subprocess.run(["sh", "-n", str(ROOT / script)], check=True, timeout=10)
    for bashism in ("[[", "function ", "$'", "<<<", "pipefail", "local "):
        assert bashism not in text, bashism
