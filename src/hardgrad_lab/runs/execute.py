"""One run from start to record: skip it if it is done, resume it if asked, train, write the record."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from hardgrad_lab.runs import checkpoint, spread
from hardgrad_lab.runs.atomic import sweep
from hardgrad_lab.runs.finish import finish
from hardgrad_lab.runs.lock import locked
from hardgrad_lab.runs.loop import Plan, Training, Watcher, train
from hardgrad_lab.runs.options import OWN_RUNS
from hardgrad_lab.runs.progress import watch
from hardgrad_lab.runs.record import Record, RecordError, Run
from hardgrad_lab.runs.signals import Interrupted
from hardgrad_lab.runs.space import ask_for_room, try_to_write
from hardgrad_lab.runs.together import first_decides, join


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
        bf16: compute the loss under ``torch.autocast`` in bfloat16.
        device: cpu, cuda, or auto for cuda where there is one.
        checkpoint_every_s: seconds between checkpoints.
        checkpoint_every: steps between checkpoints; 0 goes by the clock alone.
        tensorboard: write the curve to ``tensorboard`` in the folder of the records too.
    """

    results: Path = OWN_RUNS
    resume: bool = False
    force: bool = False
    threads: int = 1
    compiled: bool = False
    bf16: bool = False
    device: str = "auto"
    checkpoint_every_s: float = 30.0
    checkpoint_every: int = 0
    tensorboard: bool = False


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
    """Bring a run to its end; under ``torchrun``, together with the other processes.

    The first process alone prints, reads and writes files; the others may be on machines that share no folder with it.

    Args:
        run: which run.
        begin: builds its training, at step 0, and its plan.
        how: device, folder, whether to resume.
        console: where progress is shown.

    Returns:
        The record and whether it was there before.

    Raises:
        InUseError: if another process is at this run.
        OSError: if there is no room for the record and two checkpoints; said before anything is trained.
        UnfinishedError: if a checkpoint is there and neither ``resume`` nor ``force`` is set.
        CheckpointError: if the checkpoint to resume from is damaged or belongs to another run.
        RecordError: if the run's record is there but damaged.
        Interrupted: if a signal stopped the training; the checkpoint is written.
        DivergedError: if the loss is no finite number at an evaluation.
    """
    device = join(choose_device(how.device))
    console = console if spread.rank() == 0 else Console(quiet=True, emoji=False)
    record_path = run.record_path(how.results)
    done = first_decides(lambda: None if how.force else _done(record_path))
    if done is not None:
        return Outcome(record=done, path=record_path, was_done=True)
    with _alone(run, how, console):
        done = first_decides(lambda: _to_be_done(record_path, how))  # another process may have ended it meanwhile
        if done is not None:
            return Outcome(record=done, path=record_path, was_done=True)
        return Outcome(record=_train(run, begin, how, console, device), path=record_path, was_done=False)


@contextmanager
def _alone(run: Run, how: How, console: Console) -> Iterator[None]:
    """Keep other processes from this run, except those that share it."""
    with ExitStack() as stack:

        def lock() -> None:
            path = run.checkpoint_path(how.results)
            before = stack.enter_context(locked(path, f"run {run.name}", "choose another --out"))
            if before is not None:
                _say(console, f"{before} began this run and is gone; this process takes it over")

        first_decides(lock)
        yield


def _train(
    run: Run, begin: Callable[[torch.device], tuple[Training, Plan]], how: How, console: Console, device: torch.device
) -> Record:
    torch.set_num_threads(how.threads)
    path = run.checkpoint_path(how.results)
    resumed = first_decides(lambda: _resumable(run, path, how))
    torch.manual_seed(run.seed)
    training, plan = begin(device)
    training.sums = training.sums.to(device)
    if spread.rank() > 0:  # equal weights, but noise of its own
        torch.manual_seed(spread.own_seed(run.seed))
    started, machine = _now(), describe_machine(device, how)
    if resumed is not None:
        started = _resume(training, plan, resumed, path)
        console.print(f"resuming {run.name} at sample {training.samples:,}", highlight=False, soft_wrap=True)
        _warn_if_changed(resumed["machine"], machine, console)
    saver = checkpoint.Saver(path, run, lambda said: _say(console, said))

    def state() -> dict[str, Any]:
        return {**training.state_dict(), "started": started, "machine": machine, "steps_in_all": plan.steps}

    def save() -> None:
        found = state()  # of all processes, which must be asked together
        first_decides(lambda: saver.save(found))

    first = state()
    first_decides(lambda: _make_sure_of_room(run, how, first))
    plan = replace(plan, checkpoint_every_s=how.checkpoint_every_s, checkpoint_every=how.checkpoint_every)
    with watch(run.name, plan, training.steps, console, _board(run, training, how)) as watcher:
        try:
            train(training, plan, save, watcher, compiled=how.compiled, bf16=how.bf16)
        except Interrupted as stopped:
            raise Interrupted(stopped.number, saver.fault) from None
    return first_decides(lambda: finish(run, training, how.results, saver, started=started, machine=machine))


def _make_sure_of_room(run: Run, how: How, state: dict[str, Any]) -> None:
    """Raise an ``OSError`` if a checkpoint cannot be written, or not beside an older one."""
    path = run.checkpoint_path(how.results)
    try_to_write(path, lambda file: torch.save(state, file), "this run")
    ask_for_room(run.record_path(how.results), 1, "this run")


def _resume(training: Training, plan: Plan, state: dict[str, Any], path: Path) -> str:
    """Let the training become what the state says, and return when it began."""
    with checkpoint.fitting(path):
        checkpoint.check_alike(path, {**training.plain_state(), "started": "", "machine": {}}, state)
        training.load_state_dict(state)
        if not (isinstance(training.steps, int) and 0 <= training.steps <= plan.steps):
            raise TypeError(f"steps are {training.steps!r} of {plan.steps}")
    started: str = state["started"]
    return started


def _say(console: Console, warning: str) -> None:
    console.print(warning, style="yellow", markup=False, highlight=False, soft_wrap=True)


def choose_device(name: str) -> torch.device:
    """Return the device called ``name``; ``auto`` is cuda where there is one, else cpu.

    Raises:
        ValueError: if cuda is asked for and torch sees none.
    """
    found = torch.cuda.is_available()
    if name == "cuda" and not found:
        raise ValueError("device must be cpu or auto here, got 'cuda', but torch sees no CUDA device")
    return torch.device("cuda" if name == "auto" and found else "cpu" if name == "auto" else name)


def _to_be_done(path: Path, how: How) -> Record | None:
    """Return the record of a run that is done; a forced one is not."""
    if path.exists() and how.force:
        # Out of the way, or a forced run that is stopped could not be resumed: its record would say that it is done.
        path.replace(path.with_suffix(".json.old"))
    return _done(path)


def _done(path: Path) -> Record | None:
    if not path.exists():
        return None
    try:
        return Record.load(path)
    except RecordError as error:
        raise RecordError(f"{error}; mend it, or run again with --force, which moves it aside") from None


def _resumable(run: Run, path: Path, how: How) -> dict[str, Any] | None:
    for written in (run.record_path(how.results), path):
        sweep(written, alone=True)
    if how.force or not path.exists():
        return None
    if not how.resume:
        raise UnfinishedError(
            f"this run was begun before and not finished ({path}); "
            "add --resume to continue it, or --force to start again"
        )
    return checkpoint.load(path, run)


def _board(run: Run, training: Training, how: How) -> list[Watcher]:
    if not how.tensorboard or spread.rank() > 0:
        return []
    from hardgrad_lab.runs.board import Board

    return [Board(how.results / "tensorboard" / run.name, training.steps)]


def describe_machine(device: torch.device, how: How) -> dict[str, Any]:
    """Return what the last bits of a sum may depend on."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name()
    # What few runs use is named by those alone, as in records that were written before it could be chosen.
    others = {"bf16": how.bf16, "processes": spread.world() if spread.world() > 1 else 0}
    machine = {"device": name, "threads": torch.get_num_threads(), "compiled": how.compiled}
    return machine | {name: value for name, value in others.items() if value}


def _warn_if_changed(before: dict[str, Any], now: dict[str, Any], console: Console) -> None:
    names = [name for name in before | now if before.get(name) != now.get(name)]
    changed = [f"{name} {before.get(name, 'off')} then, {now.get(name, 'off')} now" for name in names]
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
