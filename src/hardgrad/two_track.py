"""Run an approximator once and get it back on two tracks, one per gradient.

A bridge asks two different things of one network ``a`` with weights ``w`` at one input ``x``: the task wants the
vector-Jacobian product into ``x`` and nothing into ``w``; the penalty wants the one into ``w`` and nothing into ``x``.
Autograd carries one cotangent per tensor, so the plain way runs the network twice: once with frozen weights, once on a
detached input. A linear layer does not need that. Its product is computed once and handed out twice, and its backward
propagates the two cotangents apart. Least work: one forward, one product for the task, one for the penalty.

Differentiating inside the backward, as the published program does, also needs one forward only; but then neither
``torch.compile(fullgraph=True)`` nor ``torch.func`` can follow, and hooks on the input fire twice.
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hardgrad._torch_state import in_compiled_transform


class _Linear(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(lend: Tensor, learn: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
        y = F.linear(lend, weight, bias)
        return y, y.view_as(y)

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


def _linear(layer: nn.Linear, lend: Tensor, learn: Tensor) -> tuple[Tensor, Tensor]:
    operands = [lend, learn, layer.weight, layer.bias]
    kind = lend.device.type
    # A device without autocast, such as "meta", may not even be asked whether it is on.
    if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
        # Cast here, where autograd sees it: inside a Function autocast would act on the forward alone. Like autocast's
        # own rule, it leaves double precision as it is.
        dtype = torch.get_autocast_dtype(kind)
        operands = [t if t is None or t.dtype == torch.float64 else t.to(dtype) for t in operands]
    return cast("tuple[Tensor, Tensor]", _Linear.apply(*operands))


def _is_plain(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether calling the module is calling ``kind.forward`` and nothing else."""
    hooks = module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    return isinstance(module, kind) and type(module).forward is kind.forward and not hooks


def _may_write(module: nn.Module) -> bool:
    """Whether a module, or one inside it, may change its input in place, which the two tracks share."""
    return any(
        not type(part).__module__.startswith("torch.nn.") or getattr(part, "inplace", False)
        for part in module.modules()
    )


def two_tracks(module: nn.Module, lend: Tensor, learn: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``module`` at one input twice: frozen weights for the task, live weights for the penalty.

    Args:
        module: any network. ``nn.Sequential`` is walked, ``nn.Linear`` in it computed once, the rest called twice.
        lend: the input that the task's gradient flows into, shape as the module takes it.
        learn: the same numbers for the penalty, usually detached.

    Returns:
        Two tensors of equal value: through the first, gradient reaches ``lend`` only; through the second, ``learn`` and
        the weights only.
    """
    if _is_plain(module, nn.Sequential):
        for child in module.children():
            lend, learn = two_tracks(child, lend, learn)
        return lend, learn
    if _is_plain(module, nn.Linear) and not in_compiled_transform():
        return _linear(cast(nn.Linear, module), lend, learn)
    if _may_write(module):
        lend, learn = lend.clone(), learn.clone()
    # Buffers are copied so that a normalisation layer counts the batch once, on the track that learns.
    frozen = {name: p.detach() for name, p in module.named_parameters()}
    frozen |= {name: b.clone() for name, b in module.named_buffers()}
    lent: Tensor = torch.func.functional_call(module, frozen, (lend,)) if frozen else module(lend)
    return lent, module(learn)
