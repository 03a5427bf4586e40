"""What one gradient of a candidate costs: time, memory kept for the backward pass, evaluations of the function."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from hardgrad.doctor.randomness import seeded
from hardgrad.doctor.smoothed import Smoothed
from hardgrad.doctor.subject import Subject

_TURNS = 5
_LEAST_SECONDS = 2e-3  # of one turn, by repetition: far above what reading the clock takes


@dataclass(frozen=True)
class Cost:
    """The cost of one gradient of the batch.

    Args:
        seconds: of the processor on a CPU, of the clock on another device; the median over turns.
        bytes_kept: tensors that autograd keeps for the backward pass, weights and inputs not counted; None where the
            function runs a ``torch.func`` transform, which forbids to look.
        peak_bytes: most memory used at once, on CUDA; None elsewhere.
        evaluations: of the function, for each row; None for a layer that does not call the function it was built on by
            a name that could be watched.
    """

    seconds: float
    bytes_kept: int | None
    peak_bytes: int | None
    evaluations: float | None


def costs(subjects: list[Subject], seed: int) -> dict[str, Cost | str]:
    """Return the cost of each candidate; their turns alternate, so that all of them meet the same machine.

    For one that raises, which it may do at its second call first, what it said.
    """
    if not subjects:
        return {}
    device = subjects[0].smoothed.x.device
    with seeded(seed, device) as generator:
        noise = subjects[0].smoothed.noise(1, generator)
        runs = {subject.name: _Run(_one_gradient(subject, noise)) for subject in subjects}
        seconds = _in_turns(dict(runs), device)
        return {
            subject.name: _cost(subject, seconds[subject.name], runs[subject.name], noise, device)
            for subject in subjects
        }


class _Run:
    """A call that is repeated until it raises, and remembers what."""

    def __init__(self, call: Callable[[], object]) -> None:
        self.call = call
        self.error: str | None = None

    def __call__(self) -> None:
        if self.error is not None:
            return
        try:
            self.call()
        except Exception as error:  # of the user's code, hence of any kind
            self.error = error_text(error)


def error_text(error: Exception) -> str:
    """Return what a row says of a candidate that raised."""
    return f"{type(error).__name__}: {error}"


def _cost(subject: Subject, seconds: float, run: _Run, noise: Tensor, device: torch.device) -> Cost | str:
    if run.error is None:
        try:
            return Cost(seconds, _bytes_kept(subject, noise), _peak(run, device), _evaluations(subject, noise))
        except Exception as error:  # as above
            return error_text(error)
    return run.error


def seconds_of_function(smoothed: Smoothed, seed: int) -> float:
    """Return the time of one evaluation of the function on the batch, without gradient."""
    with seeded(seed, smoothed.x.device) as generator, torch.no_grad():
        b = smoothed.sample(smoothed.x + smoothed.noise(1, generator))
        return _in_turns({"": lambda: smoothed.values(b)}, smoothed.x.device)[""]


def _one_gradient(subject: Subject, noise: Tensor) -> Callable[[], object]:
    run = subject.fresh()
    return lambda: subject.gradients(run, noise)


def _in_turns(runs: dict[str, Callable[[], object]], device: torch.device) -> dict[str, float]:
    repeats = {name: _repeats(run, device) for name, run in runs.items()}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(_TURNS):
        for name, run in runs.items():
            seconds[name].append(_timed(run, repeats[name], device))
    return {name: sorted(turns)[_TURNS // 2] for name, turns in seconds.items()}


def _timed(run: Callable[[], object], repeats: int, device: torch.device) -> float:
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = clock()
    for _ in range(repeats):
        run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return (clock() - start) / repeats


def _repeats(run: Callable[[], object], device: torch.device) -> int:
    run()
    return max(int(_LEAST_SECONDS / max(_timed(run, 1, device), 1e-6)), 1)


def _bytes_kept(subject: Subject, noise: Tensor) -> int | None:
    kept: dict[int, int] = {}

    def pack(t: Tensor) -> Tensor:
        root = t if t._base is None else t._base  # of a weight that was transposed, or detached
        if not (root.is_leaf and root.requires_grad):
            kept[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
        return t

    try:
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            subject.gradients(subject.fresh(), noise)
    except RuntimeError:
        return None
    return sum(kept.values())


def _peak(run: Callable[[], object], device: torch.device) -> int | None:
    if device.type != "cuda":
        return None
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    run()
    return torch.cuda.max_memory_allocated(device) - before


def _evaluations(subject: Subject, noise: Tensor) -> float | None:
    before = subject.rows_evaluated()
    subject.gradients(subject.fresh(), noise)
    seen = (subject.rows_evaluated() - before) / subject.smoothed.rows
    return None if subject.is_layer and not seen else seen
