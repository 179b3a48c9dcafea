"""Workers on a real Ray cluster: a head and two nodes, three raylets of this machine."""

from __future__ import annotations

from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster
from searching import Search, free_port
from waiting import until

from mlops_lib import run_directory
from mlops_lib.engine import LABEL_RUN
from mlops_lib.records import SearchResult

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::Warning")]


def test_a_killed_raylet_loses_no_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search = Search(tmp_path)
    monkeypatch.setenv("MLOPS_HOME", str(search.home))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    try:
        thread = search.begin(
            count=2,
            ray_address=cluster.address,
            listen=f"127.0.0.1:{free_port()}",
            shared=f"file://{tmp_path}/shared",
        )
        until(lambda: len(search.running()) == 2 or search.result)
        cluster.remove_node(nodes[0], allow_graceful=False)
        cluster.add_node(num_cpus=1)
        thread.join(timeout=240)
        found = search.result
        assert isinstance(found, SearchResult), found
        assert [one.number for one in found.trials] == [0, 1, 2, 3, 4, 5]
        assert search.ended() == [0, 1, 2, 3, 4, 5]
        assert len({one.worker for one in found.trials if one.number}) >= 2
        assert run_directory.workers(search.run_dir) == [], "none was on this machine"
    finally:
        ray.shutdown()
        cluster.shutdown()
        for container in search.engine.find({LABEL_RUN: search.spec.digest}):
            search.engine.kill(container.id)
            search.engine.remove(container.id)
