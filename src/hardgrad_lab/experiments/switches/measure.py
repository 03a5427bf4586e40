"""What is measured of a model: error, overall and by range; branches that died; time for a row."""

from __future__ import annotations

import time
from collections.abc import Mapping

import torch
from torch import Tensor, nn

import hardgrad as hg
from hardgrad_lab.baselines import SOLVED, Solved, build, counts
from hardgrad_lab.experiments.switches.rows import Part, Rows

AT_ONCE = 16_384
BLOCK = 512  # rows that an audio plug-in asks for at a time
CONSTANT = 1e-6  # of the target's spread: what a branch with dead ReLUs puts out varies less


@torch.no_grad()
def predict(model: nn.Module, part: Part) -> Tensor:
    """Return the output of a model for each row, (n, 1). The visits of its ranges are left as they were."""
    routers = [module for module in model.modules() if isinstance(module, hg.switch.PointRouter)]
    kept = [{name: buffer.clone() for name, buffer in router.named_buffers()} for router in routers]
    outputs = [model(part.x[i : i + AT_ONCE], part.key[i : i + AT_ONCE]) for i in range(0, len(part), AT_ONCE)]
    for router, before in zip(routers, kept, strict=True):
        for name, buffer in router.named_buffers():
            buffer.copy_(before[name])
    return torch.cat(outputs)


def esr(outputs: Tensor, truth: Tensor) -> float:
    r"""Return the error-to-signal ratio, sum of (y - y')^2 over sum of y^2; 1 for a model that says 0."""
    error, energy = (outputs.double() - truth.double()).square().sum(), truth.double().square().sum()
    return float(error / energy.clamp_min(1e-300))


def by_range(outputs: Tensor, part: Part, points: tuple[float, ...], name: str) -> dict[str, float]:
    """Return each range's error and rows, by name; a range without rows has no error.

    A range's error is in the energy of all rows, so that the ranges' errors add up to the whole: a range where the
    target is zero has no energy of its own to divide by.

    Args:
        outputs: (n, 1), of the model.
        part: the rows.
        points: of the ranges.
        name: of the part, to stand in the figures' names; empty for none.
    """
    index = hg.Ranges(points).index(part.key)
    energy = part.y.double().square().sum()
    mark = f"{name}_" if name else ""
    figures: dict[str, float] = {}
    for i in range(len(points) - 1):
        mine = index == i
        figures[f"rows_{mark}range_{i}"] = float(mine.sum())
        if mine.any():
            error = (outputs[mine].double() - part.y[mine].double()).square().sum()
            figures[f"esr_{mark}range_{i}"] = float(error / energy)
    return figures


def solved(rows: Rows) -> dict[str, float]:
    """Return the test error of the models that need no training, fitted to the training rows."""
    figures: dict[str, float] = {}
    for name in SOLVED:
        model = build(name, rows.train.x.shape[1], 1, ranges=rows.points)
        assert isinstance(model, Solved)
        model.solve(rows.train.x.cpu(), rows.train.key.cpu(), rows.train.y.cpu())
        model.to(rows.train.x.device)
        figures[f"esr_{name}"] = esr(predict(model, rows.test), rows.test.y)
        for test, part in several(rows.tests).items():
            figures[f"esr_{name}_{test}"] = esr(predict(model, part), part.y)
    return figures


def several(tests: Mapping[str, Part]) -> Mapping[str, Part]:
    """Return the test parts where there is more than one; one alone is the whole."""
    return tests if len(tests) > 1 else {}


def dead_branches(model: nn.Module, part: Part) -> int:
    """Return how many branches put out one number on all of their rows, though their targets differ.

    A branch without a row counts as dead too: nothing has trained it.
    """
    if not isinstance(model, hg.Switch):
        return 0
    index, outputs = model.ranges.index(part.key), predict(model, part)
    dead = 0
    for i in range(len(model.branches)):
        mine = index == i
        if not mine.any():
            dead += 1
            continue
        spread, truth = (float(values[mine].max() - values[mine].min()) for values in (outputs, part.y))
        dead += truth > CONSTANT and spread < CONSTANT * truth
    return dead


@torch.no_grad()
def nanoseconds(model: nn.Module, part: Part, rows: int, budget_s: float = 0.15) -> float:
    """Return the time that one row of a batch of ``rows`` takes, the least of as many tries as fit the budget."""
    take = part.take(torch.arange(rows, device=part.x.device) % len(part))
    best, ends = float("inf"), time.perf_counter() + budget_s
    while time.perf_counter() < ends:
        began = time.perf_counter()
        model(take.x, take.key)
        if take.x.is_cuda:
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
    return best / rows * 1e9


def everything(model: nn.Module, rows: Rows) -> dict[str, float]:
    """Return all figures of a trained model."""
    outputs, sizes = predict(model, rows.test), counts(model)
    figures = {"esr": esr(outputs, rows.test.y), **by_range(outputs, rows.test, rows.points, "")}
    for name, part in several(rows.tests).items():
        outputs = predict(model, part)
        figures |= {f"esr_{name}": esr(outputs, part.y), **by_range(outputs, part, rows.points, name)}
    figures |= {"active_parameters": sizes.active, "dead_branches": dead_branches(model, rows.test)}
    figures |= {f"ns_per_row_{batch}": nanoseconds(model, rows.test, batch) for batch in (BLOCK, AT_ONCE)}
    train = rows.train.take(slice(0, AT_ONCE))
    figures["esr_train"] = esr(predict(model, train), train.y)
    return figures | solved(rows)
