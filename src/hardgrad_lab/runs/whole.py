"""A run of seconds or minutes, in one go: no checkpoint to go on from, only the record at its end."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import torch
from rich.console import Console

from hardgrad_lab.runs.execute import How, Outcome, describe_machine
from hardgrad_lab.runs.record import Record, Run, describe_environment


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a run came to.

    Args:
        metrics: the final figures, by name.
        samples: training samples seen.
        curve: points over the run.
    """

    metrics: dict[str, float]
    samples: int
    curve: list[dict[str, float]] = field(default_factory=list)


def run_whole(run: Run, work: Callable[[], Result], how: How, console: Console) -> Outcome:
    """Do a run, on the CPU, or find its record; one that is stopped begins anew.

    Args:
        run: which; its seed becomes torch's global one.
        work: does it.
        how: folder of the records, threads, whether to run again.
        console: where progress is shown.

    Raises:
        RecordError: if the run's record is there but damaged.
    """
    path = run.record_path(how.results)
    if path.exists() and not how.force:
        return Outcome(record=Record.load(path), path=path, was_done=True)
    torch.set_num_threads(how.threads)
    torch.manual_seed(run.seed)
    console.print(run.name, highlight=False, soft_wrap=True)
    started, began = datetime.now(UTC).isoformat(timespec="seconds"), time.monotonic()
    result = work()
    record = Record(
        experiment=run.experiment,
        config=run.config,
        seed=run.seed,
        metrics=result.metrics,
        curve=result.curve,
        samples=result.samples,
        seconds=time.monotonic() - began,
        started=started,
        environment=describe_environment(describe_machine(torch.device("cpu"), how)),
    )
    record.save(path)
    return Outcome(record=record, path=path, was_done=False)
