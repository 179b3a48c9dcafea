"""The pipelines have the structure that Jenkins' declarative linter asks for."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import declarative

ROOT = Path(__file__).parents[2]
GOOD = """
pipeline {
    agent any
    stages {
        stage('One') {
            steps {
                mlops('train', params)
            }
        }
    }
}
"""


@pytest.mark.parametrize("path", ["Jenkinsfile", "vars/mlopsPipeline.groovy"])
def test_the_pipeline_is_well_formed(path: str) -> None:
    assert declarative.problems((ROOT / path).read_text()) == []


@pytest.mark.parametrize(
    ("good", "bad", "problem"),
    [
        ("agent any", "agent any\n    options {\n    }", "options is empty"),
        ("agent any", "", "lacks agent"),
        ("agent any", "agent any\n    stage {\n    }", "no section of pipeline"),
        ("agent any", "agent any\n    triggers {\n    }", "triggers is empty"),
        (
            "agent any",
            "agent any\n    triggers {\n        githubPush()\n    }",
            "githubPush is no section",
        ),
        (
            "agent any",
            "agent any\n    options {\n        ansiColor('xterm')\n    }",
            "ansiColor is no section",
        ),
        ("steps {", "when { branch 'main' } steps {", "shares its line"),
        (
            "steps {",
            "when {\n branch 'main'\n }\n        steps {\n sh 'x'\n }\n steps {",
            "steps twice",
        ),
        (
            "steps {",
            "parallel {\n stage('A') {\n steps {\n echo 'x'\n }\n }\n }\n steps {",
            "exactly one of",
        ),
        ("steps {", "options {\n disableConcurrentBuilds()\n }\n steps {", "no section of options"),
        ("mlops('train', params)", "mlopsWatch.end()", "no step"),
        ("mlops('train', params)", "verdict = mlops('judge', params)", "no step"),
        ("mlops('train', params)", "if (params.x) {\n echo 'x'\n }", "no step"),
        (
            "stages {",
            "post {\n success { echo 'x' } cleanup { echo 'y' }\n }\n stages {",
            "shares its line",
        ),
        ("stages {", "post {\n finally {\n echo 'x'\n }\n }\n stages {", "no section of post"),
    ],
)
def test_what_jenkins_refuses_is_found(good: str, bad: str, problem: str) -> None:
    assert declarative.problems(GOOD) == []
    found = declarative.problems(GOOD.replace(good, bad, 1))
    assert any(problem in line for line in found), found
