"""How sure a search is: resampled rows for the points, a wild bootstrap for "is one range enough?"."""

from __future__ import annotations

import torch
from torch import Tensor

from hardgrad.switch.search.criterion import FLOOR, fewest, unseen
from hardgrad.switch.search.exact import candidates_of
from hardgrad.switch.search.policies import Policy
from hardgrad.switch.search.proxy import CHUNK, SPECK, fit_ranges, membership
from hardgrad.switch.search.rows import Path, Rows
from hardgrad.switch.search.sums import unions


def resampled(
    rows: Rows,
    policy: Policy,
    most: int,
    group: Tensor,
    times: int,
    least_share: float,
    generator: torch.Generator | None,
) -> list[tuple[int, dict[int, list[float]]]]:
    """Search again on rows drawn with replacement, by groups.

    The number of ranges is chosen each time by the rows that were not drawn, about 37 % of them: drawn ones occur twice
    and would be known beforehand.

    Returns:
        For each resample the number chosen, and the inner points for each number of ranges.
    """
    groups = int(group.max()) + 1
    found = []
    for _ in range(times):
        drawn = torch.randint(groups, (groups,), generator=generator).bincount(minlength=groups)[group]
        part = rows.take(torch.repeat_interleave(torch.arange(rows.n), drawn), least_share)
        path = policy(part, most) if part.key[0] < part.key[-1] else Path({1: []})
        left_out = (drawn == 0).nonzero()[:, 0]
        chosen = fewest(unseen(rows, part, path, left_out), group[left_out])
        found.append((chosen, {ranges: [part.point(cut) for cut in cuts] for ranges, cuts in path.items()}))
    return found


def intervals(found: list[tuple[int, dict[int, list[float]]]], ranges: int) -> tuple[tuple[float, float], ...]:
    """Return for each inner point the central 95 % of where it lay in the resamples, at the same number of ranges."""
    points = torch.tensor([path[ranges] for _, path in found if ranges in path], dtype=torch.float64)
    if not len(points):
        return ((-torch.inf, torch.inf),) * (ranges - 1)
    ends = torch.quantile(points, torch.tensor([0.025, 0.975], dtype=torch.float64), dim=0)
    return tuple((float(low), float(high)) for low, high in ends.T)


def support(found: list[tuple[int, dict[int, list[float]]]], rows: Rows, cuts: list[int]) -> tuple[float, ...]:
    """Return for each cut the share of resamples that chose a point with fewer than ``least`` rows between the two."""
    shares = []
    for cut in cuts:
        near = [any(abs(rows.cut(point) - cut) < rows.least for point in path[chosen]) for chosen, path in found]
        shares.append(sum(near) / max(len(near), 1))
    return tuple(shares)


def one_range_p_value(
    rows: Rows, most: int, group: Tensor, times: int, candidates: int, generator: torch.Generator | None
) -> float:
    r"""Return how often targets made by one range's model look more like several ranges than the real targets do.

    The made targets are the one-range fit plus its own residuals with random signs, one sign a group, so that noise
    that grows with the key stays where it is. The statistic is the greatest of

    .. math:: F_N = \frac{(L_1 - L_N) / (N - 1)}{L_N}, \qquad N = 2, \ldots, \text{max\_ranges}

    with :math:`L_N` the exact least loss of N ranges over the candidates.

    Source: Hansen 1996, "Inference when a nuisance parameter is not identified under the null hypothesis"; the maximum
    over N is Bai and Perron's (1998).
    """
    grid = candidates_of(rows, candidates)
    if not len(grid):
        return 1.0
    model = fit_ranges(rows, [])
    everyone = torch.zeros(rows.n, dtype=torch.int64)
    residual = rows.z[:, rows.d :] - model.predict(rows.z[:, : rows.d], everyone)
    statistic = []
    groups = int(group.max()) + 1
    # The signs +1 come first: the residuals as they are give the statistic of the real targets.
    signs = torch.randint(2, (times, groups), generator=generator).mul_(2).sub_(1).to(rows.z.dtype)
    signs = torch.cat([torch.ones(1, groups, dtype=signs.dtype), signs])
    for some in signs.split(max(1, 2**24 // (rows.n * rows.outputs))):
        made = residual[:, :, None] * some[:, group].T[:, None]
        statistic.append(_greatest_f(_segment_losses(rows, grid, made), most, rows.n * rows.outputs))
    values = torch.cat(statistic)
    as_great = int((values[1:] >= values[0] * (1 - 1e-9)).sum())
    return (1 + as_great) / (1 + times)


def _segment_losses(rows: Rows, grid: Tensor, y: Tensor) -> Tensor:
    """Return the losses of all segments for R sets of targets y (n, o, R) at once, (m + 2, m + 2, R)."""
    edges = torch.cat([torch.tensor([0]), grid, torch.tensor([rows.n])])
    x, d, (outputs, times) = rows.z[:, : rows.d], rows.d, y.shape[1:]
    flat, sizes = y.flatten(1), edges.diff().tolist()
    xy = torch.stack([a.T @ b for a, b in zip(x.split(sizes), flat.split(sizes), strict=True)])
    sums = torch.stack([b.sum(0) for b in flat.split(sizes)])
    squares = torch.stack([b.square().sum(0) for b in flat.split(sizes)])
    parts = rows.sums.between(edges[:-1], edges[1:])
    losses = y.new_full((len(edges), len(edges), times), torch.inf)
    i, j = (edges[None] - edges[:, None] >= rows.least).nonzero(as_tuple=True)
    width = max(d * outputs * times, rows.z.shape[1] * max(rows.z.shape[1], len(edges)))
    for some in torch.arange(len(i)).split(max(1, CHUNK // width)):
        member = membership(i[some], j[some], len(sizes))
        moments = unions(parts, member)
        sxx = moments.scatter[:, :d, :d]
        penalty = rows.ridge * sxx.diagonal(dim1=1, dim2=2) + SPECK * moments.size[:, None]
        factor, _ = torch.linalg.cholesky_ex(sxx + torch.diag_embed(penalty))
        total = member @ sums
        sxy = (member @ xy.flatten(1)).unflatten(1, xy.shape[1:]) - moments.mean[:, :d, None] * total[:, None]
        slope = torch.cholesky_solve(sxy, factor)
        loss = member @ squares - total.square() / moments.size[:, None]
        loss = loss - (slope * (sxy + penalty[:, :, None] * slope)).sum(1)
        losses[i[some], j[some]] = loss.unflatten(1, (outputs, times)).sum(1).clamp_(min=0)
    return losses


def _greatest_f(losses: Tensor, most: int, values: int) -> Tensor:
    one = best = losses[0]  # (m + 2, R)
    greatest = losses.new_zeros(losses.shape[2])
    for ranges in range(2, most + 1):
        best = torch.stack([(best + losses[:, j]).min(0).values for j in range(len(losses))])
        gain = (one[-1] - best[-1]) / (ranges - 1)
        greatest = torch.maximum(greatest, (gain / (best[-1] + FLOOR * values)).nan_to_num(0.0, 0.0, 0.0))
    return greatest
