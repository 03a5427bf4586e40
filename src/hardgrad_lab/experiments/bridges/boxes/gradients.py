"""The contestants: a network and the gradient of a box, as a loss of a batch, at a known number of calls a row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.distributions import Independent, Normal

import hardgrad as hg
from hardgrad_lab.experiments.bridges.boxes import KNOBS, Trial
from hardgrad_lab.experiments.bridges.boxes.problem import Convolutions, Filter, strange_taps
from hardgrad_lab.experiments.bridges.boxes.programs import Box

EPOCHS, TOGETHER = 3, 8  # how often an approximator sees each row that the box computed for it beforehand, and how many
Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(kw_only=True)
class Contestant:
    """How a network is trained before a box.

    Args:
        loss: of dry rows and targets, with the gradient in question.
        cost: calls of the box for one row of a step.
        learned: weights of the gradient itself.
    """

    loss: Loss
    cost: int = 1
    learned: list[nn.Parameter] = field(default_factory=list)


def errors(y: Tensor, target: Tensor) -> Tensor:
    """Return each row's share of the error-to-signal ratio: their mean is the batch's."""
    return (y - target).square().sum(-1) / target.square().sum(-1).mean().clamp(min=1e-6)


def contestant(trial: Trial, net: nn.Module, box: Box, dry: Tensor) -> Contestant:
    """Return a contestant; where it has an approximator, that has learned from a share of the calls.

    Args:
        trial: which.
        net: before the box.
        box: its rows are counted.
        dry: training rows.
    """
    match trial.contestant:
        case "straight-through":
            return _layer(net, hg.straight_through(box))
        case "two-point" | "two-point-weights":
            return Contestant(loss=_two_point(trial, net, box), cost=3)
        case "score-function":
            return Contestant(loss=partial(_score, trial, net, box), cost=trial.draws)
        case "bridge-frozen":  # a bridge whose approximator stands still is a straight-through with a soft twin
            return _layer(net, hg.straight_through(box, soft=_learned(trial, box, dry).requires_grad_(False)))
        case _:
            bridge = hg.Bridge(box, _learned(trial, box, dry))
            return replace(_layer(net, bridge), learned=list(bridge.parameters()))


def _layer(net: nn.Module, layer: nn.Module) -> Contestant:
    return Contestant(loss=lambda x, target: errors(layer(net(x)), target).mean())


def _two_point(trial: Trial, net: nn.Module, box: Box) -> Loss:
    """Step to both sides of the box's input; of its knobs alone, where it has some; or of the weights before it."""
    if trial.contestant == "two-point-weights":
        both = hg.perturb(lambda taps, x: box(net(x, taps)), (_scale(trial), None))
        return lambda x, target: errors(both(net.taps.expand(len(x), -1), x), target).mean()
    if trial.task == "knobs":
        knobs = hg.perturb(
            lambda knobs, x: box(torch.cat([knobs, x], 1)), (_scale(trial), None), low=(0, None), high=(1, None)
        )
        return lambda x, target: errors(knobs(net(x)[:, :KNOBS], x), target).mean()
    return _layer(net, hg.perturb(box, _scale(trial))).loss


def _scale(trial: Trial) -> Tensor:
    return torch.tensor(trial.scale if len(trial.scale) > 1 else trial.scale[0])


def _score(trial: Trial, net: nn.Module, box: Box, x: Tensor, target: Tensor) -> Tensor:
    """Draw the box's input, or its knobs, from a normal distribution around what the network says."""
    inputs = net(x)
    moved = inputs[:, :KNOBS] if trial.task == "knobs" else inputs

    def f(draws: Tensor) -> Tensor:
        if trial.task == "knobs":
            draws = torch.cat([draws.clamp(0, 1), x.expand(len(draws), -1, -1)], -1)
        return errors(box(draws.flatten(0, 1)).unflatten(0, draws.shape[:2]), target)

    q = Independent(Normal(moved, _scale(trial).expand_as(moved)), 1)
    return hg.score_function(q, f, samples=trial.draws, baseline="leave_one_out").mean()


def _learned(trial: Trial, box: Box, dry: Tensor) -> nn.Module:
    """Return an approximator that was shown the box on rows of strange filters, or of any knobs."""
    count, knobs = int(trial.share * trial.calls), trial.task == "knobs"
    proxy = Convolutions(trial.width, KNOBS if knobs else 0)
    x = dry[torch.randint(len(dry), (count,))]
    with torch.no_grad():
        x = torch.cat([torch.rand(count, KNOBS), x], 1) if knobs else Filter()(x, strange_taps(count))
        y = torch.cat([box(part) for part in x.split(64)])
    adam = torch.optim.Adam(proxy.parameters(), trial.learned_lr)
    for _ in range(EPOCHS * count // TOGETHER):
        rows = torch.randint(count, (TOGETHER,))
        adam.zero_grad()
        errors(proxy(x[rows]), y[rows]).mean().backward()
        adam.step()
    return proxy
