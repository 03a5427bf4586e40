"""Where the points between ranges are, how many, and how sure that is."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from hardgrad import _check
from hardgrad.segments.bootstrap import certainty
from hardgrad.segments.choose import by_bic, by_held_out
from hardgrad.segments.criterion import folds_of
from hardgrad.segments.options import Options, checked_held_out, groups_of
from hardgrad.segments.policies import Name, PointPolicy, policy_of
from hardgrad.segments.result import FoundRanges
from hardgrad.segments.rows import MOST_DEGREE, on_the_cpu, sorted_rows
from hardgrad.segments.summary import all_points, gains_of, scores_of
from hardgrad.switch.arguments import whole


@on_the_cpu
def search_ranges(
    x: Tensor,
    key: Tensor,
    target: Tensor,
    *,
    max_ranges: int,
    policy: Name | PointPolicy = "dynamic_programming",
    criterion: Literal["held_out", "bic"] = "held_out",
    least_share: float = 0.05,
    held_out: float | Tensor = 0.25,
    block: int = 1,
    candidates: int = 64,
    ridge: float = 1e-6,
    degree: int = 1,
    weights: Tensor | None = None,
    bootstrap: int = 0,
    outside: Literal["nearest", "error"] = "nearest",
    generator: torch.Generator | None = None,
) -> FoundRanges:
    r"""Find the ranges of a key in which different linear models of x explain the target.

    .. math:: \min_{p_1 < \ldots < p_{N-1}} \sum_{i=1}^{N} \min_{W, b}
        \sum_{k_n \in [p_{i-1}, p_i)} \lVert W x_n + b - y_n \rVert^2

    for each N up to ``max_ranges``, and then the N that the criterion prefers. The linear models are a proxy for the
    branches: cheap enough to try thousands of ranges, blind to what only a network can tell apart. Include the key in
    x if the branches will see it; otherwise ranges are found that merely stand in for it. Everything is computed in
    float64 on the CPU, and does not change with the units of x, key or target, from 1e-300 to 1e300. Nothing that is
    given is written to.

    Args:
        x: (B, d) or (B,), what the branches will see.
        key: (B,), the number that decides, floating point or integer.
        target: (B, o) or (B,).
        max_ranges: the greatest number of ranges, at least 1.
        policy: "dynamic_programming": exact over the candidates, then moved and merged among all keys; "tree": greedy
            splits, then moved and merged; "quantile": equal counts, not moved; "gradient": learned by a small network,
            ``hardgrad.segments.Gradient()``. Or a function ``(x, key, target, ranges) -> inner points``, such as a
            ``Gradient`` of your own, whose points stay where it puts them.
        criterion: "held_out": the fewest ranges whose loss on held-out rows is within two standard errors of the best;
            "bic".
        least_share: least share of the rows in a range, in (0, 0.5]. A range never has fewer than 2 (d + 1) rows.
        held_out: share of rows held out at a time, in [0.001, 0.5]; with 0.25 there are four rounds, each row is held
            out once. Or bool (B,), the rows to hold out, once.
        block: so many consecutive rows are held out, and drawn by the bootstrap, together. For signals, where a row is
            like the one before: longer than the signal's memory.
        candidates: quantiles of the key among which the first choice is exact; wide gaps of the key are added.
        ridge: penalty on each slope, as a share of its input's variance within the range.
        degree: the models of a range are polynomials of the key up to this degree, and linear in the other inputs. 1:
            linear, for linear branches. 3 for branches that bend: a range that bends inside is then one range, and the
            breaks are sought where a curve ends, not where a line is too straight for it; 1 to 8.
        weights: (B,), above 0: a row of weight 2 counts as two rows, except that it is one of the ``least_share``.
        bootstrap: number of resamples for ``intervals``, ``support`` and ``p_value``; 0 for none, 200 is usual,
            100,000 the most.
        outside: what ``found.ranges()`` does with a key outside of the data.
        generator: draws the rounds and the resamples. Default: torch's global seed.

    Returns:
        ``FoundRanges``; ``print`` it.

    Raises:
        ValueError: for shapes that do not match, numbers that are not finite (the row is named), a constant key, too
            few rows or blocks, and options out of range.
        TypeError: for data that are no tensors and a generator that is none.

    Example:
        >>> import torch, hardgrad as hg
        >>> g = torch.Generator().manual_seed(0)
        >>> x = torch.rand(2000, generator=g) * 2 - 1
        >>> y = torch.where(x < 0.3, x, -2 * x)
        >>> found = hg.search_ranges(x, x, y, max_ranges=4, generator=g)
        >>> [round(point, 2) for point in found.points]
        [-1.0, 0.3, 1.0]
        >>> switch = hg.Switch(found.ranges(), torch.nn.Linear(1, 1))

    Source: segmented least squares (Bellman 1961) with the choices of threshold regression (Hansen 2000).
    """
    _check.one_of("search_ranges", "criterion", criterion, ("held_out", "bic"))
    _check.one_of("search_ranges", "outside", outside, ("nearest", "error"))
    options = Options("search_ranges", max_ranges, least_share, block, candidates, generator, bootstrap)
    if weights is not None and options.bootstrap:
        raise ValueError(f"search_ranges: bootstrap must be 0 where rows have weights, got {bootstrap}; it draws rows")
    degree = whole("search_ranges", "degree", degree, 1, MOST_DEGREE)
    rows, order = sorted_rows("search_ranges", x, key, target, least_share, ridge, weights=weights, degree=degree)
    group = groups_of(order, options)
    fold = folds_of(group, checked_held_out(held_out, rows, order), generator)
    run, most = policy_of(policy, options.candidates), min(options.max_ranges, rows.n // rows.least)
    path = run(rows, most)
    held = criterion == "held_out"
    choice = by_held_out(rows, path, run, most, fold, group, least_share) if held else by_bic(rows, path)
    cuts = path[choice.ranges]
    sure = certainty(rows, run, cuts, most, group, options)
    return FoundRanges(
        points=all_points(rows, cuts),
        scores=scores_of(rows, cuts),
        gains=gains_of(rows, cuts),
        criterion=criterion,
        criterion_path=choice.tried,
        smooth=choice.smooth,
        intervals=sure.intervals,
        support=sure.support,
        p_value=sure.p_value,
        policy=policy if isinstance(policy, str) else getattr(policy, "__name__", type(policy).__name__),
        outside=outside,
    )
