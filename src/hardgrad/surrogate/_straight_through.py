"""Straight-through: the hard function's value, the gradient of the identity or of a soft twin."""

from __future__ import annotations

from torch import Tensor

from hardgrad import _check
from hardgrad._graft import graft
from hardgrad.hard_layer import CALLABLE, SurrogateLayer
from hardgrad.two_track import lends_nothing
from hardgrad.user_code import TensorFunctions, private


class StraightThrough(SurrogateLayer):
    """The layer that ``straight_through`` returns; its arguments are explained there."""

    word = "straight_through"

    def __init__(
        self, hard: TensorFunctions, soft: TensorFunctions | None = None, *, differentiable_in_eval: bool = False
    ) -> None:
        super().__init__(hard, differentiable_in_eval=differentiable_in_eval)
        if soft is not None:
            _check.function(self.word, "soft", soft, cure=CALLABLE)
        self.soft = soft

    def forward(self, x: Tensor, *more: Tensor) -> Tensor:
        if not self._differentiable(x, *more):
            return self._hard_alone(x, *more)
        value = self._value(x, *more)
        path = self._path(x, more) if more or self.soft is not None else x
        self._check_path(value, path)
        if lends_nothing(path, x, *more):
            raise ValueError(
                f"{self._label()}: soft must return what depends on its input, got a tensor that needs no gradient, so "
                "the layers before would learn nothing; take out what detaches it"
            )
        return graft(value, path)

    def _path(self, x: Tensor, more: tuple[Tensor, ...]) -> Tensor:
        if self.soft is None:
            raise ValueError(
                f"{self._label()}: soft must be given for a layer of more tensors than x, got None and {len(more)} "
                "more, which the identity gives no gradient; hardgrad.surrogate.twins.clipped(-math.inf, math.inf) is "
                "that of x - threshold"
            )
        return self.soft(private(self.soft, x), *[private(self.soft, each) for each in more])

    def _check_path(self, value: Tensor, path: object) -> None:
        if not isinstance(path, Tensor) or not path.is_floating_point():
            got = path.dtype if isinstance(path, Tensor) else type(path).__name__
            raise ValueError(f"{self._label()}: soft must return a floating point tensor, got {got}")
        if path.shape != value.shape or path.device != value.device:
            twin = "the identity" if self.soft is None else "soft"
            raise ValueError(
                f"{self._label()}: {twin} must return the hard function's shape, got {tuple(path.shape)} and hard "
                f"{tuple(value.shape)}, on {path.device} and {value.device}; give a soft twin of that shape, or use "
                "hardgrad.Bridge, which learns one"
            )


def straight_through(
    hard: TensorFunctions, soft: TensorFunctions | None = None, *, differentiable_in_eval: bool = False
) -> StraightThrough:
    r"""Return a layer with the value of ``hard`` and the gradient of ``soft``.

    .. math:: y = h(x), \qquad \frac{\partial L}{\partial x} = J_s(x)^\top \frac{\partial L}{\partial y}

    A layer of several tensors, ``layer(x, threshold)``, calls both with all of them, and each gets soft's gradient: a
    threshold of ``hard.step`` that of a twin, a margin of ``hard.sign`` that of ``twins.dead_zone``, bounds or levels
    of ``hard.quantize`` those of ``twins.quantizer``.

    With no twin the gradient is copied as if the function were the identity. A twin may be a surrogate derivative for
    one step (``hardgrad.surrogate.twins``) or the soft version of a whole program: the hard rule runs forward as a
    whole, the soft rule backward as a whole, which bends less than a straight-through in each of its steps.
    Under ``no_grad`` the twin does not run, nor in ``eval()``: there no gradient passes, not even one that torch has
    for ``hard``, and the first backward that needs one gets zeros and a ``UserWarning`` that names the layer.

    Args:
        hard: any callable ``Tensor -> Tensor``, called without gradient: a NumPy program will do. It may write into its
            input and keep its output, as ``hardgrad.Bridge`` says.
        soft: a differentiable callable of the same input and output shapes, or None for the identity, of one tensor. If
            it is an ``nn.Module``, the task trains its weights. It may write into its input.
        differentiable_in_eval: lend the gradient in ``eval()`` too, as in training; a twin with a mode of its own runs
            in that.

    Returns:
        An ``nn.Module``.

    Raises:
        ValueError: at once for an argument that is no function; in the forward pass, if ``x`` or an output is not
            floating point, or the twin's output has another shape than the hard function's or was cut off from its
            input, by ``detach`` say; a gradient of zero is ``lambda x: 0 * x``.

    Example:
        >>> import torch, hardgrad as hg
        >>> layer = hg.straight_through(hg.hard.step, soft=torch.sigmoid)
        >>> x = torch.tensor([-1.0, 2.0], requires_grad=True)
        >>> layer(x).tolist()
        [0.0, 1.0]
        >>> layer(x).sum().backward()
        >>> x.grad.tolist() == torch.sigmoid(x).mul(1 - torch.sigmoid(x)).tolist()
        True
        >>> layer = hg.straight_through(hg.hard.step, hg.surrogate.twins.sigmoid())
        >>> threshold = torch.tensor(0.5, requires_grad=True)
        >>> layer(x.detach(), threshold).sum().backward()      # a higher one makes fewer ones
        >>> bool(threshold.grad < 0)
        True

    Source: Bengio, Leonard and Courville 2013 (arXiv 1308.3432).
    """
    return StraightThrough(hard, soft, differentiable_in_eval=differentiable_in_eval)
