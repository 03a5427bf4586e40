"""What torch is doing around the running code: every question that torch answers in private alone, one name each."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

import torch
import torch._C._functorch as _functorch
from torch import Tensor, _compile

P = ParamSpec("P")
R = TypeVar("R")


def compiling() -> bool:
    """Whether ``torch.compile`` or ``torch.export`` traces this code."""
    return torch.compiler.is_compiling()


def in_graph() -> bool:
    """Whether torch is building a graph of any kind, in which no value can be read back."""
    # An export to ONNX is one of the two, too; asking it by name would cost more than all the rest.
    return compiling() or tracing()


def tracing() -> bool:
    """Whether ``torch.jit.trace``, or the export to ONNX that is made of it, records this code; sizes are tensors."""
    return torch._C._get_tracing_state() is not None


def leaves_process() -> bool:
    """Whether torch builds a graph to be run elsewhere: an export, ONNX or a trace."""
    return torch.compiler.is_exporting() or tracing()


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


def hides_values(tensor: Tensor) -> bool:
    """Whether a tensor's values cannot be asked for, not even how many there are of a kind.

    So it is under ``vmap`` and on the meta device. A plain graph has no values either, but sizes that follow from them.
    """
    if tensor.is_meta:
        return True
    if not in_transform():
        return False
    return _in_vmap() if compiling() else _batched(tensor)


def _batched(tensor: Tensor) -> bool:
    while _functorch.is_functorch_wrapped_tensor(tensor):
        if _functorch.is_batchedtensor(tensor):
            return True
        tensor = _functorch.get_unwrapped(tensor)
    return False


def _in_vmap() -> bool:
    # torch.compile cannot trace a question about one tensor, but it runs the transforms around it.
    vmap = _functorch.TransformType.Vmap
    return any(each.key() == vmap for each in _functorch.get_interpreter_stack() or ())


# What torch.compiler.assume_constant_result does; calling that would import the compiler with this library. Without it
# the first question becomes an operation of the graph.
for _question in (in_transform, _in_vmap):
    vars(_question)["_dynamo_marked_constant"] = True


def after_backward(call: Callable[[], None]) -> None:
    """Call when the backward that runs now is done, with all gradients where they belong."""
    torch.autograd.Variable._execution_engine.queue_callback(call)


def outside_graphs(function: Callable[P, R]) -> Callable[P, R]:
    """Return a function that a compiled graph breaks off for, and that runs in eager code with all it calls.

    As ``torch.compiler.disable``, which would import the compiler with this library.
    """
    return cast(Callable[P, R], _compile._disable_dynamo(function))  # pyright: ignore[reportUnknownMemberType]
