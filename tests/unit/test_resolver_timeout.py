"""An installer that goes through combinations of releases is ended, where there are versions to
loosen.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from mlops_lib.engine.resolver_timeout import SIGN, follow
from mlops_lib.environments import installer_log, loosen

ENDLESS = f"import sys\nprint('Collecting pandas')\nprint('INFO: {SIGN}.', flush=True)\nsys.stdin.read()\nprint('found')"


def installed(*, asked: bool, program: str = ENDLESS) -> tuple[int, str]:
    command = [sys.executable, "-c", program]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        stdin = process.stdin
        assert stdin is not None

        def saw(line: str) -> None:
            if SIGN in line and not asked:
                stdin.close()

        lines = follow(process, saw, asked=asked, patience_s=0.1)
    return process.returncode, "".join(lines)


def test_it_is_ended_and_reads_as_refused() -> None:
    code, log = installed(asked=True)
    assert code != 0
    assert installer_log.is_refusal(log)
    found = loosen.loosen(["pandas", "pytz==2018.7"], log, number=1, needed=["pandas"])
    assert found is not None
    assert found.lines == ("pandas", "pytz")


@pytest.mark.parametrize("program", [ENDLESS, "print('Collecting pandas')\nprint('found')"])
def test_without_versions_to_loosen_or_without_the_sign_it_goes_on(program: str) -> None:
    code, log = installed(asked=program != ENDLESS, program=program)
    assert code == 0
    assert log.endswith("found\n")
