"""What flowed through each node of a backward: how much came to it, and how much it passed on."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor


class Flow:
    """The largest size of the gradient that came to a node, and of what it gave each of its inputs.

    A size is 0 where no gradient came, or zeros alone, and infinite where some is not a number.
    """

    __slots__ = ("came", "given", "passed", "rows", "shape")

    def __init__(self, edges: int) -> None:
        self.came, self.passed, self.given = 0.0, [0.0] * edges, [False] * edges
        self.rows: float | None = None  # share of the rows that got a gradient from behind
        self.shape: tuple[int, ...] = ()


class Passing:
    """Listens to all nodes of one backward."""

    def __init__(self, starts: Iterable[Any], leaves: Iterable[Tensor]) -> None:
        self.flows: dict[Any, Flow] = {}
        self.nodes = _all_nodes(starts)
        variables = [node.variable for node in self.nodes if not node.next_functions and hasattr(node, "variable")]
        self.leaves = {id(leaf): leaf for leaf in [*leaves, *variables]}
        self.got: dict[int, float] = {}  # the largest gradient of each leaf that got one
        self._handles: list[Any] = []

    def __enter__(self) -> Passing:
        """Listen."""
        for leaf in self.leaves.values():
            self._handles.append(leaf.register_hook(partial(self._arrived, id(leaf))))
        for node in self.nodes:
            if node.next_functions:
                self._handles.append(node.register_hook(self._listener(node)))
        return self

    def __exit__(self, *error: Any) -> None:
        """Listen no more."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _arrived(self, leaf: int, gradient: Tensor) -> None:
        with torch.no_grad(), torch._C.DisableTorchFunction():
            self.got[leaf] = max(self.got.get(leaf, 0.0), size(gradient))

    def _listener(self, node: Any) -> Any:
        def listen(inputs: tuple[Tensor | None, ...], outputs: tuple[Tensor | None, ...]) -> None:
            with torch.no_grad(), torch._C.DisableTorchFunction():
                flow = self.flows.get(node)
                if flow is None:
                    flow = self.flows[node] = Flow(len(inputs))
                flow.came = max([flow.came, *map(size, outputs)])
                for i, gradient in enumerate(inputs):
                    flow.passed[i] = max(flow.passed[i], size(gradient))
                    flow.given[i] |= gradient is not None
                first = outputs[0] if outputs else None
                if first is not None and first.ndim and not any(flow.passed):
                    flow.shape, flow.rows = tuple(first.shape), _rows(first)

        return listen


def _all_nodes(starts: Iterable[Any]) -> list[Any]:
    found: dict[Any, None] = {}
    waiting = [node for node in starts if node is not None]
    while waiting:
        node = waiting.pop()
        if node not in found:
            found[node] = None
            waiting += [after for after, _ in node.next_functions if after is not None and after not in found]
    return list(found)


def size(gradient: Tensor | None) -> float:
    """Return the largest absolute number; infinity where one is not a number."""
    if gradient is None or gradient.numel() == 0 or gradient.is_meta:
        return 0.0
    dense = gradient.coalesce().values() if gradient.is_sparse else gradient
    largest = float(dense.abs().max()) if dense.numel() else 0.0
    return largest if math.isfinite(largest) else math.inf


def _rows(gradient: Tensor) -> float:
    if not gradient.numel() or gradient.is_sparse:
        return 0.0
    return float((gradient != 0).flatten(1).any(1).float().mean()) if gradient.ndim > 1 else float(
        (gradient != 0).float().mean()
    )
