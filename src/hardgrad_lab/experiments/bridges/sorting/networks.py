"""The dense and the recurrent network of table II, with a hard layer or without, and how to build any system.

Every network ends in logits of shape (B, T, T), class axis first: ``logits[b, c, i]`` speaks for number c standing at
place i of the sorted order.
"""

from __future__ import annotations

import torch
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
        self.length, self.width, self.ponder = length, width, ponder
        # Its weights alone: torch.compile enters no nn.LSTM.
        self.lstm = nn.ParameterDict(nn.LSTM(1, width).named_parameters())
        self.head = nn.Sequential(nn.Linear(width, width), nn.Tanh(), hard, nn.Linear(width, length * length))

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (B, T, T) of ``x`` (B, T)."""
        steps = F.pad(x, (0, self.ponder))
        plain = not (torch.compiler.is_compiling() or torch.is_autocast_enabled(x.device.type))
        state = self._at_once(steps) if plain else self._step_by_step(steps)
        logits: Tensor = self.head(state)
        return logits.view(-1, self.length, self.length)

    def _at_once(self, steps: Tensor) -> Tensor:
        """Return what the LSTM says last, (B, W)."""
        start = steps.new_zeros(1, len(steps), self.width)
        weights = list(self.lstm.values())
        states, *_ = torch.lstm(steps.unsqueeze(-1), (start, start), weights, True, 1, 0.0, self.training, False, True)
        return states[:, -1]

    def _step_by_step(self, steps: Tensor) -> Tensor:
        """Return the same; under autocast, only the product of a state with its weights is in bfloat16.

        Autocast of an LSTM rounds the numbers, too: from 1/4 on, to multiples of 1/512, and near ties would be ties.
        """
        of_input, of_state, *biases = self.lstm.values()
        state = cell = steps.new_zeros(len(steps), self.width)
        for number in steps.unbind(1):
            gates = number.unsqueeze(1) * of_input[:, 0] + sum(biases) + F.linear(state, of_state)
            enter, keep, new, leave = gates.chunk(4, dim=1)
            cell = keep.sigmoid() * cell + enter.sigmoid() * new.tanh()
            state = leave.sigmoid() * cell.tanh()
        return state


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
