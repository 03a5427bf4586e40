"""Layers that map one element to one, without weights: run on the rows of all branches at once, and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_aten: Any = torch.ops.aten


@dataclass(frozen=True)
class Rule:
    """How a layer runs forward and back; the kernels are those that autograd calls, less the graph around them.

    Args:
        value: the output, of the input and the settings.
        to_input: the gradient of the input. It is handed the output's, which it may write over, what is kept, and the
            settings.
        keeps: what the gradient is a function of.
        settings: the names of the layer's attributes that both functions take.
        over: ``value`` written over its input, if the gradient is one of the output: a fresh buffer costs more than
            the layer does.
    """

    value: Callable[..., Tensor]
    to_input: Callable[..., Tensor]
    keeps: Literal["input", "output", "nothing"] = "input"
    settings: tuple[str, ...] = ()
    over: Callable[..., Tensor] | None = None


_SELU = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946  # torch's own digits
_LIMITS = ("min_val", "max_val")


def _by_autograd(value: Callable[[Tensor], Tensor], grad: Tensor, x: Tensor) -> Tensor:
    # For layers that torch puts together from others: in half precision each of them rounds.
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        return torch.autograd.grad(value(x), x, grad)[0]


RULES: dict[type[nn.Module], Rule] = {
    nn.Identity: Rule(lambda x: x, lambda g, _: g, keeps="nothing"),
    nn.ReLU: Rule(
        torch.relu, lambda g, y: _aten.threshold_backward(g, y, 0, grad_input=g), keeps="output", over=torch.relu_
    ),
    nn.Tanh: Rule(torch.tanh, lambda g, y: _aten.tanh_backward(g, y, grad_input=g), keeps="output", over=torch.tanh_),
    nn.Sigmoid: Rule(
        torch.sigmoid, lambda g, y: _aten.sigmoid_backward(g, y, grad_input=g), keeps="output", over=torch.sigmoid_
    ),
    nn.Hardtanh: Rule(
        F.hardtanh, lambda g, x, low, high: _aten.hardtanh_backward(g, x, low, high, grad_input=g), settings=_LIMITS
    ),
    nn.ReLU6: Rule(
        F.hardtanh, lambda g, x, low, high: _aten.hardtanh_backward(g, x, low, high, grad_input=g), settings=_LIMITS
    ),
    nn.LeakyReLU: Rule(
        F.leaky_relu,
        lambda g, x, slope: _aten.leaky_relu_backward(g, x, slope, False, grad_input=g),
        settings=("negative_slope",),
    ),
    nn.ELU: Rule(
        F.elu, lambda g, x, alpha: _aten.elu_backward(g, alpha, 1, 1, False, x, grad_input=g), settings=("alpha",)
    ),
    nn.CELU: Rule(
        F.celu,
        lambda g, x, alpha: _aten.elu_backward(g, alpha, 1, 1 / alpha, False, x, grad_input=g),
        settings=("alpha",),
    ),
    nn.SELU: Rule(F.selu, lambda g, x: _aten.elu_backward(g, *_SELU, 1, False, x, grad_input=g)),
    nn.GELU: Rule(
        lambda x, approximate: F.gelu(x, approximate=approximate),
        lambda g, x, approximate: _aten.gelu_backward(g, x, approximate=approximate, grad_input=g),
        settings=("approximate",),
    ),
    nn.SiLU: Rule(F.silu, lambda g, x: _aten.silu_backward(g, x, grad_input=g)),
    nn.Mish: Rule(F.mish, _aten.mish_backward),
    nn.Softplus: Rule(
        F.softplus,
        lambda g, x, beta, threshold: _aten.softplus_backward(g, x, beta, threshold, grad_input=g),
        settings=("beta", "threshold"),
    ),
    nn.Hardswish: Rule(F.hardswish, _aten.hardswish_backward),
    nn.Hardsigmoid: Rule(F.hardsigmoid, lambda g, x: _aten.hardsigmoid_backward(g, x, grad_input=g)),
    nn.LogSigmoid: Rule(F.logsigmoid, lambda g, x: g.mul_(torch.sigmoid(-x))),
    nn.Softsign: Rule(F.softsign, lambda g, x: _by_autograd(F.softsign, g, x)),
    nn.Tanhshrink: Rule(F.tanhshrink, lambda g, x: _by_autograd(F.tanhshrink, g, x)),
}
ELEMENTWISE = tuple(RULES)


class Elementwise:
    """One elementwise layer with its settings, the same in all branches that run."""

    def __init__(self, rule: Rule, settings: tuple[Any, ...], over: bool) -> None:
        self.rule, self.settings = rule, settings
        self._run = rule.over if over and rule.over is not None else rule.value

    def forward(self, x: Tensor) -> Tensor:
        return self._run(x, *self.settings)

    def keep(self, x: Tensor, y: Tensor) -> Tensor | None:
        """Return what the gradient is a function of."""
        return {"input": x, "output": y, "nothing": None}[self.rule.keeps]

    def to_input(self, grad: Tensor, kept: Tensor | None) -> Tensor:
        return self.rule.to_input(grad, kept, *self.settings)
