"""What one gradient of a candidate costs: time, memory kept for the backward pass, evaluations of the function."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from hardgrad.doctor.pace import Pace
from hardgrad.doctor.randomness import seeded
from hardgrad.doctor.smoothed import Smoothed
from hardgrad.doctor.subject import Subject

_TURNS = 5
_LONG_SECONDS = 10.0  # of one turn of all: then fewer turns are taken
_SHORTEST = 1e-5  # seconds of a call that is worth repeating for
_LEAST_SECONDS = 2e-3  # of one turn, by repetition: far above what reading the clock takes


@dataclass(frozen=True)
class Cost:
    """The cost of one gradient of the batch.

    Args:
        seconds: of the clock, since a function may wait for another program; the least of some turns, since a busy
            machine only adds.
        bytes_kept: tensors that autograd keeps for the backward pass, weights and inputs not counted; None where the
            function runs a ``torch.func`` transform, which forbids to look.
        peak_bytes: most memory used at once, on CUDA; None elsewhere.
        evaluations: of the function, for each row; None for a layer that does not call the function it was built on by
            a name that could be watched.
    """

    seconds: float | None
    bytes_kept: int | None
    peak_bytes: int | None
    evaluations: float | None


class Costs(NamedTuple):
    """What gradients cost beside the function.

    Args:
        of: each candidate; for one that raises, which it may do at its second call first, what it said.
        function_seconds: of one evaluation of the function on the batch, without gradient.
    """

    of: dict[str, Cost | str]
    function_seconds: float


def costs(smoothed: Smoothed, subjects: list[Subject], seed: int, pace: Pace) -> Costs:
    """Return the cost of each candidate and of the function; they take turns, so that all meet the same machine."""
    device = smoothed.x.device
    with seeded(seed, device) as generator:
        noises = [smoothed.noise(1, generator) for _ in range(_TURNS + 2)]
        runs = [_Run(_evaluation(smoothed)), *(_Run(_one_gradient(subject)) for subject in subjects)]
        once, *seconds = _in_turns(runs, noises, device, pace)
        by_name = {
            subject.name: _cost(subject, taken, run, noises[0], device)
            for subject, taken, run in zip(subjects, seconds, runs[1:], strict=True)
        }
    return Costs(by_name, smoothed.call_time.seconds(1) if runs[0].error else once)


class _Run:
    """A call that is repeated until it raises, and remembers what."""

    def __init__(self, call: Callable[[Tensor], object]) -> None:
        self.call = call
        self.error: str | None = None

    def __call__(self, noise: Tensor) -> None:
        if self.error is not None:
            return
        try:
            self.call(noise)
        except Exception as error:  # of the user's code, hence of any kind
            self.error = error_text(error)


def error_text(error: Exception) -> str:
    """Return what a row says of a candidate that raised."""
    return f"{type(error).__name__}: {error}"


def _cost(subject: Subject, seconds: float, run: _Run, noise: Tensor, device: torch.device) -> Cost | str:
    if run.error is None:
        try:
            peak = _peak(lambda: run(noise), device)
            return Cost(seconds, _bytes_kept(subject, noise), peak, _evaluations(subject, noise))
        except Exception as error:  # as above
            return error_text(error)
    return run.error


def _evaluation(smoothed: Smoothed) -> Callable[[Tensor], object]:
    """The function itself, even where the truth knows what it returns without asking."""

    @torch.no_grad()
    def once(noise: Tensor) -> Tensor:
        if smoothed.hard is not None:
            return smoothed.outputs(smoothed.hard((smoothed.x + noise).squeeze(0)))
        return smoothed.values(smoothed.sample(smoothed.x + noise))

    return once


def _one_gradient(subject: Subject) -> Callable[[Tensor], object]:
    run = subject.fresh()
    return lambda noise: subject.gradients(run, noise)


def _in_turns(runs: list[_Run], noises: list[Tensor], device: torch.device, pace: Pace) -> list[float]:
    """Seconds of each run; every turn has noise of its own, so that what remembers its last answer gains nothing."""
    for run in runs:
        run(noises[-1])  # the first call of all may be a long one
    turns = [[_timed(run, noises[0], 1, device) for run in runs]]
    repeats = [max(int(_LEAST_SECONDS / max(taken, _SHORTEST)), 1) for taken in turns[0]]
    of_all = sum(max(taken, _LEAST_SECONDS) for taken in turns[0])
    left = min(_LONG_SECONDS / of_all, pace.affordable(of_all), _TURNS)
    for number in range(int(left)):
        pace.reached(number / _TURNS)
        turns.append([_timed(run, noises[number + 1], n, device) for run, n in zip(runs, repeats, strict=True)])
    return [min(seconds) for seconds in zip(*turns, strict=True)]


def _timed(run: _Run, noise: Tensor, repeats: int, device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    for _ in range(repeats):
        run(noise)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return (time.perf_counter() - start) / repeats


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
