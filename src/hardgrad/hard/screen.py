"""Which codes may be the nearest to a row, by a matrix product, and which of those is.

A product gives every squared distance but for what rounding changes, and here that is bounded for each row and code.
Codes are looked at in groups; the few that the bounds leave are compared by their distances.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hardgrad.hard.precision import double

_GROUP = 16  # codes; fewer make more minima of groups to search, more make the search in the best one longer
_UNGROUPED = 2048  # up to so many codes, the search among all of them is as fast
_BLOCK = 1024  # codes multiplied at once: with 256 rows, what a core's own cache holds
_MANY = 8  # groups that may hold the nearest: beyond, a finer product is the faster way to tell


class Screen:
    """Codes (k, d) prepared for products in one precision with points that ``dtype`` holds as they are."""

    def __init__(self, codes: Tensor, precision: torch.dtype, dtype: torch.dtype) -> None:
        self.codes, self.precision, self.dtype = double(codes), precision, dtype
        lost = ~self.codes.isfinite().all(-1)
        # Around one of their middle and at most 1, codes lose no digits to what they share, and nothing overflows. A
        # number of the codes' own and a power of two: points are moved and scaled with one rounding.
        self.center = self.codes[:: 1 + len(codes) // 256].nanmedian(0).values.nan_to_num(0, 0, 0)
        moved = self.codes - self.center
        moved[lost] = 0
        most = 126 if dtype == torch.float32 else 1000
        exponent = math.frexp(max(map(abs, torch.stack(moved.aminmax()).tolist())))[1]
        self.scale = 2.0 ** min(max(-exponent, -most), most)
        size = torch.linalg.vector_norm(moved.mul_(self.scale), dim=-1).clamp_(min=1e-12)  # above what underflows
        width = moved.shape[-1]
        # A product of width + 2 terms, of numbers that were rounded, is off by no more than this share of the lengths.
        share = 1.01 * (width + 12) * torch.finfo(precision).eps / 2
        self.slack = 4 * (width + 4) * torch.finfo(torch.float64).eps  # of the distances that are compared in the end
        self.group = 1 if len(codes) <= _UNGROUPED else _GROUP
        table = moved.new_zeros(-(-len(moved) // self.group) * self.group, width + 2, dtype=precision)
        table[: len(moved), :-2] = moved.mul_(-2)
        table[: len(moved), -2] = size.square().mul_(1 - share)
        table[: len(moved), -1] = -2 * share * size
        table[: len(moved), -2][lost] = table[len(moved) :, -2] = torch.inf
        self.bound = torch.stack([2 * share * size, share * size.square()], -1).mul_(2).to(precision)
        self.groups = table.unflatten(0, (-1, self.group))
        # The members of a group stand apart, so that a minimum over groups runs along memory.
        self.blocks = [g.transpose(0, 1).flatten(0, 1).mT for g in self.groups.split(_BLOCK // self.group)]

    def nearest(self, points: Tensor, cells: int) -> Tensor:
        """Return the index of the nearest code to each of ``points`` (n, d), -1 where the products cannot tell.

        Args:
            points: any numbers.
            cells: how many numbers may be held at a time.
        """
        # Without groups all scores are searched: in the cache, if they fit in it.
        cells = min(cells, 2**18) if self.group == 1 else cells
        width = self.groups[0].numel() + len(self.groups)
        return torch.cat([self._of_few(few) for few in points.split(max(1, cells // width))])

    def _of_few(self, points: Tensor) -> Tensor:
        rows = self._rows(points)
        least = self._least(rows)
        low, at = least.min(-1, keepdim=True)
        index, inside = at.squeeze(-1), low
        if self.group > 1:
            inside = self._inside(index, rows)
            low, member = inside.min(-1, keepdim=True)
            index = (at * self.group + member).squeeze(-1)
        length, bound = rows[:, -1], self.bound[index.clamp(max=len(self.bound) - 1)]
        high = low.squeeze(-1) + bound[:, 0] * length + bound[:, 1] + self.slack * length.square()
        alone = (inside <= high.unsqueeze(-1)).sum(-1) == 1
        others = least.scatter_(1, at, torch.inf).amin(-1)
        unsure = (~((others > high) & alone)).nonzero().squeeze(-1)
        for some in unsure.split(max(1, len(points) // _MANY)):
            near = least[some].scatter_(1, at[some], -torch.inf) <= high[some].unsqueeze(-1)
            index[some] = self._closely(points[some], rows[some], near, high[some])
        return index

    def _rows(self, points: Tensor) -> Tensor:
        """Return (n, d + 2): the points as the codes stand, one, and their lengths."""
        rows = points.new_ones(len(points), points.shape[-1] + 2, dtype=self.precision)
        moved, wide = rows[:, :-2], torch.promote_types(self.dtype, self.precision)
        if wide == self.precision:
            torch.sub(points.to(wide), self.center.to(wide), out=moved).mul_(self.scale)
        else:
            moved.copy_((points.to(wide) - self.center.to(wide)).mul_(self.scale))
        torch.linalg.vector_norm(moved, dim=-1, out=rows[:, -1])
        return rows

    def _least(self, rows: Tensor) -> Tensor:
        """Return a lower bound for each group, (rows, groups), of the squared distance less the row's own square."""
        if self.group == 1:
            return torch.mm(rows, self.groups.squeeze(1).mT)
        least = rows.new_empty(len(rows), len(self.groups))
        for some, into in zip(rows.split(256), least.split(256), strict=True):
            start = 0
            for block in self.blocks:
                groups = block.shape[-1] // self.group
                torch.amin((some @ block).unflatten(-1, (self.group, groups)), 1, out=into[:, start : start + groups])
                start += groups
        return least

    def _inside(self, group: Tensor, rows: Tensor) -> Tensor:
        """Return what ``_least`` is the minimum of, (rows, members), for one group a row."""
        return torch.bmm(rows.unsqueeze(1), self.groups.index_select(0, group).mT).squeeze(1)

    def _closely(self, points: Tensor, rows: Tensor, near: Tensor, high: Tensor) -> Tensor:
        """Compare the distances of the codes that the bounds leave in groups (rows, groups) that are near."""
        many = (near.sum(-1, keepdim=True) > _MANY) | ~high.isfinite().unsqueeze(-1)
        row, group = (near & ~many).nonzero().unbind(-1)
        scores = self._inside(group, rows[row])
        pair, member = (scores <= high[row].unsqueeze(-1)).nonzero().unbind(-1)
        row, code = row[pair], group[pair] * self.group + member
        gap = distance(double(points)[row].unsqueeze(1), self.codes[code].unsqueeze(1)).flatten()
        least = gap.new_full((len(points),), torch.inf).scatter_reduce_(0, row, gap, "amin")
        first = gap == least[row]
        none = row.new_full((len(points),), len(self.codes))
        found = none.scatter_reduce(0, row[first], code[first], "amin")
        found.masked_fill_(found == len(self.codes), -1)
        return found.masked_fill_(~points.isfinite().all(-1), 0)  # as far from all codes as from the first


def distance(points: Tensor, few: Tensor) -> Tensor:
    """(..., n, d) and (..., k, d) to (..., n, k), from differences."""
    return torch.cdist(points, few, compute_mode="donot_use_mm_for_euclid_dist")
