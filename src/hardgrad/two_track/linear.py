"""A linear layer on both tracks: one product forward, the two cotangents kept apart backward."""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hardgrad._torch_state import compiling
from hardgrad._tracing import has_autocast, whole_in_graph


@whole_in_graph
class _Linear(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(task: Tensor, learn: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
        y = F.linear(task, weight, bias)
        # When two outputs that share memory leave one compiled graph (a print follows, say), AOTAutograd makes the
        # second anew as a view of the first, and their gradients run into each other.
        return y, y.clone() if compiling() else y.view_as(y)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor, Tensor | None], output: Any) -> None:
        _, learn, weight, _ = inputs
        ctx.save_for_backward(learn, weight)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, to_lend: Tensor | None, to_learn: Tensor | None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        learn, weight = ctx.saved_tensors
        needs = ctx.needs_input_grad
        lend_grad = learn_grad = weight_grad = bias_grad = None
        if to_lend is not None and needs[0]:
            lend_grad = to_lend @ weight.detach()
        if to_learn is not None:
            if needs[1]:
                learn_grad = to_learn @ weight
            rows = to_learn.reshape(-1, to_learn.shape[-1])
            if needs[2]:
                weight_grad = rows.T @ learn.reshape(-1, learn.shape[-1])
            if needs[3]:
                bias_grad = rows.sum(0)
        return lend_grad, learn_grad, weight_grad, bias_grad


def linear(layer: nn.Linear, task: Tensor, learn: Tensor) -> tuple[Tensor, Tensor]:
    """Return both tracks through a linear layer."""
    operands = [task, learn, layer.weight, layer.bias]
    kind = task.device.type
    if has_autocast(kind) and torch.is_autocast_enabled(kind):
        # Cast here, where autograd sees it: inside a Function autocast would act on the forward alone. Like autocast's
        # own rule, it leaves double precision as it is.
        dtype = torch.get_autocast_dtype(kind)
        operands = [t if t is None or t.dtype == torch.float64 else t.to(dtype) for t in operands]
    return cast("tuple[Tensor, Tensor]", cast(Any, _Linear).apply(*operands))
