"""The four tasks with a signum in them, and what is measured of it along the way."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import hardgrad as hg
from hardgrad_lab.data import mnist
from hardgrad_lab.data.root import Root
from hardgrad_lab.experiments.bridges.approximators import Study
from hardgrad_lab.experiments.bridges.approximators.lend import Lessons, Principal, signum
from hardgrad_lab.experiments.bridges.approximators.look import Criterion, look
from hardgrad_lab.experiments.bridges.drawn import Make, Problem, Rows
from hardgrad_lab.experiments.bridges.optimizers import muon_of, split
from hardgrad_lab.experiments.bridges.sorting.data import draw, move_close, order
from hardgrad_lab.experiments.bridges.sorting.networks import all_or_none, sorting_loss

NUMBERS, NEAR_TIES = 10, 0.75  # as table II's fast setting has them
PIXELS, CLASSES, LAYERS = 28 * 28, 10, 4
PROBES = 1_000  # rows for each of the two gradients that are compared
Parts = tuple[Make, Rows, Criterion, Callable[[Tensor, Tensor], float], str]


def problem(trial: Study, root: Root) -> Problem:
    """Return the rows, the network, its optimizers and its measures."""
    body = network(trial)
    make, test, criterion, score, words = sorting(trial) if trial.task.startswith("sort") else pictures(trial, root)
    probes = [make(torch.Generator().manual_seed(seed), PROBES) for seed in (1, 2)]

    def measure(outputs: Tensor, rows: int) -> dict[str, float]:
        return {"score": score(outputs, test[1][:rows])} | look(body, criterion, trial, *probes)

    def loss(x: Tensor, y: Tensor) -> Tensor:
        for part in body:
            if isinstance(soft := getattr(part, "soft", None), Principal):
                soft.follow(x.detach())  # here, and so of training rows alone
            x = part(x)
        return criterion(x, y)

    return Problem(
        model=body, make=make, loss=loss, test=test[0], measure=measure, rows=words,
        optimizers=optimizers(trial, body), schedule="one-cycle",
    )  # fmt: skip


def optimizers(trial: Study, body: nn.Module) -> list[torch.optim.Optimizer]:
    """Return what moves the network, and what moves its approximators."""
    matrices, rest, _ = split(body, muon=trial.optimizer == "muon")
    bridges = [part for part in body.children() if isinstance(part, hg.Bridge)]
    lessons = [Lessons(bridges, trial)] if bridges else []
    return [*muon_of(matrices, trial.lr), torch.optim.Adam(rest, lr=trial.lr), *lessons]


def network(trial: Study) -> nn.Sequential:
    """Return the network of a task, with its hard layers as direct parts."""

    def layer(inputs: int, outputs: int) -> list[nn.Module]:
        return [nn.Linear(inputs, outputs), nn.Tanh()]

    w, sign = trial.width, partial(signum, trial, trial.width)
    task = trial.task.rpartition("-")[0]
    if task == "sort-10":
        before = [*layer(NUMBERS, w // 2), *layer(w // 2, w // 2), *layer(w // 2, w)]
        return nn.Sequential(*before, sign(), nn.Linear(w, NUMBERS**2), nn.Unflatten(1, (NUMBERS, NUMBERS)))
    if task == "codes":
        after = [*layer(w, 4 * w), nn.Linear(4 * w, PIXELS)]
        return nn.Sequential(*layer(PIXELS, 4 * w), *layer(4 * w, w), sign(), *after)
    if task == "fashion":
        return nn.Sequential(*layer(PIXELS, 2 * w), *layer(2 * w, w), sign(), nn.Linear(w, CLASSES))
    deeper = [part for _ in range(LAYERS - 1) for part in (*layer(w, w), sign())]
    return nn.Sequential(*layer(PIXELS, w), sign(), *deeper, nn.Linear(w, CLASSES))


def sorting(trial: Study) -> Parts:
    """Return how numbers are drawn, test rows, the loss, the share of rows in order, and words."""

    def make(random: torch.Generator, rows: int) -> Rows:
        x = move_close(draw(rows, NUMBERS, random), NEAR_TIES, random)
        return x - 0.5, order(x)

    def score(outputs: Tensor, y: Tensor) -> float:
        return all_or_none(outputs, y).double().mean().item()

    x = draw(trial.test_rows, NUMBERS, torch.Generator().manual_seed(0))
    return make, (x - 0.5, order(x)), sorting_loss, score, f"drawn; tested on {trial.test_rows:,} rows"


def pictures(trial: Study, root: Root) -> Parts:
    """Return the same of pictures that are named, or unpacked from signs."""
    images, tests = (mnist.load(root, part, mnist.FASHION) for part in ("train", "test"))
    codes, all_x = trial.task.startswith("codes"), images.x.flatten(1)
    variance = (all_x[:5_000] / 255).var()

    def rows_of(x: Tensor, y: Tensor) -> Rows:
        return x / 255 - 0.5, x / 255 if codes else y

    def make(random: torch.Generator, rows: int) -> Rows:
        chosen = torch.randint(len(images), (rows,), generator=random)
        return rows_of(all_x[chosen], images.y[chosen])

    def criterion(outputs: Tensor, y: Tensor) -> Tensor:
        return F.mse_loss(outputs, y) / variance if codes else F.cross_entropy(outputs, y)

    def score(outputs: Tensor, y: Tensor) -> float:
        right = (outputs.argmax(1) == y).double().mean() if not codes else 1 - criterion(outputs, y)
        return right.item()

    test = rows_of(tests.x[: trial.test_rows].flatten(1), tests.y[: trial.test_rows])
    return make, test, criterion, score, f"{images.what}; tested on {len(test[0]):,} of {tests.what}"
