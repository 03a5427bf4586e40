"""A fitted switch of lines or perceptrons as products alone: what a prediction asks of it, many times as fast."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import hardgrad as hg
from hardgrad_lab.fit.rows import Array, Rows

VALUES = 131_072  # of the widest layer that are held at a time: 1 MB in double precision, which fits a cache
MOST, FEWEST = 32_768, 256  # rows at a time
Layers = list[nn.Linear]


class Stacks:
    """What a switch computes for rows, without a gradient and without counting visits.

    Rows go in the order of their ranges, and features lie before rows: then layers of four are products of thousands
    of columns, at 8 ns a row. A bank's are laid out for training, where a row's features must stay together. Weights
    are read where they lie.

    Args:
        switch: one that ``stacks_of`` finds fit.
        stacks: the linear layers of each branch; between them are ReLUs.
    """

    def __init__(self, switch: hg.Switch, stacks: list[Layers]) -> None:
        assert isinstance(switch.ranges, hg.switch.PointRouter)
        self._ranges, self._inner = switch.ranges, switch.ranges.points[1:-1]
        # Looked up once: what a module's attribute takes is seen in a step of few rows.
        self._weights = [[(layer.weight.detach(), layer.bias.detach()[:, None]) for layer in stack] for stack in stacks]
        scales = switch.normalise
        self._scales = [] if scales is None else list(zip(scales.centre, scales.half_width, strict=True))
        widest = max(max(layer.in_features, layer.out_features) for layer in stacks[0])
        self.rows_at_once = min(MOST, max(FEWEST, VALUES // widest))

    def index(self, key: Array) -> tuple[NDArray[Any], list[int]]:
        """Return the range of each key, (n,), in few bits, which are sorted fastest; and how many each has."""
        if np.isnan(key.min(initial=0.0)):
            self._ranges.index(torch.from_numpy(key))  # raises
        index: NDArray[Any] = np.zeros(len(key), np.uint8 if len(self._inner) < 256 else np.uint16)
        beyond = [len(key)]
        for point in self._inner:
            past = key >= point
            index += past
            beyond.append(int(np.count_nonzero(past)))
        return index, [a - b for a, b in pairwise([*beyond, 0])]

    def run(self, rows: Rows, chosen: Tensor) -> tuple[Tensor, list[int]]:
        """Return the outputs for chosen rows, (n, out), and how many of them each range has."""
        index, sizes = self.index(rows.key.index_select(0, chosen).numpy())
        order = torch.from_numpy(index.argsort(kind="stable"))
        x, _ = rows.take(chosen.index_select(0, order))
        made = torch.cat([self._branch(i, part, rows.raw) for i, part in enumerate(x.split(sizes))], 1)
        return torch.empty_like(made).index_copy_(1, order, made).T, sizes

    def _branch(self, i: int, x: Tensor, raw: int | None) -> Tensor:
        """Return what branch i makes of its rows (n, F), (out, n)."""
        if self._scales and raw is not None:
            center, half = self._scales[i]
            x[:, raw].sub_(center).div_(half)
        features = x.T
        for number, (weight, bias) in enumerate(self._weights[i]):
            features = torch.addmm(bias, weight, features.relu_() if number else features)
        return features


def stacks_of(model: nn.Module) -> Stacks | None:
    """Return the stacks of a fitted switch, or None for any other model, or one that does more than its layers do."""
    if type(model) is not hg.Switch or model.training or not isinstance(model.ranges, hg.Ranges | hg.LearnedRanges):
        return None
    if model.ranges.closed != "left" or model.ranges.outside != "nearest":
        return None
    if any(module._forward_hooks or module._forward_pre_hooks for module in model.modules()):
        return None
    stacks = [_layers(branch) for branch in model.branches]
    layers = [layer for stack in stacks for layer in stack]
    fit = all(stacks) and all(
        layer.weight.dtype == torch.float64 and layer.weight.device.type == "cpu" for layer in layers
    )
    return Stacks(model, stacks) if fit else None


def _layers(branch: nn.Module) -> Layers:
    """Return the linear layers of a branch that is one, or a sequence of them with ReLUs between; else none."""
    parts = list(branch) if type(branch) is nn.Sequential else [branch]
    kinds = [type(part) for part in parts]
    layers = [part for part in parts if isinstance(part, nn.Linear)]
    alternate = kinds == [nn.Linear, *[nn.ReLU, nn.Linear] * (len(parts) // 2)]
    return layers if alternate and all(layer.bias is not None for layer in layers) else []
