"""Many parameter sets in few kernels: the layers of all branches run together, on parameters that stay where they are.

A bank owns no memory. At every call it reads what the branches hold at that moment, and every parameter of the
visited ones is an input of one autograd node. So what autograd promises holds by itself: ``grad`` and who owns it,
freezing, hooks, ``backward(inputs=...)``, ``torch.autograd.grad``, DistributedDataParallel, shared memory, weights
that are tied or come out of another computation. ``tests/test_bank_walk.py`` walks a bank and its branches side by
side.

What was tried. Until then parameters were views of one stack, as an ``nn.RNN``'s are of its flat weights, with one
hidden leaf in the place of all of them and gradients handed on by its hook, because autograd takes 2 to 4 us to reach
a parameter. A checkpoint of one branch then carried the memory of all, the next call took parameters out of shared
memory, a frozen branch went on learning, and a backward that named a weight gave it nothing. Ordinary parameters
behind the hidden leaf: it must be found out for each of them at every call whether a hook, a name or a freeze asks
for something else, which cost about what autograd does, and a backward that names nothing but weights never comes by.
A copy of the weights kept from call to call: a write through ``.data`` or by another process leaves no trace to see
its age by.

What was won back: rows lie in the order of their ranges' sizes, so that little is padded; weights are copied together
only where that is faster than a product for each (``products.py``).

What is given up: time (docs/evidence/benchmarks.md), second derivatives, and batched gradients; the last two raise a
sentence.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter
from typing import Any, cast

import torch
from torch import Tensor, nn

from hardgrad._torch_state import in_transform
from hardgrad.switch.branches.bank.layouts import Layout
from hardgrad.switch.branches.bank.node import Node, run_layers
from hardgrad.switch.branches.bank.products import Products
from hardgrad.switch.branches.bank.structure import Structure

_PLAIN = {Tensor, nn.Parameter}
_DTYPE, _DEVICE = attrgetter("dtype"), attrgetter("device")


class Bank:
    """Runs branches together that are equal stacks of linear and elementwise layers."""

    def __init__(self) -> None:
        self._structure: Structure | None = None

    def run(
        self, branches: nn.ModuleList, rows: Tensor, index: Tensor, sizes: list[int], visited: list[int]
    ) -> Tensor | None:
        """Return the rows' outputs, or None where only the branches themselves give what their user asked for."""
        structure = self.structure(branches)
        if not (_plain(rows) and structure.holds(visited)):
            return None
        layout = Layout(index, sizes, visited)
        layers = structure.layers(layout)
        if layers is None:
            return None
        parameters = [p for layer in layers if isinstance(layer, Products) for p in (*layer.weights, *layer.biases)]
        if not _alike(rows, parameters):
            return None
        if not torch.is_grad_enabled():
            return run_layers(rows, layout, layers)
        return cast(Tensor, Node.apply(rows, layout, layers, *parameters))

    def structure(self, branches: Iterable[nn.Module]) -> Structure:
        """Return the layers of these branches, looked at anew if they are others than the last time.

        Raises:
            ValueError: for branches that cannot be run together.
        """
        now, known = list(branches), self._structure
        if known is None or known.branches != now:
            known = self._structure = Structure(now)
        return known

    def __reduce__(self) -> tuple[Any, ...]:
        return Bank, ()  # a copy has branches of its own, and looks at them when it first runs


def _plain(rows: Tensor) -> bool:
    # A transform or autocast would change what the layers themselves do.
    return (
        type(rows) in _PLAIN
        and rows.ndim == 2
        and rows.is_floating_point()
        and not in_transform()
        and not torch.is_autocast_enabled(rows.device.type)
    )


def _alike(rows: Tensor, parameters: list[Tensor]) -> bool:
    """Whether the rows and all parameters fit together: if not, the branches run, or say what is wrong."""
    return (
        set(map(_DTYPE, parameters)) == {rows.dtype}
        and set(map(_DEVICE, parameters)) == {rows.device}
        and parameters[0].shape[1] == rows.shape[1]
    )
