"""One run from start to record: skip it if it is done, resume it if asked, train, write the record."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from hardgrad_lab.runs import checkpoint
from hardgrad_lab.runs.atomic import sweep
from hardgrad_lab.runs.loop import Plan, Training, train
from hardgrad_lab.runs.progress import watch
from hardgrad_lab.runs.record import Record, RecordError, Run, describe_environment


class UnfinishedError(ValueError):
    """A run was begun before, and nobody said whether to continue it or to start again."""


@dataclass(frozen=True, kw_only=True)
class How:
    """How to run, as far as it should not change what comes out.

    Args:
        results: folder of the records; checkpoints go to ``checkpoints`` in it.
        resume: continue from the checkpoint, where there is one.
        force: start again, whatever is there.
        threads: CPU threads of torch. One by default: networks of these sizes gain little from more, two threads on a
            busy two-core machine were ten times slower than one, and the last bits depend on the number.
        compiled: run the loss through ``torch.compile``.
        device: cpu, cuda, or auto for cuda where there is one.
        checkpoint_every_s: seconds between checkpoints.
        checkpoint_every: steps between checkpoints; 0 goes by the clock alone.
    """

    results: Path = Path("results")
    resume: bool = False
    force: bool = False
    threads: int = 1
    compiled: bool = False
    device: str = "auto"
    checkpoint_every_s: float = 30.0
    checkpoint_every: int = 0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What ``execute`` did.

    Args:
        record: of the run.
        path: of the record.
        was_done: whether the record was there before, so that nothing was trained.
    """

    record: Record
    path: Path
    was_done: bool


def execute(run: Run, begin: Callable[[torch.device], tuple[Training, Plan]], how: How, console: Console) -> Outcome:
    """Bring a run to its end.

    Args:
        run: which run.
        begin: builds its training, at step 0, and its plan.
        how: device, folder, whether to resume.
        console: where progress is shown.

    Returns:
        The record and whether it was there before.

    Raises:
        UnfinishedError: if a checkpoint is there and neither ``resume`` nor ``force`` is set.
        CheckpointError: if the checkpoint to resume from is damaged or belongs to another run.
        RecordError: if the run's record is there but damaged.
        Interrupted: if a signal stopped the training; the checkpoint is written.
        DivergedError: if the loss is no finite number at an evaluation.
    """
    record_path, checkpoint_path = run.record_path(how.results), run.checkpoint_path(how.results)
    if record_path.exists() and how.force:
        # Out of the way, or a forced run that is stopped could not be resumed: its record would say that it is done.
        record_path.replace(record_path.with_suffix(".json.old"))
    if record_path.exists():
        return Outcome(record=_done(record_path), path=record_path, was_done=True)
    torch.set_num_threads(how.threads)
    device = choose_device(how.device)
    for path in (record_path, checkpoint_path):
        sweep(path)
    resumed = _resumable(run, checkpoint_path, how)
    torch.manual_seed(run.seed)
    training, plan = begin(device)
    started, machine = _now(), describe_machine(device, how)
    if resumed is not None:
        started = resumed["started"]
        training.load_state_dict(resumed)
        console.print(f"resuming {run.name} at sample {training.samples:,}", highlight=False, soft_wrap=True)
        _warn_if_changed(resumed["machine"], machine, console)

    def save() -> None:
        checkpoint.save(checkpoint_path, run, {**training.state_dict(), "started": started, "machine": machine})

    with watch(run.name, plan, training.steps, console) as watcher:
        train(training, plan, save, watcher, compiled=how.compiled)
    if training.keep is not None:
        training.keep(training, how.results, run.name)
    record = _record(run, training, started, describe_environment(machine))
    record.save(record_path)
    return Outcome(record=record, path=record_path, was_done=False)


def choose_device(name: str) -> torch.device:
    """Return the device called ``name``; ``auto`` is cuda where there is one, else cpu.

    Raises:
        ValueError: if cuda is asked for and torch sees none.
    """
    found = torch.cuda.is_available()
    if name == "cuda" and not found:
        raise ValueError("device must be cpu or auto here, got 'cuda', but torch sees no CUDA device")
    return torch.device("cuda" if name == "auto" and found else "cpu" if name == "auto" else name)


def _done(path: Path) -> Record:
    try:
        return Record.load(path)
    except RecordError as error:
        raise RecordError(f"{error}; mend it, or run again with --force, which moves it aside") from None


def _resumable(run: Run, path: Path, how: How) -> dict[str, Any] | None:
    if how.force or not path.exists():
        return None
    if not how.resume:
        raise UnfinishedError(
            f"this run was begun before and not finished ({path}); "
            "add --resume to continue it, or --force to start again"
        )
    return checkpoint.load(path, run)


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


def describe_machine(device: torch.device, how: How) -> dict[str, Any]:
    """Return what the last bits of a sum may depend on."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name()
    return {"device": name, "threads": torch.get_num_threads(), "compiled": how.compiled}


def _warn_if_changed(before: dict[str, Any], now: dict[str, Any], console: Console) -> None:
    changed = [f"{name} {before.get(name)} then, {now[name]} now" for name in now if before.get(name) != now[name]]
    if changed:
        message = f"not bit for bit what an uninterrupted run gives: {'; '.join(changed)}"
        console.print(message, style="yellow", highlight=False, markup=False, soft_wrap=True)


def _cpu_name() -> str:
    if sys.platform == "linux":
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        if names:
            return names[0]
    return platform.processor() or platform.machine()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
