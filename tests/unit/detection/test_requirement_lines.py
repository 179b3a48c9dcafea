"""`detection.requirement_lines`: single requirements of strangers."""

from __future__ import annotations

import pytest

from mlops_lib.detection import requirement_lines as lines


@pytest.mark.parametrize(
    "line",
    [
        "torch",
        "torch==2.1.0",
        "ray[tune, rllib]>=2,<3",
        "numpy (>=1.2)",
        "pywin32; sys_platform == 'win32'",
        "a; python_version<'3.8' and (os_name == \"nt\" or extra == 'x')",
    ],
)
def test_a_requirement_is_one(line: str) -> None:
    assert lines.is_requirement(line)


@pytest.mark.parametrize(
    "line",
    [
        "torch --index-url http://evil.example",
        "torch -e .",
        "-r other.txt",
        "--pre",
        "torch; sys_platform == '--index-url http://evil.example'",
        "torch\n--pre",
        "torch @ https://evil.example/torch.whl",
        "$(id)",
        "a" * 500,
    ],
)
def test_options_and_places_are_not(line: str) -> None:
    assert not lines.is_requirement(line)


def test_names_are_those_of_the_index_and_each_counts_once() -> None:
    given = [
        "sklearn>=1",
        "opencv",
        "PyYAML",
        "pyyaml==6",
        "python=3.9",
        "mine",
        "torch==2.3.1+cu121",
        "?",
    ]
    assert lines.cleaned(given, without="mine") == [
        "scikit-learn>=1",
        "opencv-python",
        "PyYAML",
        "pyyaml==6",
        "torch==2.3.1",
    ]
    assert lines.other_builds(given) == [
        "torch 2.3.1+cu121 is a build of another index: 2.3.1 is taken"
    ]


@pytest.mark.parametrize(
    ("text", "kind", "line"),
    [
        ("peft @ git+https://git.example/peft@v0.10.0", "git repository", "peft==0.10.0"),
        ("git+https://git.example/huggingface/transformers.git", "git repository", "transformers"),
        ("git+ssh://git@git.example/us/ours.git", "git repository", ""),
        (
            "torch @ https://h.example/torch-2.1.0%2Bcpu-cp311-cp311-linux_x86_64.whl",
            "URL",
            "torch==2.1.0",
        ),
        ("https://h.example/ours-1.0.tar.gz", "URL", ""),
        ("./libs/common", "folder", ""),
        ("-e .", None, None),
        ("numpy>=1", None, None),
        ("attrs @ file:///croot/attrs_1/work", None, None),
    ],
)
def test_a_place_is_never_followed_and_an_unknown_name_never_asked_for(
    text: str, kind: str | None, line: str | None
) -> None:
    found = lines.reference(text)
    assert (found and found.kind, found and found.line) == (kind, line)


def test_markers_choose_for_a_python_on_linux() -> None:
    given = [
        "tomli>=2; python_version < '3.11'",
        "pywin32; sys_platform == 'win32'",
        "numpy==1.24; python_version < '3.12'",
        "numpy==1.26; python_version >= '3.12'",
        "mkl; platform_machine == 'x86_64'",
        "pandas>=1",
        "pandas<3",
    ]
    assert lines.for_python(given, "3.12") == [
        "numpy==1.26",
        "mkl; platform_machine == 'x86_64'",
        "pandas>=1,<3",
    ]
    assert lines.for_python(given, "3.10")[0] == "tomli>=2"


def test_a_pin_wins_over_a_range_and_extras_are_united() -> None:
    assert lines.for_python(["ray[tune]>=2", "ray[air]==2.9"], "3.11") == ["ray[tune,air]==2.9"]


@pytest.mark.parametrize("marker", ["python_version <", "unknown == 'x'", "(" * 500])
def test_a_marker_that_cannot_be_read_holds(marker: str) -> None:
    assert lines.holds(marker, "3.11")


def test_versions_are_compared_as_the_installer_does() -> None:
    assert lines.allows("torch>=2.0", "2.1")
    assert not lines.allows("torch<2.0", "2.1")
    assert lines.allows("torch>=nonsense", "2.1")
