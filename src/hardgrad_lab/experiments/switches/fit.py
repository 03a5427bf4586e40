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
from hardgrad_lab.experiments.switches.branches import published
from hardgrad_lab.experiments.switches.data import Part, Rows, some
from hardgrad_lab.experiments.switches.experiments import rows_of
from hardgrad_lab.experiments.switches.keep import keep
from hardgrad_lab.experiments.switches.measure import esr, everything, predict
from hardgrad_lab.experiments.switches.settings import Setup
from hardgrad_lab.experiments.switches.waveshaper import deviation, near_points, wrong_points
from hardgrad_lab.runs.execute import How, Outcome, execute
from hardgrad_lab.runs.loop import Plan, Training
from hardgrad_lab.runs.spread import mine

CURVE_ROWS = 10_000
SEARCH_ROWS = 20_000
# Of points that are placed: from when and how often, by how many rows (at the very end by all), when they rest; how
# much the branches' weights decay meanwhile, and till when. Branches that know nothing yet would lead points astray.
# Shares are of the run.
FROM, EVERY, BY, RESTS, DECAY, DECAYS = 0.2, 25, 100_000, 0.8, 1.0, 0.5
MOVES, MOVED = 12, 0.65  # how often in a run a range may move to where one is missing, and till when
WINDOW = 0.1  # how far a point may move at once, of the narrower range beside it at the start
WIDE, NARROW = 1.0, 0.1  # how far points that learn by a lent gradient look, at first and at last
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
    learning = Learning(setup, model, optimizer, rows.train)
    places = learning.switch is not None and not learning.lends
    training = Training(
        model=model,
        optimizers=[optimizer],
        schedulers=[schedule, cast(torch.optim.lr_scheduler.LRScheduler, learning)],
        stream=Drawn(rows.train, setup.batch, seed, _points_of(model) if places else None),
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
        normalize=setup.normalise,
        branch=published(setup.task) if setup.branch == "published" else None,
    )


def _ranges(setup: Setup, rows: Rows) -> hg.switch.PointRouter:
    match setup.points:
        case "given":
            return hg.Ranges(rows.points)
        case "wrong":
            return hg.Ranges(wrong_points(rows.points))
        case "learnt":
            return hg.LearnedRanges(wrong_points(rows.points), band=None)
        case "lent":
            return hg.LearnedRanges(wrong_points(rows.points), band=WIDE)
        case "near":
            return hg.Ranges(near_points(rows.points))
        case "learnt-near":
            return hg.LearnedRanges(near_points(rows.points), band=None)
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
    points = list(model.ranges.parameters()) if isinstance(model, hg.Switch) else []
    rest = [parameter for parameter in model.parameters() if all(parameter is not point for point in points)]
    groups: list[dict[str, Any]] = [{"params": rest, "lr": setup.lr}]
    groups += [{"params": points, "lr": setup.points_lr}] if points and setup.points == "lent" else []
    return torch.optim.AdamW(groups, weight_decay=0.0, fused=True)


class Learning:
    """How the points of a switch learn along a run; stepped as a schedule is. Other points are left alone.

    Points that are placed move every so often to where the branches as they are serve the rows best, and now and then
    a range that is not needed moves to where one is missing. Weight decay keeps the branches plain meanwhile: one that
    can already bend at a break has no need of a point there. Then the decay ends, the points rest and the branches
    settle. Points that a gradient is lent to look far at first and near at last.

    Args:
        setup: of the run.
        model: a switch or a rival.
        optimizer: of its branches, in the first group.
        part: training rows, some of which place the points.
    """

    def __init__(self, setup: Setup, model: nn.Module, optimizer: torch.optim.Optimizer, part: Part) -> None:
        self.switch = learning_switch(model)
        self.lends, self.steps, self.taken = setup.points == "lent", setup.steps, 0
        self.optimizer, self.group = optimizer, optimizer.param_groups[0]
        self.every, self.few = part, some(part, BY, 0)
        self._set()

    def step(self) -> None:
        """Count a step; move the points if it is time."""
        self.taken += 1
        self._set()
        share = self.taken / self.steps
        last = self.taken == self.steps
        if self.switch is None or self.lends or ((self.taken % EVERY or not FROM <= share <= RESTS) and not last):
            return
        part = self.every if last else self.few
        rows = part.x, part.key, part.y
        if self.taken % (self.steps // MOVES) < EVERY and share <= MOVED:
            hg.switch.relocate(self.switch, *rows, self.optimizer)
        hg.switch.refine(self.switch, *rows, _of_rows, window=WINDOW)

    def state_dict(self) -> dict[str, Any]:
        """Return how many steps were taken."""
        return {"taken": self.taken}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where ``state`` was taken."""
        self.taken = state["taken"]
        self._set()

    def _set(self) -> None:
        share = self.taken / self.steps
        if self.switch is not None and self.lends and isinstance(self.switch.ranges, hg.LearnedRanges):
            self.switch.ranges.band = None if share >= RESTS else WIDE * (NARROW / WIDE) ** (share / RESTS)
        elif self.switch is not None:
            self.group["weight_decay"] = DECAY * max(0.0, 1 - share / DECAYS)


def _points_of(model: nn.Module) -> hg.switch.PointRouter | None:
    return model.ranges if isinstance(model, hg.Switch) and isinstance(model.ranges, hg.switch.PointRouter) else None


def learning_switch(model: nn.Module) -> hg.Switch | None:
    """Return the model if it is a switch whose points learn."""
    return model if isinstance(model, hg.Switch) and isinstance(model.ranges, hg.LearnedRanges) else None


def _of_rows(said: Tensor, targets: Tensor) -> Tensor:
    return (said - targets).square().sum(1)


class Drawn:
    """Batches of rows drawn with replacement: every contestant with a seed sees the same ones, but for learnt points.

    A switch that places its points draws as many rows from each of its ranges. Where a range holds two rows in a
    thousand, its branch would else learn too late to hold its points.

    Args:
        part: the rows.
        batch: how many at a time.
        seed: of the draw.
        ranges: draw evenly over these as they are at the time; None draws evenly over the rows.
    """

    def __init__(self, part: Part, batch: int, seed: int, ranges: hg.switch.PointRouter | None = None) -> None:
        self.part, self.batch_size, self.ranges = part, batch, ranges
        self.generator = torch.Generator().manual_seed(seed)
        self._points: tuple[float, ...] = ()
        self._members: list[Tensor] = []

    def batch(self) -> tuple[Tensor, Tensor]:
        """Return inputs, with the key as a last column, and targets."""
        taken = self.part.take(mine(self._index()).to(self.part.x.device))
        return torch.cat([taken.x, taken.key.unsqueeze(1)], dim=1), taken.y

    def state_dict(self) -> dict[str, Any]:
        """Return where the draw stands."""
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where ``state`` was taken."""
        self.generator.set_state(state["generator"])

    def _index(self) -> Tensor:
        if self.ranges is None:
            return torch.randint(len(self.part), (self.batch_size,), generator=self.generator)
        if self.ranges.points != self._points:
            self._points, index = self.ranges.points, self.ranges.index(self.part.key).cpu()
            members = [(index == i).nonzero()[:, 0] for i in range(len(self.ranges))]
            self._members = [rows for rows in members if len(rows)]
        shares = [self.batch_size // len(self._members)] * len(self._members)
        shares[0] += self.batch_size - sum(shares)
        return torch.cat(
            [
                rows[torch.randint(len(rows), (share,), generator=self.generator)]
                for rows, share in zip(self._members, shares, strict=True)
            ]
        )


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
    if not isinstance(ranges, hg.switch.PointRouter) or ranges.points == rows.points:
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
