"""A search over several workers: real processes, a real gRPC service, real SIGKILLs."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from searching import TRIALS, Search
from waiting import until

from mlops_lib import event_log, run_directory
from mlops_lib.engine import LABEL_RUN, Launch
from mlops_lib.engine.docker import DockerEngine
from mlops_lib.environments import images
from mlops_lib.monitoring import status
from mlops_lib.records import Environment, Limits, SearchResult
from mlops_lib.runner import protocol
from mlops_lib.runner.search.distributed import coordinator, rpc, worker
from mlops_lib.runner.search.distributed.dispatcher import (
    MAX_STARTS,
    WORKER_TIMEOUT_S,
    TrialDispatcher,
)
from mlops_lib.runner.search.distributed.halving import Rungs
from mlops_lib.runner.search.keras.candidates import Candidate, Recipe
from mlops_lib.runner.search.keras.oracle import Trials
from mlops_lib.runner.search.keras.oracle_log import Ledger
from mlops_lib.runner.search.request import SearchRequest, trial_record

TOKEN = "0123456789abcdef"


class Journal:
    def write(self, event: str, **keys: Any) -> None:
        pass

    def progress(self, phase: str | None = None, **keys: Any) -> None:
        pass


class Books:
    """The chief's side of a search whose candidates differ in their epochs only; it can be made
    again, as after a kill.
    """

    def __init__(
        self, folder: Path, *, trials: int = 3, minutes: float = 10.0, target: float = 2.0
    ) -> None:
        self.request = SearchRequest(
            fit=1,
            directory=str(folder),
            trials=trials,
            minutes=minutes,
            workers=2,
            token=TOKEN,
            target=target,
        )
        self.now = 0.0
        self.records: dict[int, dict[str, Any]] = {0: trial_record(0, score=0.0)}
        self.ends: list[int] = []
        self.dispatcher = self.again()

    def again(self) -> TrialDispatcher:
        self.ledger = Ledger(self.request.directory)
        self.trials = Trials(
            self.request,
            self.ledger,
            base_rate=1e-3,
            propose=lambda tried: Candidate(0, (), Recipe(epochs=8 + len(tried))),
            refine=lambda rate, epochs: Candidate(0),
        )
        self.dispatcher = TrialDispatcher(
            self.trials,
            self.request,
            self.records,
            on_start=lambda record: None,
            record=self._record,
            winner=self._winner,
            is_bar_reached=lambda: any(
                (one["score"] or 0.0) >= self.request.target for one in self.records.values()
            ),
            clock=lambda: self.now,
        )
        return self.dispatcher

    def _record(self, record: dict[str, Any]) -> None:
        self.records[int(record["number"])] = record
        self.ends.append(int(record["number"]))

    def _winner(self) -> int:
        return max(self.records, key=lambda number: self.records[number]["score"] or 0.0)

    def ended(self, number: int, score: float = 0.5, seconds: float = 1.0) -> dict[str, Any]:
        return trial_record(number, state="finished", score=score, seconds=seconds)

    def wait(self, seconds: float, *present: tuple[str, int]) -> None:
        """Time goes by; these workers say in the meantime that they live."""
        for _ in range(round(seconds)):
            self.now += 1.0
            self.dispatcher.check()
            for name, number in present:
                self.dispatcher.report_progress(name, number, curve=[], seconds=1.0)


@pytest.fixture
def books(tmp_path: Path) -> Books:
    return Books(tmp_path)


def test_no_worker_waits_for_another_and_none_gets_anothers_trial(books: Books) -> None:
    first, second = books.dispatcher.assign("1"), books.dispatcher.assign("2")
    assert (first.number, second.number) == (1, 2)
    assert first.candidate != second.candidate
    books.dispatcher.report_end("2", books.ended(2))
    assert books.dispatcher.assign("2").number == 3
    assert books.dispatcher.assign("1").number == 1, (
        "a worker that was restarted goes on with its trial"
    )


def test_a_lost_workers_trial_goes_to_another_and_counts_once(books: Books) -> None:
    assert (books.dispatcher.assign("1").number, books.dispatcher.assign("2").number) == (1, 2)
    books.wait(WORKER_TIMEOUT_S + 2, ("2", 2))
    assert books.dispatcher.report_progress("1", 1, curve=[], seconds=1.0).action == "drop"
    books.dispatcher.report_end("2", books.ended(2))
    assert books.dispatcher.assign("2").number == 1
    books.dispatcher.report_end("1", books.ended(1, score=0.9))
    assert books.ends == [2], "what the lost worker says about it is not counted"
    books.dispatcher.report_end("2", books.ended(1))
    books.dispatcher.report_end("2", books.ended(1))
    assert books.ends == [2, 1]


def test_a_killed_chief_knows_its_workers_trials(books: Books) -> None:
    first, second = books.dispatcher.assign("1"), books.dispatcher.assign("2")
    books.again()
    assert (
        books.dispatcher.report_progress("1", first.number, curve=[], seconds=1.0).action == "go on"
    )
    books.dispatcher.report_end("1", books.ended(first.number))
    books.again()
    books.dispatcher.report_end(
        "1", books.ended(first.number)
    )  # said once more, because nobody had answered
    assert books.ends == [first.number]
    assert books.dispatcher.assign("2").number == second.number
    assert books.dispatcher.assign("1").number == 3


def test_a_chief_killed_before_the_oracle_knows_counts_a_trial_once(books: Books) -> None:
    number = books.dispatcher.assign("1").number
    books._record(books.ended(number))  # the record is written; then it was killed
    books.again()
    books.dispatcher.report_end("1", books.ended(number))  # nobody had answered
    assert books.ends == [number]
    assert books.dispatcher.assign("1").number == 2


def test_a_chief_killed_when_its_workers_have_gone_home_waits_for_nobody(books: Books) -> None:
    for number in (1, 2, 3):
        assert books.dispatcher.assign("1").number == number
        books.dispatcher.report_end("1", books.ended(number))
    assert books.dispatcher.assign("1").action == "end"
    assert books.again().stopped == "trials"
    books.request = replace(books.request, number_of_pass=3, trials=4)
    assert books.again().stopped == "", "another pass has a budget of its own"
    assert books.dispatcher.assign("1").number == 4


def test_a_line_of_the_ledger_that_was_left_unfinished_is_as_if_nobody_had_asked(
    books: Books,
) -> None:
    place = Path(books.request.directory, protocol.LEDGER)
    books.dispatcher.assign("1")
    before = place.read_bytes()
    assert books.dispatcher.assign("2").number == 2
    place.write_bytes(place.read_bytes()[:-3])
    books.again()
    assert place.read_bytes() == before
    assert books.dispatcher.assign("2").number == 2
    assert sorted(one.recipe.epochs for one in books.trials.unfinished()) == [8, 9]


def test_what_is_drawn_after_a_kill_is_what_would_have_been_drawn(tmp_path: Path) -> None:
    def drawn(folder: Path, killed: int) -> list[Any]:
        folder.mkdir()
        request = SearchRequest(fit=1, directory=str(folder), trials=5)

        def made() -> Trials:
            return Trials(
                request,
                Ledger(str(folder)),
                base_rate=1e-3,
                propose=lambda tried: None,
                refine=lambda rate, epochs: Candidate(0, (), Recipe("adam", rate, epochs=epochs)),
            )

        trials, found = made(), []
        for number in range(5):
            asked = trials.ask()
            if number == killed:
                trials = made()
                asked = trials.ask()
            found.append(trials.candidate(asked))
            trials.tell(asked, 0.1 * number)
        return found

    assert drawn(tmp_path / "killed", 2) == drawn(tmp_path / "left alone", -1)


def test_a_trial_that_kills_its_workers_has_failed_and_one_that_gets_further_has_not(
    books: Books,
) -> None:
    for epochs in range(5):
        assert books.dispatcher.assign("1").number == 1
        books.dispatcher.report_progress("1", 1, curve=[0.1] * epochs, seconds=1.0)
    for _ in range(MAX_STARTS - 1):
        assert books.dispatcher.assign("1").number == 1
    assert books.dispatcher.assign("1").number == 2
    assert (books.records[1]["state"], books.records[1]["score"]) == ("failed", None)
    books.dispatcher.report_end("1", books.ended(2))
    assert books.ends == [1, 2]


def test_the_budget_is_counted_over_all_workers(tmp_path: Path) -> None:
    books = Books(tmp_path, minutes=1.0)
    books.dispatcher.assign("1")
    books.dispatcher.assign("2")
    assert books.dispatcher.report_progress("1", 1, curve=[0.1], seconds=35.0).action == "go on"
    assert books.dispatcher.report_progress("2", 2, curve=[0.1], seconds=25.0).action == "stop"
    assert books.dispatcher.stopped == "minutes"


def test_when_all_trials_are_under_way_a_worker_stays_in_case_one_comes_back(books: Books) -> None:
    for name in ("1", "2", "3"):
        books.dispatcher.assign(name)
    assert books.dispatcher.assign("4").action == "wait"
    books.wait(WORKER_TIMEOUT_S + 2, ("1", 1), ("2", 2))
    assert books.dispatcher.assign("4").number == 3
    for name, number in (("1", 1), ("2", 2), ("4", 3)):
        books.dispatcher.report_end(name, books.ended(number))
    assert books.dispatcher.assign("1").action == "end"
    assert (books.dispatcher.stopped, sorted(books.ends)) == ("trials", [1, 2, 3])


def test_trials_are_halved_without_waiting() -> None:
    rungs = Rungs("max")
    assert [
        rungs.should_continue(n, [score] * 2, 8) for n, score in ((1, 0.5), (2, 0.1), (3, 0.7))
    ] == [True] * 3, "too few yet"
    assert not rungs.should_continue(4, [0.1, 0.3], 8)
    assert rungs.should_continue(5, [0.1, 0.6], 8)
    assert rungs.should_continue(6, [0.1], 8), "no rung reached"
    assert rungs.should_continue(2, [0.1] * 8, 8), "at its end a trial is not compared any more"
    assert rungs.should_continue(7, [0.0, 0.0], 8, kind="inherited"), "only with its kind"
    lower = Rungs("min")
    assert [lower.should_continue(n, [0.1 * n] * 2, 8) for n in (1, 2, 3, 4)] == [
        True,
        True,
        True,
        False,
    ]


class Served:
    """A chief that serves in this process, as in use from a socket in its folder."""

    def __init__(self, books: Books) -> None:
        self.books = books
        self.stopped = ""
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        self.stopped = coordinator.serve(
            self.books.dispatcher,
            self.books.request,
            Journal(),
            commit=lambda: self.books.ledger.commit(),
        )

    def client(self, name: int, **changed: Any) -> worker.ChiefClient:
        return worker.ChiefClient(
            replace(self.books.request, worker=str(name), **changed), Journal()
        )


def listening() -> set[Any]:
    return {
        one.laddr
        for one in psutil.Process().net_connections("inet")
        if one.status == psutil.CONN_LISTEN
    }


def test_nothing_listens_on_a_network_and_strangers_are_refused(tmp_path: Path) -> None:
    deep = tmp_path / ("a" * 100)
    deep.mkdir()
    before, served = listening(), Served(Books(deep, trials=1))
    client = served.client(1)
    assert client.next_assignment().number == 1
    assert listening() == before
    assert (deep / protocol.CHIEF_SOCKET).is_socket()
    for stranger in (served.client(2, token="guessed"), served.client(2, token="")):
        with pytest.raises(worker.RefusedError, match="does not know you"):
            stranger.next_assignment()
    with grpc.insecure_channel(rpc.socket(served.books.request)) as channel:
        ask = channel.unary_unary("/keras_tuner.Oracle/GetSpace")
        with pytest.raises(grpc.RpcError) as refused:
            ask(b"", wait_for_ready=True, timeout=10)
    assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED
    client.report_end(served.books.ended(1))
    assert client.next_assignment().action == "end"
    served.thread.join(timeout=30)
    assert (served.stopped, served.books.ends) == ("trials", [1])
    assert served.client(3).next_assignment().action == "end", (
        "who comes when it is over is not kept waiting"
    )


def test_a_call_at_the_very_end_keeps_no_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    books = Books(tmp_path, trials=1)
    arrived, plain = threading.Event(), coordinator._worker

    def arrives(context: Any) -> str:
        arrived.set()
        return plain(context)

    def call_late() -> None:
        client = worker.ChiefClient(replace(books.request, worker="1"), Journal())
        threading.Thread(target=client.next_assignment, daemon=True).start()
        assert arrived.wait(60)

    monkeypatch.setattr(coordinator, "_worker", arrives)
    books.trials.stop("trials")
    coordinator.serve(books.dispatcher, books.request, Journal(), commit=call_late)
    until(lambda: not any(one.name.startswith("mlops-chief") for one in threading.enumerate()))


def malformed() -> list[tuple[str, Any]]:
    """Messages of a worker that knows the token: the method, and what it is given."""
    from keras_tuner.src import protos

    messages, sound = (
        protos.get_service(),
        trial_record(1, state="finished", score=0.5, seconds=1.0),
    )
    records: list[Any] = [
        None,
        [],
        "x",
        {},
        {**sound, "number": "1"},
        {**sound, "number": -1},
        {**sound, "number": True},
        {**sound, "number": 1e400},
        {**sound, "seconds": float("nan")},
        {**sound, "seconds": -1e9},
        {**sound, "seconds": "soon"},
        {**sound, "score": "best"},
        {**sound, "score": [1]},
        {**sound, "state": {}},
        {**sound, "state": "running"},
        {**sound, "curve": [None]},
        {**sound, "curve": 3},
        {**sound, "edits": None},
        {**sound, "message": 7},
        {key: value for key, value in sound.items() if key != "message"},
    ]
    ends = [
        messages.EndTrialRequest(trial=rpc.proto("1", "COMPLETED", record=record))
        for record in records
    ]
    ends += [
        messages.EndTrialRequest(trial=rpc.proto("1", "COMPLETED")),
        messages.EndTrialRequest(),
    ]
    beats = [
        messages.UpdateTrialRequest(trial_id=name, metrics=metrics, step=0)
        for name, metrics in [
            ("1", {}),
            ("1", {"seconds": float("nan")}),
            ("1", {"seconds": -1.0}),
            ("1", {"a": 1.0, "seconds": 1.0}),
            ("x", {"seconds": 1.0}),
            ("", {"seconds": 1.0}),
            ("9" * 6000, {"seconds": 1.0}),
            ("-1", {"seconds": 1.0}),
        ]
    ]
    return [*(("EndTrial", one) for one in ends), *(("UpdateTrial", one) for one in beats)]


@pytest.mark.attack
def test_a_malformed_message_is_its_senders_trouble_and_not_the_chiefs(tmp_path: Path) -> None:
    served = Served(Books(tmp_path, trials=1))
    client = served.client(1)
    assert client.next_assignment().number == 1
    for method, message in malformed():
        with pytest.raises(grpc.RpcError) as refused:
            client._call(getattr(client._stub, method), message)
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT, (method, message)
    with pytest.raises(worker.RefusedError, match="cannot use"):
        client.report_end({"number": 1})
    assert served.thread.is_alive()
    assert client.report_progress(1, curve=[0.1], seconds=1.0).action == "go on"
    client.report_end(served.books.ended(1))
    assert client.next_assignment().action == "end"
    served.thread.join(timeout=30)
    assert (served.stopped, served.books.ends) == ("trials", [1])


def test_a_worker_refuses_a_chief_that_does_not_know_the_token(tmp_path: Path) -> None:
    from keras_tuner.src import protos

    class Stranger(protos.get_service_grpc().OracleServicer):  # type: ignore[misc]
        def CreateTrial(self, request: Any, context: Any) -> Any:  # noqa: N802
            return protos.get_service().CreateTrialResponse(trial=rpc.proto("1", "RUNNING"))

    books = Books(tmp_path)
    server = grpc.server(coordinator.futures.ThreadPoolExecutor(1))
    protos.get_service_grpc().add_OracleServicer_to_server(Stranger(), server)
    server.add_insecure_port(rpc.socket(books.request))
    server.start()
    try:
        with pytest.raises(worker.RefusedError, match="does not know the search's token"):
            worker.ChiefClient(replace(books.request, worker="1"), Journal()).next_assignment()
    finally:
        server.stop(None).wait()


def test_a_chief_that_nothing_lets_listen_says_so(tmp_path: Path) -> None:
    books = Books(tmp_path)
    (tmp_path / protocol.CHIEF_SOCKET).mkdir()
    with pytest.raises(OSError, match="cannot listen at"):
        coordinator.serve(books.dispatcher, books.request, Journal(), commit=books.ledger.commit)


def test_a_worker_whose_search_has_disappeared_ends(tmp_path: Path) -> None:
    books = Books(tmp_path)
    request = replace(books.request, worker="1", chief_timeout_s=0.1)
    assert worker.ChiefClient(request, Journal()).next_assignment().action == "end"


@pytest.fixture
def search(tmp_path: Path) -> Iterator[Search]:
    made = Search(tmp_path)
    yield made
    for container in made.engine.find({LABEL_RUN: made.spec.digest}):
        made.engine.kill(container.id)
        made.engine.remove(container.id)


@pytest.mark.slow
def test_killed_workers_and_a_killed_chief_lose_no_trial_and_count_none_twice(
    search: Search,
) -> None:
    thread = search.begin()
    number, name = until(lambda: next(iter(search.running()), None) or search.result)
    state = search.run_dir / "inside" / "search" / "trials" / f"{number}.state.npz"
    until(lambda: state.exists() or (number, name) not in search.running())
    search.kill(search.run_dir / "workers" / name)
    until(lambda: len(search.ended()) >= 3 and search.running())
    search.kill(search.run_dir)
    thread.join(timeout=240)
    found = search.result
    assert isinstance(found, SearchResult), found
    assert [one.number for one in found.trials] == list(range(TRIALS + 1))
    assert search.ended() == list(range(TRIALS + 1))
    assert {one.worker for one in found.trials if one.number} == {"1", "2"}
    killed = [
        line
        for place in (search.run_dir, *run_directory.workers(search.run_dir))
        for line in restarts(place)
    ]
    assert len(killed) == 2
    assert "evaluated" in (search.run_dir / "log.txt").read_text().rsplit("\n", 2)[-2], (
        "the chief went on with the script"
    )
    for place in run_directory.workers(search.run_dir):
        assert "evaluated" not in (place / "log.txt").read_text(), "no worker did"
    assert [one.state for one in status.standing(search.run_dir).workers] == [
        "finished",
        "finished",
    ]


MEETING = """
import os, socket, time
shared = os.environ.get("MLOPS_SHARED")
place = os.path.join(shared or os.environ["MLOPS_INSIDE"], "chief.sock")
with socket.socket(socket.AF_UNIX) as meeting:
    if shared:
        while True:
            try:
                meeting.connect(place)
                break
            except OSError:
                time.sleep(0.05)
        print("heard", meeting.recv(9).decode())
    else:
        meeting.bind(place)
        meeting.listen()
        meeting.accept()[0].send(b"the chief")
"""


@pytest.mark.docker
def test_containers_without_a_network_meet_in_the_run_directory(tmp_path: Path) -> None:
    engine, project, chiefs = DockerEngine(), tmp_path / "project", tmp_path / "inside"
    project.mkdir()
    (project / "train.py").write_text(MEETING)
    image = images.plan(Environment(name="python", framework="none", family="none"))
    engine.build(image, on_line=lambda line: None)
    launch = Launch(
        image=image,
        project=str(project),
        inside=str(chiefs),
        entry="train.py",
        limits=Limits(network="none"),
        labels={LABEL_RUN: uuid.uuid4().hex},
        log=str(tmp_path / "chief.txt"),
    )
    inside = str(tmp_path / "worker" / "inside")
    workers = replace(launch, inside=inside, shared=str(chiefs), log=str(tmp_path / "worker.txt"))
    started = [engine.start(one) for one in (launch, workers)]
    try:
        ended = [engine.wait(one.id, timeout_s=60) for one in started]
    finally:
        for one in started:
            engine.kill(one.id)
            engine.remove(one.id)
    assert [one.exit_code for one in ended] == [0, 0]
    assert (tmp_path / "worker.txt").read_text() == "heard the chief\n"


def test_what_a_search_says_of_its_workers_is_not_believed_blindly(tmp_path: Path) -> None:
    place = tmp_path / "inside" / "search" / protocol.SEARCH_WORKERS
    place.parent.mkdir(parents=True)
    good = {
        "name": "gpu-7",
        "where": "10.0.0.7",
        "silent_s": 12.5,
        "begun": 1,
        "trial": 3,
        "epoch": "x",
        "epochs": None,
    }
    for content, shown in (
        ([good, {**good, "name": "1"}], ["worker gpu-7", "worker 1"]),
        ([{**good, "silent_s": "long"}], []),
        ("no", []),
        ([7], []),
        ({}, []),
    ):
        place.write_text(json.dumps({"workers": content}))
        assert [one.name for one in status.elsewhere(tmp_path)] == shown
    place.write_text(json.dumps({"workers": [good]}))
    (one,) = status.elsewhere(tmp_path)
    assert (one.state, one.trial, one.epoch, one.trouble) == (
        "waiting",
        3,
        None,
        "not heard of for 12 s",
    )
    place.unlink()
    place.symlink_to("/etc/passwd")
    assert status.elsewhere(tmp_path) == ()


def restarts(place: Path) -> list[dict[str, Any]]:
    return [
        one for one in event_log.read_lines(place / protocol.ATTEMPTS) if one.get("do") == "restart"
    ]
