"""`python -m mlops_lib.runner ENTRY ARGS…`: run a script with adapters around it."""

import contextlib
import faulthandler
import functools
import os
import sys
import time
from typing import Any, Callable, Dict, List, Optional, TextIO

from mlops_lib.runner import broken_pictures, compat, network, protocol, spec
from mlops_lib.runner.context import CHECKPOINTS, Context
from mlops_lib.runner.journal import Journal
from mlops_lib.runner.metrics import handwritten
from mlops_lib.runner.pytorch import adapter as pytorch
from mlops_lib.runner.script import (
    execution,
    import_hooks,
    native_writers,
    own_packages,
    path_redirection,
    steps,
    terminal,
    trackers,
    workdir,
)
from mlops_lib.runner.sklearn import candidates
from mlops_lib.runner.state import clock, entropy, rng


class Tee:
    """Standard output that keeps its end, for a metric that the script only prints."""

    TAIL_CHARACTERS = 1 << 20

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._tail: List[str] = []
        self._length = 0

    def write(self, text: str) -> int:
        """Write through, and keep a copy."""
        self._tail.append(text)
        self._length += len(text)
        if self._length > 2 * self.TAIL_CHARACTERS:
            self._tail = [self.text()[-self.TAIL_CHARACTERS :]]
            self._length = self.TAIL_CHARACTERS
        return self._stream.write(text)

    def text(self) -> str:
        """Return the end of the output, at least its last `TAIL_CHARACTERS` characters."""
        return "".join(self._tail)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def main(arguments: List[str]) -> int:
    """Run the entry; return the process's exit code, which is the script's own."""
    # After a crash in native code, the log shows the Python line that led to it.
    faulthandler.enable()
    try:
        orders = spec.read()
    except (ValueError, TypeError) as error:
        sys.stderr.write(f"mlops: cannot read MLOPS_SPEC: {error}\n")
        return protocol.BAD_START
    if not arguments:
        sys.stderr.write("mlops: no entry given\n  remedy: docker run IMAGE ENTRY [ARGUMENTS]\n")
        return protocol.BAD_START
    entry = arguments[0]
    args = arguments[1:]
    if os.path.isabs(entry):
        entry = os.path.relpath(entry, orders.project)
    if not os.path.isfile(os.path.join(orders.project, entry)):
        sys.stderr.write(f"mlops: {entry}: no such file in {orders.project}\n")
        return protocol.BAD_START
    network.wait()
    journal = Journal(
        orders.inside,
        number_of_pass=orders.number_of_pass,
        attempt=orders.attempt,
        strict=orders.strict,
    )
    if orders.shared:
        workdir.copy_finished_fits(
            orders.shared, orders.inside, last=int((orders.search or {}).get("fit", 0))
        )
    work = os.path.join(orders.inside, "work")
    workdir.build(orders.project, work, orders.links)
    return _run(Context(orders, journal, work), entry, args)


def _run(run: Context, entry: str, args: List[str]) -> int:
    """Run the script under the hooks; return the exit code of the attempt."""
    began = time.monotonic()
    run.shutdown.install(run.journal, run.writer)
    _enter(run, entry, args)
    _make_repeatable(run)
    if run.spec.search is not None:
        run.search = functools.partial(_search, run)
    dialect = _dialect(run, entry)
    _install_hooks(run, dialect, entry)
    output: Optional[Tee] = None
    if run.spec.metric_pattern:
        output = Tee(sys.stdout)
        sys.stdout = output

    def conclude(error: Optional[BaseException]) -> int:
        _end_loops(run, error)
        return _conclude(run, error, output, began)

    # `os._exit` skips everything below; the hook saves the results first.
    exit_hook = execution.install_exit_hook(conclude)
    error = steps.run(run, entry, args, compile_=dialect.compile)
    exit_hook()
    return conclude(error)


def _enter(run: Context, entry: str, args: List[str]) -> None:
    """Enter the working directory and journal the start of the attempt."""
    orders = run.spec
    checkpoint_folder = os.path.join(orders.inside, "kept")
    os.makedirs(checkpoint_folder, exist_ok=True)
    # This folder is outside of the working directory, which each attempt builds anew.
    os.environ[CHECKPOINTS] = checkpoint_folder
    os.chdir(run.work)
    run.start = workdir.manifest(run.work)
    run.journal.write(
        protocol.EVENT_START,
        entry=entry,
        args=args,
        python=sys.version.split()[0],
        pid=os.getpid(),
        resumed=orders.attempt > 1,
    )
    # Fits after the searched one train another model than in pass 1, so their epochs are new ones.
    if run.searched_fit is not None:
        run.journal.forget_epochs_after(run.searched_fit)
    run.journal.progress("script")


def _make_repeatable(run: Context) -> None:
    """Fix the files, the seeds, the clock and the answers that the script gets."""
    orders = run.spec
    run.conditions.activate(
        lambda: workdir.install_copy_on_write(orders.project, *orders.links.values())
    )
    # Seeds and clock come before the script and its imports: a library may draw while it is
    # imported.
    rng.seed_process(orders.seed)
    entropy.install(orders.seed)
    clock.install(orders.inside)
    execution.install_input_answers(orders.input)


def _install_hooks(run: Context, dialect: compat.source.Dialect, entry: str) -> None:
    """Install the hooks of frameworks, paths and metrics; none of them imports a framework."""
    pytorch.prepare(run, dialect, entry)
    import_hooks.after_import(_adapters(run))
    import_hooks.after_import(pytorch.install(run))
    import_hooks.after_import(candidates.install(run))
    import_hooks.after_import(compat.install(run, dialect, entry))
    paths = path_redirection.PathRedirector(run.work, entry, run.journal, run.spec.project)
    import_hooks.after_import(paths.hooks())
    import_hooks.after_import(native_writers.hooks(paths.written_to))
    run.conditions.activate(paths.install)
    terminal.install()
    own_packages.install(run.work, entry)
    handwritten.install(functools.partial(_record_handwritten, run))


def _end_loops(run: Context, error: Optional[BaseException]) -> None:
    """End the observed loops and the script's conditions before the results are saved."""
    if run.forked is not None:
        run.forked.end(error)  # a trial of a search: its process ends here
    if run.marked_loops is not None:
        run.marked_loops.end(error)
    if error is not None:
        for follow in run.on_error:
            with run.journal.guard("error of the script"):
                follow(error)
    with run.journal.guard("conditions"):
        run.conditions.end()


def _record_handwritten(
    run: Context, function: Callable[..., float], left: Any, right: Any
) -> None:
    from mlops_lib.runner.sklearn import evaluation

    evaluation.record_handwritten(run, function, left, right)


def _conclude(
    run: Context, error: Optional[BaseException], output: Optional[Tee], began: float
) -> int:
    """Save the results of the ended script and record its end; return the exit code."""
    orders = run.spec
    journal = run.journal
    if output is not None:
        sys.stdout = output._stream
    code, failure = (0, None) if error is None else execution.report(error)
    with journal.guard("broken pictures"):
        broken_pictures.explain(failure, run.work)
    if code == 0:
        journal.progress("exit")
        _finish(run, "" if output is None else output.text())
    run.writer.wait()
    # The script may have removed its current directory; later code needs one that exists.
    os.chdir(orders.inside)
    journal.write(
        protocol.EVENT_END,
        exit_code=code,
        seconds=round(time.monotonic() - began, 3),
        error=failure,
    )
    journal.progress("exit")
    return code


def _dialect(run: Context, entry: str) -> compat.source.Dialect:
    """Return how to compile the project's sources.

    An entry that cannot be read raises later, when it is run.
    """
    try:
        text = execution.source_of(entry)
    except execution.BadEntryError:
        text = ""
    return compat.dialect(run, text, entry)


def _adapters(run: Context) -> Dict[str, Callable[[Any], None]]:
    from mlops_lib.runner.boosting import adapter as boosting_adapter
    from mlops_lib.runner.keras import adapter as keras_adapter
    from mlops_lib.runner.metrics import saved_model, targets
    from mlops_lib.runner.script import custom_loops
    from mlops_lib.runner.sklearn import adapter as sklearn_adapter

    def numpy(module: Any) -> None:
        rng.seed_numpy(module, run.spec.seed)

    def torch(module: Any) -> None:
        rng.seed_torch(module, run.spec.seed)

    return {
        "numpy": numpy,
        "torch": torch,
        **keras_adapter.install(run),
        **sklearn_adapter.install(run),
        **targets.install(run),
        **saved_model.install(run),
        **boosting_adapter.install(run),
        **custom_loops.install(run),
    }


def _search(run: Context, fit: Any, history: Any) -> Any:
    """Search around the judged fit; return the History for the fit's caller."""
    if run.spec.shared:
        _run_search_worker(run, fit, history)
    folder = run.search_folder
    undisturbed = contextlib.ExitStack()
    undisturbed.enter_context(entropy.SeparateStream("search"))
    undisturbed.enter_context(trackers.paused())
    # Fits and evaluations of the search are not the script's own calls: `nested` keeps the adapters
    # from numbering, checkpointing or recording them.
    run.nested += 1
    try:
        with run.journal.guard("search"):
            from mlops_lib.runner.sklearn import adapter as sklearn_adapter

            if not isinstance(fit, sklearn_adapter.EstimatorFit):
                from mlops_lib.runner.keras import adapter as keras_adapter

                return keras_adapter.search(fit, history, folder)
            from mlops_lib.runner.search import estimator_usage
            from mlops_lib.runner.search import sklearn as sklearn_search
            from mlops_lib.runner.sklearn import evaluation

            search = sklearn_search.Search(
                fit,
                run.spec.search or {},
                run.journal,
                folder=folder,
                seed=run.spec.seed,
                needs_probabilities=estimator_usage.names(
                    run.spec.project, estimator_usage.PROBABILITIES
                ),
            )
            if search.run()["winner"]:
                evaluation.add_winner(run, fit, search)
    finally:
        run.nested -= 1
        run.searched = True
        undisturbed.close()
    return history


def _run_search_worker(run: Context, fit: Any, history: Any) -> None:
    """Run trials that the chief of the run's search assigns.

    The process ends afterwards: the script continues in another one.
    """
    from mlops_lib.runner.keras import adapter as keras_adapter

    run.nested += 1
    code = 0
    failure = None
    try:
        keras_adapter.search(fit, history, run.search_folder)
    except BaseException as error:  # noqa: BLE001 - the script must not continue in a worker
        code, failure = execution.report(error)
    run.writer.wait()
    run.journal.write(protocol.EVENT_END, exit_code=code, seconds=0.0, error=failure)
    run.journal.progress("exit")
    execution.exit_process(code)


def _finish(run: Context, output: str) -> None:
    """Collect the model, the numbers and the files of a script that ended well."""
    for follow in run.before_end:
        with run.journal.guard("before the end"):
            follow()
    with run.journal.guard("written metrics"):
        run.evaluations.add_reported(
            run.work, run.spec.metric_pattern, output, run.spec.metrics_file
        )
    with run.journal.guard("measure"), run.conditions.restored():
        _measure(run)
    with run.journal.guard("numbers in files"):
        run.evaluations.add_from_files(
            run.work, workdir.changed(run.start, workdir.manifest(run.work))
        )
    with run.journal.guard("leaks"), run.conditions.restored():
        _detect_leaks(run)
    with run.journal.guard("save model"), run.conditions.restored():
        _save_model(run)
    with run.journal.guard("kept examples"), run.conditions.restored():
        _store_examples(run)
    with run.journal.guard("mistakes"), run.conditions.restored():
        _examine_predictions(run)
    with run.journal.guard("outputs"):
        sys.stdout.flush()
        for path in workdir.collect_outputs(
            run.work, os.path.join(run.spec.inside, "outputs"), run.start
        ):
            run.journal.write(protocol.EVENT_OUTPUT, path=path)
    run.evaluations.save(run.spec.inside)
    if run.spec.champion:
        with run.journal.guard("champion"), run.conditions.restored():
            _measure_champion(run)


def _store_examples(run: Context) -> None:
    """Store the judged examples.

    With them a process without the script can measure the saved model.
    """
    from mlops_lib.runner.metrics import kept_examples

    run.nested += 1
    try:
        kept_examples.store(run)
        kept_examples.store_training_hashes(run)
    finally:
        run.nested -= 1


def _measure_champion(run: Context) -> None:
    """Measure the registered champion on the judged examples too.

    It comes last, once everything about the new model has been written: a champion that crashes the
    process must not take the new model's record with it.
    """
    from mlops_lib.runner.metrics import champion

    run.nested += 1
    try:
        run.evaluations.champion = champion.measure(run)
    finally:
        run.nested -= 1
    run.evaluations.save(run.spec.inside)


def _measure(run: Context) -> None:
    """Measure a model whose script did not evaluate it."""
    from mlops_lib.runner.metrics import targets
    from mlops_lib.runner.sklearn import adapter as sklearn_adapter

    run.nested += 1
    try:
        targets.measure(run)
    finally:
        run.nested -= 1
    if not run.models and run.cross_validated is not None:
        sklearn_adapter.fit_on_everything(run, *run.cross_validated)
    saved = run.evaluations.saved()
    if not run.models and saved is not None:  # trained by a loop of the script's own
        run.models[0] = saved
    run.evaluations.settle()


def _detect_leaks(run: Context) -> None:
    """Find judged examples that were also trained on.

    It runs before the saved model is measured, which leaves them out.
    """
    from mlops_lib.runner.metrics import leaks

    run.nested += 1
    try:
        leaks.report_leaks(run.leaks, run.evaluations, run.spec.inside)
    finally:
        run.nested -= 1


def _examine_predictions(run: Context) -> None:
    """Count non-finite predictions on the judged examples, and store the worst errors."""
    from mlops_lib.runner.metrics import finite, misclassified

    evaluation = run.evaluations.judged_record()
    predictable = run.evaluations.xy.get(evaluation["id"]) if evaluation is not None else None
    model = run.evaluations.models.get(evaluation["id"]) if evaluation is not None else None
    if evaluation is None or predictable is None or model is None:
        return
    run.nested += 1
    try:
        with run.evaluations.original_conditions(evaluation["id"]):
            with run.journal.guard("predictions"):
                finite.count(model, predictable, evaluation)
            if evaluation["task"] == "classification":
                misclassified.explain(model, predictable, evaluation, run.spec.inside)
    finally:
        run.nested -= 1


def _save_model(run: Context) -> None:
    evaluation = run.evaluations.judged_record()
    model = run.evaluations.models.get(evaluation["id"]) if evaluation is not None else None
    fit = evaluation["fit"] if evaluation is not None else None
    if model is None and run.models:
        fit = max(run.models)
        model = run.models[fit]
    if model is None:
        return
    from mlops_lib.runner.keras import artifact as keras_artifact
    from mlops_lib.runner.pytorch import artifact

    if isinstance(model, artifact.Model):
        run.nested += 1
        try:
            run.evaluations.model = artifact.save(run, model, fit)
        finally:
            run.nested -= 1
    elif keras_artifact.keras_of(model) is not None:
        run.nested += 1
        try:
            run.evaluations.model = keras_artifact.save(run, model, fit)
        finally:
            run.nested -= 1
    else:
        from mlops_lib.runner.sklearn import adapter as sklearn_adapter

        run.evaluations.model = sklearn_adapter.save(run, model, fit)


def _exit(code: int) -> None:
    """Exit as the script would: non-daemon threads and atexit functions still run."""
    sys.stdout.flush()
    sys.stderr.flush()
    sys.exit(code)


if __name__ == "__main__":
    _exit(main(sys.argv[1:]))
