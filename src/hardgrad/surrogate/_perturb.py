"""Two-point: the value of any function, and the gradient of the function smoothed over a step to either side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from hardgrad.surrogate.perturb_layer import Perturb
from hardgrad.surrogate.row_numbers import PerInput


def perturb(
    f: Callable[..., Tensor],
    scale: PerInput,
    *,
    samples: int | None = None,
    directions: Literal["random", "coordinates"] = "random",
    noise: Literal["normal"] | None = None,
    antithetic: bool = True,
    low: PerInput = None,
    high: PerInput = None,
    generator: torch.Generator | None = None,
    differentiable_in_eval: bool = False,
) -> Perturb:
    r"""Return a layer with the value of ``f`` and the gradient of ``f`` smoothed: for programs with few inputs.

    .. math:: y = f(x), \qquad
        \frac{\partial L}{\partial x} = \frac1K \sum_k \frac{v \cdot (f(x^+_k) - f(x^-_k))}{x^+_k - x^-_k},
        \qquad x^\pm_k = x \pm s\,u_k

    for each row alone, with directions of its own: :math:`v` is what arrives in the row, s is ``scale``, and the
    division is number by number. ``"random"``: every :math:`u_i` is 1 or -1 by chance. The mean gradient of number i is
    the slope of f between :math:`x_i - s_i` and :math:`x_i + s_i`, averaged over the signs of the others; one direction
    is right to about :math:`1/\sqrt n` for n numbers in a row. ``"coordinates"``: one number moves at a time (central
    differences); if fewer than all are drawn, what they give is scaled up, so that the mean is the same.
    ``noise="normal"``: u is normal and the gradient is that of :math:`E f(x + s u)` on average, by
    :math:`\frac1K \sum_k \frac{v}{2} \cdot (f(x^+_k) - f(x^-_k))\,u_k / s`; with ``antithetic=False`` each
    :math:`f(x^+_k)` is held against the mean of the others (leave-one-out).

    All of f is asked in the forward: 1 + 2 K calls in training where a gradient is wanted (1 + K with
    ``antithetic=False``), one otherwise; the backward calls nothing, and makes no Jacobian. (An activation checkpoint
    runs the forward again, f included.) The rows of f must not feel each other, and f should give the same twice: its
    own noise becomes the gradient's. A ``hardgrad.BlackBox`` with workers gets several points in one call; any other f
    gets a batch as it came, so a batch norm in training mode sees 1 + 2 K batches.

    **scale**: as wide as the steps of f, or the differences are zero or one whole step: on a program that rounds to
    1/8, 1e-4 is useless and 1/4 is right. ``hardgrad.doctor.examine`` measures it.

    **Bounds**: a pair that would leave ``[low, high]`` is moved inside as a whole, so that its width stays; where the
    range is narrower, its ends are the pair. The divisor is always the distance that was really travelled, after
    rounding to x's dtype, too. With noise the points are clamped: the gradient is that of f continued beyond its bounds
    by its values there, then smoothed.

    **When**: up to some tens of numbers a row. For more, ``hardgrad.Bridge`` learns a gradient, or
    ``hardgrad.straight_through`` copies one. Other names: scale is SPSA's c, the eps or h of finite differences, the
    sigma of evolution strategies, the mu of Nesterov; antithetic is mirrored, central, two-sided.

    Args:
        f: any callable of one tensor, or of several, that returns a tensor with a row for each row, of any shape; a
            ``hardgrad.BlackBox``, a lambda, a module. Called without gradient, as ``hardgrad.Bridge`` says: it may
            write into its input. Parameters that it uses get none from here; a module must be frozen.
        scale: above 0, in the input's unit: a number, or a tensor that broadcasts to one row of it. For several inputs
            a tuple, with None for those that are left alone; integer inputs are such.
        samples: K. None is 1, and for ``"coordinates"`` all of them; more than all is all.
        directions: ``"random"`` or ``"coordinates"``.
        noise: None or ``"normal"``, for random directions.
        antithetic: use each normal direction to both sides.
        low: bounds that f is never asked beyond, like ``scale``, maybe infinite; None for those of a ``BlackBox``.
        high: the upper ones.
        generator: of the directions, on x's device, in eager code; None is torch's global seed.
        differentiable_in_eval: lend the gradient in ``eval()`` too.

    Returns:
        An ``nn.Module``; the first dimension of every input is the batch.

    Raises:
        TypeError: for an argument of a wrong kind.
        ValueError: for an argument out of its range; in the forward pass, if an input is outside of its bounds, is so
            large that ``scale`` is lost in its rounding, or needs a gradient and has no scale; if f's parameters
            require gradients; if f returns no tensor, no row for each row, or another shape beside x. What cannot be
            read (in graphs, under ``torch.func``, on a GPU) is not looked at: a step that is lost makes its gradient
            infinite or NaN.
        RuntimeError: if the gradient is differentiated again.

    Example:
        >>> import torch, hardgrad as hg
        >>> layer = hg.perturb(lambda x: (8 * x).round() / 8, scale=0.25, directions="coordinates")
        >>> x = torch.tensor([[0.3, -1.2]], requires_grad=True)
        >>> layer(x).tolist()
        [[0.25, -1.25]]
        >>> layer(x).sum().backward()
        >>> x.grad.tolist()
        [[1.0, 1.0]]

    Source: Spall 1992 (IEEE Transactions on Automatic Control 37(3), section II); Sadegh and Spall 1998 (the same,
    43(10)) for the signs; Nesterov and Spokoiny 2017 (Foundations of Computational Mathematics 17, section 2) for
    normal noise.
    """
    return Perturb(
        f,
        scale,
        samples=samples,
        directions=directions,
        noise=noise,
        antithetic=antithetic,
        low=low,
        high=high,
        generator=generator,
        differentiable_in_eval=differentiable_in_eval,
    )
