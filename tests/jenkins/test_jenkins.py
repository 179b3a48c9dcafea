"""The pipeline and its shared library, executed by JenkinsPipelineUnit; and what can be said of
them by reading.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from mlops_lib.cli import verbs as known

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
VARS = sorted((ROOT / "vars").glob("*.groovy"))
# What a bare Jenkins with workflow-aggregator, git, junit, credentials-binding and timestamper
# knows.
STEPS = {
    "archiveArtifacts",
    "catchError",
    "checkout",
    "deleteDir",
    "dir",
    "echo",
    "error",
    "junit",
    "libraryResource",
    "node",
    "parallel",
    "pwd",
    "readFile",
    "sh",
    "sleep",
    "string",
    "unstable",
    "withCredentials",
    "withEnv",
    "writeFile",
}
OPTIONAL = {"publishHTML", "recordIssues", "sarif", "publishChecks", "addGitLabMRComment"}
"""Steps of plugins that may be there; who calls them answers for their absence."""


@pytest.mark.jenkins
@pytest.mark.timeout(1500)  # installs the command and trains, for real
def test_builds_go_as_designed() -> None:
    bin_folder = Path(sys.executable).parent
    environ = {
        **os.environ,
        "MLOPS_AGENT_PYTHON": sys.executable,
        "PATH": f"{bin_folder}:{os.environ['PATH']}",
    }
    done = subprocess.run(
        ["mvn", "-q", "-B", "-f", str(HERE / "pom.xml"), "test"],
        capture_output=True,
        text=True,
        env=environ,
        timeout=1400,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]


@pytest.mark.parametrize("path", VARS, ids=lambda path: path.stem)
def test_every_step_has_its_help(path: Path) -> None:
    text = path.with_suffix(".txt").read_text()
    assert f"{path.stem}(" in text


def test_the_help_names_every_verb() -> None:
    text = (ROOT / "vars" / "mlops.txt").read_text()
    verbs = text.split("<dt><code>verb</code></dt>")[1].split("</dd>")[0]
    assert set(re.findall(r"<code>([a-z]+)</code>", verbs)) == set(known.VERBS)


@pytest.mark.parametrize("path", [ROOT / "Jenkinsfile", *VARS], ids=lambda path: path.stem)
def test_the_pipeline_asks_for_verbs_that_there_are(path: Path) -> None:
    asked = set(re.findall(r"\bmlops(?:\.ask)?\('([a-z]+)'", path.read_text()))
    assert asked <= set(known.VERBS)


ALIKE = {
    "settings": "params",
    "job.hours + 2": "14",
    "job.hours": "12",
    "label(job.label)": "label ''",
}
"""What the one line says in other words than the Jenkinsfile."""


def statements(path: Path) -> list[str]:
    """Each statement of a pipeline with the sections and stages around it, in the Jenkinsfile's
    words.
    """
    text = path.read_text()
    for own, reference in ALIKE.items():
        text = text.replace(own, reference)
    found: list[str] = []
    place: list[str] = []
    for line in text[text.index("pipeline {") :].splitlines():
        code = line.split(" // ")[0].strip()
        if code.endswith("{"):
            place.append(code.removesuffix("{").strip())
        elif code == "}":
            place = place[:-1]
        elif code:
            found.append(" > ".join([*place, code]))
    return found


def test_the_jenkinsfile_and_the_one_line_are_the_same_pipeline() -> None:
    """Statement by statement: agent, parameters, options, every stage with its steps, post."""
    reference, one_line = (
        statements(ROOT / "Jenkinsfile"),
        statements(ROOT / "vars" / "mlopsPipeline.groovy"),
    )
    own = [
        line
        for line in reference
        if any(word in line for word in ("MLOPS_PACKAGE", "'project'", "Folder, script"))
    ]
    assert len(own) == 3, (
        "this repository's own: where it is installed from, and which sample it trains"
    )
    assert one_line == [line for line in reference if line not in own]


@pytest.mark.parametrize("path", [ROOT / "Jenkinsfile", *VARS], ids=lambda path: path.stem)
def test_nothing_that_the_sandbox_or_the_serializer_refuses(path: Path) -> None:
    """Known from real controllers; JenkinsPipelineUnit runs plain Groovy and would not notice."""
    text = path.read_text()
    for refused in (
        "new File",
        "System.getenv",
        "JsonSlurperClassic",
        ".toURL",
        "Math.round",
        "toBigDecimal",
    ):
        assert refused not in text
    assert not re.search(r"\.(toS|s)ort\s*[({]", text), "sorting with a closure is wrong under CPS"
    assert not re.search(r'\bsh\b[^\n]*"[^"\n]*\$', text.replace('label: "mlops ${verb}"', "")), (
        "sh gets no GString"
    )


def test_steps_are_short() -> None:
    lengths = [
        len(re.findall(r"^ *[^/*\s]", path.read_text(), flags=re.MULTILINE)) for path in VARS
    ]
    assert statistics.median(lengths) < 20, lengths


def test_the_one_line_documents_each_of_its_own_settings() -> None:
    text = (ROOT / "vars" / "mlopsPipeline.txt").read_text()
    assert {*re.findall(r"<dt><code>(\w+)</code></dt>", text)} == set(known.PIPELINE)
    code = (ROOT / "vars" / "mlopsPipeline.groovy").read_text()
    assert set(re.findall(r"\bjob\.(\w+)", code)) <= set(known.PIPELINE)


@pytest.mark.parametrize("path", VARS, ids=lambda path: path.stem)
def test_steps_use_only_what_a_bare_jenkins_has(path: Path) -> None:
    if path.stem == "mlopsPipeline":
        return
    text = re.sub(r"/\*.*?\*/|//[^\n]*", "", path.read_text(), flags=re.DOTALL)
    own = {
        "call",
        *(other.stem for other in VARS),
        *re.findall(r"^\w+ (\w+)\(", text, flags=re.MULTILINE),
    }
    called = set(re.findall(r"(?<![.\w])([a-z]\w*)\(", text)) - own - {"if", "for", "catch", "body"}
    optional = OPTIONAL if "NoSuchMethodError" in text else set()
    assert called <= STEPS | optional
