"""A PyTorch winner as a patch of the script."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mlops_lib import patching

SCRIPT = """\
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, kernel_size=3)
        self.fc = nn.Linear(144, 10)

model = nn.Sequential(
    nn.Linear(30, 8),  # narrow
    nn.Sigmoid(),
    nn.Linear(8, 2),
)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
# train
for epoch in range(1, 6):
    optimizer.step()
"""
PATCHED = """\
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(1, 16, kernel_size=3), nn.BatchNorm2d(16))
        self.fc = nn.Linear(576, 10)

model = nn.Sequential(
    nn.Linear(30, 8),  # narrow
    nn.ReLU(),
    nn.Dropout(0.1),
    nn.Linear(8, 2),
)
optimizer = torch.optim.Adam(model.parameters(), lr=0.001, weight_decay=0.0001)
# train
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 40)
for epoch in range(1, 41):
    optimizer.step()
    scheduler.step()
"""


def _site(text: str) -> dict[str, Any]:
    """Return the place of a call in the script."""
    lines = SCRIPT.splitlines()
    line = next(i for i, one in enumerate(lines) if text in one)
    start = lines[line].index(text)
    place = {"line": line + 1, "column": start, "end_line": line + 1}
    return {"file": "train.py", **place, "end_column": start + len(text)}


def _suggest(folder: Path, facts: dict[str, Any]) -> Path | None:
    project, run_dir = folder / "project", folder / "run"
    project.mkdir()
    (project / "train.py").write_text(SCRIPT)
    place = run_dir / "inside" / "search"
    place.mkdir(parents=True)
    content = {"schema": 1, "framework": "pytorch", **facts}
    (place / "winner.json").write_text(json.dumps(content))
    return patching.suggest(run_dir, project=project, entry="train.py")


def _layer(text: str, **change: Any) -> dict[str, Any]:
    return {"site": _site(text), "class": text.split("(")[0].split(".")[1], **change}


def test_layers_optimizer_and_loop_change_where_the_script_makes_them(tmp_path: Path) -> None:
    norm = [{"class": "BatchNorm2d", "args": [16]}]
    dropout = [{"class": "Dropout", "args": [0.1]}]
    facts = {
        "layers": [
            _layer("nn.Conv2d(1, 4, kernel_size=3)", values={"out_channels": 16}, after=norm),
            _layer("nn.Linear(144, 10)", values={"in_features": 576}),
            _layer("nn.Sigmoid()", to="ReLU"),
            _layer("nn.Linear(8, 2)", before=dropout),
        ],
        "optimizer": {
            "site": _site("torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)"),
            "class": "SGD",
            "to": "Adam",
            "values": {"lr": 0.001, "weight_decay": 0.0001},
        },
        "loop": {
            "site": {"file": "train.py", "line": SCRIPT.splitlines().index("# train") + 2},
            "epochs": 40,
            "cosine": "optimizer",
            "count": 40,
        },
    }
    patch = _suggest(tmp_path, facts)
    assert patch is not None
    assert patch.name == "suggested.patch"
    from mlops_lib.patching import pytorch
    from mlops_lib.patching.winner_record import Winner

    winner = Winner.read({"framework": "pytorch", **facts})
    assert pytorch.patched_files(winner, project=tmp_path / "project") == {"train.py": PATCHED}


def test_a_record_that_names_anything_else_writes_no_code(tmp_path: Path) -> None:
    other = _layer("nn.Linear(8, 2)", before=[{"class": "eval", "args": ["1"]}])
    path = _suggest(
        tmp_path, {"layers": [other], "words": ["a layer"], "after": ["1: X\nimport os"]}
    )
    assert path is not None
    assert path.name == "best_model.py"
    assert all(line.startswith("#") for line in path.read_text().splitlines())
