"""The ridge proxy: what a linear model of each range would lose, from sums alone."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from hardgrad.segments.rows import Rows
from hardgrad.segments.sums import Moments, unions

# Beside the ridge, relative to each column's variance over all rows: keeps a column that is constant within a range.
SPECK = 1e-12
CHUNK = 2**21  # numbers in one batch of sums, so that they stay near the processor


class Fit(NamedTuple):
    """A ridge model of each of S sets: squared error summed over rows and outputs (S,), slopes (S, d, o), means."""

    loss: Tensor
    slope: Tensor
    mean: Tensor

    def predict(self, x: Tensor, index: Tensor) -> Tensor:
        """Return (n, o) for inputs (n, d), each row by the model that index (n,) names."""
        d = x.shape[1]
        y = x.new_empty(len(x), self.slope.shape[2])
        for i in range(len(self.slope)):
            mine = index == i
            y[mine] = (x[mine] - self.mean[i, :d]) @ self.slope[i] + self.mean[i, d:]
        return y


def fit(moments: Moments, d: int, ridge: float) -> Fit:
    """Return the ridge model of each set; an input is penalized relative to its own variance within the set."""
    sxy = moments.scatter[..., :d, d:]
    syy = moments.scatter[..., d:, d:].diagonal(dim1=-2, dim2=-1).sum(-1)
    penalty, factor = factored(moments, d, ridge)
    slope = torch.cholesky_solve(sxy, factor)
    # syy - 2 slope.sxy + slope.sxx.slope, with (sxx + penalty) slope = sxy
    loss = syy - (slope * (sxy + penalty[..., None] * slope)).sum((-2, -1))
    return Fit(loss.clamp_(min=0), slope, moments.mean)


def factored(moments: Moments, d: int, ridge: float) -> tuple[Tensor, Tensor]:
    """Return the penalty on each slope (..., S, d), and the Cholesky factor of the inputs' scatter with it."""
    sxx = moments.scatter[..., :d, :d]
    penalty = ridge * sxx.diagonal(dim1=-2, dim2=-1) + SPECK * moments.size[..., None]
    factor, _ = torch.linalg.cholesky_ex(sxx + torch.diag_embed(penalty))
    return penalty, factor


def fit_ranges(rows: Rows, cuts: list[int]) -> Fit:
    """Return the ridge model of each range that the cuts make."""
    edges = torch.tensor([0, *cuts, rows.n])
    return fit(rows.sums.between(edges[:-1], edges[1:]), rows.d, rows.ridge)


def loss_of(rows: Rows, cuts: list[int]) -> float:
    """Return the squared error of all ranges that the cuts make."""
    return float(fit_ranges(rows, cuts).loss.sum())


def range_losses(rows: Rows, start: Tensor, end: Tensor) -> Tensor:
    """Return the squared error of one model for rows start .. end - 1, (S,) each."""
    return fit(rows.sums.between(start, end), rows.d, rows.ridge).loss


def split_losses(rows: Rows, edges: Tensor) -> Tensor:
    """Return what each window loses when parted in two at each of its inner edges.

    Args:
        rows: the rows.
        edges: (W, K + 2) strictly increasing positions of W windows: where it begins, K cuts, where it ends.

    Returns:
        (W, K).
    """
    cuts, p = edges.shape[1] - 2, rows.z.shape[1]
    left = torch.ones(cuts, cuts + 1, dtype=rows.z.dtype).tril()
    member = torch.cat([left, 1 - left])
    losses = []
    for some in edges.split(max(1, CHUNK // (2 * max(cuts, 1) * p * max(p, cuts)))):
        parts = rows.sums.between(some[:, :-1].reshape(-1), some[:, 1:].reshape(-1))
        windows = Moments(*(each.unflatten(0, (len(some), cuts + 1)) for each in parts))
        losses.append(fit(unions(windows, member), rows.d, rows.ridge).loss)
    halves = torch.cat(losses).reshape(len(edges), 2, cuts)
    return halves.sum(1)


def segment_losses(rows: Rows, cuts: Tensor) -> Tensor:
    """Return the loss of the rows between any two of the cuts and ends, (m + 2, m + 2); inf where they are too few."""
    edges = torch.cat([torch.tensor([0]), cuts, torch.tensor([rows.n])])
    losses = torch.full((len(edges), len(edges)), torch.inf, dtype=rows.z.dtype)
    i, j = (edges[None] - edges[:, None] >= rows.least).nonzero(as_tuple=True)
    parts, p = rows.sums.between(edges[:-1], edges[1:]), rows.z.shape[1]
    for some in torch.arange(len(i)).split(max(1, CHUNK // (p * max(p, len(edges))))):
        member = membership(i[some], j[some], len(edges) - 1)
        losses[i[some], j[some]] = fit(unions(parts, member), rows.d, rows.ridge).loss
    return losses


def membership(i: Tensor, j: Tensor, parts: int) -> Tensor:
    """Return float64 (S, parts), 1 for the blocks from edge i to edge j."""
    block = torch.arange(parts)
    return ((block >= i[:, None]) & (block < j[:, None])).double()
