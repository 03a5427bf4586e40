"""IFs inside IFs: a tree of conditions, printed as a tree and dispatched flat."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Union, final

import torch
from torch import Tensor, nn

from hardgrad._torch_state import in_graph
from hardgrad.switch.arguments import integer
from hardgrad.switch.conditions.condition import Router, check_key, count, counting, without_values
from hardgrad.switch.conditions.on_points import PointRouter

Then = Union[str, "If"]


@final
class If(Router):
    """Nested IFs: each range leads to a branch, by name, or to another IF.

    A row is asked only the questions on its way, and counted at these alone: a key that its path never reads may be
    NaN. The switch sees one flat list of branches, in the order in which their names first appear; equal names share a
    branch.

    Args:
        ranges: the ranges of the key that this IF reads.
        then: one for each range: a branch's name, or another ``If``.
        key: which of the keys this IF reads, the position in a key's last dimension, from 0.

    Shape:
        key: (..., K) with K greater than the greatest ``key`` of the tree. Returns int64 (...); as ``Ranges``, -1 for
        a NaN where none can raise.

    Raises:
        ValueError: if ``then`` has another length than ``ranges`` or holds something else, for a ``key`` that is not a
            position, or if a key's last dimension is too short.

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

    def __init__(self, ranges: PointRouter, then: Sequence[Then], *, key: int = 0) -> None:
        _check(ranges, then, key)
        names = list(dict.fromkeys(name for child in then for name in _names(child)))
        super().__init__(len(names), keys=1 + max([key, *(c.keys - 1 for c in then if isinstance(c, If))]))
        self.ranges = ranges
        self.names = names
        self.key = key
        self._then = list(then)
        self.inner = nn.ModuleList(child for child in then if isinstance(child, If))

    def index(self, key: Tensor) -> Tensor:
        return self._leaf(self._flat(key), self.names).reshape(key.shape[:-1])

    def add_visits(self, counts: Tensor, key: Tensor | None = None) -> None:
        super().add_visits(counts)
        if key is not None and counting():
            self._count(self._flat(key), None)

    def _flat(self, key: Tensor) -> Tensor:
        check_key("If", key)
        if key.ndim == 0 or key.shape[-1] < self.keys:
            raise ValueError(
                f"If: key must have shape (..., {self.keys}) or a longer last dimension, got {tuple(key.shape)}"
            )
        return key.reshape(-1, key.shape[-1])

    def _leaf(self, key: Tensor, names: list[str]) -> Tensor:
        choice = self.ranges.index(key[:, self.key])
        leaf = torch.full_like(choice, -1)
        for i, child in enumerate(self._then):
            if isinstance(child, str):
                leaf = torch.where(choice == i, names.index(child), leaf)
            elif without_values(key):  # every question is asked of every row, since no key can raise
                leaf = torch.where(choice == i, child._leaf(key, names), leaf)
            else:
                rows = (choice == i).nonzero()[:, 0]
                leaf = leaf.index_copy(0, rows, child._leaf(key[rows], names))
        return leaf

    def _count(self, key: Tensor, came: Tensor | None) -> None:
        """Count at every question the rows that came to it; ``came`` says which, where no row can be left out."""
        mine = key[:, self.key].detach()
        if came is not None:  # a NaN is counted nowhere
            mine = torch.where(came, mine if mine.is_floating_point() else mine.double(), torch.nan)
        choice = self.ranges.index(mine)
        self.ranges.add_visits(count(choice, len(self.ranges)), mine)
        for i, child in enumerate(self._then):
            if isinstance(child, If):
                here = choice == i
                child._count(key, here) if in_graph() else child._count(key[here], None)

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


def _check(ranges: PointRouter, then: Sequence[Then], key: int) -> None:
    if not isinstance(ranges, PointRouter) or ranges.along_time:
        raise ValueError(f"If: ranges must be Ranges, got {type(ranges).__name__}; an If asks each row by itself")
    if isinstance(then, str) or not isinstance(then, Sequence) or len(then) != len(ranges):
        got = f"{len(then)}: {then!r}" if isinstance(then, Sequence) else type(then).__name__
        raise ValueError(f"If: then must be a list with one entry for each of {len(ranges)} ranges, got {got}")
    for child in then:
        if not isinstance(child, str | If):
            raise ValueError(f"If: then must hold names of branches and Ifs, got {child!r}")
    if integer("If", "key", key, "give a position in a key's last dimension") < 0:
        raise ValueError(f"If: key must be a position in a key's last dimension, 0 or more, got {key}")
