"""Where perceptrons start from: the best line of each range, so that training is left with what bends."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

import hardgrad as hg
from hardgrad_lab.baselines.networks import ConditionInput, Plain
from hardgrad_lab.fit.training.closed_form import Lines, least_squares
from hardgrad_lab.fit.training.task import Task

ENOUGH = 50_000  # rows that a starting line is fitted to, at most


def start_from_lines(switch: hg.Switch, task: Task) -> None:
    """Let every branch of a switch on perceptrons begin as the line that least squares gives its rows.

    Args:
        switch: its branches are stacks of linear layers and ReLUs; those too narrow for it stay as they were drawn.
        task: with numbers for targets.
    """
    lines = _lines(switch, task)
    for i, branch in enumerate(switch.branches):
        _carry(branch, lines.slope[i], lines.bias[i])


def start_rival(rival: nn.Module, task: Task) -> None:
    """Let a rival on one perceptron begin as the line that least squares gives all rows: no later than a switch does.

    Args:
        rival: ``Plain`` or ``ConditionInput``, whose further inputs say nothing at first.
        task: with numbers for targets.
    """
    assert isinstance(rival, Plain | ConditionInput)
    scale = rival.scale
    whole = hg.Switch(hg.Ranges((scale.low, scale.high)), [nn.Identity()], normalize=scale.columns)
    lines = _lines(whole.to(task.rows.key.device), task)
    first = next(layer for layer in rival.network.modules() if isinstance(layer, nn.Linear))
    more = first.in_features - lines.slope.shape[2]
    _carry(rival.network, nn.functional.pad(lines.slope[0], (0, more)), lines.bias[0])


def _lines(switch: hg.Switch, task: Task) -> Lines:
    count = min(ENOUGH, len(task.train))
    few = task.train[torch.linspace(0, len(task.train) - 1, count).long().to(task.train.device)]
    return least_squares(switch, task.rows, task.target, few, task.weight)


def _carry(branch: nn.Module, slope: Tensor, bias: Tensor) -> None:
    r"""Write a line into a perceptron: two units of each layer for each output carry it through the ReLUs unchanged.

    .. math:: w \cdot x + b = \mathrm{relu}(w \cdot x) - \mathrm{relu}(-w \cdot x) + b

    All other units say nothing at first. A perceptron too narrow for that stays as it was drawn.
    """
    layers = [layer for layer in cast(nn.Sequential, branch) if isinstance(layer, nn.Linear)]
    two = torch.cat([slope, -slope])
    both = len(two)
    if any(layer.out_features <= both for layer in layers[:-1]):
        return
    with torch.no_grad():
        if len(layers) == 1:  # no hidden layer: it is a line
            layers[0].weight.copy_(slope)
            layers[0].bias.copy_(bias)
            return
        first, *middle, last = layers
        _rows(first, both, two)
        for layer in middle:
            _rows(layer, both, torch.eye(both, layer.in_features))
        last.weight.zero_()
        each = torch.eye(both // 2)
        last.weight[:, :both] = torch.cat([each, -each], 1).to(last.weight)
        last.bias.copy_(bias)


def _rows(layer: nn.Linear, count: int, weight: Tensor) -> None:
    layer.weight[:count] = weight.to(layer.weight)
    layer.bias[:count] = 0
