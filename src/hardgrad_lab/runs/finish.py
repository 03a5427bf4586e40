"""The end of a run: from a training to its record, the last file to be written, which says that all is done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hardgrad_lab.runs.checkpoint import Saver
from hardgrad_lab.runs.loop import Training
from hardgrad_lab.runs.record import Record, Run, describe_environment
from hardgrad_lab.runs.space import explain


def finish(
    run: Run, training: Training, results: Path, saver: Saver, *, started: str, machine: dict[str, Any]
) -> Record:
    """Write what a trained run leaves: pictures and curves of its own, and last its record.

    Args:
        run: which run.
        training: at its end.
        results: folder of the record.
        saver: of its checkpoints.
        started: when it began, ISO 8601 in UTC.
        machine: what the last bits may depend on.

    Raises:
        OSError: if there is no room for it; it says whether the checkpoint holds the run.
    """
    rows = {"rows": training.rows} if training.rows else {}
    record = _record(run, training, started, {**describe_environment(machine), **rows})
    try:
        if training.keep is not None:
            training.keep(training, results, run.name)
        record.save(run.record_path(results))
    except OSError as error:
        kept = "it is lost" if saver.fault else f"{saver.path} holds the run, so --resume only has to write"
        raise OSError(
            f"the training is done, but what came of it could not be written: {explain(error)}; {kept}"
        ) from None
    return record


def _record(run: Run, training: Training, started: str, environment: dict[str, object]) -> Record:
    curve = [{name: value for name, value in point.items() if "@" not in name} for point in training.curve]
    metrics = {name: value for name, value in curve[-1].items() if name not in ("samples", "seconds")}
    if "accuracy" in metrics:
        metrics["best_accuracy"] = max(point["accuracy"] for point in curve)
    metrics["parameters"] = sum(parameter.numel() for parameter in training.model.parameters())
    return Record(
        experiment=run.experiment,
        config=run.config,
        seed=run.seed,
        metrics=metrics,
        curve=_alike(curve),
        samples=training.samples,
        seconds=training.seconds,
        started=started,
        environment=environment,
    )


def _alike(curve: list[dict[str, float]]) -> list[dict[str, float]]:
    """Return the curve without what the last point alone has: that is in the metrics."""
    everywhere = set.intersection(*(set(point) for point in curve))
    return [{name: value for name, value in point.items() if name in everywhere} for point in curve]
