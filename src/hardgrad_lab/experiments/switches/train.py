"""One run of an experiment: rows, model, optimizer and measure put together."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from rich.console import Console
from torch import Tensor, nn

import hardgrad as hg
from hardgrad_lab.baselines import build
from hardgrad_lab.data.root import Root
from hardgrad_lab.experiments.switches.branches import published
from hardgrad_lab.experiments.switches.keep import keep_curves
from hardgrad_lab.experiments.switches.measure import esr, everything, predict
from hardgrad_lab.experiments.switches.points import Learning, deviation, ranges_of
from hardgrad_lab.experiments.switches.rows import Batches, Rows, some
from hardgrad_lab.experiments.switches.settings import Setup
from hardgrad_lab.runs.execute import How, Outcome, execute
from hardgrad_lab.runs.loop import Plan, Training
from hardgrad_lab.runs.record import Run

CURVE_ROWS = 10_000

# Writes what a record cannot hold, given the configuration, the trained model, its rows, a folder and the run's name.
Keep = Callable[[Setup, nn.Module, Rows, Path, str], None]
# Returns the rows of a configuration and a seed, from where data sets lie.
Draw = Callable[[Setup, int, Root], Rows]
Reproduce = Callable[[Run, Setup, int, Root, How, Console], Outcome]


def reproducer(rows_of: Draw, keep: Keep = keep_curves) -> Reproduce:
    """Return what brings the runs of an experiment to their end, or finds their records.

    Args:
        rows_of: to train and to be tested on.
        keep: writes what a record cannot hold.
    """

    def reproduce(run: Run, setup: Setup, seed: int, root: Root, how: How, console: Console) -> Outcome:
        return execute(run, lambda device: begin(setup, seed, rows_of(setup, seed, root), device, keep), how, console)

    return reproduce


def begin(setup: Setup, seed: int, rows: Rows, device: torch.device, keep: Keep = keep_curves) -> tuple[Training, Plan]:
    """Return the training of a run at step 0, and its plan. Torch's global seed must be set.

    Args:
        setup: what to train.
        seed: decides the rows of each batch; the run of seed 0 alone keeps more than its record.
        rows: to train and to be tested on.
        device: where.
        keep: writes what the record cannot hold.
    """
    rows = rows.to(device)
    model = model_of(setup, rows).to(device)
    optimizer = _optimizer(setup, model)
    learning = Learning(setup, model, optimizer, rows.train)
    training = Training(
        model=model,
        optimizers=[optimizer],
        schedulers=[_schedule(setup, optimizer), cast(torch.optim.lr_scheduler.LRScheduler, learning)],
        stream=Batches(rows.train, setup.batch, seed, learning.placed),
        loss=_loss(model),
        evaluate=_evaluation(model, rows),
        keep=partial(_keep, keep, setup, rows) if seed == 0 else None,
        sums=torch.zeros(2, dtype=torch.float64, device=device),
    )
    return training, Plan(steps=setup.steps, evaluate_every=-(-setup.steps // setup.evaluations))


def model_of(setup: Setup, rows: Rows) -> nn.Module:
    """Return a contestant with fresh weights; torch's global seed decides them."""
    return build(
        setup.system,
        rows.train.x.shape[1],
        1,
        ranges=ranges_of(setup, rows),
        hidden=setup.hidden,
        activation=setup.activation,
        key_columns=rows.key_columns,
        normalize=setup.normalize,
        branch=published(setup.task) if setup.branch == "published" else None,
    )


def _optimizer(setup: Setup, model: nn.Module) -> torch.optim.Optimizer:
    points = list(model.ranges.parameters()) if isinstance(model, hg.Switch) else []
    rest = [parameter for parameter in model.parameters() if all(parameter is not point for point in points)]
    groups: list[dict[str, Any]] = [{"params": rest, "lr": setup.lr}]
    groups += [{"params": points, "lr": setup.points_lr}] if points and setup.points == "lent" else []
    return torch.optim.AdamW(groups, weight_decay=0.0, fused=True)


def _schedule(setup: Setup, optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
    # One step more than is taken: the schedule is stepped after the last optimizer step too.
    return torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=[group["lr"] for group in optimizer.param_groups],
        total_steps=max(setup.steps + 1, 30),
        pct_start=0.1,
        cycle_momentum=False,
        final_div_factor=1e3,
    )


def _loss(model: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    def loss(inputs: Tensor, targets: Tensor) -> Tensor:
        outputs: Tensor = model(inputs[:, :-1], inputs[:, -1])
        return (outputs - targets).square().mean()

    return loss


def _evaluation(model: nn.Module, rows: Rows) -> Callable[[bool], dict[str, float]]:
    few = some(rows.test, CURVE_ROWS, 0)

    def evaluate(last: bool) -> dict[str, float]:
        if not last:
            return {"esr": esr(predict(model, few), few.y), **_points(model, rows)}
        return {**everything(model, rows), **_points(model, rows)}

    return evaluate


def _points(model: nn.Module, rows: Rows) -> dict[str, float]:
    """Return where a switch's points are and how far the worst is from the truth, where they are not given."""
    ranges = model.ranges if isinstance(model, hg.Switch) else None
    if not isinstance(ranges, hg.switch.PointRouter) or ranges.points == rows.points:
        return {}
    figures = {f"point_{i}": point for i, point in enumerate(ranges.points)}
    figures |= {f"true_point_{i}": point for i, point in enumerate(rows.points)}
    return figures | {"points_off": deviation(ranges.points, rows.points)}


def _keep(keep: Keep, setup: Setup, rows: Rows, training: Training, results: Path, name: str) -> None:
    training.model.eval()
    keep(setup, training.model, rows, results, name)
