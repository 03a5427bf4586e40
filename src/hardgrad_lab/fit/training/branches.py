"""Branches by name: each takes flat windows (B, steps * columns) of a table and ends in a linear layer."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from hardgrad_lab.fit.options import BRANCHES
from hardgrad_lab.fit.training.factories import Factory as Factory
from hardgrad_lab.fit.training.factories import load_factory as load_factory

SEQUENCES = ("gru", "lstm", "conv")  # these read a window step by step; the others see it as one row
KERNEL = 5  # of the convolutions, in steps


class Steps(nn.Module):
    """Lay a flat window out in time, (B, steps, columns + extra); what came after the window is repeated at each step.

    Args:
        steps: of the window.
        columns: of a step.
    """

    def __init__(self, steps: int, columns: int) -> None:
        super().__init__()
        self.steps, self.columns = steps, columns

    def forward(self, x: Tensor) -> Tensor:
        flat = self.steps * self.columns
        window = x[:, :flat].unflatten(1, (self.steps, self.columns))
        extra = x[:, flat:]
        return torch.cat([window, extra.unsqueeze(1).expand(-1, self.steps, -1)], dim=2) if extra.shape[1] else window


class Recurrent(nn.Module):
    """A GRU or LSTM along the window, its last state read by a linear layer.

    Args:
        kind: ``nn.GRU`` or ``nn.LSTM``.
        columns: of a step.
        hidden: features of each layer; the layers are equally wide.
        out_features: columns of the output.
    """

    def __init__(self, kind: type[nn.GRU] | type[nn.LSTM], columns: int, hidden: Sequence[int], out: int) -> None:
        super().__init__()
        self.cell = kind(columns, hidden[0], num_layers=len(hidden), batch_first=True)
        self.read = nn.Linear(hidden[0], out)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.cell(x)
        y: Tensor = self.read(states[:, -1])
        return y


class Convolution(nn.Module):
    """Causal convolutions along the window, each with twice the spacing of the one before, read at the last step.

    Args:
        columns: of a step.
        hidden: channels of each layer.
        out: columns of the output.
    """

    def __init__(self, columns: int, hidden: Sequence[int], out: int) -> None:
        super().__init__()
        widths = [columns, *hidden]
        self.layers = nn.ModuleList(
            nn.Conv1d(before, after, KERNEL, dilation=2**i) for i, (before, after) in enumerate(pairwise(widths))
        )
        self.read = nn.Linear(widths[-1], out)

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(1, 2)
        for i, layer in enumerate(self.layers):
            x = torch.relu(layer(nn.functional.pad(x, ((KERNEL - 1) * 2**i, 0))))
        y: Tensor = self.read(x[:, :, -1])
        return y


def make_branch(
    name: str, in_features: int, out_features: int, *, hidden: Sequence[int], steps: int, columns: int
) -> nn.Module:
    """Return one branch.

    Args:
        name: one of ``BRANCHES``.
        in_features: of a flat window, and whatever was appended to it.
        out_features: columns of the output.
        hidden: widths of the hidden layers.
        steps: of the window.
        columns: of a step.

    Returns:
        A module from (B, in_features) to (B, out_features).
    """
    if name == "linear":
        return nn.Linear(in_features, out_features)
    if name == "mlp":
        widths = [in_features, *hidden]
        pairs = pairwise(widths)
        layers: list[nn.Module] = [part for a, b in pairs for part in (nn.Linear(a, b), nn.ReLU())]
        return nn.Sequential(*layers, nn.Linear(widths[-1], out_features))
    wide = columns + in_features - steps * columns
    if name == "conv":
        return nn.Sequential(Steps(steps, columns), Convolution(wide, hidden, out_features))
    kind = nn.GRU if name == "gru" else nn.LSTM
    return nn.Sequential(Steps(steps, columns), Recurrent(kind, wide, hidden, out_features))


def check_branch(branch: object, hidden: Sequence[int]) -> None:
    """Raise a ValueError if a branch has no known name and is no function, or its widths make no sense."""
    if not callable(branch) and branch not in BRANCHES and ":" not in str(branch):
        raise ValueError(
            f"branch must be one of {', '.join(BRANCHES)}, a module:factory, or a function of (in_features, "
            f"out_features), got {branch!r}"
        )
    if any(not isinstance(width, int) or width < 1 for width in hidden):
        raise ValueError(f"hidden must be widths of at least 1, got {tuple(hidden)}")
    if branch in SEQUENCES and (not hidden or (branch != "conv" and len(set(hidden)) > 1)):
        raise ValueError(f"hidden must be one width for all layers of {branch!r}, got {tuple(hidden)}; try (16,)")
