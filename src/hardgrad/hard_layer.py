"""A hard function as a layer, and what every layer of one shares: its value, its rules and its words."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hardgrad import _check
from hardgrad._torch_state import exporting, may_need_gradient
from hardgrad.no_gradient import no_gradient
from hardgrad.user_code import TensorFunctions, name_of, value_of

CALLABLE = "give a function, a lambda or an nn.Module"


class HardLayer(nn.Module):
    """A hard function alone: what ``strip`` leaves of a bridge. No gradient passes, and a backward is told so.

    Args:
        hard: any callable ``Tensor -> Tensor``.
    """

    word = "HardLayer"
    argument = "hard"  # what users know the function by

    def __init__(self, hard: TensorFunctions) -> None:
        super().__init__()
        _check.function(self.word, self.argument, hard, cure=CALLABLE)
        self.hard = hard

    def forward(self, x: Tensor) -> Tensor:
        return self._hard_alone(x)

    def _differentiable(self, *inputs: Tensor) -> bool:
        """Whether a surrogate gradient may be asked for."""
        return False

    def _hard_alone(self, *inputs: Tensor) -> Tensor:
        value = self._value(*inputs)
        if exporting() or not torch.is_grad_enabled():
            return value
        for x in inputs:
            value = no_gradient(value, x, self, self._why_no_gradient)
        return value

    def _value(self, x: Tensor, *more: Tensor) -> Tensor:
        for each in (x, *more):
            if not isinstance(each, Tensor) or not each.is_floating_point():
                got = each.dtype if isinstance(each, Tensor) else type(each).__name__
                raise ValueError(f"{self._label()}: the input must be floating point, got {got}; cast it first")
        value = value_of(self.hard, x, *more)
        if not isinstance(value, Tensor):
            raise ValueError(f"{self._label()}: {self.argument} must return a tensor, got {type(value).__name__}")
        self._check_value(x, value)
        return value

    def _check_value(self, x: Tensor, value: Tensor) -> None:
        if not value.is_floating_point():
            raise ValueError(
                f"{self._label()}: {self.argument} must return a floating dtype, got {value.dtype}; end it with "
                ".to(x.dtype)"
            )
        if value.device != x.device:
            raise ValueError(
                f"{self._label()}: {self.argument} must stay on the input's device {x.device}, got {value.device}; "
                "end it with .to(x.device)"
            )

    def _why_no_gradient(self) -> str:
        return (
            f"{self._label()}: no gradient passes through a hard function alone, so the layers before it get zeros; "
            "train the model that was given to strip, whose bridges lend one"
        )

    def _label(self) -> str:
        return f"{self.word}({name_of(self.hard)})"

    def extra_repr(self) -> str:
        return f"{self.argument}={name_of(self.hard)}"


class SurrogateLayer(HardLayer):
    """A hard function as a layer with a surrogate gradient in training, and in evaluation if that was asked for.

    Args:
        hard: any callable ``Tensor -> Tensor``.
        differentiable_in_eval: have the gradient in ``eval()`` too.
    """

    def __init__(self, hard: TensorFunctions, *, differentiable_in_eval: bool) -> None:
        super().__init__(hard)
        self.differentiable_in_eval = _check.flag(self.word, "differentiable_in_eval", differentiable_in_eval)

    def _differentiable(self, *inputs: Tensor) -> bool:
        if self.training or not self.differentiable_in_eval:
            return self.training and torch.is_grad_enabled()
        return torch.is_grad_enabled() and any(map(may_need_gradient, inputs))

    def _why_no_gradient(self) -> str:
        return (
            f"{self._label()}: in eval() no gradient passes through this layer, so the layers before it get zeros; "
            "differentiable_in_eval=True lends its surrogate gradient there too, .train() as in training"
        )
