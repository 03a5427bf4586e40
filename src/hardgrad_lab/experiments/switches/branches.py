"""The network that the published programs have in each range, with a linear layer at its end.

Theirs end in a gelu, which cannot go below -0.17; ``published.py`` keeps it. Theirs also carry the recurrent state from
row to row; here every window starts from nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from hardgrad_lab.baselines.networks import Branch


class Recurrent(nn.Module):
    """A GRU or LSTM that returns its outputs alone, (B, T, hidden_size)."""

    def __init__(self, kind: Callable[..., nn.GRU | nn.LSTM], in_features: int, hidden_size: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.cell = kind(in_features, hidden_size, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.cell(x)[0]
        return y


class AlongTime(nn.Module):
    """A convolution over the middle dimension of (B, T, C)."""

    def __init__(self, in_features: int, out_features: int, kernel: int) -> None:
        super().__init__()
        self.out_features = out_features
        self.convolution = nn.Conv1d(in_features, out_features, kernel)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.convolution(x.transpose(1, 2))
        return y.transpose(1, 2)


def published(task: str) -> Branch:
    """Return the maker of a task's published branch.

    Args:
        task: ``bcg``, ``bcg-1`` or ``voice``.

    Returns:
        A function of the number of inputs and a factor on all widths.
    """
    return _voice if task == "voice" else _bcg


def _bcg(in_features: int, factor: float) -> nn.Sequential:
    width = max(1, round(8 * factor))
    return nn.Sequential(
        nn.Unflatten(1, (in_features, 1)),
        nn.Linear(1, width),
        nn.GELU(),
        Recurrent(nn.GRU, width, width),
        nn.Linear(width, width),
        nn.GELU(),
        nn.Linear(width, 1),
        nn.GELU(),
        nn.Flatten(),
        nn.Linear(in_features, 1),
    )


def _voice(in_features: int, factor: float) -> nn.Sequential:
    width, filters, kernel = max(1, round(100 * factor)), max(1, round(20 * factor)), 4
    return nn.Sequential(
        nn.Unflatten(1, (in_features, 1)),
        nn.Linear(1, width),
        nn.GELU(),
        nn.Linear(width, width),
        nn.GELU(),
        AlongTime(width, filters, kernel),
        nn.GELU(),
        Recurrent(nn.LSTM, filters, width),
        Recurrent(nn.LSTM, width, width),
        nn.Linear(width, width),
        nn.GELU(),
        nn.Linear(width, width),
        nn.GELU(),
        nn.Linear(width, 1),
        nn.GELU(),
        nn.Flatten(),
        nn.Linear(in_features - kernel + 1, 1),
    )
