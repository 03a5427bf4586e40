"""How far a hard choice is from the soft one that its points learn by."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from hardgrad._shown.page import page, words
from hardgrad._shown.pictures import bar
from hardgrad._shown.table import Table
from hardgrad._shown.width import wrapped
from hardgrad.switch.branches.branches import Branches
from hardgrad.switch.conditions.learned import LearnedRanges
from hardgrad.switch.learning.gradient import rows_in_bands
from hardgrad.switch.rows import Routed


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
        return "\n".join([wrapped(self._head()), *self._table().lines()])

    def _repr_html_(self) -> str:
        """Return the table for a notebook."""
        return page(words(self._head()), self._table().html("points"))

    def _head(self) -> str:
        return (
            f"soft choice agrees with hard: {self.choice:.1%}, rows in a band: {self.in_band:.1%}, "
            f"outputs differ by {self.difference:.2%}"
        )

    def _table(self) -> Table:
        entries = zip(self.points, self.rows, self.jump, strict=True)
        rows = [(f"{point:.4g}", f"{rows}", f"{jump:.2%}") for point, rows, jump in entries]
        return Table(("point", "rows in band", "jump"), rows, {2: [bar(jump) for jump in self.jump]})


@torch.no_grad()
def measure_agreement(branches: Branches, ranges: LearnedRanges, batch: Routed) -> Agreement:
    """Compare the hard choice with the soft one, which mixes the two branches beside a point within its band."""
    assert ranges.band is not None
    rows, index = batch.rows, batch.branch
    hard = branches.predict(rows, index)
    row, edge, other, weight = rows_in_bands(ranges, batch.key, index)
    jump = (branches.predict(rows[row], other) - hard[row]).flatten(1).double()
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
