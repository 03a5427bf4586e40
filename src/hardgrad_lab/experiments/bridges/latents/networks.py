"""Encoders and decoders of the discrete autoencoders, one pair a data set. Nothing leads past the code.

Source: Ramapuram and Webb 2020 (arXiv 1905.03658), appendix C, names them: "similar to U-Net" for Fashion-MNIST;
"coord-conv encoder, dense decoder" for CIFAR-10; "Resnet18 encoder, dense decoder" for ImageNet. The activation, and
where batches are normalised, are from there too. What is ours:

- A U-Net's skips would hand the decoder the picture past the code. So "similar" is read as its stages (3 x 3
  convolutions, maximum pooling down, transposed convolutions up, twice the channels at half the side) without skips.
- A dense decoder of 512 x 512 x 3 numbers from 1,024 has 805 million weights. Ours makes a 32nd of the side densely and
  doubles that five times, a nearest-neighbour enlargement and a convolution each.
- ResNet-18's last map is averaged down to 4 x 4 places, not one, before the dense layer that makes the code's inputs.

U-Net: Ronneberger, Fischer, Brox 2015 (arXiv 1505.04597). CoordConv: Liu et al. 2018 (arXiv 1807.03247). ResNet-18: He
et al. 2016 (arXiv 1512.03385).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hardgrad_lab.experiments.bridges.latents import Latents

Activation = Callable[[], nn.Module]


def encoder(config: Latents, outputs: int) -> nn.Module:
    """Return a network from pictures (B, channels, side, side) to (B, outputs)."""
    match config.dataset:
        case "fashion-mnist":
            return unet_down(config, outputs)
        case "cifar10":
            return coordinates_down(config, outputs)
        case "imagenet":
            return ResNet18(config.channels, config.width, outputs)


def decoder(config: Latents, features: int) -> nn.Module:
    """Return a network from codes (B, features) to the logits of grey levels (B, channels, side, side)."""
    match config.dataset:
        case "fashion-mnist":
            return unet_up(config, features)
        case "cifar10":
            return dense_up(config, features)
        case "imagenet":
            return doubling_up(config, features)


def stage(fan_in: int, fan_out: int, convs: int, activation: Activation) -> list[nn.Module]:
    """Return so many 3 x 3 convolutions, each normalised over the batch and activated; the side stays."""
    sizes = pairwise([fan_in, *[fan_out] * convs])
    return [
        module
        for a, b in sizes
        for module in (nn.Conv2d(a, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), activation())
    ]


def unet_down(config: Latents, outputs: int) -> nn.Sequential:
    """Return the half of a U-Net that goes down, two levels, and a dense layer."""
    width, place = config.width, config.side // 4
    if config.fold == 2:
        first = [nn.PixelUnshuffle(2), *stage(4 * config.channels, 2 * width, config.convs, nn.ELU)]
    else:
        outer = stage(config.channels, width, config.convs, nn.ELU)
        first = [*outer, nn.MaxPool2d(2), *stage(width, 2 * width, config.convs, nn.ELU)]
    return nn.Sequential(
        *first,
        nn.MaxPool2d(2),
        *stage(2 * width, 4 * width, config.convs, nn.ELU),
        nn.Flatten(),
        nn.Linear(4 * width * place * place, outputs),
    )


def unet_up(config: Latents, features: int) -> nn.Sequential:
    """Return the half of a U-Net that goes up, without what it would be handed from the other half."""
    width, place = config.width, config.side // 4
    if config.fold == 2:
        last: list[nn.Module] = [nn.Conv2d(2 * width, 4 * config.channels, 1), nn.PixelShuffle(2)]
    else:
        outer = [nn.ConvTranspose2d(2 * width, width, 2, stride=2), *stage(width, width, config.convs, nn.ELU)]
        last = [*outer, nn.Conv2d(width, config.channels, 1)]
    return nn.Sequential(
        nn.Linear(features, 4 * width * place * place, bias=False),
        nn.BatchNorm1d(4 * width * place * place),
        nn.ELU(),
        nn.Unflatten(1, (4 * width, place, place)),
        nn.ConvTranspose2d(4 * width, 2 * width, 2, stride=2),
        *stage(2 * width, 2 * width, config.convs, nn.ELU),
        *last,
    )


class CoordConv(nn.Conv2d):
    """A convolution that also sees where it is: two more channels, from -1 at one edge to 1 at the other.

    Args:
        fan_in: channels on entry, without those two.
        fan_out: channels on exit.
        stride: 2 halves the side.
    """

    def __init__(self, fan_in: int, fan_out: int, stride: int = 1) -> None:
        super().__init__(fan_in + 2, fan_out, 3, stride=stride, padding=1, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        rows, _, height, width = input.shape
        down = torch.linspace(-1, 1, height, device=input.device, dtype=input.dtype).view(1, 1, height, 1)
        across = torch.linspace(-1, 1, width, device=input.device, dtype=input.dtype).view(1, 1, 1, width)
        place = [each.expand(rows, 1, height, width) for each in (down, across)]
        return super().forward(torch.cat([input, *place], 1))


def coordinates_down(config: Latents, outputs: int) -> nn.Sequential:
    """Return three stages of coordinate convolutions, the last of each with stride 2, and a dense layer."""
    layers: list[nn.Module] = []
    fan_in, place = config.channels, config.side // 8
    for level in range(3):
        fan_out = config.width << level
        for number in range(config.convs):
            stride = 2 if number == config.convs - 1 else 1
            layers += [CoordConv(fan_in, fan_out, stride), nn.BatchNorm2d(fan_out), nn.ReLU()]
            fan_in = fan_out
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(fan_in * place * place, outputs))


def dense_up(config: Latents, features: int) -> nn.Sequential:
    """Return a dense network with two hidden layers, nothing normalised."""
    pixels = config.channels * config.side * config.side
    return nn.Sequential(
        nn.Linear(features, config.dense),
        nn.ReLU(),
        nn.Linear(config.dense, config.dense),
        nn.ReLU(),
        nn.Linear(config.dense, pixels),
        nn.Unflatten(1, (config.channels, config.side, config.side)),
    )


class Residual(nn.Module):
    """The basic block of a ResNet: two convolutions beside a shortcut.

    Args:
        fan_in: channels on entry.
        fan_out: channels on exit.
        stride: of the first convolution and of the shortcut.
    """

    def __init__(self, fan_in: int, fan_out: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(fan_in, fan_out, 3, stride=stride, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(fan_out)
        self.second = nn.Conv2d(fan_out, fan_out, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(fan_out)
        same = stride == 1 and fan_in == fan_out
        projection = [nn.Conv2d(fan_in, fan_out, 1, stride=stride, bias=False), nn.BatchNorm2d(fan_out)]
        self.shortcut = nn.Identity() if same else nn.Sequential(*projection)

    def forward(self, x: Tensor) -> Tensor:
        inside = F.elu(self.first_norm(self.first(x)))
        return F.elu(self.second_norm(self.second(inside)) + self.shortcut(x))


class ResNet18(nn.Sequential):
    """ResNet-18 for large pictures: a stem that shrinks by 4, then four stages of two blocks; ELU throughout.

    Args:
        channels: of the pictures.
        width: channels of the first stage; 64 is the usual one.
        outputs: of the dense layer at the end.
    """

    def __init__(self, channels: int, width: int, outputs: int) -> None:
        stem = [nn.Conv2d(channels, width, 7, stride=2, padding=3, bias=False), nn.BatchNorm2d(width), nn.ELU()]
        sizes = [width, width, 2 * width, 4 * width, 8 * width]
        blocks = [
            block
            for number, (a, b) in enumerate(pairwise(sizes))
            for block in (Residual(a, b, 1 if number == 0 else 2), Residual(b, b, 1))
        ]
        end = [nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(8 * width * 16, outputs)]
        super().__init__(*stem, nn.MaxPool2d(3, stride=2, padding=1), *blocks, *end)


def doubling_up(config: Latents, features: int) -> nn.Sequential:
    """Return a dense layer to a 32nd of the side, doubled five times."""
    place, sizes = config.side // 32, [max(2, config.width * 8 >> level) for level in range(6)]
    doubled = [module for a, b in pairwise(sizes) for module in (nn.Upsample(scale_factor=2), *stage(a, b, 1, nn.ELU))]
    return nn.Sequential(
        nn.Linear(features, sizes[0] * place * place),
        nn.ELU(),
        nn.Unflatten(1, (sizes[0], place, place)),
        *doubled,
        nn.Conv2d(sizes[-1], config.channels, 3, padding=1),
    )
