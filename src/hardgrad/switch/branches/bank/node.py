"""The autograd node of a bank: all layers of all branches, with every parameter of the visited ones as an input."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, compress
from operator import or_
from typing import Any

import torch
from torch import Tensor

from hardgrad._torch_state import holds_a_batch
from hardgrad.switch.branches.bank.elementwise import Elementwise
from hardgrad.switch.branches.bank.layouts import Layout
from hardgrad.switch.branches.bank.products import Products
from hardgrad.switch.branches.bank.structure import Layer


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
        to_rows, _, _, *trains = ctx.needs_input_grad
        asked = _by_layer(trains, layers)
        below = [to_rows] * len(layout.order)  # the branches whose gradient goes on to the layer before
        kept: list[Tensor | None] = []
        copies: list[Tensor | None] = []
        watched: list[Tensor] = []
        x = layout.enter(rows)
        for layer in layers:
            if isinstance(layer, Products):
                copy = layer.copied()
                y = layer.forward(x, copy)
                weights, biases = next(asked)
                kept.append(x if any(weights) else None)
                copies.append(copy if any(below) else None)
                watched += compress(layer.weights, below)
                below = list(map(or_, map(or_, below, weights), biases or weights))
            else:
                y = layer.forward(x)
                kept.append(layer.keep(x, y) if any(below) else None)
            x = y
        # The weights themselves are saved for what autograd knows of them: that they were not written to since.
        ctx.save_for_backward(*kept, *copies, *watched)
        return layout.leave(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        _refuse(grad)
        layout: Layout = ctx.layout
        layers: Sequence[Layer] = ctx.layers
        saved = ctx.saved_tensors
        kept, copies = list(saved[: len(layers)]), saved[len(layers) :]
        to_rows, _, _, *wanted = ctx.needs_input_grad
        asked = list(_by_layer(wanted, layers))
        lowest = next((i for i, flags in enumerate(asked) if any(map(any, flags))), len(asked))
        grads: list[Sequence[Tensor | None]] = []
        grad = layout.enter(grad)
        for layer in reversed(layers):
            x = kept.pop()
            if isinstance(layer, Elementwise):
                grad = layer.to_input(grad, x)
                continue
            weights, biases = asked.pop()
            grads.append(layer.to_biases(grad) if any(biases) else [None] * len(biases))
            grads.append(layer.to_weights(grad, x) if any(weights) else [None] * len(weights))
            if len(asked) <= lowest and not to_rows:
                break
            grad = layer.to_input(grad, copies[len(asked)])
        not_reached = [None for weights, biases in asked for _ in chain(weights, biases)]
        to_parameters = chain(not_reached, chain.from_iterable(reversed(grads)))
        return layout.leave(grad) if to_rows else None, None, None, *to_parameters


def _by_layer(flags: Sequence[bool], layers: Sequence[Layer]) -> Iterator[tuple[Sequence[bool], Sequence[bool]]]:
    """Yield the flags of each linear layer's weights, and those of its biases."""
    at = 0
    for layer in layers:
        if isinstance(layer, Products):
            middle, stop = at + len(layer.weights), at + len(layer.weights) + len(layer.biases)
            yield flags[at:middle], flags[middle:stop]
            at = stop


def _refuse(grad: Tensor) -> None:
    if torch.is_grad_enabled():
        raise RuntimeError(
            "Switch: a bank has first derivatives only, and this backward was asked for a graph of its own "
            "(create_graph=True); build the switch with bank=False for second derivatives"
        )
    if holds_a_batch(grad):
        raise RuntimeError(
            "Switch: a bank's backward takes one gradient at a time, and this one was handed a batch of them "
            "(is_grads_batched=True, or vmap around it); hand them over one by one, or build the switch with bank=False"
        )
