"""Where perceptrons start from: the best line of each range, so that training is left with what bends."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

import hardgrad as hg
from hardgrad_lab.tabular.closed_form import Lines, least_squares
from hardgrad_lab.tabular.task import Task

ENOUGH = 50_000  # rows that a starting line is fitted to, at most


def start_from_lines(switch: hg.Switch, task: Task) -> None:
    """Let every branch of a switch on perceptrons begin as the line that least squares gives its rows.

    Args:
        switch: its branches are stacks of linear layers and ReLUs; those too narrow for it stay as they were drawn.
        task: with numbers for targets.
    """
    count = min(ENOUGH, len(task.train))
    few = task.train[torch.linspace(0, len(task.train) - 1, count).long().to(task.train.device)]
    lines = least_squares(switch, task.rows, task.target, few, task.weight)
    for i, branch in enumerate(switch.branches):
        layers = [layer for layer in cast(nn.Sequential, branch) if isinstance(layer, nn.Linear)]
        if len(layers) > 1 and min(layer.out_features for layer in layers[:-1]) > 2 * layers[-1].out_features:
            _carry(layers, lines, i)


def _carry(layers: list[nn.Linear], lines: Lines, i: int) -> None:
    r"""Write a line into a perceptron: two units of each layer for each output carry it through the ReLUs unchanged.

    .. math:: w \cdot x + b = \mathrm{relu}(w \cdot x) - \mathrm{relu}(-w \cdot x) + b

    All other units say nothing at first.
    """
    slope, bias = lines.slope[i], lines.bias[i]
    two = torch.cat([slope, -slope])
    both = len(two)
    first, *middle, last = layers
    with torch.no_grad():
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
