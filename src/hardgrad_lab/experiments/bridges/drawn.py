"""Runs on rows that are drawn when they are needed: the stream, optimizers, the measures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn

from hardgrad_lab.data.root import Root
from hardgrad_lab.experiments.bridges.trial import Effort
from hardgrad_lab.runs.execute import How, Outcome, execute
from hardgrad_lab.runs.loop import Loss, Plan, Training
from hardgrad_lab.runs.record import Run
from hardgrad_lab.runs.schedule import Schedule, schedulers

Rows = tuple[Tensor, Tensor]
Make = Callable[[torch.Generator, int], Rows]
FEW = 500  # test rows of the measures before the last


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What an experiment is besides its values; ``problem(trial, root)`` of its folder makes one."""

    model: nn.Module  # what is trained, all of it; called on test rows
    make: Make  # draws training rows
    loss: Loss
    test: Tensor  # inputs of the test rows, the same for every seed
    measure: Callable[[Tensor, int], dict[str, float]]  # of the model's outputs at the first so many test rows
    rows: str  # which rows these are, in words
    optimizers: Sequence[torch.optim.Optimizer] = ()  # of all weights; Adam at the trial's rate where there are none
    schedule: Schedule = "cosine"


class Drawn:
    """Batches from a generator of their own, whose state is all that a checkpoint has to keep."""

    def __init__(self, make: Make, rows: int, seed: int, device: torch.device) -> None:
        self.make, self.rows, self.device = make, rows, device
        self.generator = torch.Generator().manual_seed(seed)

    def batch(self) -> Rows:
        x, y = self.make(self.generator, self.rows)
        return x.to(self.device), y.to(self.device)

    def state_dict(self) -> dict[str, Any]:
        return {"random": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.generator.set_state(state["random"])


def reproduce(run: Run, trial: Effort, seed: int, root: Root, how: How, console: Console) -> Outcome:
    """Bring a run to its end, or find its record; see ``runs.execute.execute`` for what it raises."""
    made = import_module(f"hardgrad_lab.experiments.bridges.{run.experiment}.problem").problem
    return execute(run, lambda device: begin(made(trial, root), trial, seed, device), how, console)


def begin(problem: Problem, trial: Effort, seed: int, device: torch.device) -> tuple[Training, Plan]:
    """Return a training at step 0 and its plan. Torch's global seed must be set before the problem is made."""
    model = problem.model.to(device)

    def evaluate(last: bool) -> dict[str, float]:
        test = problem.test if last else problem.test[:FEW]
        return problem.measure(torch.cat([model(part.to(device)).cpu() for part in test.split(100)]), len(test))

    optimizers = list(problem.optimizers) or [torch.optim.Adam(model.parameters(), lr=trial.lr)]
    training = Training(
        model=model, optimizers=optimizers, schedulers=schedulers(problem.schedule, optimizers, trial.steps),
        stream=Drawn(problem.make, trial.batch, seed, device), loss=problem.loss, evaluate=evaluate,
        rows=problem.rows, sums=torch.zeros(2, dtype=torch.float64, device=device),
    )  # fmt: skip
    return training, Plan(steps=trial.steps, evaluate_every=-(-trial.steps // trial.evaluations))
