"""Networks that imitate hard functions.

They are ordinary modules, and any network of the right shapes serves a bridge. Those made of ``nn.Linear`` layers in an
``nn.Sequential`` are the cheapest, since a bridge computes such a layer once for both of its gradients.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from hardgrad import _check

Activation = Callable[[], nn.Module]


class Unsqueeze(nn.Module):
    """Add a last dimension of size 1."""

    def forward(self, x: Tensor) -> Tensor:
        return x.unsqueeze(-1)


class Squeeze(nn.Module):
    """Drop the last dimension, of size 1."""

    def forward(self, x: Tensor) -> Tensor:
        return x.squeeze(-1)


class Reshape(nn.Module):
    """Give every sample the same shape, whatever the batch.

    Args:
        shape: of one sample.
        sample_ndim: how many dimensions a sample has on entry.
    """

    def __init__(self, shape: Sequence[int], sample_ndim: int) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.sample_ndim = sample_ndim

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(*x.shape[: x.ndim - self.sample_ndim], *self.shape)

    def extra_repr(self) -> str:
        return f"shape={self.shape}"


def mlp(
    in_features: int, out_features: int, *, hidden: Sequence[int] = (128, 128), activation: Activation = nn.Tanh
) -> nn.Sequential:
    """Return a dense network over the last dimension.

    Args:
        in_features: size of the last dimension on entry.
        out_features: and on exit.
        hidden: widths of the hidden layers. The published program takes half the layer's width, twice; none at all may
            do, and 64 twice is worth trying where features have to be read together (docs/evidence/approximators.md).
        activation: factory of the module between layers; smooth ones lend smoother gradients.

    Returns:
        A module from (..., in_features) to (..., out_features).

    Raises:
        TypeError: if a width is no whole number.
        ValueError: if a width is below 1, or ``activation`` makes no module.

    Example:
        >>> import torch, hardgrad as hg
        >>> hg.approximators.mlp(256, 100)(torch.zeros(8, 256)).shape
        torch.Size([8, 100])

    Source: the "batch" approximator of the program published with Ramapuram and Webb 2020 (arXiv 1905.03658).
    """
    if not isinstance(hidden, Iterable) or isinstance(hidden, Tensor):
        raise ValueError(f"mlp: hidden must list the widths of the hidden layers, got {hidden!r}; write [{hidden!r}]")
    hidden = list(hidden)
    sizes = [in_features, *hidden, out_features]
    _check_sizes(
        "mlp", in_features=in_features, out_features=out_features, **{f"hidden[{i}]": n for i, n in enumerate(hidden)}
    )
    layers = [
        module
        for fan_in, fan_out in pairwise(sizes)
        for module in (nn.Linear(fan_in, fan_out), _layer("mlp", activation))
    ]
    return nn.Sequential(*layers[:-1])


def elementwise(width: int = 16, *, layers: int = 2, activation: Activation = nn.Tanh) -> nn.Sequential:
    r"""Return one small network applied to every element by itself: :math:`y_i = a_\phi(x_i)`.

    It cannot lend a gradient from one element to another, and its weights do not depend on the shape. It imitates
    a step best of all, and is not the best lender for it in the middle of a network (docs/evidence/approximators.md).

    Args:
        width: of each hidden layer. The published program takes the layer's width; a step needs few.
        layers: hidden layers, at least 1.
        activation: factory of the module between layers.

    Returns:
        A module that keeps the shape, any shape.

    Raises:
        TypeError: if ``width`` or ``layers`` is no whole number.
        ValueError: if ``width`` or ``layers`` is below 1, or ``activation`` makes no module.

    Example:
        >>> import torch, hardgrad as hg
        >>> hg.approximators.elementwise(8)(torch.zeros(2, 3, 5)).shape
        torch.Size([2, 3, 5])

    Source: the "independent" approximator of the program published with Ramapuram and Webb 2020 (arXiv 1905.03658).
    """
    _check_sizes("elementwise", width=width, layers=layers)
    _layer("elementwise", activation)
    return nn.Sequential(Unsqueeze(), *mlp(1, 1, hidden=[width] * layers, activation=activation), Squeeze())


def conv(
    in_channels: int,
    out_channels: int,
    *,
    width: int = 64,
    kernel_size: int = 3,
    layers: int = 2,
    activation: Activation = nn.ELU,
) -> nn.Sequential:
    """Return a convolutional network for functions of a feature map that look at a neighbourhood.

    Args:
        in_channels: channels on entry.
        out_channels: channels on exit.
        width: channels between.
        kernel_size: odd, so that height and width are kept.
        layers: hidden convolutions, at least 1.
        activation: factory of the module between layers.

    Returns:
        A module from (B, in_channels, H, W) to (B, out_channels, H, W).

    Raises:
        TypeError: if a size is no whole number.
        ValueError: if a size is below 1, ``kernel_size`` is even, or ``activation`` makes no
            module.

    Example:
        >>> import torch, hardgrad as hg
        >>> hg.approximators.conv(3, 8)(torch.zeros(2, 3, 9, 9)).shape
        torch.Size([2, 8, 9, 9])
    """
    _check_sizes(
        "conv", in_channels=in_channels, out_channels=out_channels, width=width, kernel_size=kernel_size, layers=layers
    )
    if kernel_size % 2 == 0:
        raise ValueError(f"conv: kernel_size must be odd to keep height and width, got {kernel_size}")
    sizes = [in_channels, *[width] * layers, out_channels]
    stack = [
        module
        for fan_in, fan_out in pairwise(sizes)
        for module in (nn.Conv2d(fan_in, fan_out, kernel_size, padding=kernel_size // 2), _layer("conv", activation))
    ]
    return nn.Sequential(*stack[:-1])


class Positions(nn.Module):
    """Add sinusoids of the position to (..., n, width), for any n. Source: Vaswani et al. 2017 (arXiv 1706.03762)."""

    def forward(self, x: Tensor) -> Tensor:
        n, width = x.shape[-2:]
        half = torch.arange((width + 1) // 2, device=x.device, dtype=torch.float32)
        angle = torch.arange(n, device=x.device).unsqueeze(-1) * torch.exp(-math.log(10_000.0) * 2 * half / width)
        return x + torch.stack([angle.sin(), angle.cos()], -1).flatten(-2)[:, :width].to(x.dtype)


class SelfAttention(nn.Module):
    """One pre-normalized transformer block: every position sees every other.

    Args:
        width: features, divisible by ``heads``.
        heads: attention heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.project = nn.Linear(width, 3 * width)
        self.merge = nn.Linear(width, width)
        self.feed = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.project(self.norm(x)).unflatten(-1, (3, self.heads, -1)).unbind(-3)
        # Written out: the fused kernel has no double backward.
        score = query.transpose(-2, -3) @ key.transpose(-2, -3).mT / math.sqrt(query.shape[-1])
        mixed = score.softmax(-1) @ value.transpose(-2, -3)
        x = x + self.merge(mixed.transpose(-2, -3).flatten(-2))
        fed: Tensor = x + self.feed(x)
        return fed


def sequence(
    in_features: int,
    out_features: int,
    *,
    width: int = 32,
    heads: int = 4,
    layers: int = 2,
    positions: bool = True,
) -> nn.Sequential:
    """Return a transformer for functions of a whole sequence or set, of any length.

    Args:
        in_features: features of one position on entry.
        out_features: and on exit.
        width: features between, divisible by ``heads``.
        heads: attention heads.
        layers: blocks, at least 1.
        positions: tell each position its place. Sorting needs it; without it the network is permutation-equivariant,
            as ``rank`` and ``kmeans`` are.

    Returns:
        A module from (..., n, in_features) to (..., n, out_features).

    Raises:
        TypeError: if a size is no whole number.
        ValueError: if a size is below 1, or ``heads`` does not divide ``width``.

    Example:
        >>> import torch, hardgrad as hg
        >>> hg.approximators.sequence(1, 2)(torch.zeros(8, 5, 1)).shape
        torch.Size([8, 5, 2])
    """
    _check_sizes(
        "sequence", in_features=in_features, out_features=out_features, width=width, heads=heads, layers=layers
    )
    if width % heads:
        raise ValueError(f"sequence: heads must divide width, got heads={heads} and width={width}")
    _check.flag("sequence", "positions", positions)
    blocks = [SelfAttention(width, heads) for _ in range(layers)]
    entry = [nn.Linear(in_features, width), *([Positions()] if positions else [])]
    return nn.Sequential(*entry, *blocks, nn.LayerNorm(width), nn.Linear(width, out_features))


def _check_sizes(name: str, **sizes: int) -> None:
    for argument, size in sizes.items():
        _check.whole(name, argument, size, least=1)


def _layer(name: str, activation: Activation) -> nn.Module:
    """One activation from its factory."""
    made = activation() if callable(activation) and not isinstance(activation, nn.Module) else activation
    if isinstance(activation, nn.Module) or not isinstance(made, nn.Module):
        raise ValueError(
            f"{name}: activation must make a new module at each call, got {activation!r}; "
            "give the class, such as nn.Tanh, or a lambda"
        )
    return made
