"""What torch is doing around the running code: every question that torch answers in private alone, one name each."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Literal, ParamSpec, TypeVar, cast

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.autograd.graph import get_gradient_edge

Anything = TypeVar("Anything")
P = ParamSpec("P")
R = TypeVar("R")


def compiling() -> bool:
    """Whether ``torch.compile`` or ``torch.export`` traces this code."""
    return torch.compiler.is_compiling()


def in_graph() -> bool:
    """Whether torch is building a graph of any kind, in which no value can be read back."""
    return compiling() or torch._C._get_tracing_state() is not None or bool(torch.onnx.is_in_onnx_export())


def exporting() -> bool:
    """Whether this becomes a graph for another program, which may lack the less common of torch's operators."""
    return torch.compiler.is_exporting() or torch._C._get_tracing_state() is not None


def readable(x: Tensor) -> bool:
    """Whether code may look at the values of x: there are some, they are x's alone, and a look waits for no device."""
    hidden = in_graph() or in_transform() or isinstance(x, FakeTensor)
    return not hidden and x.device.type == "cpu"


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
    stack = torch._C._functorch.get_interpreter_stack() or []
    kinds = (torch._C._functorch.TransformType.Grad, torch._C._functorch.TransformType.Jvp)
    return sum(interpreter.key() in kinds for interpreter in stack)


def differentiates() -> bool:
    """Whether one of the ``torch.func`` transforms that run is a derivative; for code run while torch traces, too."""
    return derivatives_under_way() > 0


def holds_a_batch(tensor: torch.Tensor) -> bool:
    """Whether a ``vmap`` stands behind the tensor, so that its numbers are not one tensor's own.

    A backward with ``is_grads_batched=True`` runs an older ``vmap``, which ``in_transform`` does not see.
    """
    functorch = torch._C._functorch
    return bool(functorch.is_legacy_batchedtensor(tensor) or functorch.is_functorch_wrapped_tensor(tensor))


def has_global_module_hooks() -> bool:
    """Whether a hook is registered for the calls of all modules."""
    return bool(torch.nn.modules.module._has_any_global_hook())


def is_compiled_module(module: nn.Module) -> bool:
    """Whether ``torch.compile(module)`` gave this module, or ``module.compile()`` was called."""
    return module._compiled_call_impl is not None or "_orig_mod" in module._modules


# While torch.compile traces

# torch.compiler's own decorators import torch._dynamo, which takes 2 s: too long for ``import hardgrad``. So what they
# are for is noted here, and torch is told while it traces, when that is loaded anyway.
_whole: list[type[torch.autograd.Function]] = []
_outside: dict[Callable[..., Any], Callable[..., Any]] = {}


def constant_in_graph(function: Anything) -> Anything:
    """Let ``torch.compile`` call a function while it traces, and keep the answer: ``assume_constant_result``."""
    marked: Any = function
    marked._dynamo_marked_constant = True
    return function


def whole_in_graph(function: type[Anything]) -> type[Anything]:
    """Let a compiled ``torch.func`` transform take an ``autograd.Function`` as it is; see ``prepare_transform``."""
    marked: Any = function
    _whole.append(marked)
    return function


def prepare_transform() -> None:
    """To be called before the ``apply`` of a Function that is ``whole_in_graph``.

    In a compiled ``torch.func`` transform Dynamo traces a Function's backward only if it believes that an argument
    requires a gradient, which it does not of the transform's own input, and it does not trace one under ``vmap`` at all
    (torch 2.13). Functions that are allowed in its graph whole work. Not for all graphs: torch keeps no compiled graph
    with such a Function on disk.
    """
    if in_compiled_transform():
        _allow_whole()


@constant_in_graph
def _allow_whole() -> bool:
    for function in _whole:
        torch.compiler.allow_in_graph(function)
    return True


def run_outside_graph(function: Callable[..., Anything], reason: str, *arguments: object) -> Anything:
    """Call a function that ``torch.compile`` must not look into.

    A graph that is traced breaks here, or with ``fullgraph`` says the reason. In eager code it is no different: after a
    break elsewhere torch may run a function in eager code, and compile the functions that this calls.
    """
    if compiling() or "torch._dynamo" in sys.modules:
        _disable_in_graph(function, reason)
        return cast("Anything", _outside[function](*arguments))
    return function(*arguments)


@constant_in_graph
def _disable_in_graph(function: Callable[..., Any], reason: str) -> bool:
    if function not in _outside:
        _outside[function] = torch.compiler.disable(function, reason=reason)
    return True


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
    functorch = torch._C._functorch
    while functorch.is_functorch_wrapped_tensor(tensor):
        if functorch.is_batchedtensor(tensor):
            return True
        tensor = functorch.get_unwrapped(tensor)
    return False


@constant_in_graph
def _in_vmap() -> bool:
    # torch.compile cannot trace a question about one tensor, but it runs the transforms around it.
    vmap = torch._C._functorch.TransformType.Vmap
    return any(each.key() == vmap for each in torch._C._functorch.get_interpreter_stack() or ())


def after_backward(call: Callable[[], None]) -> None:
    """Call when the backward that runs now is done, with all gradients where they belong."""
    torch.autograd.Variable._execution_engine.queue_callback(call)


def outside_graphs(function: Callable[P, R]) -> Callable[P, R]:
    """Return a function that a compiled graph breaks off for, and that runs in eager code with all it calls.

    As ``torch.compiler.disable``, which would import the compiler with this library.
    """
    return cast(Callable[P, R], torch._compile._disable_dynamo(function))  # pyright: ignore[reportUnknownMemberType]


def in_forward_mode() -> bool:
    """Whether forward mode differentiation runs (``torch.autograd.forward_ad``), which needs plain operations."""
    return torch.autograd.forward_ad._current_level >= 0


def may_need_gradient(x: torch.Tensor) -> bool:
    """Whether a derivative with respect to this tensor may be asked for, backward or forward."""
    return x.requires_grad or hides_requires_grad() or in_forward_mode()
