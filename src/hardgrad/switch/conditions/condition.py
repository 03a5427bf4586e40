"""What leads a key to a branch: the part that ranges, grids and nested IFs share."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hardgrad import _check
from hardgrad._torch_state import hides_values, in_backward, in_export, in_graph, in_transform


class Router(nn.Module):
    """A condition: ``index(key)`` is the branch of each key, and how often each was taken is kept.

    A router of your own defines ``index`` and ``label``; ``hardgrad.Switch`` needs nothing else of it. Asking ``index``
    counts nothing; calling the router does, as a switch does for the rows that it runs. What a layer asks of any
    condition is here; what only conditions on points can answer is in ``PointRouter``.

    Args:
        branches: how many branches it leads to.
        keys: 0 if a key is one number; otherwise the length of a key's last dimension.

    Attributes:
        visits: int64 (branches,), how many keys led to each branch so far; saved in ``state_dict()``.
        along_time: whether a key's branch depends on the keys before it in its sequence.
        learned_points: the parameter of its points, if they learn; else None.
    """

    visits: Tensor
    along_time: bool = False

    def __init__(self, branches: int, keys: int = 0) -> None:
        super().__init__()
        self.branches = branches
        self.keys = keys
        self.register_buffer("visits", torch.zeros(branches, dtype=torch.int64))

    def index(self, key: Tensor) -> Tensor:
        """Return int64 branch numbers, without counting anything.

        Where no value can be read, in a graph or under ``vmap``, a key that leads nowhere (NaN) may return -1: the
        switch then gives that row to no branch, and its output is NaN.
        """
        raise NotImplementedError

    def leading(self, key: Tensor) -> torch.Size:
        """Return a key's shape but for a last dimension of keys: that of the branch numbers."""
        return key.shape[:-1] if self.keys else key.shape

    def index_after(self, key: Tensor, last: Tensor | None) -> Tensor:
        """Return ``index(key)`` for sequences whose step before the first key took branch ``last``, int64 (B,)."""
        return self.index(key)

    def label(self, i: int) -> str:
        """Return what branch i stands for, in words."""
        raise NotImplementedError

    @property
    def learned_points(self) -> nn.Parameter | None:
        return None

    def learns(self) -> bool:
        """Whether points of this condition learn, or of one inside it."""
        return any(part.learned_points is not None for part in self.modules() if isinstance(part, Router))

    def forward(self, key: Tensor) -> Tensor:
        index = self.index(key)
        self.add_visits(count(index.reshape(-1), self.branches), key)
        return index

    def add_visits(self, counts: Tensor, key: Tensor | None = None) -> None:
        """Add one count per branch to ``visits``; the second run of an activation checkpoint adds nothing.

        Args:
            counts: int64 (branches,).
            key: the keys that were counted; with them a router counts what else it keeps.
        """
        if counting():
            self._add(counts)

    def _add(self, counts: Tensor) -> None:
        visits = self.visits
        visits.add_(counts.to(visits.device))

    def reset_counts(self) -> None:
        """Set every counter to zero."""
        for module in self.modules():
            if isinstance(module, Router):
                for name, counter in module.named_buffers(recurse=False):
                    if name in ("visits", "below", "above"):
                        counter.zero_()


def counting() -> bool:
    """Whether counters move: not in an exported graph, nor under torch.func, nor when a checkpoint runs again."""
    if in_transform():
        return False
    return not (in_export() or in_backward())


def without_values(key: Tensor) -> bool:
    """Whether the branches of these keys must be found by tensor operations alone, in which no key can raise."""
    return in_graph() or hides_values(key)


def count(index: Tensor, branches: int) -> Tensor:
    """Return how often each branch occurs in index, int64 (branches,); -1, for no branch, is not counted."""
    if without_values(index):  # where bincount, whose output may grow with its values, is not allowed
        zeros = torch.zeros(branches, dtype=torch.int64, device=index.device)
        return zeros.index_add(0, index.clamp(min=0), (index >= 0).to(torch.int64))
    return torch.bincount(index, minlength=branches)


def by_branch(index: Tensor, branches: int) -> Tensor:
    """Return the rows sorted by branch, those of one branch in the batch's order."""
    # 16 bits are sorted twice as fast as 64.
    return index.to(torch.int16 if branches < 2**15 else torch.int64).argsort(stable=True)


def check_key(owner: str, key: Tensor) -> None:
    """Raise if a key is no tensor of real numbers."""
    _check.tensor(owner, "key", key)
    if key.dtype is torch.bool or key.is_complex():
        raise ValueError(f"{owner}: key must be real numbers, got {key.dtype}; cast it first")
