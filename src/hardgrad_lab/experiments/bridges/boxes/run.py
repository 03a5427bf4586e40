"""One run: a network before a box, trained by one gradient until the calls are spent, tested on other recordings."""

from __future__ import annotations

import time

import torch
from rich.console import Console
from torch import Tensor, nn

from hardgrad_lab.data.root import Root
from hardgrad_lab.experiments.bridges.boxes import Trial
from hardgrad_lab.experiments.bridges.boxes.gradients import contestant, errors
from hardgrad_lab.experiments.bridges.boxes.problem import Controller, Convolutions, Filter, hidden, rows_of
from hardgrad_lab.experiments.bridges.boxes.programs import Box, box_of
from hardgrad_lab.runs.execute import How, Outcome
from hardgrad_lab.runs.record import Run
from hardgrad_lab.runs.whole import Result, run_whole

POINTS = 12


def reproduce(run: Run, trial: Trial, seed: int, root: Root, how: How, console: Console) -> Outcome:
    """Train, or find the record; see ``runs.whole.run_whole``."""
    return run_whole(run, lambda: trained(trial, seed, root), how, console)


def trained(trial: Trial, seed: int, root: Root) -> Result:
    box, judge = box_of(trial.task), box_of(trial.task)
    dry, test = rows_of(trial, root, seed)
    with torch.no_grad():
        target_net = hidden(trial, dry, seed)
        wanted, truth = (judge(target_net(x)) for x in (dry, test))
    torch.manual_seed(seed)
    net = Controller() if trial.task == "knobs" else Filter() if trial.network == "filter" else Convolutions(8)

    def error() -> float:
        with torch.no_grad():
            y = judge(net(test))
            if trial.contestant == "gain":
                y = y * (y * truth).sum(1, keepdim=True) / y.square().sum(1, keepdim=True).clamp(min=1e-9)
            return errors(y, truth).mean().item()

    curve = [{"calls": 0, "esr": error()}]
    began = time.monotonic()
    if trial.contestant not in ("none", "gain"):
        train(trial, net, box, dry, wanted, lambda: curve.append({"calls": box.calls, "esr": error()}))
    metrics = {"esr": curve[-1]["esr"], "box_calls": box.calls, "training_seconds": time.monotonic() - began}
    return Result(metrics=metrics, samples=box.calls, curve=curve)


def train(trial, net, box, dry, wanted, look) -> None:
    found = contestant(trial, net, box, dry)
    steps = max((trial.calls - box.calls) // (trial.batch * found.cost), 1)
    groups = [{"params": net.parameters(), "lr": trial.lr}]
    groups += [{"params": found.learned, "lr": trial.learned_lr}] if found.learned else []
    adam = torch.optim.Adam(groups)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    every = -(-steps // POINTS)
    for step in range(1, steps + 1):
        rows = torch.randint(len(dry), (trial.batch,))
        adam.zero_grad()
        found.loss(dry[rows], wanted[rows]).backward()
        adam.step()
        cosine.step()
        if step % every == 0 or step == steps:
            look()
