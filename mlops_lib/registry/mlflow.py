"""MLflow beside the registry on disk: with `MLFLOW_TRACKING_URI` set, every registered model is
logged there too.

A run becomes an MLflow run in the experiment of its project, with its curves, artifacts and
lineage; its version a version of the registered model, with the same aliases, which move there when
they move here. Logging twice changes
nothing: the run is found by its digest, the version by the run. The server is never asked for
    anything that decides here.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlops_lib import event_log, events
from mlops_lib.errors import UsageError
from mlops_lib.events import Observer
from mlops_lib.records import ModelVersion, RunSpec
from mlops_lib.registry import model_store
from mlops_lib.runner import protocol

URI = "MLFLOW_TRACKING_URI"
DIGEST = "mlops.run"
"""Tag of an MLflow run: the digest of ours."""
VERSION = "mlops.version"
"""Tag of a model version in MLflow: the number of ours."""
EVERY = 1000
"""Metrics in one request, MLflow's own limit."""
FILES = (protocol.REPORT, protocol.CURVES, protocol.VERDICT, protocol.PATCH)
MANNERS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""MLflow by itself waits minutes for a server that is gone, and prints where results are expected.
"""


def is_wanted(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether a tracking server is named."""
    return bool(environ.get(URI, "").strip())


def log(run_dir: Path, spec: RunSpec, version: ModelVersion, *, home: Path) -> str:
    """Log a registered model's run and version; returns the MLflow run's id.

    Raises:
        UsageError: MLflow is not installed, or the server does not take it.
    """
    with _client(again="mlops register") as client:
        run = _run(client, run_dir, spec)
        _log_metrics(client, run.info.run_id, run_dir, version)
        _log_files(client, run, run_dir, version)
        client.set_terminated(run.info.run_id, "FINISHED")
        _log_version(client, run, version, home=home)
        return str(run.info.run_id)


def log_aliases(name: str, *, home: Path) -> None:
    """Let the aliases of a registered model name the same versions in MLflow as here, as far as
    those were logged.

    Aliases that only MLflow knows are somebody else's and stay.

    Raises:
        UsageError: MLflow is not installed, or the server does not take it.
    """
    with _client(again="mlops registry alias") as client:
        for alias, number in model_store.aliases(name, home=home).items():
            for one in client.search_model_versions(f"tags.`{VERSION}` = '{number}'"):
                if one.name == name:
                    client.set_registered_model_alias(name, alias, one.version)


@contextmanager
def _client(*, again: str) -> Iterator[Any]:
    """The server, with its failures as ours; `again` is the command that repeats what was tried."""
    try:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
    except ImportError:
        raise UsageError(
            "MLflow is not installed", where=URI, remedy="pip install 'mlops_lib[mlflow]'"
        ) from None
    try:
        with _well_mannered():
            yield MlflowClient(os.environ[URI])
    except (MlflowException, OSError) as error:
        # Requests' errors are OSErrors. The text may hold the URI, and the URI a password.
        what = str(error).splitlines()[0].replace(os.environ[URI], URI)[:300]
        raise UsageError(
            f"MLflow: {what}", where=URI, remedy=f"Mend {URI}; `{again}` logs it again."
        ) from None


@contextmanager
def _well_mannered() -> Iterator[None]:
    """MLflow as we need it, unless the user set it otherwise."""
    ours = {name: value for name, value in MANNERS.items() if name not in os.environ}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            os.environ.pop(name, None)


def _run(client: Any, run_dir: Path, spec: RunSpec) -> Any:
    """The MLflow run of ours, made if there is none."""
    experiment = client.get_experiment_by_name(spec.name)
    number = experiment.experiment_id if experiment else client.create_experiment(spec.name)
    known = client.search_runs([number], f"tags.`{DIGEST}` = '{spec.digest}'", max_results=1)
    if known:
        return known[0]
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
    for start in range(0, len(metrics), EVERY):
        client.log_batch(run_id, metrics=metrics[start : start + EVERY])


def _epochs(run_dir: Path) -> Iterator[tuple[int, str, int, float, float]]:
    """Fit, metric, epoch, value and time of every number that MLflow can hold."""
    for event in event_log.Events(run_dir).new():
        if (
            event["event"] == protocol.EVENT_EPOCH
            and event.get("fit") is not None
            and event.get("epoch") is not None
        ):
            for name, value in (event.get("metrics") or {}).items():
                if isinstance(value, (int, float)) and math.isfinite(value):
                    plain = "".join(c if c.isalnum() or c in "_-. " else "_" for c in str(name))[
                        :100
                    ]
                    yield (
                        event["fit"],
                        plain,
                        event["epoch"],
                        float(value),
                        event.get("time") or 0.0,
                    )


def _log_files(client: Any, run: Any, run_dir: Path, version: ModelVersion) -> None:
    """Upload what is not there yet: the registry's own copy of the model, its card, and what the
    run left to look at.
    """
    run_id = run.info.run_id
    there = {one.path for one in client.list_artifacts(run_id)}
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
    found = client.search_model_versions(f"run_id = '{run.info.run_id}'")
    known = [one for one in found if one.name == version.name]
    logged = (
        known[0]
        if known
        else client.create_model_version(
            version.name,
            source=f"{run.info.artifact_uri}/model",
            run_id=run.info.run_id,
            tags={VERSION: str(version.version), "mlops.sha256": version.model_digest},
            description=version.note,
            await_creation_for=None,
        )
    )
    for alias, number in model_store.aliases(version.name, home=home).items():
        if number == version.version:
            client.set_registered_model_alias(version.name, alias, logged.version)


def try_to_log(
    run_dir: Path, spec: RunSpec, version: ModelVersion, *, home: Path, observer: Observer
) -> None:
    """Log where a server is named; what fails is a warning, for the model is registered already."""
    _tried(lambda: log(run_dir, spec, version, home=home), observer)


def try_to_log_aliases(name: str, *, home: Path, observer: Observer) -> None:
    """As `log_aliases`, where a server is named; what fails is a warning, for the aliases are
    changed already.
    """
    _tried(lambda: log_aliases(name, home=home), observer)


def _tried(call: Callable[[], object], observer: Observer) -> None:
    if not is_wanted():
        return
    try:
        call()
    except UsageError as error:
        observer(events.warning(str(error)))
