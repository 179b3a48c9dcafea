"""The chief of a search with several workers: KerasTuner's gRPC service.

The chief is the process that continues with the script after the search. It trains nothing itself,
so it answers at once, and a worker that dies cannot take it along. All decisions are made in the
process's main thread, because frameworks keep state by thread. A decision is on the disk before it
is answered; calls that arrive together share one flush.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from concurrent import futures
from typing import Any, Callable, Iterator, List, Tuple

from mlops_lib.runner import protocol
from mlops_lib.runner.search.distributed import rpc
from mlops_lib.runner.search.distributed.dispatcher import Assignment, TrialDispatcher
from mlops_lib.runner.search.request import SearchJournal, SearchRequest
from mlops_lib.runner.state import atomic

THREADS = 16
MAX_WORKERS = 10_000
MAX_NAME_LENGTH = 200
CHECK_INTERVAL_S = 1.0
BATCH_S = 0.1
"""Calls that arrive within so long of the first are decided together, and flushed once."""
SETTLE_S = 5.0
"""The time that the chief waits for last reports of its workers when the search is over."""

Call = Tuple[Callable[[], Any], "futures.Future[Any]"]


def serve(
    dispatcher: TrialDispatcher,
    request: SearchRequest,
    journal: SearchJournal,
    *,
    commit: Callable[[], None],
) -> str:
    """Serve workers until the search is over; return the reason for its end.

    Args:
        dispatcher: decides on assignments.
        request: the search.
        journal: gets progress.
        commit: flushes every decision to the disk.

    Raises:
        OSError: the socket cannot be listened at.
    """
    import grpc
    from keras_tuner.src import protos

    calls: "queue.Queue[Call]" = queue.Queue()
    has_ended = threading.Event()
    threads = futures.ThreadPoolExecutor(THREADS, thread_name_prefix="mlops-chief")
    server = grpc.server(
        threads,
        interceptors=[_authentication(request.token)],
        # Without it a second chief could share the port and take half of the calls.
        options=[*rpc.OPTIONS, ("grpc.so_reuseport", 0)],
    )
    service = _service(dispatcher, calls, journal, has_ended)
    protos.get_service_grpc().add_OracleServicer_to_server(service, server)
    rpc.listen(server, request)
    server.start()
    try:
        status = _WorkerStatusFile(dispatcher, request.directory)
        stopped = _serve_until_over(dispatcher, calls, journal, commit, status.refresh)
        over = {"pass": request.number_of_pass, "stopped": stopped}
        atomic.write_json(os.path.join(request.directory, protocol.SEARCH_OVER), over)
        return stopped
    finally:
        # A call that arrives now is never decided; its thread would keep the process from ending.
        has_ended.set()
        server.stop(grace=CHECK_INTERVAL_S).wait()
        threads.shutdown(wait=False)


class _WorkerStatusFile:
    """The file of the search's directory that lists its workers.

    It is the only place to see workers on other machines.
    """

    def __init__(self, dispatcher: TrialDispatcher, directory: str) -> None:
        self._dispatcher = dispatcher
        self._path = os.path.join(directory, protocol.SEARCH_WORKERS)
        self._written = 0.0

    def refresh(self) -> None:
        """Write the file, at most once a second."""
        now = time.monotonic()
        if now - self._written >= CHECK_INTERVAL_S:
            self._written = now
            content = {"time": time.time(), "workers": self._dispatcher.workers()}
            atomic.write_json(self._path, content, lasting=False)


def _serve_until_over(
    dispatcher: TrialDispatcher,
    calls: "queue.Queue[Call]",
    journal: SearchJournal,
    commit: Callable[[], None],
    refresh: Callable[[], None],
) -> str:
    over_since = None
    while True:
        journal.progress("search")
        dispatcher.check()
        refresh()
        if dispatcher.stopped:
            over_since = over_since or time.monotonic()
            is_late = time.monotonic() - over_since > SETTLE_S
            if is_late or not (dispatcher.leases or dispatcher.active_workers):
                dispatcher.close_leases()
                commit()
                return dispatcher.stopped
        _answer_batch(calls, commit, timeout_s=0.1 if dispatcher.stopped else CHECK_INTERVAL_S)


def _answer_batch(
    calls: "queue.Queue[Call]", commit: Callable[[], None], *, timeout_s: float
) -> None:
    """Decide on the waiting calls, flush the decisions, and answer them.

    Calls that arrive during the decisions join the batch for up to `BATCH_S`. Returns without an
    answer if no call arrives within `timeout_s`.
    """
    decided: List[Tuple["futures.Future[Any]", Any]] = []
    try:
        decide, answer = calls.get(timeout=timeout_s)
        began = time.monotonic()
        while True:
            try:
                decided.append((answer, decide()))
            except Exception as error:
                answer.set_exception(error)
                raise
            if time.monotonic() - began > BATCH_S:
                break
            decide, answer = calls.get_nowait()
    except queue.Empty:
        pass
    # Answers come after the flush: a worker must not act on a decision that a power failure undoes.
    commit()
    for answer, decision in decided:
        answer.set_result(decision)


class _MainThread:
    """Pass decisions from the server's threads to the process's main thread.

    Args:
        dispatcher: knows the workers.
        calls: the queue that the main thread answers.
        has_ended: set when no call is answered any more.
    """

    def __init__(
        self, dispatcher: TrialDispatcher, calls: "queue.Queue[Call]", has_ended: threading.Event
    ) -> None:
        self._dispatcher = dispatcher
        self._calls = calls
        self._has_ended = has_ended

    def decide(self, context: Any, decide: Callable[[], Any]) -> Any:
        """Return the decision on a worker's call, made in the main thread."""
        dispatcher = self._dispatcher
        answer: "futures.Future[Any]" = futures.Future()
        worker = _worker(context)
        if not dispatcher.knows_worker(worker) and len(dispatcher.workers()) >= MAX_WORKERS:
            import grpc

            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "there are too many workers")

        def touch_and_decide() -> Any:
            dispatcher.touch_worker(worker, _machine(context))
            return decide()

        self._calls.put((touch_and_decide, answer))
        while not self._has_ended.is_set():
            with contextlib.suppress(futures.TimeoutError):
                return answer.result(timeout=CHECK_INTERVAL_S)
        return _last_answer(answer, context)


def _service(
    dispatcher: TrialDispatcher,
    calls: "queue.Queue[Call]",
    journal: SearchJournal,
    has_ended: threading.Event,
) -> Any:
    """Return KerasTuner's oracle service, answered by the dispatcher."""
    from keras_tuner.src import protos
    from keras_tuner.src.distribute.oracle_chief import OracleServicer

    messages = protos.get_service()
    main_thread = _MainThread(dispatcher, calls, has_ended)

    class Service(OracleServicer):  # type: ignore[misc]
        def CreateTrial(self, request: Any, context: Any) -> Any:  # noqa: N802 - KerasTuner's names
            worker = _worker(context)
            assignment = main_thread.decide(context, lambda: dispatcher.assign(worker))
            return messages.CreateTrialResponse(trial=_as_trial(assignment))

        def UpdateTrial(self, request: Any, context: Any) -> Any:  # noqa: N802
            worker = _worker(context)
            with _rejecting_malformed(context):
                number = rpc.number_of(request.trial_id)
                curve, seconds = rpc.metrics_as_curve(request.metrics)
            journal.progress("search", trial=number, epoch=len(curve) - 1 if curve else None)
            reply = main_thread.decide(
                context,
                lambda: dispatcher.report_progress(worker, number, curve=curve, seconds=seconds),
            )
            status = {"go on": "RUNNING", "stop": "STOPPED", "drop": "INVALID"}[reply.action]
            return messages.UpdateTrialResponse(
                trial=rpc.proto(request.trial_id, status, why=reply.reason, best=reply.best)
            )

        def EndTrial(self, request: Any, context: Any) -> Any:  # noqa: N802
            worker = _worker(context)
            with _rejecting_malformed(context):
                record = rpc.record_of(request.trial)
            main_thread.decide(context, lambda: dispatcher.report_end(worker, record))
            return messages.EndTrialResponse()

    return Service(None)


def _last_answer(answer: "futures.Future[Any]", context: Any) -> Any:
    """Return an answer that was given at the end of the search, or refuse the call."""
    import grpc

    if not answer.done():
        context.abort(grpc.StatusCode.UNAVAILABLE, "the search is over")
    return answer.result()


def _as_trial(assignment: Assignment) -> Any:
    status = {"try": "RUNNING", "wait": "IDLE", "end": "STOPPED"}[assignment.action]
    values = None if assignment.candidate is None else assignment.candidate.values()
    return rpc.proto(str(assignment.number), status, candidate=values)


def _worker(context: Any) -> str:
    return str(dict(context.invocation_metadata()).get(rpc.WORKER, ""))[:MAX_NAME_LENGTH]


@contextlib.contextmanager
def _rejecting_malformed(context: Any) -> Iterator[None]:
    """Answer a malformed message with an error, so that it cannot stop the chief."""
    import grpc

    try:
        yield
    except rpc.MalformedError as error:
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))


def _machine(context: Any) -> str:
    """Return the machine that a relayed call comes from, "" for this one."""
    metadata = dict(context.invocation_metadata())
    return str(metadata.get(protocol.METADATA_MACHINE, ""))[:MAX_NAME_LENGTH]


def _authentication(token: str) -> Any:
    """Return an interceptor that rejects callers without the token.

    To others it proves that it knows the token too. A proof covers the method, the worker's name
    and the caller's nonce, so one that was overheard is of no use for another call, or as an answer
    to another caller.
    """
    import grpc

    def reject(request: Any, context: Any) -> Any:
        context.abort(grpc.StatusCode.UNAUTHENTICATED, "this search does not know you")

    class Authentication(grpc.ServerInterceptor):  # type: ignore[misc]
        def intercept_service(self, continuation: Any, details: Any) -> Any:
            metadata = dict(details.invocation_metadata)
            nonce = str(metadata.get(rpc.NONCE, ""))
            worker = str(metadata.get(rpc.WORKER, ""))
            expected = rpc.proof(token, "worker", details.method, worker, nonce)
            is_known = rpc.is_proof(metadata.get(rpc.PROOF), expected)
            handler = continuation(details)
            # Without a token anyone could compute the proof.
            if not token or not nonce or handler is None or not is_known:
                return grpc.unary_unary_rpc_method_handler(reject)
            own_proof = rpc.proof(token, "chief", details.method, worker, nonce)

            def answer(request: Any, context: Any) -> Any:
                context.send_initial_metadata(((rpc.PROOF, own_proof),))
                return handler.unary_unary(request, context)

            return grpc.unary_unary_rpc_method_handler(
                answer, handler.request_deserializer, handler.response_serializer
            )

    return Authentication()
