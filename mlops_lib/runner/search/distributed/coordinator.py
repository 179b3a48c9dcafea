"""The chief of a search that has several workers: KerasTuner's gRPC service over the desk.

The chief is the process that goes on with the script when the search is over. It trains nothing
itself, so that it answers at once, and so that a worker that dies takes nothing along. Everything
is decided in the process's main thread: frameworks keep state by thread. What is decided is written
down before it is answered, once for all calls that wait.
"""

from __future__ import annotations

import contextlib
import os
import queue
import time
from concurrent import futures
from typing import Any, Callable, Iterator, List, Tuple
from urllib.parse import unquote

from mlops_lib.runner import protocol
from mlops_lib.runner.search.distributed import rpc
from mlops_lib.runner.search.distributed.dispatcher import Desk, Order
from mlops_lib.runner.search.request import SearchJournal, SearchRequest
from mlops_lib.runner.state import atomic

THREADS = 16
MOST_WORKERS = 10_000
NAME_LENGTH = 200
LOOK_S = 1.0
TOGETHER_S = 0.1
"""For so long calls that come meanwhile are answered together."""
SETTLE_S = 5.0
"""How long the chief waits for what its workers have to say when the search is over."""

Call = Tuple[Callable[[], Any], "futures.Future[Any]"]


def serve(
    desk: Desk, request: SearchRequest, journal: SearchJournal, *, commit: Callable[[], None]
) -> str:
    """Hand out trials until the search is over; returns why it is.

    Args:
        desk: decides.
        request: the search.
        journal: notes that something was done.
        commit: returns once all that was decided is on the disk for good.

    Raises:
        OSError: nothing can listen at the address that was given.
        ValueError: there is an address, and no certificate.
    """
    import grpc
    from keras_tuner.src import protos

    calls: "queue.Queue[Call]" = queue.Queue()
    server = grpc.server(
        futures.ThreadPoolExecutor(THREADS, thread_name_prefix="mlops-chief"),
        interceptors=[_guard(request.token)],
        options=[*rpc.OPTIONS, ("grpc.so_reuseport", 0)],
    )
    protos.get_service_grpc().add_OracleServicer_to_server(_service(desk, calls, journal), server)
    rpc.listen(server, request)
    server.start()
    try:
        board = _Board(desk, request.directory)
        stopped = _until_over(desk, calls, journal, commit, board.show)
        over = {"pass": request.number_of_pass, "stopped": stopped}
        atomic.write_json(os.path.join(request.directory, protocol.SEARCH_OVER), over)
        return stopped
    finally:
        server.stop(grace=LOOK_S).wait()


class _Board:
    """Shows who works for the search, in a file of its directory: those on other machines are seen
    nowhere else.
    """

    def __init__(self, desk: Desk, directory: str) -> None:
        self._desk = desk
        self._path = os.path.join(directory, protocol.SEARCH_WORKERS)
        self._shown = 0.0

    def show(self) -> None:
        """Once a second."""
        if time.monotonic() - self._shown >= LOOK_S:
            self._shown = time.monotonic()
            atomic.write_json(
                self._path, {"time": time.time(), "workers": self._desk.workers()}, lasting=False
            )


def _until_over(
    desk: Desk,
    calls: "queue.Queue[Call]",
    journal: SearchJournal,
    commit: Callable[[], None],
    show: Callable[[], None],
) -> str:
    over_since = None
    while True:
        journal.progress("search")
        desk.look()
        show()
        if desk.stopped:
            over_since = over_since or time.monotonic()
            late = time.monotonic() - over_since > SETTLE_S
            if late or not (desk.held or desk.present):
                desk.settle()
                commit()
                return desk.stopped
        _answer(calls, commit, timeout_s=LOOK_S if not desk.stopped else 0.1)


def _answer(calls: "queue.Queue[Call]", commit: Callable[[], None], *, timeout_s: float) -> None:
    """Answer the calls that wait, and those that come while these are decided on; none for some
    time is all right.
    """
    decided: List[Tuple["futures.Future[Any]", Any]] = []
    try:
        ask, answer = calls.get(timeout=timeout_s)
        began = time.monotonic()
        while True:
            try:
                decided.append((answer, ask()))
            except Exception as error:
                answer.set_exception(error)
                raise
            if time.monotonic() - began > TOGETHER_S:
                break
            ask, answer = calls.get_nowait()
    except queue.Empty:
        pass
    commit()
    for answer, found in decided:
        answer.set_result(found)


def _service(desk: Desk, calls: "queue.Queue[Call]", journal: SearchJournal) -> Any:
    from keras_tuner.src import protos
    from keras_tuner.src.distribute.oracle_chief import OracleServicer

    messages = protos.get_service()

    def in_main_thread(context: Any, ask: Callable[[], Any]) -> Any:
        answer: "futures.Future[Any]" = futures.Future()

        if not desk.knows(_worker(context)) and len(desk.workers()) >= MOST_WORKERS:
            import grpc

            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "there are too many workers")

        def heard() -> Any:
            desk.hear(_worker(context), _machine(context))
            return ask()

        calls.put((heard, answer))
        return answer.result()

    class Service(OracleServicer):  # type: ignore[misc]
        def CreateTrial(self, request: Any, context: Any) -> Any:  # noqa: N802 - KerasTuner's names
            order = in_main_thread(context, lambda: desk.ask(_worker(context)))
            return messages.CreateTrialResponse(trial=_as_trial(order))

        def UpdateTrial(self, request: Any, context: Any) -> Any:  # noqa: N802
            worker = _worker(context)
            with _refusing(context):
                number = rpc.number_of(request.trial_id)
                curve, seconds = rpc.metrics_as_curve(request.metrics)
            journal.progress("search", trial=number, epoch=len(curve) - 1 if curve else None)
            reply = in_main_thread(
                context, lambda: desk.beat(worker, number, curve=curve, seconds=seconds)
            )
            status = {"go on": "RUNNING", "stop": "STOPPED", "drop": "INVALID"}[reply.do]
            return messages.UpdateTrialResponse(
                trial=rpc.proto(request.trial_id, status, why=reply.why, best=reply.best)
            )

        def EndTrial(self, request: Any, context: Any) -> Any:  # noqa: N802
            with _refusing(context):
                record = rpc.record_of(request.trial)
            in_main_thread(context, lambda: desk.end(_worker(context), record))
            return messages.EndTrialResponse()

    return Service(None)


def _as_trial(order: Order) -> Any:
    status = {"try": "RUNNING", "wait": "IDLE", "end": "STOPPED"}[order.do]
    values = None if order.candidate is None else order.candidate.values()
    return rpc.proto(str(order.number), status, candidate=values)


def _worker(context: Any) -> str:
    return str(dict(context.invocation_metadata()).get(rpc.WORKER, ""))[:NAME_LENGTH]


@contextlib.contextmanager
def _refusing(context: Any) -> Iterator[None]:
    """Answer a malformed message with its fault: it is its sender's trouble, and nobody else's."""
    import grpc

    try:
        yield
    except rpc.MalformedError as error:
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))


def _machine(context: Any) -> str:
    """The address of the machine that a call comes from, "" for this one."""
    # ipv4:10.0.0.7:40312, ipv6:[fd00::7]:40312 (with its brackets escaped), unix:…
    kind, _, place = str(context.peer()).partition(":")
    return unquote(place).rpartition(":")[0].strip("[]") if kind in ("ipv4", "ipv6") else ""


def _guard(token: str) -> Any:
    """Lets nobody in who does not know the token, and proves to the others that this is their
    chief.
    """
    import grpc

    def refuse(request: Any, context: Any) -> Any:
        context.abort(grpc.StatusCode.UNAUTHENTICATED, "this search does not know you")

    class Guard(grpc.ServerInterceptor):  # type: ignore[misc]
        def intercept_service(self, continuation: Any, details: Any) -> Any:
            told = dict(details.invocation_metadata)
            nonce = str(told.get(rpc.NONCE, ""))
            worker = str(told.get(rpc.WORKER, ""))
            expected = rpc.proof(token, "worker", details.method, worker, nonce)
            handler = continuation(details)
            if (
                not token
                or not nonce
                or handler is None
                or not rpc.is_proof(told.get(rpc.PROOF), expected)
            ):
                return grpc.unary_unary_rpc_method_handler(refuse)
            own = rpc.proof(token, "chief", details.method, worker, nonce)

            def answer(request: Any, context: Any) -> Any:
                context.send_initial_metadata(((rpc.PROOF, own),))
                return handler.unary_unary(request, context)

            return grpc.unary_unary_rpc_method_handler(
                answer, handler.request_deserializer, handler.response_serializer
            )

    return Guard()
