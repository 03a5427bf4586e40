"""One function that builds a switch or a rival of it, of equal size where size can be chosen."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import nn

import hardgrad as hg
from hardgrad_lab.baselines.networks import (
    ACTIVATIONS,
    Branch,
    ConditionInput,
    Film,
    Plain,
    Scale,
    SoftGate,
    Table,
    mlp,
)
from hardgrad_lab.baselines.solved import Kind, Solved

_DESCRIBED: dict[str, str] = {
    "switch": "hg.Switch: a branch for each range, and the taken one runs",
    "plain-total": "one network with as many parameters as all branches together",
    "plain-active": "one network of a branch's size",
    "condition-input": "one network of the switch's total size; the key and its range's one-hot number are inputs too",
    "film": "one network of the switch's total size; key and range scale and shift its hidden layers",
    "soft-gate": "as many experts as ranges, all run, mixed by a softmax over the key; the switch's total size",
    "table": "a learned piecewise-linear table of the key alone, one number for each parameter of the switch",
    "constant": "the mean of the training targets",
    "best-gain": "the key times the best number (least squares on the training rows)",
    "linear": "least squares on all inputs and a constant",
}
NAMES: tuple[str, ...] = tuple(_DESCRIBED)
SOLVED: tuple[str, ...] = ("constant", "best-gain", "linear")
TRAINED: tuple[str, ...] = tuple(name for name in NAMES if name not in SOLVED)


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Numbers of parameters.

    Args:
        total: of the model.
        active: that take part in one row's output; of the largest branch, where branches differ.
    """

    total: int
    active: int


def describe(name: str) -> str:
    """Return what a model of this name is, in a line."""
    return _DESCRIBED[name]


def build(
    name: str,
    in_features: int,
    out_features: int,
    *,
    ranges: hg.switch.PointRouter | Sequence[float],
    hidden: Sequence[int] = (32, 32),
    activation: str = "relu",
    key_columns: Sequence[int] = (),
    normalize: bool = True,
    branch: Branch | None = None,
) -> nn.Module:
    """Return a switch, or a rival that is called as it is: ``model(x, key)``.

    Every rival that trains has as many parameters as the switch in all, as near as whole widths allow, except
    "plain-active", which has those of one branch. All end in a linear layer. What the key tells each is in
    ``describe(name)``. "constant", "best-gain" and "linear" do not train: call their ``solve(x, key, y)``.

    Args:
        name: one of ``NAMES``.
        in_features: columns of x.
        out_features: columns of y.
        ranges: the switch's ranges, or their points. A copy is used.
        hidden: widths of a branch's hidden layers.
        activation: between them: relu, tanh, gelu, elu or silu.
        key_columns: columns of x that hold the key. They are mapped to [-1, 1]: range by range in the switch, once in
            its rivals.
        normalize: False leaves the key columns as they are, in all models.
        branch: makes a branch in place of the MLP, from the number of its inputs and a factor on its widths. For
            "film" it must be an ``nn.Sequential``.

    Returns:
        A module with ``forward(x, key)``: x (B, in_features), key (B,) to (B, out_features).

    Raises:
        ValueError: for an unknown name or activation, columns outside x, or a branch without widths where the size is
            to be chosen.

    Example:
        >>> import torch
        >>> switch = build("switch", 1, 1, ranges=[-1, 0, 1], hidden=(4, 4), key_columns=[0])
        >>> rival = build("plain-total", 1, 1, ranges=[-1, 0, 1], hidden=(4, 4), key_columns=[0])
        >>> counts(switch), counts(rival)
        (Counts(total=66, active=33), Counts(total=61, active=61))
        >>> rival(torch.zeros(3, 1), torch.zeros(3)).shape
        torch.Size([3, 1])
    """
    _check(name, in_features, activation, key_columns)
    if name in SOLVED:
        return Solved(cast(Kind, name), in_features, out_features)
    ranges = copy.deepcopy(ranges) if isinstance(ranges, hg.switch.PointRouter) else hg.Ranges(ranges)
    columns = list(key_columns) if normalize else []
    make = branch or _mlp_branch(hidden, out_features, activation)
    if name == "switch":
        return hg.Switch(ranges, make(in_features, 1.0), normalize=columns)
    total = len(ranges) * size(lambda: make(in_features, 1.0))
    scale = Scale(ranges, columns, in_features)
    if name == "table":
        return Table(scale.low, scale.high, total // out_features, out_features)
    rival = _rivals(name, make, in_features, scale, ranges)
    return rival(1.0) if name == "plain-active" else rival(fitting(rival, total))


def counts(model: nn.Module) -> Counts:
    """Return how many parameters a model has, and how many of them make one row's output."""
    total = _trained(model)
    if isinstance(model, hg.Switch):
        branches = [_trained(branch) for branch in model.branches]
        return Counts(total=total, active=total - sum(branches) + max(branches))
    if isinstance(model, Table):
        return Counts(total=total, active=2 * model.values.shape[1])
    if isinstance(model, Solved):
        return Counts(total=model.weight.numel(), active=model.weight.numel())
    return Counts(total=total, active=total)


def size(make: Callable[[], nn.Module]) -> int:
    """Return how many parameters a model would have, without drawing its weights."""
    with torch.device("meta"):
        return _trained(make())


def fitting(make: Callable[[float], nn.Module], total: int) -> float:
    """Return the factor on the widths at which ``make`` gives the number of parameters nearest to ``total``.

    Raises:
        ValueError: if the number does not grow with the widths.
    """

    def size_at(factor: float) -> int:
        return size(lambda: make(factor))

    low, high = 2.0**-10, 1.0
    while size_at(high) <= total:
        if size_at(2 * high) <= size_at(high):
            raise ValueError(
                f"branch must have widths that can be changed for a rival of {total:,} parameters, got one of "
                f"{size_at(high):,} at any width; compare with plain-active instead"
            )
        low, high = high, 2 * high
    for _ in range(30):  # whole widths below 10 ** 6 are far apart beside 2 ** -30
        middle = (low + high) / 2
        low, high = (middle, high) if size_at(middle) <= total else (low, middle)
    return min((low, high), key=lambda factor: abs(size_at(factor) - total))


def _rivals(
    name: str, make: Branch, in_features: int, scale: Scale, ranges: hg.switch.PointRouter
) -> Callable[[float], nn.Module]:
    def rival(factor: float) -> nn.Module:
        match name:
            case "condition-input":
                return ConditionInput(make(in_features + 1 + len(ranges), factor), scale, ranges)
            case "film":
                network = make(in_features, factor)
                if not isinstance(network, nn.Sequential):
                    raise ValueError(f"film needs a branch that is an nn.Sequential, got {type(network).__name__}")
                return Film(network, scale, ranges)
            case "soft-gate":
                return SoftGate([make(in_features, factor) for _ in range(len(ranges))], scale)
            case _:
                return Plain(make(in_features, factor), scale)

    return rival


def _mlp_branch(hidden: Sequence[int], out_features: int, activation: str) -> Branch:
    def make(in_features: int, factor: float) -> nn.Module:
        return mlp(in_features, [max(1, round(factor * width)) for width in hidden], out_features, activation)

    return make


def _check(name: str, in_features: int, activation: str, key_columns: Sequence[int]) -> None:
    if name not in NAMES:
        raise ValueError(f"name must be one of {', '.join(NAMES)}, got {name!r}")
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {activation!r}")
    for column in key_columns:
        if not -in_features <= column < in_features:
            raise ValueError(
                f"key_columns must be columns of x, -{in_features} to {in_features - 1}, got {column}; count from 0"
            )


def _trained(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
