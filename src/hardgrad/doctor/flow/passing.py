"""What flowed through each node of a backward: how much came to it, and how much it passed on."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor


class Flow:
    """The size of the gradient that came to a node and of what it passed to each input; 0: none, infinite: NaN too."""

    __slots__ = ("came", "given", "passed", "rows")

    def __init__(self, edges: int) -> None:
        self.came, self.passed, self.given = 0.0, [0.0] * edges, [False] * edges
        self.rows = 0.0  # share of the rows that a gradient came to, where none was passed


class Passing:
    """Listens to all nodes of one backward, and to leaves that it may reach by a way that no edge shows."""

    def __init__(self, starts: Iterable[Any], leaves: Iterable[Tensor]) -> None:
        self.flows: dict[Any, Flow] = {}
        self.got: dict[int, float] = {}  # the largest gradient of each leaf that got one, by its id
        self._nodes = dict.fromkeys(node for node in starts if node is not None)
        waiting = list(self._nodes)
        while waiting:
            new = dict.fromkeys(n for n, _ in waiting.pop().next_functions if n is not None and n not in self._nodes)
            self._nodes |= new
            waiting += new
        self._leaves = {id(leaf): leaf for leaf in leaves}
        self._leaves |= {id(leaf): leaf for leaf in map(leaf_of, self._nodes) if leaf is not None}
        self._handles: list[Any] = []

    def __enter__(self) -> None:
        """Listen."""
        hooks = [leaf.register_hook(partial(self._arrived, key)) for key, leaf in self._leaves.items()]
        nodes = [node for node in self._nodes if node.next_functions]
        self._handles = hooks + [node.register_hook(partial(self._passed, node)) for node in nodes]

    def __exit__(self, *error: Any) -> None:
        """Listen no more."""
        for handle in self._handles:
            handle.remove()

    def _arrived(self, leaf: int, gradient: Tensor) -> None:
        self.got[leaf] = max(self.got.get(leaf, 0.0), _size(gradient))

    def _passed(self, node: Any, inputs: tuple[Tensor | None, ...], outputs: tuple[Tensor | None, ...]) -> None:
        flow = self.flows.setdefault(node, Flow(len(inputs)))
        flow.came = max([flow.came, *map(_size, outputs)])
        for i, gradient in enumerate(inputs):
            flow.passed[i] = max(flow.passed[i], _size(gradient))
            flow.given[i] |= gradient is not None
        first = next((gradient for gradient in outputs if gradient is not None), None)
        if first is not None and flow.came and not any(flow.passed) and first.layout is torch.strided:
            flow.rows = float((first != 0).reshape(len(first) if first.ndim else 1, -1).any(1).float().mean())


def leaf_of(node: Any) -> Tensor | None:
    """Return the leaf that a node of a graph hands its gradient to, if it is such a node."""
    leaf = None if node is None or node.next_functions else getattr(node, "variable", None)
    return leaf if isinstance(leaf, Tensor) else None


@torch.no_grad()
def _size(gradient: Tensor | None) -> float:
    if gradient is None or not gradient.numel():
        return 0.0
    dense = gradient.coalesce().values() if gradient.is_sparse else gradient
    try:
        largest = float(torch.linalg.vector_norm(dense, math.inf)) if dense.numel() else 0.0
    except (RuntimeError, NotImplementedError):  # of a layout that has no norm
        return 1.0
    return largest if math.isfinite(largest) else math.inf
