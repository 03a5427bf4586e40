"""What torch is doing around the running code: every question that torch answers in private alone, one name each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch

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


def derivatives_under_way() -> int:
    """Return how many ``torch.func`` transforms around this code differentiate it, each what the one inside gives."""
    functorch: Any = vars(torch._C)["_functorch"]
    kinds = (functorch.TransformType.Grad, functorch.TransformType.Jvp)
    return sum(transform.key() in kinds for transform in functorch.get_interpreter_stack() or ())


def runs_while_tracing(function: Function) -> Function:
    """Mark a function of constants to be called by ``torch.compile`` while it traces, its result a constant too.

    This is ``torch.compiler.assume_constant_result``, which would import the whole compiler along.
    """
    vars(function)["_dynamo_marked_constant"] = True
    return function
