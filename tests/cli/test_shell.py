"""What helps at a shell: examples in every help, completion that a real bash takes, a summary for a
pull request.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mlops_lib import cli
from mlops_lib.cli import completion, grammar, verbs

ROOT = Path(__file__).parents[2]
BASH = shutil.which("bash")


@pytest.mark.parametrize("verb", verbs.VERBS)
def test_every_help_has_examples_that_parse(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([verb, "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert "\x1b[" not in shown
    assert f"  mlops {verb}" in shown or f"<(mlops {verb}" in shown
    for line in verbs.EXAMPLES[verb]:
        command = re.sub(r"^source <\((.*)\)$", r"\1", line).partition(" > ")[0].split()
        assert grammar.parse(command[1:])["verb"] == verb


def completed(tmp_path: Path, *words: str) -> set[str]:
    assert BASH is not None
    script = tmp_path / "mlops.bash"
    script.write_text(completion.script("bash"))
    ask = """
        source "$1"; shift
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
        function_name=$(complete -p mlops | sed 's/.* -F \\([^ ]*\\) .*/\\1/')
        "$function_name" mlops "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        printf "%s\\n" "${COMPREPLY[@]}"
    """
    done = subprocess.run(
        [BASH, "-c", ask, "-", script, *words],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    return set(done.stdout.split())


def test_bash_completes_verbs_options_and_files(tmp_path: Path) -> None:
    (tmp_path / "training").mkdir()
    assert completed(tmp_path, "mlops", "re") == {"register", "report", "registry", "replay"}
    assert completed(tmp_path, "mlops", "run", "--tar") == {"--target"}
    assert completed(tmp_path, "mlops", "run", "tr") == {"training"}
    assert completed(tmp_path, "mlops", "registry", "r") == {"rollback"}


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_every_shell_gets_every_verb(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(verb in script for verb in verbs.VERBS)
    assert cli.main(["completion", "tcsh"]) == 2


def test_a_summary_and_a_description_of_a_run_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path / "home"))
    (tmp_path / "train.py").write_text(
        "from sklearn.svm import SVC\nSVC().fit([[0], [1]], [0, 1])\n"
    )
    assert cli.main(["show", str(tmp_path), "--backend", "process"]) == 0
    assert "no run yet" in capsys.readouterr().out
    assert cli.main(["report", str(tmp_path), "--backend", "process", "--markdown"]) == 2
    assert cli.main(["compare", str(tmp_path), str(tmp_path), "--backend", "process"]) == 2
    assert cli.main(["runs", "--state", "odd"]) == 2
    assert cli.main(["registry", "champion"]) == 2
    assert cli.main(["registry", "gc", "nothing"]) == 2
    assert cli.main(["replay", "nothing"]) == 2


@pytest.mark.parametrize("name", ["träin é.py".encode(), b"tr\xe9in.py"])
@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_a_name_that_the_terminal_cannot_show_is_no_failure(
    name: bytes, locale: str, tmp_path: Path
) -> None:
    source = "from sklearn.svm import SVC\nSVC().fit([[0], [1]], [0, 1])\n"
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_text(source)
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "HOME": str(tmp_path),
        "LC_ALL": locale,
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
    }
    for more in ([], ["--json"]):
        done = subprocess.run(
            [sys.executable, "-m", "mlops_lib", "detect", str(tmp_path), *more],
            env=environment,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert b"sklearn" in done.stdout
