"""What given points lose, for a search of one's own."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from hardgrad.segments.proxy import loss_of
from hardgrad.segments.rows import MOST_DEGREE, on_the_cpu, sorted_rows
from hardgrad.switch.arguments import real, whole


@on_the_cpu
def proxy_loss(
    x: Tensor,
    key: Tensor,
    target: Tensor,
    points: Sequence[float],
    *,
    ridge: float = 1e-6,
    degree: int = 1,
    weights: Tensor | None = None,
) -> float:
    """Return what linear models of given ranges lose, for a search of your own.

    Args:
        x, key, target, ridge, degree, weights: as ``search_ranges``.
        points: inner points; ranges without rows lose nothing.

    Returns:
        Mean squared error on the same rows, as a share of the targets' variance.

    Raises:
        ValueError: for points that are no numbers, and as ``search_ranges`` for the rest.

    Example:
        >>> import torch
        >>> from hardgrad.segments import proxy_loss
        >>> x = torch.linspace(-1, 1, 200)
        >>> proxy_loss(x, x, x.abs(), [0.0]) < 1e-9 < proxy_loss(x, x, x.abs(), [])
        True
    """
    try:
        numbers = [real("proxy_loss", "points", point) for point in points]
    except (TypeError, ValueError):
        raise ValueError(f"proxy_loss: points must be numbers, and none of them NaN, got {points!r}") from None
    degree = whole("proxy_loss", "degree", degree, 1, MOST_DEGREE)
    rows, _ = sorted_rows("proxy_loss", x, key, target, 1e-9, ridge, weights=weights, degree=degree)
    cuts = sorted({rows.cut(point) for point in numbers} - {0, rows.n})
    return loss_of(rows, cuts) / (rows.n * rows.outputs)
