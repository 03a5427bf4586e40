"""One primitive under every surrogate: the value of one tensor, the gradient of another."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd import forward_ad

from hardgrad._torch_state import in_compiled_transform, in_transform


class _Graft(torch.autograd.Function):
    # Context and forward in one: apart, as torch.func needs them, they cost three times as much (17 us, not 5).
    @staticmethod
    def forward(ctx: Any, value: Tensor, path: Tensor) -> Tensor:
        ctx.path_dtype = path.dtype
        # A copy, not an alias: the caller may change the result in place, and `value` may be the hard function's own
        # input.
        return value.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return None, grad.to(ctx.path_dtype)


class _GraftUnderTransforms(torch.autograd.Function):
    # No `jvp`: torch.compile does not trace a Function that defines one (torch 2.13). Forward mode says so itself.
    generate_vmap_rule = True

    @staticmethod
    def forward(value: Tensor, path: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.path_dtype = inputs[1].dtype

    backward = _Graft.backward  # pyright: ignore[reportAssignmentType]


def _overwritten(value: Tensor, path: Tensor) -> Tensor:
    """The path with its numbers replaced out of the derivatives' sight, where torch drops a Function's backward.

    ``value - (path.detach() - path)`` is exact too, signed zeros included, until the path holds inf or NaN.
    """
    # A choice that always falls on the path: a copy of it that has vmap's dimensions of both.
    result = torch.where(torch.ones_like(value, dtype=torch.bool), path.to(value.dtype), value.detach())
    with torch.no_grad(), forward_ad._set_fwd_grad_enabled(False):
        return result.copy_(value.detach())


def graft(value: Tensor, path: Tensor) -> Tensor:
    r"""Return ``value`` bit for bit, with the gradient of ``path``.

    .. math:: y = \text{value}, \qquad \frac{\partial y}{\partial x} = \frac{\partial\,\text{path}}{\partial x}

    The common ``path + (value - path).detach()`` rounds: the sum need not equal ``value``. This does not.

    Args:
        value: what the result holds, any shape. No gradient flows into it.
        path: what the gradient flows through, same shape and device as ``value``. Its numbers are never read.

    Returns:
        A tensor of ``value``'s shape, dtype and device.

    Raises:
        ValueError: if one is not a tensor of floating point, or their shapes or devices differ.

    Example:
        >>> import torch, hardgrad as hg
        >>> x = torch.tensor([0.3, -1.2], requires_grad=True)
        >>> y = hg.graft(torch.sign(x), torch.tanh(x))
        >>> y.tolist()
        [1.0, -1.0]
        >>> y.sum().backward()
        >>> torch.allclose(x.grad, 1 - torch.tanh(x.detach()) ** 2)
        True

    Source: the forward of Bengio et al. 2013 (arXiv 1308.3432) and of Ramapuram and Webb 2020 (arXiv 1905.03658,
    section III), written so that it is exact.
    """
    _check_kind("value", value)
    _check_kind("path", path)
    if value.shape != path.shape:
        raise ValueError(
            f"graft: value and path must have one shape, got value {tuple(value.shape)} and path {tuple(path.shape)}; "
            "reshape path, or use a path that returns value's shape"
        )
    if value.device != path.device:
        raise ValueError(
            f"graft: value and path must be on one device, got value on {value.device} and path on {path.device}; "
            "move one of them"
        )
    if in_compiled_transform():
        return _overwritten(value, path)
    function = _GraftUnderTransforms if in_transform() else _Graft
    return cast(Tensor, function.apply(value, path))


def _check_kind(name: str, given: Tensor) -> None:
    if not isinstance(given, Tensor):
        raise ValueError(f"graft: {name} must be a tensor, got {type(given).__name__}; use torch.as_tensor")
    if not given.is_floating_point():
        raise ValueError(f"graft: {name} must be floating point to carry a gradient, got {given.dtype}; cast it first")
