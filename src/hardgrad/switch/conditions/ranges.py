"""The condition of a plain hard IF: which range a number falls into."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from hardgrad.switch.conditions.on_points import PointRouter
from hardgrad.switch.points import Closed, Outside, Points, checked


@final
class Ranges(PointRouter):
    r"""The condition of a hard IF: N + 1 points make N ranges, and a key leads to the range it falls into.

    .. math:: \text{index}(k) = i \iff p_i \le k < p_{i+1}, \qquad \text{the last range also holds } p_N

    The points are Python floats: ``.half()`` and ``.to(torch.bfloat16)`` leave them alone. A key is compared in its own
    dtype with the points cast to it, so that a key written as the number of a point is on that point in every dtype.
    No gradient flows to the key through the choice; a key that is also an input of a branch keeps its ordinary one.

    Args:
        points: at least two numbers, strictly increasing. The outer two may be infinite.
        outside: what to do with a key below the first point or above the last: "nearest" takes the end range, "error"
            raises. In a compiled or exported graph and under ``vmap``, where no value can raise, always "nearest".
        closed: the end that belongs to a range: "left" for [a, b), "right" for (a, b]. The outer points always belong.

    Shape:
        key: any shape, floating point or integer. Returns int64 of the same shape, in 0 .. N - 1; where no value can
        raise, -1 for a key that is NaN, whose row a switch gives to no branch.

    Attributes:
        points: tuple of N + 1 floats; ``len(ranges)`` is N.
        visits: int64 (N,), how many keys fell into each range so far, in training or not; ``below`` and ``above``, how
            many were outside. ``index(key)`` counts nothing, a call does. ``reset_counts()`` sets all to zero.
            ``state_dict()`` has them and the points; loading checks the points.

    Raises:
        ValueError: for points that are too few, unsorted, duplicate or NaN; for a key that is NaN, or outside with
            ``outside="error"``: the message has the value and its row.

    Example:
        >>> import torch, hardgrad as hg
        >>> ranges = hg.Ranges([-1.0, 0.0, 0.5, 1.0])
        >>> ranges(torch.tensor([-0.2, 0.0, 0.7, 1.0])).tolist()
        [0, 1, 2, 2]
        >>> ranges.label(1), ranges.visits.tolist()
        ('[0, 0.5)', [1, 1, 2])

    Source: Clarke 2025, LACTOSE, algorithm 1 and section 2; the boundary rule is the published program's.
    """

    def __init__(self, points: Sequence[float], outside: Outside = "nearest", closed: Closed = "left") -> None:
        super().__init__(Points(checked(points), closed), outside)
