"""The dense and the recurrent network of table II, with a hard layer or without, and how to build any system.

Every network ends in logits of shape (B, T, T), class axis first: ``logits[b, c, i]`` speaks for number c standing at
place i of the sorted order.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

import hardgrad as hg
from hardgrad_lab.experiments.bridges.sorting.config import POINTING, Sorting
from hardgrad_lab.experiments.bridges.sorting.pointers import PointerNetwork, ReadProcessWrite


def build(config: Sorting) -> nn.Module:
    """Return a freshly initialised network; torch's global seed decides its weights."""
    match config.system:
        case "signum-dense":
            return dense(config, nn.Tanh, signum(config))
        case "tanh-dense":
            return dense(config, nn.Tanh, None)
        case "elu-dense":
            return dense(config, nn.ELU, None)
        case "signum-rnn":
            return SignumRNN(config.length, config.width, signum(config), ponder=config.ponder)
        case "pointer":
            return PointerNetwork(config.width, glimpses=config.glimpses, mask_chosen=config.mask_chosen)
        case "read-process-write":
            return ReadProcessWrite(
                config.width, config.process_steps, glimpses=config.glimpses, mask_chosen=config.mask_chosen
            )


def signum(config: Sorting) -> nn.Module:
    """Return the hard layer: the signum with a margin, and what lends it a gradient (eq. 1 and section III)."""

    def hard(x: Tensor) -> Tensor:
        return hg.hard.sign(x, margin=config.margin)

    if config.surrogate == "straight-through":
        return hg.straight_through(hard)
    if config.approximator == "batch":
        hidden = config.hidden or (config.width // 2,) * 2
        approximator = hg.approximators.mlp(config.width, config.width, hidden=hidden)
    else:
        approximator = hg.approximators.elementwise()  # of one number, whatever the layer's width
    return hg.Bridge(hard, approximator, weight=config.gamma)


def dense(config: Sorting, activation: type[nn.Module], hard: nn.Module | None) -> nn.Sequential:
    """Return the network of figure 5, all numbers at once; without ``hard`` it is one of the baselines."""
    length, width = config.length, config.width
    return nn.Sequential(
        nn.Linear(length, width // 2),
        activation(),
        nn.Linear(width // 2, width // 2),
        activation(),
        nn.Linear(width // 2, width),
        activation(),
        *([hard] if hard is not None else []),
        nn.Linear(width, length * length),
        nn.Unflatten(1, (length, length)),
    )


class SignumRNN(nn.Module):
    """The network of figure 4: an LSTM over the numbers one by one, a prediction after the last.

    Args:
        length: how many numbers, T.
        width: of the LSTM and of the dense layer after it.
        hard: the hard layer.
        ponder: further LSTM steps with a zero input before the prediction (section IV-B, figure 6).
    """

    def __init__(self, length: int, width: int, hard: nn.Module, *, ponder: int = 0) -> None:
        super().__init__()
        self.length, self.ponder = length, ponder
        self.lstm = nn.LSTM(1, width, batch_first=True)
        self.head = nn.Sequential(nn.Linear(width, width), nn.Tanh(), hard, nn.Linear(width, length * length))

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (B, T, T) of ``x`` (B, T)."""
        steps = F.pad(x, (0, self.ponder)).unsqueeze(-1)
        states, _ = self.lstm(steps)
        logits: Tensor = self.head(states[:, -1])
        return logits.view(-1, self.length, self.length)


def is_teacher_forced(config: Sorting) -> bool:
    """Return whether the network is shown the target in training, as decoders that point are."""
    return config.system in POINTING


def sorting_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return the cross entropy, summed over the places and meaned over the batch, as published.

    Args:
        logits: (B, T classes, T places).
        target: (B, T) indices.

    Returns:
        A scalar.
    """
    return F.cross_entropy(logits, target, reduction="none").sum(-1).mean()


def all_or_none(logits: Tensor, target: Tensor) -> Tensor:
    """Return for each row whether every place is right, (B,) booleans, from (B, T, T) logits and (B, T) targets."""
    return (logits.argmax(1) == target).all(1)
