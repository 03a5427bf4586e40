"""One run of an experiment: rows, model, optimiser and measure put together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from rich.console import Console
from torch import Tensor, nn

import hardgrad as hg
from hardgrad_lab.baselines import build
from hardgrad_lab.lactose.branches import published
from hardgrad_lab.lactose.data import Part, Rows, some
from hardgrad_lab.lactose.experiments import rows_of
from hardgrad_lab.lactose.keep import keep
from hardgrad_lab.lactose.measure import esr, everything, predict
from hardgrad_lab.lactose.settings import Setup
from hardgrad_lab.lactose.waveshaper import deviation, wrong_points
from hardgrad_lab.runs.execute import How, Outcome, execute
from hardgrad_lab.runs.loop import Plan, Training

CURVE_ROWS = 10_000
SEARCH_ROWS = 20_000
# Learnt points look far at first and near at last; then they rest, and the branches settle.
WIDE, NARROW, RESTS = 1.0, 0.1, 0.8
SPARE = 3  # ranges that the search may have beyond the true number
LEAST_SHARE = 0.001  # the loudest range of the crusher holds 2 samples in 1,000
CANDIDATES = 256


def reproduce(setup: Setup, seed: int, folder: Path | None, how: How, console: Console) -> Outcome:
    """Train one contestant, or find its record.

    Args:
        setup: what to train.
        seed: decides weights and rows.
        folder: of the recordings; None takes the environment variable ``HARDGRAD_DATA``.
        how: device, folder of the records, whether to resume.
        console: where progress is shown.

    Returns:
        The record and whether it was there before.

    Raises:
        MissingDataError: if a recording is not there.
        UnfinishedError: if the run was begun before and neither ``resume`` nor ``force`` is set.
        Interrupted: if a signal stopped the training; the checkpoint is written.
    """
    return execute(setup.run(seed), lambda device: begin(setup, seed, folder, how, device), how, console)


def begin(setup: Setup, seed: int, folder: Path | None, how: How, device: torch.device) -> tuple[Training, Plan]:
    """Return the training of a run at step 0, and its plan. Torch's global seed must be set."""
    rows = _to(rows_of(setup, seed, folder), device)
    model = model_of(setup, rows).to(device)
    optimizer = _optimizer(setup, model)
    plan = Plan(
        steps=setup.steps,
        evaluate_every=-(-setup.steps // setup.evaluations),
        checkpoint_every_s=how.checkpoint_every_s,
        checkpoint_every=how.checkpoint_every,
    )
    # One step more than is taken: the schedule is stepped after the last optimiser step too.
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=[group["lr"] for group in optimizer.param_groups],
        total_steps=max(setup.steps + 1, 30),
        pct_start=0.1,
        cycle_momentum=False,
        final_div_factor=1e3,
    )
    training = Training(
        model=model,
        optimizers=[optimizer],
        schedulers=[schedule, cast(torch.optim.lr_scheduler.LRScheduler, Band(model, setup.steps))],
        stream=Drawn(rows.train, setup.batch, seed),
        loss=_loss(model),
        evaluate=_evaluation(setup, seed, model, rows, how.results),
        sums=torch.zeros(2, dtype=torch.float64, device=device),
    )
    return training, plan


def model_of(setup: Setup, rows: Rows) -> nn.Module:
    """Return a contestant with fresh weights; torch's global seed decides them."""
    return build(
        setup.system,
        rows.train.x.shape[1],
        1,
        ranges=_ranges(setup, rows),
        hidden=setup.hidden,
        activation=setup.activation,
        key_columns=rows.key_columns,
        normalise=setup.normalise,
        branch=published(setup.task) if setup.branch == "published" else None,
    )


def _ranges(setup: Setup, rows: Rows) -> hg.Ranges:
    match setup.points:
        case "given":
            return hg.Ranges(rows.points)
        case "wrong":
            return hg.Ranges(wrong_points(rows.points))
        case "learnt":
            return hg.LearntRanges(wrong_points(rows.points), band=WIDE)
        case "searched":
            return hg.Ranges(_searched(rows))


def _searched(rows: Rows) -> tuple[float, ...]:
    """Return points found in a part of the training rows; the outermost are the true ones."""
    few = some(rows.train, SEARCH_ROWS, 0)
    found = hg.search_ranges(
        few.key.cpu(),
        few.x.cpu(),
        few.y.cpu(),
        max_ranges=len(rows.points) + SPARE,
        least_share=LEAST_SHARE,
        candidates=CANDIDATES,
        generator=torch.Generator().manual_seed(0),
    )
    return (rows.points[0], *found.points[1:-1], rows.points[-1])


def _optimizer(setup: Setup, model: nn.Module) -> torch.optim.Optimizer:
    moving = list(model.ranges.parameters()) if isinstance(model, hg.Switch) else []
    rest = [parameter for parameter in model.parameters() if all(parameter is not other for other in moving)]
    groups: list[dict[str, Any]] = [{"params": rest, "lr": setup.lr}]
    groups += [{"params": moving, "lr": setup.points_lr}] if moving else []
    return torch.optim.Adam(groups, fused=True)


class Band:
    """How far the learnt points of a switch look, from wide to narrow; stepped as a schedule is.

    Args:
        model: a switch or a rival; one without learnt points is left alone.
        steps: of the run.
    """

    def __init__(self, model: nn.Module, steps: int) -> None:
        ranges = model.ranges if isinstance(model, hg.Switch) else None
        self.ranges = ranges if isinstance(ranges, hg.LearntRanges) else None
        self.steps, self.taken = steps, 0

    def step(self) -> None:
        """Count a step, and set the band for the next."""
        self.taken += 1
        self._set()

    def state_dict(self) -> dict[str, Any]:
        """Return how many steps were taken."""
        return {"taken": self.taken}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where ``state`` was taken."""
        self.taken = state["taken"]
        self._set()

    def _set(self) -> None:
        if self.ranges is not None:
            share = self.taken / self.steps / RESTS
            self.ranges.band = None if share >= 1 else WIDE * (NARROW / WIDE) ** share


class Drawn:
    """Batches of rows drawn with replacement: every contestant with a seed sees the same ones.

    Args:
        part: the rows.
        batch: how many at a time.
        seed: of the draw.
    """

    def __init__(self, part: Part, batch: int, seed: int) -> None:
        self.part, self.batch_size = part, batch
        self.generator = torch.Generator().manual_seed(seed)

    def batch(self) -> tuple[Tensor, Tensor]:
        """Return inputs, with the key as a last column, and targets."""
        index = torch.randint(len(self.part), (self.batch_size,), generator=self.generator)
        taken = self.part.take(index.to(self.part.x.device))
        return torch.cat([taken.x, taken.key.unsqueeze(1)], dim=1), taken.y

    def state_dict(self) -> dict[str, Any]:
        """Return where the draw stands."""
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where ``state`` was taken."""
        self.generator.set_state(state["generator"])


def _loss(model: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    def loss(inputs: Tensor, targets: Tensor) -> Tensor:
        said: Tensor = model(inputs[:, :-1], inputs[:, -1])
        return (said - targets).square().mean()

    return loss


def _evaluation(
    setup: Setup, seed: int, model: nn.Module, rows: Rows, results: Path
) -> Callable[[bool], dict[str, float]]:
    few = some(rows.test, CURVE_ROWS, 0)

    def evaluate(last: bool) -> dict[str, float]:
        if not last:
            return {"esr": esr(predict(model, few), few.y), **_points(model, rows)}
        if seed == 0:
            keep(setup.run(seed).name, setup, model, rows, results)
        return {**everything(model, rows), **_points(model, rows)}

    return evaluate


def _points(model: nn.Module, rows: Rows) -> dict[str, float]:
    """Return where a switch's points are and how far the worst is from the truth, where they are not given."""
    ranges = model.ranges if isinstance(model, hg.Switch) else None
    if not isinstance(ranges, hg.Ranges) or ranges.points == rows.points:
        return {}
    found = {f"point_{i}": point for i, point in enumerate(ranges.points)}
    found |= {f"true_point_{i}": point for i, point in enumerate(rows.points)}
    return found | {"points_off": deviation(ranges.points, rows.points)}


def _to(rows: Rows, device: torch.device) -> Rows:
    def moved(part: Part) -> Part:
        return Part(x=part.x.to(device), key=part.key.to(device), y=part.y.to(device))

    return Rows(
        train=moved(rows.train),
        tests={what: moved(part) for what, part in rows.tests.items()},
        points=rows.points,
        key_columns=rows.key_columns,
        rate=rows.rate,
    )
