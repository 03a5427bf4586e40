"""How far a hard choice is from the soft one that its points learn by."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hardgrad.switch.checks import some_rows
from hardgrad.switch.conditions.learned import LearnedRanges
from hardgrad.switch.learning.gradient import near, served
from hardgrad.switch.switch import Switch


@dataclass(frozen=True)
class Agreement:
    """What ``agreement`` measured.

    Args:
        choice: mean over the rows of the weight that the soft choice gives the hard one's branch: 1 where no row is
            near a point, 0.5 where all are on one.
        in_band: share of the rows within the band of a point.
        points: the inner points.
        rows: how many rows are in the band of each.
        jump: for each, root mean square of the difference between the two branches' outputs on these rows, relative to
            that of all outputs; NaN where there are no rows. What a row loses by being on the wrong side is of this
            size.
        difference: the soft mixture's outputs less the hard ones, relative to the hard ones, in norm.
    """

    choice: float
    in_band: float
    points: tuple[float, ...]
    rows: tuple[int, ...]
    jump: tuple[float, ...]
    difference: float

    def __str__(self) -> str:
        lines = [
            f"soft choice agrees with hard: {self.choice:.1%}, rows in a band: {self.in_band:.1%}, "
            f"outputs differ by {self.difference:.2%}",
            f"{'point':>10}  {'rows in band':>12}  {'jump':>8}",
        ]
        entries = zip(self.points, self.rows, self.jump, strict=True)
        return "\n".join([*lines, *(f"{point:>10.4g}  {rows:>12}  {jump:>8.2%}" for point, rows, jump in entries)])


@torch.no_grad()
def agreement(switch: Switch, x: Tensor, key: Tensor | None = None) -> Agreement:
    r"""Compare the hard choice with the soft one whose slope learned points follow.

    The soft choice mixes the two branches beside a point by the area of the triangle of ``LearnedRanges``, which slopes
    from one to the other within the band:

    .. math:: s_i(k) = \int_{-\infty}^{k} w_h(u - p_i)\, \mathrm{d}u

    Args:
        switch: a switch on ``LearnedRanges`` with a band; it runs in evaluation mode, and no visit is counted.
        x: as for the switch.
        key: as for the switch.

    Returns:
        An ``Agreement``; print it.

    Raises:
        ValueError: for other ranges, no band or no rows.

    Example:
        >>> import torch, hardgrad as hg
        >>> switch = hg.Switch(hg.LearnedRanges([0.0, 1.0, 2.0], band=0.2), torch.nn.Linear(1, 1))
        >>> x = torch.tensor([[0.5], [1.0], [1.1], [1.5]])
        >>> report = hg.switch.agreement(switch, x, key=x[:, 0])
        >>> round(report.choice, 3), report.in_band, report.rows
        (0.844, 0.5, (2,))
    """
    ranges = getattr(switch, "ranges", None)
    if not isinstance(ranges, LearnedRanges) or ranges.band is None:
        got = ranges if isinstance(switch, Switch) else type(switch).__name__
        raise ValueError(f"agreement: switch must have LearnedRanges with a band, got {got}; set ranges.band, 0.5 say")
    rows, key, index, _ = switch.routed(x, key)
    some_rows("agreement", rows)
    hard = served(switch, rows, torch.arange(len(rows), device=rows.device), index)
    row, edge, other, weight = near(ranges, key, index)
    jump = (served(switch, rows, row, other) - hard[row]).flatten(1).double()
    half = ranges.band * torch.tensor(ranges.reach, dtype=torch.float64, device=weight.device)[edge]
    share = 0.5 * (weight.abs() * half).square()  # of the other branch: the triangle's area beyond the row
    given = torch.zeros(len(rows), dtype=torch.float64, device=rows.device).index_add(0, row, share)
    moved = torch.zeros(len(rows), jump.shape[1], dtype=torch.float64, device=rows.device)
    moved = moved.index_add(0, row, jump * share.unsqueeze(1))
    scale = hard.double().square().mean().sqrt()
    sums = torch.zeros(len(ranges.reach), dtype=torch.float64, device=rows.device)
    counts = sums.index_add(0, edge, torch.ones_like(share))
    square = sums.index_add(0, edge, jump.square().mean(1)) / counts
    return Agreement(
        choice=1 - given.mean().item(),
        in_band=(given > 0).double().mean().item(),
        points=ranges.points[1:-1],
        rows=tuple(int(count) for count in counts),
        jump=tuple((square.sqrt() / scale).tolist()),
        difference=(moved.norm() / hard.double().norm()).item(),
    )
