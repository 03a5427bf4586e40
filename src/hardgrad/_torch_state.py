"""What torch is doing around the running code: every question that torch answers in private alone, one name each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch._C._functorch import (
    TransformType,
    get_interpreter_stack,
    get_unwrapped,
    is_batchedtensor,
    is_functorch_wrapped_tensor,
    is_legacy_batchedtensor,
    maybe_get_level,
)
from torch._subclasses.fake_tensor import FakeTensor
from torch.autograd.graph import get_gradient_edge


def compiling() -> bool:
    """Whether ``torch.compile`` or ``torch.export`` traces this code."""
    return torch.compiler.is_compiling()


def tracing() -> bool:
    """Whether ``torch.jit.trace`` records this code; there a size is a tensor."""
    return not compiling() and torch._C._get_tracing_state() is not None


def in_graph() -> bool:
    """Whether torch is building a graph of any kind, in which no value can be read back."""
    # An export to ONNX is one of the two, too; asking it by name would cost more than all the rest.
    return compiling() or torch._C._get_tracing_state() is not None


def in_export() -> bool:
    """Whether ``torch.export`` traces this code; then ``compiling`` is true, too."""
    return torch.compiler.is_exporting()


def exporting() -> bool:
    """Whether this becomes a graph for another program, which may lack the less common of torch's operators."""
    return in_export() or torch._C._get_tracing_state() is not None


def readable(x: Tensor) -> bool:
    """Whether code may look at the values of x: there are some, they are x's alone, and a look waits for no device."""
    hidden = in_graph() or in_transform() or isinstance(x, FakeTensor)
    return not hidden and x.device.type == "cpu"


def has_numbers(x: Tensor) -> bool:
    """Whether a tensor holds numbers: one on the meta device, or a ``FakeTensor``, is a shape alone."""
    return not (x.is_meta or isinstance(x, FakeTensor))


def in_shards(module: nn.Module) -> bool:
    """Whether ``fully_shard`` keeps a parameter of a module in pieces; those that it was told to ignore are whole."""
    if not getattr(module, "_is_fsdp_managed_module", False):
        return False
    from torch.distributed._composable_state import _module_state_mapping

    mine = {id(each) for each in module.modules()}
    states = [state() for state in _module_state_mapping.values()]
    # One group before torch 2.11 or so, a list of them since.
    groups = [
        getattr(each, "_fsdp_param_groups", None) or [getattr(each, "_fsdp_param_group", None)] for each in states
    ]
    infos = [p._module_info for many in groups for group in many if group for p in group.fsdp_params]
    return any(id(owner) in mine for info in infos for owner in (info.module, *info.shared_modules))


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


def pass_reaches(node: Any) -> bool:
    """Whether the backward that runs in this thread is going to run a node of its graph; None is no node."""
    return node is not None and torch._C._will_engine_execute_node(node)


def use_of_weight(weight: Tensor) -> Literal["trains", "asks", "none"]:
    """What the backward that runs here does with a leaf: add to its ``grad``, return its gradient, or nothing."""
    if not (weight.requires_grad and weight.is_leaf):
        return "none"
    try:
        return "trains" if torch._C._will_engine_execute_node(get_gradient_edge(weight).node) else "none"
    except RuntimeError:  # torch's answer for a leaf that ``torch.autograd.grad`` was asked for
        return "asks"


def hides_requires_grad() -> bool:
    """Whether a tensor may deny a gradient that will be asked for, as it does under vmap inside grad."""
    return compiling() or in_transform()


def derivatives_under_way() -> int:
    """Return how many ``torch.func`` transforms around this code differentiate it, each what the one inside gives."""
    kinds = (TransformType.Grad, TransformType.Jvp)
    return sum(interpreter.key() in kinds for interpreter in get_interpreter_stack() or ())


def differentiates() -> bool:
    """Whether one of the ``torch.func`` transforms that run is a derivative; for code run while torch traces, too."""
    return derivatives_under_way() > 0


def holds_a_batch(tensor: torch.Tensor) -> bool:
    """Whether a ``vmap`` stands behind the tensor, so that its numbers are not one tensor's own.

    A backward with ``is_grads_batched=True`` runs an older ``vmap``, which ``in_transform`` does not see.
    """
    return bool(is_legacy_batchedtensor(tensor) or is_functorch_wrapped_tensor(tensor))


def holds_an_older_batch(tensor: Tensor) -> bool:
    """Whether the ``vmap`` of ``is_grads_batched=True`` stands behind the tensor, maybe within newer ones."""
    while is_functorch_wrapped_tensor(tensor):
        tensor = get_unwrapped(tensor)
    return bool(is_legacy_batchedtensor(tensor))


def has_outlived(tensor: Tensor) -> bool:
    """Whether the ``torch.func`` transform that a tensor belongs to is over, so that nothing can be done with it."""
    if compiling() or not is_functorch_wrapped_tensor(tensor):
        return False
    level = maybe_get_level(tensor)
    return level == -1 or level > len(get_interpreter_stack() or ())


def has_global_module_hooks() -> bool:
    """Whether a hook is registered for the calls of all modules."""
    return bool(torch.nn.modules.module._has_any_global_hook())


def is_compiled_module(module: nn.Module) -> bool:
    """Whether ``torch.compile(module)`` gave this module, or ``module.compile()`` was called."""
    return module._compiled_call_impl is not None or "_orig_mod" in module._modules


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
    while is_functorch_wrapped_tensor(tensor):
        if is_batchedtensor(tensor):
            return True
        tensor = get_unwrapped(tensor)
    return False


def _in_vmap() -> bool:
    # torch.compile cannot trace a question about one tensor, but it runs the transforms around it.
    return any(interpreter.key() == TransformType.Vmap for interpreter in get_interpreter_stack() or ())


# What torch.compiler.assume_constant_result does; calling that would import the compiler with this library. Without it
# the first question becomes an operation of the graph, and torch 2.11 answers yes to the last in any.
for _question in (in_transform, _in_vmap, in_export):
    vars(_question)["_dynamo_marked_constant"] = True


def after_backward(call: Callable[[], None]) -> None:
    """Call when the backward that runs now is done, with all gradients where they belong."""
    torch.autograd.Variable._execution_engine.queue_callback(call)


def in_forward_mode() -> bool:
    """Whether forward mode differentiation runs (``torch.autograd.forward_ad``), which needs plain operations."""
    return torch.autograd.forward_ad._current_level >= 0


def may_need_gradient(x: torch.Tensor) -> bool:
    """Whether a derivative with respect to this tensor may be asked for, backward or forward."""
    return x.requires_grad or hides_requires_grad() or in_forward_mode()
