"""A worker of a search: asks the chief for trials, says how far they are, and how they ended.

While a trial trains, a thread of its own tells the chief about it; the training never waits for an
answer, and a chief that is gone for a while is waited for only between two trials.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from typing import Any, Callable, Dict, Iterator, Optional

from mlops_lib.runner.search.distributed import rpc
from mlops_lib.runner.search.distributed.dispatcher import Order, Reply
from mlops_lib.runner.search.keras.candidates import Candidate
from mlops_lib.runner.search.keras.trial import TrialContext
from mlops_lib.runner.search.request import SearchJournal, SearchRequest

BEAT_S = 0.4
"""How often the chief hears of a trial: the bar reached anywhere stops everybody within a second.
"""
CALL_S = 10.0
AGAIN_S = 0.3
SILENT_S = 60.0
"""A chief that has not answered for so long is told of: who sees to it may want to know."""


class RefusedError(Exception):
    """The chief does not know this worker, or is not the chief."""


class Line:
    """A worker's connection with its chief.

    Raises:
        ValueError: it leads over a network, and there is no certificate.
    """

    def __init__(self, request: SearchRequest, journal: SearchJournal) -> None:
        from keras_tuner.src import protos

        self._request = request
        self._journal = journal
        self._name = request.worker
        self._messages = protos.get_service()
        self._channel = rpc.channel(request)
        self._stub = protos.get_service_grpc().OracleStub(self._channel)
        self._heard = time.monotonic()
        self._is_silent = False

    def close(self) -> None:
        """Hang up."""
        self._channel.close()

    def ask(self) -> Order:
        """What to do next."""
        answer = self._patiently(
            self._stub.CreateTrial, self._messages.CreateTrialRequest(tuner_id=self._name)
        )
        if answer is None:
            return Order("end")
        trial = answer.trial
        states = self._states()
        do = {states.RUNNING: "try", states.IDLE: "wait"}.get(trial.status, "end")
        values = rpc.said(trial).get("candidate")
        return Order(
            do, int(trial.trial_id or 0), None if values is None else Candidate.read(values)
        )

    def beat(self, number: int, *, curve: Any, seconds: float) -> Optional[Reply]:
        """Say how far a trial is; None where the chief does not answer just now."""
        import grpc

        request = self._messages.UpdateTrialRequest(
            trial_id=str(number), metrics=rpc.curve_as_metrics(curve, seconds), step=len(curve)
        )
        try:
            trial = self._call(self._stub.UpdateTrial, request).trial
        except grpc.RpcError:
            return None
        states = self._states()
        told = rpc.said(trial)
        do = {states.STOPPED: "stop", states.INVALID: "drop"}.get(trial.status, "go on")
        return Reply(do, str(told.get("why", "")), told.get("best"))

    def end(self, record: Dict[str, Any]) -> None:
        """Say how a trial ended, for as long as it takes the chief to hear it; it counts it once."""
        trial = rpc.proto(str(record["number"]), "COMPLETED", record=record)
        self._patiently(self._stub.EndTrial, self._messages.EndTrialRequest(trial=trial))

    @staticmethod
    def _states() -> Any:
        from keras_tuner.src import protos

        return protos.get_proto().TrialStatus

    def _patiently(self, method: Any, message: Any) -> Any:
        """Call a chief that may be away for a while: whoever watches over the run brings it back.

        None where the search was over meanwhile.
        """
        import grpc

        while True:
            self._journal.progress("search")
            try:
                return self._call(method, message)
            except grpc.RpcError as error:
                self._refuse(error)
                if rpc.is_over(self._request):
                    return None
                time.sleep(AGAIN_S)

    def _refuse(self, error: Any) -> None:
        """End with one message where it is no use to ask again."""
        import grpc

        if error.code() == grpc.StatusCode.UNAUTHENTICATED:
            raise RefusedError(error.details()) from None
        if error.code() == grpc.StatusCode.INVALID_ARGUMENT:
            raise RefusedError(
                f"the search's chief cannot use what this worker says: {error.details()}"
            ) from None
        if rpc.is_foreign(str(error.details())):
            raise RefusedError(
                f"who answers at {self._request.chief} is not this search's chief: it does not show the certificate that the"
                " shared files name. See that the address is the one given as --listen, and that nothing stands in between."
            ) from None

    def _notice(self, error: Any) -> None:
        """Tell of a chief that is silent, and of its coming back; None is an answer."""
        now = time.monotonic()
        if error is None:
            self._heard = now
            if self._is_silent:
                self._is_silent = False
                self._journal.write("warning", message="the chief of the search answers again")
        elif now - self._heard > SILENT_S and not self._is_silent:
            self._is_silent = True
            where = f" at {self._request.chief}" if self._request.chief else ""
            self._journal.write(
                "warning",
                message=f"the chief of the search{where} has not answered for {SILENT_S:.0f} s and is waited for:"
                f" {error.details()}",
            )

    def _call(self, method: Any, message: Any) -> Any:
        import grpc

        name = f"/keras_tuner.Oracle/{type(message).__name__.replace('Request', '')}"
        nonce = secrets.token_hex(16)
        token = self._request.token
        own = rpc.proof(token, "worker", name, self._name, nonce)
        told = ((rpc.NONCE, nonce), (rpc.WORKER, self._name), (rpc.PROOF, own))
        try:
            answer, call = method.with_call(message, metadata=told, timeout=CALL_S)
        except grpc.RpcError as error:
            self._notice(error)
            raise
        self._notice(None)
        heard = dict(call.initial_metadata()).get(rpc.PROOF)
        if not rpc.is_proof(heard, rpc.proof(token, "chief", name, self._name, nonce)):
            raise RefusedError("who answers does not know the search's token")
        return answer

    @contextlib.contextmanager
    def reporting(self, number: int, context: TrialContext) -> Iterator["Reports"]:
        """Tell the chief about the trial that trains meanwhile."""
        reports = Reports(self, number, context)
        thread = threading.Thread(target=reports.run, name="mlops-worker", daemon=True)
        context.cancel_reason, context.owns_trial = reports.told, reports.owns_trial
        thread.start()
        try:
            yield reports
        finally:
            reports.over.set()
            thread.join()
            context.cancel_reason, context.owns_trial = str, lambda: True


class Reports:
    """What the chief hears about one trial, and what it answered."""

    def __init__(self, line: Line, number: int, context: TrialContext) -> None:
        self._line = line
        self._number = number
        self._context = context
        self.over = threading.Event()
        self.reply = Reply()

    def told(self) -> str:
        """Why the trial is to end, "" if it is not."""
        return self.reply.why if self.reply.do != "go on" else ""

    def owns_trial(self) -> bool:
        """Whether the chief still counts on this worker for the trial, as far as it can be asked."""
        self._beat()
        return self.reply.do != "drop"

    def run(self) -> None:
        """Until the trial is over."""
        while not self.over.wait(BEAT_S):
            self._beat()

    def _beat(self) -> None:
        curve, seconds = self._context.progress()
        reply = self._line.beat(self._number, curve=curve, seconds=seconds)
        if (
            reply is None
            or self.reply.do == "drop"
            or (self.reply.do == "stop" and reply.do == "go on")
        ):
            return
        self.reply = reply
        if reply.best is not None:
            self._context.best = reply.best


def work(
    line: Line,
    context: TrialContext,
    attempt: Callable[[Order], Dict[str, Any]],
    ended: Callable[[int], None] = lambda number: None,
) -> None:
    """Try what the chief hands out until the search is over.

    Args:
        line: the connection with the chief.
        context: what trials share.
        attempt: runs one trial and gives its record.
        ended: hears of a trial of whose end the chief has heard.
    """
    while True:
        order = line.ask()
        if order.do == "end":
            return
        if order.do == "wait":
            time.sleep(AGAIN_S)
            continue
        with line.reporting(order.number, context) as reports:
            record = attempt(order)
        if reports.reply.do != "drop":
            line.end(record)
            ended(order.number)
