"""Values, and gradients of them, that have no derivative and say so as soon as somebody asks for one."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

from hardgrad._torch_state import (
    compiling,
    derivatives_under_way,
    differentiates,
    in_forward_mode,
    in_transform,
    may_need_gradient,
)
from hardgrad._tracing import constant_in_graph

_warned: weakref.WeakSet[nn.Module] = weakref.WeakSet()
_warned_compiled: set[str] = set()


class _Silent(torch.autograd.Function):
    """The value as it is; a backward gets zeros and the layer's sentence."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, x: Tensor, layer: nn.Module, sentence: Callable[[], str]) -> Tensor:
        ctx.layer, ctx.sentence = layer, sentence
        ctx.shape, ctx.dtype, ctx.device = x.shape, x.dtype, x.device
        ctx.mark_dirty(value)  # so that autograd takes the value itself for the output, not a view of it
        return value

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        _tell(ctx.layer, ctx.sentence)
        return None, torch.zeros(ctx.shape, dtype=ctx.dtype, device=ctx.device), None, None


class _SilentUnderTransforms(torch.autograd.Function):
    """The same for ``torch.func`` and forward mode, which ask for more, and for a copy."""

    generate_vmap_rule = True

    @staticmethod
    def forward(value: Tensor, x: Tensor, layer: nn.Module, sentence: Callable[[], str]) -> Tensor:
        return value.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, x, ctx.layer, ctx.sentence = inputs
        ctx.shape, ctx.dtype, ctx.device = x.shape, x.dtype, x.device

    backward = _Silent.backward  # pyright: ignore[reportAssignmentType]

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: Any) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        _tell(ctx.layer, ctx.sentence)
        return torch.zeros_like(tangent)


class _SilentCompiled(torch.autograd.Function):
    """The same for compiled code, whose backward calls Python through an operator alone."""

    @staticmethod
    def forward(value: Tensor, x: Tensor, sentence: str) -> Tensor:
        return value.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, str], output: Tensor) -> None:
        _, x, ctx.sentence = inputs
        ctx.shape = x.shape
        ctx.dtype = x.dtype

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        zeros = torch.ops.hardgrad.zeros_and_a_word(grad, list(ctx.shape), ctx.sentence)
        return None, zeros.to(ctx.dtype), None


def _zeros_and_a_word(grad: Tensor, shape: list[int], sentence: str) -> Tensor:
    _tell_compiled(sentence)
    return grad.new_zeros(shape)


def _zeros(grad: Tensor, shape: list[int], sentence: str) -> Tensor:
    return grad.new_zeros(shape)


# By hand: torch.library.custom_op would import sympy and NumPy along with this.
_library = torch.library.Library("hardgrad", "DEF")
_library.define("zeros_and_a_word(Tensor grad, SymInt[] shape, str sentence) -> Tensor")
_library.impl("zeros_and_a_word", _zeros_and_a_word, "CompositeExplicitAutograd")
torch.library.register_fake("hardgrad::zeros_and_a_word", _zeros, lib=_library)


def no_gradient(value: Tensor, x: Tensor, layer: nn.Module, sentence: Callable[[], str]) -> Tensor:
    """Return ``value``; a gradient asked for through it is zero, and a warning says so, once a layer.

    Nothing is said where nobody asks: a loop that never calls a backward hears nothing. Under ``torch.compile`` the
    sentence is said once for all layers that it fits; where a ``torch.func`` derivative is compiled as a whole, when it
    is traced.

    Args:
        value: what the layer returns, in memory of its own; without a gradient, but that of a call for another input.
        x: an input of the layer, which gets the zeros.
        layer: whose sentence it is.
        sentence: gives the words, which name the layer and the cure.
    """
    if compiling():
        if in_transform():  # torch drops a Function's backward here, and differentiates its forward: zero
            _tell_of_a_derivative(sentence())
            return value
        return cast(Tensor, cast(Any, _SilentCompiled).apply(value, x, sentence()))
    if not may_need_gradient(x):
        return value
    function: Any = _SilentUnderTransforms if in_transform() or in_forward_mode() else _Silent
    return cast(Tensor, function.apply(value, x, layer, sentence))


def _tell(layer: nn.Module, sentence: Callable[[], str]) -> None:
    if layer not in _warned:
        _warned.add(layer)
        warnings.warn(sentence(), UserWarning, stacklevel=2)


def _tell_compiled(sentence: str) -> None:
    if sentence not in _warned_compiled:
        _warned_compiled.add(sentence)
        warnings.warn(sentence, UserWarning, stacklevel=2)


@constant_in_graph
def _tell_of_a_derivative(sentence: str) -> int:
    if differentiates():
        _tell_compiled(sentence)
    return 0


def no_second_derivative(gradient: Tensor, x: Tensor, sentence: str) -> Tensor:
    """Return a gradient as it is; whoever differentiates it with respect to ``x`` gets the sentence.

    Args:
        gradient: what a Function's backward gives, and depends on x in a way that nothing here knows.
        x: what it is the gradient for, any shape.
        sentence: names the layer and the cure.
    """
    return cast(Tensor, cast(Any, _Refuse).apply(gradient, x, sentence))


class _Refuse(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(gradient: Tensor, x: Tensor, sentence: str) -> Tensor:
        return gradient.view_as(gradient)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, str], output: Tensor) -> None:
        ctx.sentence = inputs[2]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        raise RuntimeError(ctx.sentence)


def once_differentiable(x: Tensor, sentence: str) -> Tensor:
    """Return ``x``; whoever differentiates the gradient that arrives at it gets the sentence."""
    once = _OnceInTransform if in_transform() else _Once
    return cast(Tensor, cast(Any, once).apply(x, sentence))


class _Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, sentence: str) -> Tensor:
        ctx.save_for_backward(x)
        ctx.sentence = sentence
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return no_second_derivative(grad, ctx.saved_tensors[0], ctx.sentence), None


class _OnceInTransform(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, sentence: str) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, str], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0])
        ctx.sentence = inputs[1]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return _Once.backward(ctx, grad)


def slope_alone(x: Tensor, sentence: str) -> Tensor:
    """Return zeros with the gradient of ``x``: what a Function does, where ``torch.compile`` drops its backward.

    Raises:
        RuntimeError: with the sentence, where the gradient will be differentiated too.
    """
    _refuse_second(sentence)
    zero = torch.where(x.isfinite(), x - x.detach(), 0)
    # An ordinary backward through what was compiled cannot be seen from here: its derivative of this is NaN, no number.
    return zero + zero.abs().pow(1.5)


@constant_in_graph
def _refuse_second(sentence: str) -> bool:
    """Raise where two derivatives are under way: while torch.compile traces, which does not turn to eager code then."""
    if derivatives_under_way() > 1:
        raise RuntimeError(sentence)
    return True
