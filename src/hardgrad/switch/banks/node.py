"""The autograd node of a bank: all layers of all branches, with every parameter of the visited ones as an input."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from hardgrad._torch_state import in_transform
from hardgrad.switch.banks.elementwise import Elementwise
from hardgrad.switch.banks.layouts import Layout
from hardgrad.switch.banks.products import Products
from hardgrad.switch.banks.structure import Layer


def run_layers(rows: Tensor, layout: Layout, layers: Sequence[Layer]) -> Tensor:
    """Return the rows' outputs, without a gradient."""
    x = layout.enter(rows)
    for layer in layers:
        x = layer.forward(x, layer.copied()) if isinstance(layer, Products) else layer.forward(x)
    return layout.leave(x)


class Node(torch.autograd.Function):
    """One node for all layers: each node of autograd's costs as much as a layer of a small batch."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, layout: Layout, layers: Sequence[Layer], *parameters: Tensor) -> Tensor:
        ctx.layout, ctx.layers = layout, layers
        kept: list[Tensor | None] = []
        copies: list[Tensor | None] = []
        watched: list[Tensor] = []
        asked = _asked(ctx.needs_input_grad, layers)
        below = [ctx.needs_input_grad[0]] * len(layout.order)  # the ranges whose gradient goes on to the layer before
        x = layout.enter(rows)
        for layer in layers:
            if isinstance(layer, Products):
                weights, biases = next(asked)
                copy = layer.copied()
                y = layer.forward(x, copy)
                kept.append(x if any(weights) else None)
                copies.append(copy if any(below) else None)
                watched += layer.weights if all(below) else [w for w, on in zip(layer.weights, below) if on]
                below = list(map(any, zip(below, weights, *([biases] if biases else []), strict=True)))
            else:
                y = layer.forward(x)
                kept.append(layer.keep(x, y) if any(below) else None)
            x = y
        # The weights themselves are saved for what autograd knows of them: that they were not written to since.
        ctx.save_for_backward(*kept, *copies, *watched)
        return layout.leave(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        _refuse()
        layout: Layout = ctx.layout
        layers: Sequence[Layer] = ctx.layers
        saved = ctx.saved_tensors
        copies = list(saved[len(layers) :][: sum(isinstance(layer, Products) for layer in layers)])
        asked = list(_asked(ctx.needs_input_grad, layers))
        lowest = next((i for i, flags in enumerate(asked) if any(map(any, flags))), len(asked))
        to_rows = ctx.needs_input_grad[0]
        found: list[list[Any]] = [[None] * (len(weights) + len(biases)) for weights, biases in asked]
        grad = layout.enter(grad)
        for layer, kept in zip(reversed(layers), reversed(saved[: len(layers)]), strict=True):
            if isinstance(layer, Elementwise):
                grad = layer.to_input(grad, kept)
                continue
            weights, biases = asked.pop()
            if any(weights):
                found[len(asked)][: len(weights)] = layer.to_weights(grad, kept)
            if any(biases):
                found[len(asked)][len(weights) :] = layer.to_biases(grad)
            if len(asked) == lowest and not to_rows:
                break
            grad = layer.to_input(grad, copies[len(asked)])
        return layout.leave(grad) if to_rows else None, None, None, *chain.from_iterable(found)


def _asked(needs: Sequence[bool], layers: Sequence[Layer]) -> Any:
    """Yield for each linear layer whose weights and whose biases need a gradient."""
    at = 3
    for layer in layers:
        if isinstance(layer, Products):
            middle = at + len(layer.weights)
            stop = middle + len(layer.biases)
            yield needs[at:middle], needs[middle:stop]
            at = stop


def _refuse() -> None:
    if torch.is_grad_enabled():
        raise RuntimeError(
            "Switch: a bank has first derivatives only, and this backward was asked for a graph of its own "
            "(create_graph=True); build the switch with bank=False for second derivatives"
        )
    if in_transform():
        raise RuntimeError(
            "Switch: a bank's backward takes one gradient at a time, and this one was asked for a batch of them "
            "(is_grads_batched=True, or torch.func.vmap around it); build the switch with bank=False"
        )
