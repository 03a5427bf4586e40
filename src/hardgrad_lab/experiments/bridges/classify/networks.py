"""Classifiers with one layer of choice after one of their stages; ResNet-18 for pictures of 32x32."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hardgrad_lab.experiments.bridges.classify.config import STAGES, Head


class Block(nn.Module):
    """Two convolutions beside a shortcut.

    Args:
        fan_in: channels on entry.
        fan_out: and on exit.
        stride: of the first convolution; 2 halves the map.

    Source: He, Zhang, Ren and Sun 2016 (arXiv 1512.03385), figure 2, with ELU for ReLU.
    """

    def __init__(self, fan_in: int, fan_out: int, stride: int) -> None:
        super().__init__()
        self.first = convolution(fan_in, fan_out, 3, stride)
        self.second = convolution(fan_out, fan_out, 3)
        plain = stride == 1 and fan_in == fan_out
        self.shortcut = nn.Identity() if plain else convolution(fan_in, fan_out, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return F.elu(self.second(F.elu(self.first(x))) + self.shortcut(x))


class Classifier(nn.Module):
    """Stages, a layer of choice after one of them, and a linear head.

    Args:
        stages: each takes the map (B, channels, height, width) of the one before.
        channels: of the last stage.
        layer: takes the map after ``stage``; may return another shape after the last.
        stage: from 1.
        head: flat sees every value of what comes last, pooled the mean of each channel.
        features: how many values a channel has there.
        scale: of the head's values.
        classes: of the output.
    """

    def __init__(
        self,
        stages: Sequence[nn.Module],
        channels: int,
        layer: nn.Module,
        *,
        stage: int = STAGES,
        head: Head = "flat",
        features: int,
        scale: float = 1.0,
        classes: int = 10,
    ) -> None:
        super().__init__()
        self.before = nn.Sequential(*stages[:stage])
        self.layer = layer
        self.after = nn.Sequential(*stages[stage:])
        self.pooled, self.scale = head == "pooled", scale
        self.linear = nn.Linear(channels * (1 if self.pooled else features), classes)

    def forward(self, x: Tensor) -> Tensor:
        entry = self.before(x)
        with torch.autocast(
            x.device.type, enabled=False
        ):  # on a CPU a bridge of tanh takes three times as long in bf16
            hard = self.layer(entry.float())
        return self.judge(hard)

    def judge(self, hard: Tensor) -> Tensor:
        """Return the classes' logits from what the layer returned."""
        values = self.after(hard).flatten(2)
        return cast(Tensor, self.linear(values.mean(2) if self.pooled else values.flatten(1))) * self.scale


def resnet_18(width: int, layer: nn.Module, **given: Any) -> Classifier:
    """Return a first convolution and four stages of two blocks, each with the next twice as wide and half as large."""
    widths = [width * 2**i for i in range(STAGES)]
    stages = [
        nn.Sequential(Block(fan_in, fan_out, 1 if i == 0 else 2), Block(fan_out, fan_out, 1))
        for i, (fan_in, fan_out) in enumerate(zip([width, *widths], widths, strict=False))
    ]
    stem = nn.Sequential(convolution(3, width, 3), nn.ELU())
    return Classifier([nn.Sequential(stem, *stages[0]), *stages[1:]], widths[-1], layer, **given)


def convolution(fan_in: int, fan_out: int, size: int, stride: int = 1) -> nn.Sequential:
    """Return a convolution that pads and the batch normalisation behind it, which makes a bias useless."""
    conv = nn.Conv2d(fan_in, fan_out, size, stride, padding=size // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(fan_out))
