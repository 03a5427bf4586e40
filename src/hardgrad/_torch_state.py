"""What torch is doing around the running code: every question that torch answers in private alone, one name each."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch._C._functorch import (
    TransformType,
    get_interpreter_stack,
    is_functorch_wrapped_tensor,
    is_legacy_batchedtensor,
)

Function = TypeVar("Function", bound=Callable[..., int])


def compiling() -> bool:
    """Whether ``torch.compile`` or ``torch.export`` traces this code."""
    return torch.compiler.is_compiling()


def in_graph() -> bool:
    """Whether torch is building a graph of any kind, in which no value can be read back."""
    return compiling() or torch._C._get_tracing_state() is not None or bool(torch.onnx.is_in_onnx_export())


def in_transform() -> bool:
    """Whether a ``torch.func`` transform runs: its tensors must not outlive it, and what it did not get stays."""
    return torch._C._are_functorch_transforms_active()


def in_compiled_transform() -> bool:
    """Whether ``torch.compile`` traces a ``torch.func`` transform.

    There torch differentiates what an ``autograd.Function`` computes instead of calling its backward (torch 2.13).
    """
    return compiling() and in_transform()


def in_backward() -> bool:
    """Whether this runs inside a backward: in eager code, the second run of an activation checkpoint."""
    return not compiling() and graph_task() != -1


def graph_task() -> int:
    """Return the number of the backward that runs in this thread, -1 outside of one; not for compiled code."""
    return torch._C._current_graph_task_id()


def hides_requires_grad() -> bool:
    """Whether a tensor may deny a gradient that will be asked for, as it does under vmap inside grad."""
    return compiling() or in_transform()


def exporting() -> bool:
    """Whether torch writes a program down for use elsewhere: ``torch.export``, ``torch.jit.trace`` or ONNX by them."""
    return torch.compiler.is_exporting() or torch._C._get_tracing_state() is not None


def differentiates() -> bool:
    """Whether one of the ``torch.func`` transforms that run is a derivative; for code run while torch traces, too."""
    kinds = (TransformType.Grad, TransformType.Jvp)
    running = get_interpreter_stack() or ()
    return any(transform.key() in kinds for transform in running)


def holds_a_batch(tensor: torch.Tensor) -> bool:
    """Whether a ``vmap`` stands behind the tensor, so that its numbers are not one tensor's own.

    A backward with ``is_grads_batched=True`` runs an older ``vmap``, which ``in_transform`` does not see.
    """
    return bool(is_legacy_batchedtensor(tensor) or is_functorch_wrapped_tensor(tensor))


def runs_while_tracing(function: Function) -> Function:
    """Mark a function of constants to be called by ``torch.compile`` while it traces, its result a constant too.

    This is ``torch.compiler.assume_constant_result``, which would import the whole compiler along.
    """
    vars(function)["_dynamo_marked_constant"] = True
    return function


def in_forward_mode() -> bool:
    """Whether forward-mode differentiation is on, by ``torch.func.jvp`` or ``forward_ad.dual_level``."""
    return torch.autograd.forward_ad._current_level >= 0


def may_need_gradient(x: torch.Tensor) -> bool:
    """Whether a derivative with respect to this tensor may be asked for, backward or forward."""
    return x.requires_grad or hides_requires_grad() or in_forward_mode()
