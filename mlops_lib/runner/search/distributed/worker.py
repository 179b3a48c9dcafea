"""A worker's connection with the chief: get assignments, report progress and ends.

While a trial trains, a thread of its own reports to the chief. The training never waits for an
answer; a worker waits for a silent chief only between two trials.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from typing import Any, Callable, Dict, Iterator, Optional

from mlops_lib.runner import protocol
from mlops_lib.runner.search.distributed import rpc
from mlops_lib.runner.search.distributed.dispatcher import Assignment, Reply
from mlops_lib.runner.search.keras.candidates import Candidate
from mlops_lib.runner.search.keras.trial import TrialContext
from mlops_lib.runner.search.request import SearchJournal, SearchRequest

REPORT_INTERVAL_S = 0.4
"""The time between two progress reports; the replies stop all workers within a second once one of
them has reached the bar.
"""
CALL_TIMEOUT_S = 10.0
RETRY_S = 0.3
SILENCE_WARNING_S = 60.0
"""A chief that has not answered for so long is worth a warning: its operator may want to know."""


class RefusedError(Exception):
    """The chief does not know this worker, or is not the chief."""


class ChiefClient:
    """The client of the chief's service.

    Args:
        request: the search; names this worker.
        journal: gets progress, and a warning if the chief is silent.
    """

    def __init__(self, request: SearchRequest, journal: SearchJournal) -> None:
        from keras_tuner.src import protos

        self._request = request
        self._journal = journal
        self._name = request.worker
        self._messages = protos.get_service()
        self._channel = rpc.channel(request)
        self._stub = protos.get_service_grpc().OracleStub(self._channel)
        self._last_answer = time.monotonic()
        self._is_silent = False

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def next_assignment(self) -> Assignment:
        """Return this worker's next task; waits for a chief that does not answer.

        Raises:
            RefusedError: the chief does not accept this worker.
        """
        answer = self._call_until_answered(
            self._stub.CreateTrial, self._messages.CreateTrialRequest(tuner_id=self._name)
        )
        # The search has ended while the call was being repeated.
        if answer is None:
            return Assignment("end")
        trial = answer.trial
        states = self._states()
        action = {states.RUNNING: "try", states.IDLE: "wait"}.get(trial.status, "end")
        values = rpc.payload(trial).get("candidate")
        candidate = None if values is None else Candidate.read(values)
        return Assignment(action, int(trial.trial_id or 0), candidate)

    def report_progress(self, number: int, *, curve: Any, seconds: float) -> Optional[Reply]:
        """Report a trial's progress; return None if the chief does not answer now."""
        import grpc

        request = self._messages.UpdateTrialRequest(
            trial_id=str(number), metrics=rpc.curve_as_metrics(curve, seconds), step=len(curve)
        )
        try:
            trial = self._call(self._stub.UpdateTrial, request).trial
        except grpc.RpcError:
            return None
        states = self._states()
        payload = rpc.payload(trial)
        action = {states.STOPPED: "stop", states.INVALID: "drop"}.get(trial.status, "go on")
        return Reply(action, str(payload.get("why", "")), payload.get("best"))

    def report_end(self, record: Dict[str, Any]) -> None:
        """Report the end of a trial, repeatedly until the chief answers.

        The chief counts it once.

        Raises:
            RefusedError: the chief does not accept the record.
        """
        trial = rpc.proto(str(record["number"]), "COMPLETED", record=record)
        self._call_until_answered(self._stub.EndTrial, self._messages.EndTrialRequest(trial=trial))

    @staticmethod
    def _states() -> Any:
        from keras_tuner.src import protos

        return protos.get_proto().TrialStatus

    def _call_until_answered(self, method: Any, message: Any) -> Any:
        """Return the chief's answer, or None if the search has ended without one.

        A chief that was killed is restarted by the run's watchdog, so the call is repeated.
        """
        import grpc

        while True:
            self._journal.progress("search")
            try:
                return self._call(method, message)
            except grpc.RpcError as error:
                self._raise_if_permanent(error)
                silent_s = time.monotonic() - self._last_answer
                if rpc.is_over(self._request) or silent_s > self._request.chief_timeout_s:
                    return None
                time.sleep(RETRY_S)

    def _raise_if_permanent(self, error: Any) -> None:
        """Raise a RefusedError if repeating the call cannot succeed."""
        import grpc

        if error.code() == grpc.StatusCode.UNAUTHENTICATED:
            raise RefusedError(error.details()) from None
        if error.code() == grpc.StatusCode.INVALID_ARGUMENT:
            raise RefusedError(
                f"the search's chief cannot use this worker's message: {error.details()}"
            ) from None

    def _note_answer(self) -> None:
        self._last_answer = time.monotonic()
        if self._is_silent:
            self._is_silent = False
            self._journal.write(
                protocol.EVENT_WARNING, message="the chief of the search answers again"
            )

    def _note_silence(self, error: Any) -> None:
        """Warn once if the chief has been silent for too long."""
        silent_s = time.monotonic() - self._last_answer
        if silent_s <= SILENCE_WARNING_S or self._is_silent:
            return
        self._is_silent = True
        self._journal.write(
            protocol.EVENT_WARNING,
            message="the chief of the search has not answered for"
            f" {SILENCE_WARNING_S:.0f} s; this worker keeps trying: {error.details()}",
        )

    def _call(self, method: Any, message: Any) -> Any:
        """Call the chief once, and check that the answer comes from the chief."""
        import grpc

        name = f"{protocol.ORACLE_SERVICE}{type(message).__name__.replace('Request', '')}"
        nonce = secrets.token_hex(16)
        token = self._request.token
        own_proof = rpc.proof(token, "worker", name, self._name, nonce)
        metadata = ((rpc.NONCE, nonce), (rpc.WORKER, self._name), (rpc.PROOF, own_proof))
        try:
            answer, call = method.with_call(message, metadata=metadata, timeout=CALL_TIMEOUT_S)
        except grpc.RpcError as error:
            self._note_silence(error)
            raise
        self._note_answer()
        chief_proof = dict(call.initial_metadata()).get(rpc.PROOF)
        if not rpc.is_proof(chief_proof, rpc.proof(token, "chief", name, self._name, nonce)):
            raise RefusedError("the answering server does not know the search's token")
        return answer

    @contextlib.contextmanager
    def reporting(self, number: int, context: TrialContext) -> Iterator["ProgressReporter"]:
        """Report on a trial in the background while the block runs."""
        reporter = ProgressReporter(self, number, context)
        thread = threading.Thread(target=reporter.run, name="mlops-worker", daemon=True)
        context.cancel_reason = reporter.cancel_reason
        context.owns_trial = reporter.owns_trial
        thread.start()
        try:
            yield reporter
        finally:
            reporter.ended.set()
            thread.join()
            context.cancel_reason = str
            context.owns_trial = lambda: True


class ProgressReporter:
    """Report one trial's progress to the chief, and keep its latest reply."""

    def __init__(self, client: ChiefClient, number: int, context: TrialContext) -> None:
        self._client = client
        self._number = number
        self._context = context
        self.ended = threading.Event()
        self.reply = Reply()

    def cancel_reason(self) -> str:
        """Return why the trial has to end, or "" if it may continue."""
        return self.reply.reason if self.reply.action != "go on" else ""

    def owns_trial(self) -> bool:
        """Return whether this worker still owns the trial (it may have been reassigned)."""
        self._report()
        return self.reply.action != "drop"

    def run(self) -> None:
        """Report until the trial has ended."""
        while not self.ended.wait(REPORT_INTERVAL_S):
            self._report()

    def _report(self) -> None:
        curve, seconds = self._context.progress()
        reply = self._client.report_progress(self._number, curve=curve, seconds=seconds)
        if reply is None or self.reply.action == "drop":
            return
        # A chief that was restarted has forgotten the scores at the rungs, and may take back a
        # "stop". The training has been stopped by then.
        if self.reply.action == "stop" and reply.action == "go on":
            return
        self.reply = reply
        if reply.best is not None:
            self._context.best = reply.best


def work(
    client: ChiefClient,
    context: TrialContext,
    run_trial: Callable[[Assignment], Dict[str, Any]],
    on_reported: Callable[[int], None] = lambda number: None,
) -> None:
    """Run assigned trials until the end of the search.

    Args:
        client: the connection with the chief.
        context: the parts that all trials share.
        run_trial: runs one trial and returns its record.
        on_reported: called with a trial's number once the chief has confirmed its end.

    Raises:
        RefusedError: the chief does not accept this worker.
    """
    while True:
        assignment = client.next_assignment()
        if assignment.action == "end":
            return
        if assignment.action == "wait":
            time.sleep(RETRY_S)
            continue
        with client.reporting(assignment.number, context) as reporter:
            record = run_trial(assignment)
        if reporter.reply.action != "drop":
            client.report_end(record)
            on_reported(assignment.number)
