"""The bridge: a hard function in the forward pass, a network that imitates it in the backward pass."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from hardgrad import _check
from hardgrad._graft import graft
from hardgrad._strip import RemovedApproximator, strips
from hardgrad._torch_state import compiling, exporting, hides_requires_grad, holds_a_batch, in_transform
from hardgrad.fidelity import Fidelity as Fidelity
from hardgrad.fidelity import squared_norm
from hardgrad.hard_layer import CALLABLE, SurrogateLayer
from hardgrad.hard_layer import HardLayer as HardLayer
from hardgrad.penalty.add import add_penalty
from hardgrad.penalty.scopes import penalties_enabled
from hardgrad.two_track import ApproximatorError, two_tracks
from hardgrad.two_track.frozen import frozen
from hardgrad.user_code import TensorFunction, private
from hardgrad.user_code import name_of as name_of

Result = TypeVar("Result")


class Bridge(SurrogateLayer):
    r"""A layer that computes a hard function and lends it the gradient of a network that imitates it.

    In training the output is ``hard(x)`` exactly. The task's gradient passes through the approximator :math:`a_\phi`
    and never into its weights; the approximator learns from its own penalty alone, which never reaches ``x``:

    .. math::
        y = h(x), \qquad \frac{\partial L}{\partial x} = J_{a_\phi}(x)^\top \frac{\partial L}{\partial y}, \qquad
        \text{penalty} = \frac{\gamma}{B} \sum_{b=1}^{B} \lVert a_\phi(x_b) - h(x_b) \rVert^2

    A bridge trains itself: the user's own ``loss.backward()`` reaches the penalty, with a gradient of one. Inside
    ``hardgrad.penalties()`` the user owns the penalty instead. In ``eval()`` and under ``no_grad`` or
    ``inference_mode`` the approximator does not run; ``hardgrad.strip`` removes it.

    In ``eval()`` no gradient passes, not even one that torch has for ``hard``, and the first backward that needs one
    gets zeros and a ``UserWarning`` that names the layer; a validation loop hears nothing. With
    ``differentiable_in_eval=True`` the layer lends its gradient there too, for a saliency map, an adversarial example,
    or a frozen layer in the middle of one that learns; nothing in it moves then.

    Args:
        hard: any callable ``Tensor -> Tensor``. Its output may have another shape, but the same batch (first)
            dimension, the same device and a floating dtype. It is called without gradient, in training and in
            evaluation: a NumPy program will do, and weights of its own get none. It may write into its input and keep
            its output: it has copies, unless it is known to do neither (``hardgrad.hard``, ``torch.sign``).
        approximator: a network of the same input and output shapes, through which a gradient passes from the one to
            the other; ``hardgrad.approximators`` has some, and ``suggest(hard, example)`` picks one.
        weight: gamma, at least 0. Adam and its kin are blind to it: the approximator has no other gradient.
        distance: ``(approximation, hard output) -> Tensor``, elementwise or per sample, differentiable in the first;
            it is summed and divided by the batch size. It may write into both. Default: squared difference.
        conditioning: let the penalty reach ``x`` too, so that the layer before learns to be easy to imitate.
        differentiable_in_eval: lend the gradient in ``eval()`` too, through the approximator in a mode of its own, with
            frozen weights and without a penalty.

    Shape:
        Input ``(B, *)``, or a single sample of one dimension; output as ``hard`` gives it.

    Raises:
        TypeError: from the constructor for an argument of the wrong kind.
        ValueError: from the constructor if ``weight`` is negative; from the forward pass if ``x``, ``hard`` or
            ``approximator`` breaks the rules above. The message names the layer, both shapes and the cure.
        RuntimeError: what torch raised in the approximator, with the layer's name and the input's kind before it.

    Note:
        Dividing the loss, for gradient accumulation say, does not divide the penalty of a bridge that trains itself;
        neither does fp16 loss scaling multiply it. Where that matters, use ``hardgrad.penalties()``.

        Compiled code warns in its backward too, but once for all layers that read alike. Of a ``torch.func`` derivative
        that is compiled as a whole it warns while tracing, whether or not the gradient goes through the layer. An
        exported program (``torch.export``, ONNX) is the hard function and says nothing.

        A bridge takes one tensor. A threshold learns by ``bridge(x - threshold)``, bounds of a quantizer by ``graft(
        quantize(x, n, low, high), low + span * bridge((x - low) / span))``, with a bridge of the unit's quantizer.

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

    word = "Bridge"

    def __init__(
        self,
        hard: TensorFunction,
        approximator: nn.Module,
        *,
        weight: float = 10.0,
        distance: Callable[[Tensor, Tensor], Tensor] | None = None,
        conditioning: bool = False,
        differentiable_in_eval: bool = False,
    ) -> None:
        super().__init__(hard, differentiable_in_eval=differentiable_in_eval)
        _check.module(
            "Bridge", "approximator", approximator, "hardgrad.approximators.suggest(hard, example) builds one"
        )
        self.approximator = approximator
        self.weight = float(_check.number("Bridge", "weight", weight, least=0, cure="the paper uses 10"))
        if distance is not None:
            _check.function("Bridge", "distance", distance, "of two tensors", CALLABLE)
        self.distance = distance
        self.conditioning = _check.flag("Bridge", "conditioning", conditioning)
        self._hard_norm = self._squared_error = torch.full((), torch.nan)
        self._gradient_norm: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if not self._differentiable(x):
            return self._hard_alone(x)
        value = self._value(x)
        if not self.training:
            task = self._of_the_approximator(x, lambda: frozen(self.approximator, private(self.approximator, x)))
            self._check_approximator(x, value, task)
            return graft(value, task)
        task, learn = self._of_the_approximator(
            x, lambda: two_tracks(self.approximator, self._watched(x), x if self.conditioning else x.detach())
        )
        self._check_approximator(x, value, learn)
        path = add_penalty(self, task, self._penalty(x, value, learn))
        return graft(value, path)

    def _differentiable(self, *inputs: Tensor) -> bool:
        # strip takes the approximator of a subclass away.
        return super()._differentiable(*inputs) and "approximator" in self._modules

    def _of_the_approximator(self, x: Tensor, run: Callable[[], Result]) -> Result:
        try:
            return run()
        except ApproximatorError as error:
            raise ValueError(f"{self._label()}: the {error}") from None
        except RuntimeError as error:
            if compiling() or type(error) is not RuntimeError:  # out of memory, a checkpoint's early stop
                raise
            raise RuntimeError(
                f"{self._label()}: the approximator failed on an input of shape {tuple(x.shape)}, {x.dtype} on "
                f"{x.device}: {error}; it must take what the layer gets"
            ) from error

    def _penalty(self, x: Tensor, value: Tensor, learn: Tensor) -> Tensor:
        # In single precision at least: the squares of a few hundred features overflow fp16.
        wide = torch.promote_types(value.dtype, torch.float32)
        learn, value = learn.to(wide), value.to(wide)
        squared_error = squared_norm(learn - value)
        self._note(value, squared_error.detach())
        total = squared_error if self.distance is None else self._distance(learn, value)
        batch = x.shape[0] if x.ndim > 1 else 1
        return total * (self.weight / max(batch, 1))

    def _distance(self, learn: Tensor, value: Tensor) -> Tensor:
        assert self.distance is not None
        distance = self.distance(learn.clone(), value.clone())  # the user's code may write into both
        if not isinstance(distance, Tensor) or not distance.is_floating_point():
            got = distance.dtype if isinstance(distance, Tensor) else type(distance).__name__
            raise ValueError(f"{self._label()}: distance must return a floating point tensor, got {got}")
        if learn.requires_grad and not (distance.requires_grad or hides_requires_grad()):
            raise ValueError(
                f"{self._label()}: distance must be differentiable in its first argument, or the approximator learns "
                "nothing; take out what detaches it"
            )
        return distance.sum()

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
        if gradient is not None and not holds_a_batch(gradient):  # None in the backward of a penalty by itself
            self._gradient_norm = torch.linalg.vector_norm(gradient.detach())

    def _note(self, value: Tensor, squared_error: Tensor) -> None:
        if penalties_enabled() and not in_transform():
            self._squared_error = squared_error
            self._hard_norm = torch.linalg.vector_norm(value)

    def _check_value(self, x: Tensor, value: Tensor) -> None:
        super()._check_value(x, value)
        if not exporting() and x.ndim > 1 and (value.ndim == 0 or value.shape[0] != x.shape[0]):
            raise ValueError(
                f"{self._label()}: hard must keep the batch (first) dimension, got input {tuple(x.shape)} and "
                f"output {tuple(value.shape)}; apply it per sample, or reshape its output to ({x.shape[0]}, ...)"
            )

    def _check_approximator(self, x: Tensor, value: Tensor, learn: object) -> None:
        if not isinstance(learn, Tensor) or not learn.is_floating_point():
            got = learn.dtype if isinstance(learn, Tensor) else type(learn).__name__
            raise ValueError(
                f"{self._label()}: the approximator must return a floating point tensor, got {got}; wrap a network "
                "that returns more (nn.LSTM, nn.GRU) in a module that returns its output alone"
            )
        if learn.shape != value.shape or learn.device != value.device:
            raise ValueError(
                f"{self._label()}: the approximator must return the hard function's shape on its device, got "
                f"approximator {tuple(learn.shape)} and hard {tuple(value.shape)} for input {tuple(x.shape)}, on "
                f"{learn.device} and {value.device}; hardgrad.approximators.suggest(hard, example) builds one that fits"
            )

    def __deepcopy__(self, memo: dict[int, Any]) -> nn.Module:
        # As torch would, but ``strip`` leaves the approximator behind, wherever the bridge is referred to from.
        # torch refuses to pickle what is parametrized, and so its __getstate__, but copies it.
        plain = nn.utils.parametrize.is_parametrized(self)
        state: dict[str, Any] = nn.Module.__getstate__(self) if plain else self.__getstate__()
        kind: type[nn.Module] = type(self)
        if strips(memo):
            state["_modules"] = {name: part for name, part in self._modules.items() if name != "approximator"}
            if kind is Bridge and "forward" not in state:
                kind = HardLayer
                state = {name: part for name, part in state.items() if name not in _TRAINING_ALONE}
            else:
                state["approximator"] = RemovedApproximator()
        copied = memo[id(self)] = object.__new__(kind)
        copied.__setstate__(copy.deepcopy(state, memo))
        return copied

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, weight={self.weight}, conditioning={self.conditioning}"


_TRAINING_ALONE = {
    *("weight", "distance", "conditioning", "differentiable_in_eval"),
    *("_hard_norm", "_squared_error", "_gradient_norm"),
}
