"""What torch is doing around the running code: every question that torch answers in private alone, one name each."""

from __future__ import annotations

import torch
from torch._C._functorch import is_batchedtensor, is_legacy_batchedtensor


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


def batched(tensor: torch.Tensor) -> bool:
    """Whether a tensor stands for a batch of them, as in a backward of ``is_grads_batched=True`` or under vmap."""
    return is_legacy_batchedtensor(tensor) or is_batchedtensor(tensor)
