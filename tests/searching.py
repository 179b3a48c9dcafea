"""A small search by several workers, in plain processes, for the tests that kill some of them."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import uuid
from pathlib import Path
from typing import Any

from mlops_lib import event_log, run_directory
from mlops_lib.engine import LABEL_RUN, LABEL_RUN_DIR
from mlops_lib.engine.process import ProcessEngine
from mlops_lib.environments import images
from mlops_lib.records import Environment, RunSpec, SearchResult, Verdict
from mlops_lib.training import supervision
from mlops_lib.tuning import second_pass
from mlops_lib.tuning.options import Budget, Execution, Workers

SCRIPT = """
import time
import keras, numpy as np

class Slow(keras.utils.PyDataset):
    def __init__(self, x, y):
        super().__init__()
        self.x, self.y = x, y

    def __len__(self):
        return 5

    def __getitem__(self, index):
        time.sleep(0.06)
        return self.x[index::5], self.y[index::5]

rng = np.random.default_rng(0)
x = rng.normal(size=(300, 6)).astype("float32")
y = (x[:, 0] * x[:, 1] + rng.normal(size=300) > 0).astype("int32")
layers = keras.layers
model = keras.Sequential([keras.Input((6,)), layers.Dense(2, activation="relu"), layers.Dense(2, activation="softmax")])
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(Slow(x[:100], y[:100]), validation_data=(x[100:200], y[100:200]), epochs=2, verbose=0)
print("evaluated", model.evaluate(x[200:], y[200:], verbose=0))
"""
TRIALS = 5


class Search:
    """A search by two workers, in plain processes."""

    def __init__(self, folder: Path, *, script: str = SCRIPT) -> None:
        self._place(folder)
        project = folder / "project"
        project.mkdir()
        (project / "train.py").write_text(script)
        self.engine = ProcessEngine(home=str(self.home))
        image = images.plan(Environment(name="python", framework="none", family="none"))
        self.engine.build(image, on_line=lambda line: None)
        place = next(self.home.glob("environments/python-*/lib/python*/site-packages"))
        (place / "tests.pth").write_text(
            "\n".join(path for path in sys.path if path.endswith("-packages"))
        )  # the frameworks of this process
        self.spec = RunSpec(
            digest=uuid.uuid4().hex,
            name="test",
            project=str(project),
            entry="train.py",
            backend="process",
            image=image,
        )
        run_directory.write_spec(self.run_dir, self.spec)

    def _place(self, folder: Path) -> None:
        self.home, self.run_dir = folder / "home", folder / "run"
        self.told: list[dict[str, Any]] = []
        self.result: SearchResult | BaseException | None = None

    @classmethod
    def again(cls, folder: Path) -> Search:
        """The search that another process has made there."""
        search = cls.__new__(cls)
        search._place(folder)
        search.engine = ProcessEngine(home=str(search.home))
        spec = run_directory.RunDirectory(search.run_dir).spec
        assert spec is not None
        search.spec = spec
        return search

    def begin(self, **workers: Any) -> threading.Thread:
        supervision.train(self.spec, engine=self.engine, run_dir=self.run_dir, home=self.home)
        thread = threading.Thread(
            target=self._search, kwargs={"count": 2, "trials": TRIALS, **workers}
        )
        thread.start()
        return thread

    def _search(self, *, trials: int, **workers: Any) -> None:
        verdict = Verdict(
            verdict="rejected",
            metric="accuracy",
            value=0.5,
            target=1.1,
            judged_fit=1,
            source="keras.evaluate",
            examples=100,
        )
        try:
            self.result = second_pass.search(
                self.spec,
                verdict,
                execution=Execution(
                    engine=self.engine,
                    run_dir=self.run_dir,
                    home=self.home,
                    observer=self.told.append,
                ),
                budget=Budget(trials=trials, minutes=10),
                limits={"epochs": 3},
                workers=Workers(**workers),
            )
        except BaseException as error:  # noqa: BLE001 - told by the test
            self.result = error

    def running(self) -> list[tuple[int, str]]:
        """Number and worker of the trials that have begun and not ended."""
        trials = [one["trial"] for one in event_log.events(self.run_dir) if one["event"] == "trial"]
        ended = {one["number"] for one in trials if one["state"] != "running"}
        return [(one["number"], one["worker"]) for one in trials if one["number"] not in ended]

    def kill(self, place: Path) -> None:
        """SIGKILL to the script's process of this run directory."""
        labels = {LABEL_RUN: self.spec.digest, LABEL_RUN_DIR: str(place)}
        container = next(one for one in self.engine.find(labels) if one.state == "running")
        child = json.loads((self.home / "containers" / container.id / "child.json").read_text())
        os.kill(child["pid"], signal.SIGKILL)

    def ended(self) -> list[int]:
        trials = [one["trial"] for one in event_log.events(self.run_dir) if one["event"] == "trial"]
        return sorted(one["number"] for one in trials if one["state"] != "running")
