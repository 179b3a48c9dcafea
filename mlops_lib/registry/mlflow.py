"""Mirror the registry to MLflow.

With `MLFLOW_TRACKING_URI` set, every registered model is logged there too. A run becomes an MLflow
run in its project's experiment, with its curves, artifacts and lineage. A version becomes a version
of the MLflow model; aliases follow when they move here. Logging twice changes nothing: the MLflow
run is looked up by the run's digest, the version by its run. The server is write-only: nothing read
from it influences a decision here.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlops_lib import events
from mlops_lib.errors import UsageError
from mlops_lib.events import Epoch, Observer
from mlops_lib.records import ModelVersion, RunSpec
from mlops_lib.registry import model_store
from mlops_lib.run_directory import RunDirectory
from mlops_lib.runner import protocol

URI = "MLFLOW_TRACKING_URI"
DIGEST = "mlops.run"
"""Tag of an MLflow run: the run's digest."""
VERSION = "mlops.version"
"""Tag of an MLflow model version: the version's number in the registry."""
BATCH = 1000
"""Metrics in one request, MLflow's own limit."""
FILES = (protocol.REPORT, protocol.CURVES, protocol.VERDICT, protocol.PATCH)
DEFAULTS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""MLflow's settings, unless the user's environment sets them.

By default MLflow retries a dead server for minutes, and prints to stdout, which is reserved for
results.
"""


def is_wanted(environ: Mapping[str, str] = os.environ) -> bool:
    """Return whether a tracking server is configured."""
    return bool(environ.get(URI, "").strip())


def log(run_dir: Path, spec: RunSpec, version: ModelVersion, *, home: Path) -> str:
    """Log a registered model's run and version, and return the MLflow run's id.

    Raises:
        UsageError: MLflow is not installed, or the server rejects a request.
    """
    with _client(again="mlops register") as client:
        run = _run(client, run_dir, spec)
        _log_metrics(client, run.info.run_id, run_dir, version)
        _log_files(client, run, run_dir, version)
        client.set_terminated(run.info.run_id, "FINISHED")
        _log_version(client, run, version, home=home)
        return str(run.info.run_id)


def log_aliases(name: str, *, home: Path) -> None:
    """Point MLflow's aliases of a model at the versions that they name here.

    Versions that were never logged are skipped. Aliases that exist only in MLflow are left alone.

    Raises:
        UsageError: MLflow is not installed, or the server rejects a request.
    """
    with _client(again="mlops registry alias") as client:
        for alias, number in model_store.aliases(name, home=home).items():
            for logged in client.search_model_versions(f"tags.`{VERSION}` = '{number}'"):
                if logged.name == name:
                    client.set_registered_model_alias(name, alias, logged.version)


@contextmanager
def _client(*, again: str) -> Iterator[Any]:
    """Yield an MLflow client; translate its errors to `UsageError`.

    Args:
        again: the command that repeats the attempt, for the remedy.
    """
    try:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
    except ImportError:
        raise UsageError(
            "MLflow is not installed", where=URI, remedy="pip install 'mlops_lib[mlflow]'"
        ) from None
    try:
        with _default_environment():
            yield MlflowClient(os.environ[URI])
    except (MlflowException, OSError) as error:
        # Requests' errors are OSErrors. The text may hold the URI, and the URI a password.
        what = str(error).splitlines()[0].replace(os.environ[URI], URI)[:300]
        raise UsageError(
            f"MLflow: {what}", where=URI, remedy=f"Correct {URI}, then run `{again}` again."
        ) from None


@contextmanager
def _default_environment() -> Iterator[None]:
    """Apply `DEFAULTS` to the environment for the duration of a call."""
    variables = {name: value for name, value in DEFAULTS.items() if name not in os.environ}
    os.environ.update(variables)
    try:
        yield
    finally:
        # Child processes would inherit them.
        for name in variables:
            os.environ.pop(name, None)


def _run(client: Any, run_dir: Path, spec: RunSpec) -> Any:
    """Return the MLflow run that mirrors a run, created if it does not exist."""
    experiment = client.get_experiment_by_name(spec.name)
    number = experiment.experiment_id if experiment else client.create_experiment(spec.name)
    matches = client.search_runs([number], f"tags.`{DIGEST}` = '{spec.digest}'", max_results=1)
    if matches:
        return matches[0]
    tags = {DIGEST: spec.digest, "mlflow.source.name": spec.entry, "mlflow.source.type": "PROJECT"}
    if spec.commit:
        tags["mlflow.source.git.commit"] = spec.commit
    run = client.create_run(
        number, start_time=int(1000 * spec.created), run_name=run_dir.name, tags=tags
    )
    for name, value in _parameters(spec).items():
        client.log_param(run.info.run_id, name, value[:500])
    return run


def _parameters(spec: RunSpec) -> dict[str, str]:
    return {
        "entry": spec.entry,
        "args": " ".join(spec.args),
        "seed": str(spec.seed),
        "framework": spec.framework,
        "family": spec.family,
        "image": spec.image.tag,
        "backend": spec.backend,
        "data_digest": spec.data_digest,
    }


def _log_metrics(client: Any, run_id: str, run_dir: Path, version: ModelVersion) -> None:
    from mlflow.entities import Metric

    metrics = [
        Metric(key=f"fit_{fit}/{name}", value=value, timestamp=int(1000 * time), step=step)
        for fit, name, step, value, time in _epochs(run_dir)
    ]
    if version.value is not None and version.metric:
        metrics.append(
            Metric(
                key=version.metric,
                value=version.value,
                timestamp=int(1000 * version.created),
                step=0,
            )
        )
    for start in range(0, len(metrics), BATCH):
        client.log_batch(run_id, metrics=metrics[start : start + BATCH])


def _epochs(run_dir: Path) -> Iterator[tuple[int, str, int, float, float]]:
    """Yield fit, metric, epoch, value and time of every number that MLflow can store."""
    for event in RunDirectory(run_dir).events:
        if not isinstance(event, Epoch) or event.fit is None or event.epoch is None:
            continue
        for name, value in event.metrics.items():
            if isinstance(value, (int, float)) and math.isfinite(value):
                yield event.fit, _metric_key(name), event.epoch, float(value), event.time or 0.0


def _metric_key(name: str) -> str:
    """Return a metric's name with the characters that MLflow rejects replaced."""
    return "".join(c if c.isalnum() or c in "_-. " else "_" for c in name)[:100]


def _log_files(client: Any, run: Any, run_dir: Path, version: ModelVersion) -> None:
    """Upload the model, its card and the run's reports, unless they are there already.

    The model is the registry's own copy, which no container can change.
    """
    run_id = run.info.run_id
    there = {artifact.path for artifact in client.list_artifacts(run_id)}
    for name in FILES:
        path = run_dir / name
        if path.is_file() and not path.is_symlink() and path.name not in there:
            client.log_artifact(run_id, str(path))
    if "model" not in there:
        client.log_artifact(run_id, version.model, artifact_path="model")
        for name in ("card.md", "version.json"):
            client.log_artifact(run_id, str(Path(version.path, name)), artifact_path="model")


def _log_version(client: Any, run: Any, version: ModelVersion, *, home: Path) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(version.name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    of_run = client.search_model_versions(f"run_id = '{run.info.run_id}'")
    logged = next((match for match in of_run if match.name == version.name), None)
    if logged is None:
        logged = client.create_model_version(
            version.name,
            source=f"{run.info.artifact_uri}/model",
            run_id=run.info.run_id,
            tags={VERSION: str(version.version), "mlops.sha256": version.model_digest},
            description=version.note,
            await_creation_for=None,
        )
    for alias, number in model_store.aliases(version.name, home=home).items():
        if number == version.version:
            client.set_registered_model_alias(version.name, alias, logged.version)


def try_to_log(
    run_dir: Path, spec: RunSpec, version: ModelVersion, *, home: Path, observer: Observer
) -> None:
    """Log a registered model if a server is configured; report a failure as a warning.

    The model is registered already: MLflow is a mirror, and its failure must not fail the command.
    """
    _warn_on_failure(lambda: log(run_dir, spec, version, home=home), observer)


def try_to_log_aliases(name: str, *, home: Path, observer: Observer) -> None:
    """Log a model's aliases if a server is configured; report a failure as a warning."""
    _warn_on_failure(lambda: log_aliases(name, home=home), observer)


def _warn_on_failure(call: Callable[[], object], observer: Observer) -> None:
    if not is_wanted():
        return
    try:
        call()
    except UsageError as error:
        observer(events.warning(str(error)))
