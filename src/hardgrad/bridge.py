"""The bridge: a hard function in the forward pass, a network that imitates it in the backward pass."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from hardgrad._torch_state import compiling, in_transform
from hardgrad.graft import graft
from hardgrad.penalty import is_heard, settle
from hardgrad.two_track import two_tracks


@dataclass(frozen=True)
class Fidelity:
    r"""How well a bridge imitated its hard function on the last training batch.

    Args:
        relative_error: :math:`\lVert \text{approximation} - \text{hard}(x) \rVert / \lVert \text{hard}(x) \rVert`;
            0 is a perfect imitation, 1 is what a constant zero would score.
        gradient_norm: norm of the gradient lent to the layer's input. None before the first backward, and where the
            layer is compiled or runs under ``torch.func``.
    """

    relative_error: float
    gradient_norm: float | None


class _SquaredNorm(torch.autograd.Function):
    """Sum of squares. A layer's output fits no cache, and torch's own ways write it out once or twice more."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        norm: Tensor = torch.linalg.vector_norm(x)
        return norm.square()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        (x,) = ctx.saved_tensors
        return cast(Tensor, x * (2 * grad))


class Bridge(nn.Module):
    r"""A layer that computes a hard function and lends it the gradient of a network that imitates it.

    In training the output is ``hard(x)`` exactly. The task's gradient passes through the approximator :math:`a_\phi`
    and never into its weights; the approximator learns from its own penalty alone, which never reaches ``x``:

    .. math::
        y = h(x), \qquad \frac{\partial L}{\partial x} = J_{a_\phi}(x)^\top \frac{\partial L}{\partial y}, \qquad
        \text{penalty} = \frac{\gamma}{B} \sum_{b=1}^{B} \lVert a_\phi(x_b) - h(x_b) \rVert^2

    A bridge trains itself: the user's own ``loss.backward()`` reaches the penalty, with a gradient of one. Inside
    ``hardgrad.penalties()`` the user owns the penalty instead. In ``eval()`` and under ``no_grad`` or
    ``inference_mode`` the approximator does not run; ``hardgrad.strip`` removes it.

    Args:
        hard: any callable ``Tensor -> Tensor``. Its output may have another shape, but the same batch (first)
            dimension, the same device and a floating dtype. Weights of its own get no gradient.
        approximator: a network of the same input and output shapes; ``hardgrad.approximators`` has some, and
            ``suggest(hard, example)`` picks one.
        weight: gamma, at least 0. Adam and its kin are blind to it: the approximator has no other gradient.
        distance: ``(approximation, hard output) -> Tensor``, elementwise or per sample; it is summed and divided by the
            batch size. Default: squared difference.
        conditioning: let the penalty reach ``x`` too, so that the layer before learns to be easy to imitate.

    Shape:
        Input ``(B, *)``, or a single sample of one dimension; output as ``hard`` gives it.

    Raises:
        ValueError: from the constructor for a bad ``weight``; from the forward pass in training if ``hard`` or
            ``approximator`` breaks the rules above. The message names the layer, both shapes and the cure.

    Note:
        Dividing the loss, for gradient accumulation say, does not divide the penalty of a bridge that trains itself;
        neither does fp16 loss scaling multiply it. Where that matters, use ``hardgrad.penalties()``.

    Example:
        >>> import torch, hardgrad as hg
        >>> model = torch.nn.Sequential(
        ...     torch.nn.Linear(3, 8), hg.Bridge(hg.hard.sign, hg.approximators.mlp(8, 8)), torch.nn.Linear(8, 1))
        >>> model(torch.randn(5, 3)).mean().backward()      # an unchanged loop trains both
        >>> sorted(model(torch.randn(5, 3)).shape)
        [1, 5]
        >>> model[1].fidelity().relative_error > 0
        True

    Source: Ramapuram and Webb 2020 (arXiv 1905.03658), section III, equation 2; ``conditioning`` after section IV-E.
    """

    def __init__(
        self,
        hard: Callable[[Tensor], Tensor],
        approximator: nn.Module,
        *,
        weight: float = 10.0,
        distance: Callable[[Tensor, Tensor], Tensor] | None = None,
        conditioning: bool = False,
    ) -> None:
        super().__init__()
        if not weight >= 0:
            raise ValueError(f"Bridge: weight must be at least 0, got {weight}; the paper uses 10")
        if not isinstance(approximator, nn.Module):
            raise ValueError(
                f"Bridge: approximator must be an nn.Module, got {type(approximator).__name__}; "
                "hardgrad.approximators.suggest(hard, example) builds one"
            )
        self.hard = hard
        self.approximator = approximator
        self.weight = weight
        self.distance = distance
        self.conditioning = conditioning
        self._hard_norm = self._squared_error = torch.full((), torch.nan)
        self._gradient_norm: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training and torch.is_grad_enabled()):
            return self.hard(x)
        with torch.no_grad():
            value = self.hard(x.detach())
        self._check_hard(x, value)
        lend, learn = two_tracks(self.approximator, self._watched(x), x if self.conditioning else x.detach())
        self._check_approximator(x, value, learn)
        path = settle(self, lend, self._penalty(x, value, learn))
        return graft(value, path)

    def _penalty(self, x: Tensor, value: Tensor, learn: Tensor) -> Tensor:
        # In single precision at least: the squares of a few hundred features overflow fp16.
        wide = torch.promote_types(value.dtype, torch.float32)
        learn, value = learn.to(wide), value.to(wide)
        squared_error = cast(Tensor, _SquaredNorm.apply(learn - value))
        self._note(value, squared_error.detach())
        total = squared_error if self.distance is None else self.distance(learn, value).sum()
        batch = x.shape[0] if x.ndim > 1 else 1
        return total * (self.weight / max(batch, 1))

    def fidelity(self) -> Fidelity:
        """Return how well the approximator imitated the hard function on the last training batch.

        Nothing is computed on the host before this call, which waits for the device.

        Raises:
            RuntimeError: if no training batch has passed yet.
        """
        if self._squared_error.isnan() and self._hard_norm.isnan():
            raise RuntimeError(
                f"{self._label()}: no training batch has passed yet (or it held NaN); call it in train()"
            )
        error, scale = self._squared_error.sqrt().item(), self._hard_norm.item()
        relative = error / scale if scale else (0.0 if error == 0 else float("inf"))
        return Fidelity(relative, None if self._gradient_norm is None else self._gradient_norm.item())

    def _watched(self, x: Tensor) -> Tensor:
        if compiling() or in_transform() or not x.requires_grad:
            return x
        entry = x.view_as(x)
        entry.register_hook(self._note_gradient)
        return entry

    def _note_gradient(self, gradient: Tensor | None) -> None:
        if gradient is not None:  # None in the backward of a penalty by itself
            self._gradient_norm = torch.linalg.vector_norm(gradient.detach())

    def _note(self, value: Tensor, squared_error: Tensor) -> None:
        if is_heard() and not in_transform():
            self._squared_error = squared_error
            self._hard_norm = torch.linalg.vector_norm(value)

    def _check_hard(self, x: Tensor, value: Tensor) -> None:
        if not isinstance(value, Tensor):
            raise ValueError(f"{self._label()}: hard must return a tensor, got {type(value).__name__}")
        if not x.is_floating_point():
            raise ValueError(f"{self._label()}: the input must be floating point, got {x.dtype}; cast it first")
        if not value.is_floating_point():
            raise ValueError(
                f"{self._label()}: hard must return a floating dtype, got {value.dtype}; end it with .to(x.dtype)"
            )
        if value.device != x.device:
            raise ValueError(
                f"{self._label()}: hard must stay on the input's device {x.device}, got {value.device}; "
                "end it with .to(x.device)"
            )
        if x.ndim > 1 and (value.ndim == 0 or value.shape[0] != x.shape[0]):
            raise ValueError(
                f"{self._label()}: hard must keep the batch (first) dimension, got input {tuple(x.shape)} and "
                f"output {tuple(value.shape)}; apply it per sample, or reshape its output to ({x.shape[0]}, ...)"
            )

    def _check_approximator(self, x: Tensor, value: Tensor, learn: Tensor) -> None:
        if learn.shape != value.shape:
            raise ValueError(
                f"{self._label()}: the approximator must return the hard function's shape, got approximator "
                f"{tuple(learn.shape)} and hard {tuple(value.shape)} for input {tuple(x.shape)}; "
                "hardgrad.approximators.suggest(hard, example) builds one that fits"
            )

    def _label(self) -> str:
        return f"Bridge({name_of(self.hard)})"

    def extra_repr(self) -> str:
        return f"hard={name_of(self.hard)}, weight={self.weight}, conditioning={self.conditioning}"


def name_of(function: object) -> str:
    """The name a reader knows a callable by."""
    inner = getattr(function, "func", function)  # functools.partial
    return getattr(inner, "__name__", type(inner).__name__)


class HardLayer(nn.Module):
    """What ``strip`` leaves of a bridge: its hard function as a layer.

    Args:
        hard: the function.
    """

    def __init__(self, hard: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.hard = hard

    def forward(self, x: Tensor) -> Tensor:
        return self.hard(x)

    def extra_repr(self) -> str:
        return f"hard={name_of(self.hard)}"


def strip(model: nn.Module) -> nn.Module:
    """Return a copy of a model without any approximator, for inference and export.

    Args:
        model: any module, a bridge itself included; it is not changed. Unwrap DistributedDataParallel first.

    Returns:
        A copy: same outputs in ``eval()`` bit for bit, fewer keys in its ``state_dict``.

    Example:
        >>> import torch, hardgrad as hg
        >>> model = torch.nn.Sequential(
        ...     torch.nn.Linear(3, 4), hg.Bridge(hg.hard.sign, hg.approximators.mlp(4, 4)))
        >>> list(hg.strip(model).state_dict())
        ['0.weight', '0.bias']
    """
    memo: dict[int, object] = {}
    for module in model.modules():
        if isinstance(module, Bridge):
            # deepcopy takes what the memo holds for a bridge in place of a copy, wherever the model refers to it.
            memo[id(module)] = HardLayer(copy.deepcopy(module.hard, memo)).train(module.training)
    return copy.deepcopy(model, memo)
