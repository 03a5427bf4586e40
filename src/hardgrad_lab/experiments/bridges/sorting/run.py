"""One run of neural sorting: network, optimiser, data and measure put together."""

from __future__ import annotations

from collections.abc import Callable

import torch
from rich.console import Console
from torch import Tensor, nn

from hardgrad_lab.data.root import Root
from hardgrad_lab.experiments.bridges.optimizers import muon_of, split
from hardgrad_lab.experiments.bridges.sorting.config import Sorting
from hardgrad_lab.experiments.bridges.sorting.data import held_out, training_rows
from hardgrad_lab.experiments.bridges.sorting.networks import all_or_none, build, is_teacher_forced, sorting_loss
from hardgrad_lab.runs.execute import How, Outcome, execute
from hardgrad_lab.runs.loop import Loss, Plan, Training
from hardgrad_lab.runs.record import Run
from hardgrad_lab.runs.schedule import schedulers
from hardgrad_lab.runs.step import InBf16

TEST_BATCH = 10_000


def reproduce(run: Run, config: Sorting, seed: int, root: Root, how: How, console: Console) -> Outcome:
    """Train one network to sort, or find its record; see ``runs.execute.execute`` for what it raises."""
    del root  # the rows are drawn
    return execute(run, lambda device: begin(config, seed, device), how, console)


def begin(config: Sorting, seed: int, device: torch.device) -> tuple[Training, Plan]:
    """Return the training of a run at step 0, and its plan. Torch's global seed must be set."""
    steps = -(-config.samples // config.batch)
    model = build(config).to(device)
    optimizers = _optimizers(config, model)
    plan = Plan(
        steps=steps,
        evaluate_every=-(-steps // config.evaluations),
        clip=config.clip,
    )
    training = Training(
        model=model,
        optimizers=optimizers,
        schedulers=schedulers(config.schedule, optimizers, steps),
        stream=training_rows(config, seed, device),
        loss=_loss(config, model),
        evaluate=_evaluation(config, model, *held_out(config, device)),
        sums=torch.zeros(2, dtype=torch.float64, device=device),
    )
    return training, plan


def _optimizers(config: Sorting, model: nn.Module) -> list[torch.optim.Optimizer]:
    matrices, rest, imitates = split(model, muon=config.optimizer == "muon")
    groups = [{"params": rest, "lr": config.lr}, {"params": imitates, "lr": config.approximator_lr or config.lr}]
    adam = torch.optim.Adam([group for group in groups if group["params"]], fused=True)
    return [*muon_of(matrices, config.lr), adam]


def _loss(config: Sorting, model: nn.Module) -> Loss:
    if is_teacher_forced(config):
        return lambda inputs, targets: sorting_loss(model(inputs, targets), targets)

    def loss(inputs: Tensor, targets: Tensor) -> Tensor:
        return sorting_loss(model(inputs), targets)

    return InBf16(loss, next(model.parameters()).device) if config.precision == "bfloat16" else loss


def _evaluation(
    config: Sorting, model: nn.Module, inputs: Tensor, targets: Tensor
) -> Callable[[bool], dict[str, float]]:
    def evaluate(last: bool) -> dict[str, float]:
        rows = len(inputs) if last else min(len(inputs), config.curve_rows)
        right = torch.zeros((), dtype=torch.int64, device=inputs.device)
        for start in range(0, rows, TEST_BATCH):
            part = slice(start, min(start + TEST_BATCH, rows))
            right += all_or_none(model(inputs[part]), targets[part]).sum()
        return {"accuracy": right.item() / rows}

    return evaluate
