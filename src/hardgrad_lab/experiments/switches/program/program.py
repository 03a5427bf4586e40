"""The published program as it was, each of its quirks a named option, so that it can be compared with what it meant.

It keeps one live network. For every row it finds the row's range, copies that range's weights into the live network,
takes one step on this one row, and copies the weights back. What comes with that is in ``Quirks``. Not repeated: Keras'
GRU with its reset before the product (torch's is after), and predictions on the training rows every tenth pass.

Source: github.com/eagomez2/nnLACTOSE, read, not copied.
"""

from __future__ import annotations

import copy
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from hardgrad_lab.experiments.switches.branches import Recurrent, published


@dataclass(frozen=True, kw_only=True)
class Quirks:
    """What the published program does that a switch does not. All off is a switch trained row by row.

    Args:
        shared_optimizer: one RMSprop state for all ranges, so that each range's step sizes depend on the others' rows.
        identical_start: all ranges begin with the same weights.
        raises_outside: a key below the first point or above the last is an error, and not the nearest range's.
        shifted_history: a row's loss is filed under the next range; the last range's nowhere; the greatest key's under
            the first range.
        unsaved_last: the last range's weights are left out when the weights are saved.
        shared_memory: the recurrent state is carried from row to row, whatever their ranges, and never set to zero, not
            between passes nor before predicting.
        gelu_output: the last layer ends in a gelu, which is never below -0.17, for targets in [-1, 1].
        small_start: dense layers begin with weights of standard deviation 0.05 and zero biases.
    """

    shared_optimizer: bool = True
    identical_start: bool = True
    raises_outside: bool = True
    shifted_history: bool = True
    unsaved_last: bool = True
    shared_memory: bool = True
    gelu_output: bool = True
    small_start: bool = True

    def without(self, *names: str) -> Quirks:
        """Return the quirks with the named ones off."""
        return Quirks(**{**asdict(self), **dict.fromkeys(names, False)})


NAMES: tuple[str, ...] = tuple(asdict(Quirks()))
NONE = Quirks().without(*NAMES)


class Memory:
    """A recurrent state that outlives a call."""

    def __init__(self) -> None:
        self.state: Tensor | None = None


class Remembering(nn.Module):
    """A GRU that goes on from where the last call left it, whichever network made that call.

    Args:
        recurrent: its weights.
        memory: shared by all that remember the same.
    """

    def __init__(self, recurrent: Recurrent, memory: Memory) -> None:
        super().__init__()
        self.recurrent, self.memory = recurrent, memory

    def forward(self, x: Tensor) -> Tensor:
        y, state = self.recurrent.cell(x, self.memory.state)
        self.memory.state = state.detach()
        out: Tensor = y
        return out


class PublishedSwitch:
    """A hard IF trained row by row, as published or with some quirks off.

    Args:
        points: N + 1 of them.
        task: whose published branch to use, ``bcg-1``.
        quirks: which to keep.
        window: samples that a row holds.

    Attributes:
        history: of each range, the losses of its rows, as the program files them.

    Example:
        >>> import torch
        >>> switch = PublishedSwitch([-1, 0, 1], quirks=Quirks())
        >>> switch.train([[0.5]], [0.5], [0.1])
        >>> [len(losses) for losses in switch.history]
        [0, 0]
    """

    def __init__(self, points: Sequence[float], *, quirks: Quirks, task: str = "bcg-1", window: int = 1) -> None:
        self.points, self.quirks = [float(point) for point in points], quirks
        self.history: list[list[float]] = [[] for _ in self.points[1:]]
        memory = Memory()
        first = _network(task, window, quirks)
        networks = [first]
        for _ in self.points[2:]:
            networks.append(copy.deepcopy(first) if quirks.identical_start else _network(task, window, quirks))
        for network in networks:
            _share(network, memory)
        self.networks = networks
        # One live network that all weights pass through, or the networks themselves, each with its optimiser.
        self.live = copy.deepcopy(first) if quirks.shared_optimizer else None
        if self.live is not None:
            _share(self.live, memory)
        trained = [self.live] if self.live is not None else networks
        # Keras' RMSprop: rate 0.001, decay 0.9, epsilon 1e-7.
        self.optimizers = [torch.optim.RMSprop(net.parameters(), lr=1e-3, alpha=0.9, eps=1e-7) for net in trained]

    def branch_of(self, key: float) -> int:
        """Return the range of a key: half-open, the last closed.

        Raises:
            ValueError: with ``raises_outside``, for a key below the first point or above the last.
        """
        if self.quirks.raises_outside and not self.points[0] <= key <= self.points[-1]:
            raise ValueError(
                f"key must be within [{self.points[0]:g}, {self.points[-1]:g}], got {key:g}; scale it, or turn off "
                "raises_outside"
            )
        return min(max(bisect_right(self.points, key) - 1, 0), len(self.networks) - 1)

    def train(self, x: Sequence[Sequence[float]], key: Sequence[float], y: Sequence[float]) -> None:
        """Take one step on each row, in order."""
        for row, value, target in zip(torch.tensor(x), key, torch.tensor(y), strict=True):
            branch = self.branch_of(value)
            network, optimizer = self._load(branch)
            loss = (network(row.unsqueeze(0))[0, 0] - target).square()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if self.live is not None:
                _copy(self.live, self.networks[branch])
            slot = self.slot(branch, value)
            if slot is not None:
                self.history[slot].append(float(loss.detach()))

    @torch.no_grad()
    def predict(self, x: Sequence[Sequence[float]], key: Sequence[float]) -> Tensor:
        """Return what the network of each row's range says, (n, 1), row by row."""
        said = []
        for row, value in zip(torch.tensor(x), key, strict=True):
            network, _ = self._load(self.branch_of(value))
            said.append(network(row.unsqueeze(0)))
        return torch.cat(said)

    def slot(self, branch: int, key: float) -> int | None:
        """Return under which range a row's loss is filed; None for nowhere."""
        if not self.quirks.shifted_history:
            return branch
        if key in (self.points[0], self.points[-1]):
            return 0
        return branch + 1 if branch + 1 < len(self.networks) else None

    def saved(self) -> dict[int, dict[str, Tensor]]:
        """Return the weights that the program would save, by range."""
        last = len(self.networks) - (1 if self.quirks.unsaved_last else 0)
        return {i: self.networks[i].state_dict() for i in range(last)}

    def _load(self, branch: int) -> tuple[nn.Module, torch.optim.Optimizer]:
        if self.live is None:
            return self.networks[branch], self.optimizers[branch]
        _copy(self.networks[branch], self.live)
        return self.live, self.optimizers[0]


def _network(task: str, window: int, quirks: Quirks) -> nn.Sequential:
    network = published(task)(window, 1.0)
    assert isinstance(network, nn.Sequential)
    layers: list[nn.Module] = []
    for layer in network:
        remembers = quirks.shared_memory and isinstance(layer, Recurrent)
        layers.append(Remembering(layer, Memory()) if remembers and isinstance(layer, Recurrent) else layer)
        if quirks.small_start and isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=0.05)
            nn.init.zeros_(layer.bias)
    return nn.Sequential(*layers, *([nn.GELU()] if quirks.gelu_output else []))


def _share(network: nn.Module, memory: Memory) -> None:
    for module in network.modules():
        if isinstance(module, Remembering):
            module.memory = memory


@torch.no_grad()
def _copy(source: nn.Module, target: nn.Module) -> None:
    for there, here in zip(target.parameters(), source.parameters(), strict=True):
        there.copy_(here)
