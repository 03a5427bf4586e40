"""Many parameter sets in few kernels: the layers of all branches run together, on parameters that stay where they are."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any, cast

import torch
from torch import Tensor, nn

from hardgrad._torch_state import in_transform
from hardgrad.switch.banks.layouts import Layout
from hardgrad.switch.banks.node import Node, run_layers
from hardgrad.switch.banks.products import Products
from hardgrad.switch.banks.structure import Structure

_PLAIN = {Tensor, nn.Parameter}
_dtype, _device, _shape = attrgetter("dtype"), attrgetter("device"), attrgetter("shape")


class Bank:
    """Branches that are equal stacks of linear and elementwise layers, run together."""

    def __init__(self, branches: Sequence[nn.Module]) -> None:
        self.branches = list(branches)
        self._structure = Structure(self.branches)

    def run(self, rows: Tensor, index: Tensor, sizes: list[int], visited: list[int]) -> Tensor | None:
        """Return the rows' outputs, or None where only the branches themselves give what their user asked for."""
        if not (_plain(rows) and self._structure.holds(visited)):
            return None
        layout = Layout(index, sizes, visited)
        layers = self._structure.layers(layout)
        if layers is None:
            return None
        parameters = [p for layer in layers if isinstance(layer, Products) for p in (*layer.weights, *layer.biases)]
        if not _alike(rows, parameters):
            return None
        if not torch.is_grad_enabled():
            return run_layers(rows, layout, layers)
        return cast(Tensor, Node.apply(rows, layout, layers, *parameters))

    def __deepcopy__(self, memo: dict[int, Any]) -> None:
        return None  # it looks at these branches; the copy's bank is built when it first runs

    def __reduce__(self) -> tuple[Any, ...]:
        return type(None), ()


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
    """Whether copies of these can lie side by side, with the rows: else the branches run, or say what is wrong."""
    return set(map(_dtype, parameters)) == {rows.dtype} and set(map(_device, parameters)) == {rows.device}
