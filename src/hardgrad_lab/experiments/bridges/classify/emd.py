r"""How far a map is from sorted rows and columns: the earth mover's distance of figure 8, middle.

The distance between the values in and the values out is always 0: a sort changes their places, not the values. So the
places have to be the ground. A row is taken as heaps, :math:`x_i` at place i, and the question is how much has to be
carried how far to make the sorted row of it. On a line the answer is the difference of the running sums,

.. math:: E(x) = \sum_i \Bigl| \sum_{j \le i} x_j - \text{sort}(x)_j \Bigr|

Negative heaps do no harm: raising all values of a row by one number raises both running sums alike. Since a sorted row
has the smallest running sums of all orders, the bars are not needed, E is linear in the running sums, and a row in
random order costs half of what the reversed row costs. The reversed row costs the most of all, and divides.
"""

from __future__ import annotations

import torch
from torch import Tensor


def carried(x: Tensor) -> Tensor:
    """Return the earth mover's distance from each sequence along the last dimension to itself in ascending order.

    Args:
        x: shape (..., n).

    Returns:
        Shape (...), at least 0, in units of x times places.

    Example:
        >>> carried(torch.tensor([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0], [2.0, 1.0, 3.0]])).tolist()
        [0.0, 4.0, 1.0]
    """
    return (x.cumsum(-1) - x.sort(-1).values.cumsum(-1)).abs().sum(-1)


def rows_and_columns(x: Tensor) -> tuple[float, float, int]:
    """Return what sorting the rows and columns of maps carries, what it would in the worst order, and their number.

    Args:
        x: shape (..., n, n).

    Returns:
        Two sums over all rows and columns of all maps, and how many those are.
    """
    lines = torch.cat([x, x.mT], -2)
    worst = lines.sort(-1, descending=True).values
    return carried(lines).sum().item(), carried(worst).sum().item(), lines[..., 0].numel()
