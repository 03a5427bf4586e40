"""IFs inside IFs: a tree of conditions, printed as a tree and dispatched flat."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Union

import torch
from torch import Tensor, nn

from hardgrad._torch_state import in_graph
from hardgrad.switch.routers.ranges import Ranges, check_key
from hardgrad.switch.routers.router import Router

Then = Union[str, "If"]


class If(Router):
    """Nested IFs: each range leads to a branch, by name, or to another IF.

    A row is asked only the questions on its way: a key that its path never reads may be NaN. The switch sees one flat
    list of branches, in the order in which their names first appear; equal names share a branch.

    Args:
        ranges: the ranges of the key that this IF reads.
        then: one for each range: a branch's name, or another ``If``.
        key: which of the keys this IF reads, the position in a key's last dimension.

    Shape:
        key: (..., K) with K greater than the greatest ``key`` of the tree. Returns int64 (...).

    Raises:
        ValueError: if ``then`` has another length than ``ranges``, or a key's last dimension is too short.

    Example:
        >>> import torch, hardgrad as hg
        >>> loud = hg.If(hg.Ranges([0, 200, 20000]), ["bass", "treble"], key=1)
        >>> tree = hg.If(hg.Ranges([0.0, 0.1, 1.0]), ["quiet", loud], key=0)
        >>> tree(torch.tensor([[0.05, 50.0], [0.5, 50.0], [0.5, 5000.0]])).tolist()
        [0, 1, 2]
        >>> print(tree.text())
        key 0 in [0, 0.1): quiet
        key 0 in [0.1, 1]:
            key 1 in [0, 200): bass
            key 1 in [200, 20000]: treble
    """

    def __init__(self, ranges: Ranges, then: Sequence[Then], *, key: int = 0) -> None:
        if len(then) != len(ranges):
            raise ValueError(f"If: then must have one entry for each of {len(ranges)} ranges, got {len(then)}")
        names = list(dict.fromkeys(name for child in then for name in _names(child)))
        super().__init__(len(names), keys=1 + max([key, *(c.keys - 1 for c in then if isinstance(c, If))]))
        self.ranges = ranges
        self.names = names
        self.key = key
        self._then = list(then)
        self.inner = nn.ModuleList(child for child in then if isinstance(child, If))

    def index(self, key: Tensor) -> Tensor:
        check_key("If", key)
        if key.ndim == 0 or key.shape[-1] < self.keys:
            raise ValueError(
                f"If: key must have shape (..., {self.keys}) or a longer last dimension, got {tuple(key.shape)}"
            )
        flat = key.reshape(-1, key.shape[-1])
        return self._leaf(flat, self.names).reshape(key.shape[:-1])

    def _leaf(self, key: Tensor, names: list[str]) -> Tensor:
        choice = self.ranges(key[:, self.key])
        leaf = torch.zeros_like(choice)
        for i, child in enumerate(self._then):
            if isinstance(child, str):
                leaf = torch.where(choice == i, names.index(child), leaf)
            elif in_graph():  # every question is asked of every row; in a graph no key can raise
                leaf = torch.where(choice == i, child._leaf(key, names), leaf)
            else:
                rows = (choice == i).nonzero()[:, 0]
                leaf = leaf.index_copy(0, rows, child._leaf(key[rows], names))
        return leaf

    def label(self, i: int) -> str:
        return self.names[i]

    def text(self, indent: str = "") -> str:
        """Return the tree as indented lines."""
        return "\n".join(self._lines(indent))

    def _lines(self, indent: str) -> Iterator[str]:
        for i, child in enumerate(self._then):
            head = f"{indent}key {self.key} in {self.ranges.label(i)}:"
            if isinstance(child, str):
                yield f"{head} {child}"
            else:
                yield head
                yield from child._lines(indent + "    ")


def _names(then: Then) -> list[str]:
    return [then] if isinstance(then, str) else then.names
