"""The search for the conditions of a switch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from hardgrad.segments.bootstrap import intervals, one_range_p_value, resampled, support
from hardgrad.segments.criterion import fewest, folds_of, held_out_losses
from hardgrad.segments.described import (
    all_points,
    gains_of,
    scores_of,
    smooth_of,
    tried_by_bic,
    tried_on_held_out,
)
from hardgrad.segments.found import FoundRanges
from hardgrad.segments.gradient import Gradient
from hardgrad.segments.policies import PointPolicy, Policy, dynamic_programming, of_points, quantile, tree
from hardgrad.segments.proxy import loss_of
from hardgrad.segments.rows import Rows, on_the_cpu, sorted_rows
from hardgrad.switch.arguments import generator as drawn_on_the_cpu
from hardgrad.switch.arguments import real, whole
from hardgrad.switch.conditions.condition import one_of

Name = Literal["dynamic_programming", "tree", "quantile", "gradient"]
POLICIES: dict[str, Callable[[int], Policy]] = {
    "dynamic_programming": dynamic_programming,
    "tree": tree,
    "quantile": lambda candidates: quantile,
    "gradient": lambda candidates: of_points(Gradient()),
}
LEAST_HELD_OUT = 0.001
MOST_RESAMPLES = 100_000  # each is a search of its own
MOST_DEGREE = 8  # of the key: beyond that a range's polynomial follows the noise at its ends


@on_the_cpu
def search_ranges(
    key: Tensor,
    inputs: Tensor,
    targets: Tensor,
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
    r"""Find the ranges of a key in which different linear models of the inputs explain the targets.

    .. math:: \min_{p_1 < \ldots < p_{N-1}} \sum_{i=1}^{N} \min_{W, b}
        \sum_{k_n \in [p_{i-1}, p_i)} \lVert W x_n + b - y_n \rVert^2

    for each N up to ``max_ranges``, and then the N that the criterion prefers. The linear models are a proxy for the
    branches: cheap enough to try thousands of ranges, blind to what only a network can tell apart. Include the key in
    the inputs if the branches will see it; otherwise ranges are found that merely stand in for it. Everything is
    computed in float64 on the CPU, and does not change with the units of key, inputs or targets, from 1e-300 to 1e300.
    Nothing that is given is written to.

    Args:
        key: (B,), the number that decides, floating point or integer.
        inputs: (B, d) or (B,), what the branches will see.
        targets: (B, o) or (B,).
        max_ranges: the greatest number of ranges, at least 1.
        policy: "dynamic_programming": exact over the candidates, then moved and merged among all keys; "tree": greedy
            splits, then moved and merged; "quantile": equal counts, not moved; "gradient": learned by a small network,
            ``hardgrad.segments.Gradient()``. Or a function ``(key, inputs, targets, ranges) -> inner points``, such as a
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
    max_ranges, block, candidates, bootstrap = _check(
        max_ranges, criterion, block, candidates, bootstrap, outside, generator
    )
    if weights is not None and bootstrap:
        raise ValueError(f"search_ranges: bootstrap must be 0 where rows have weights, got {bootstrap}; it draws rows")
    degree = whole("search_ranges", "degree", degree, 1, MOST_DEGREE)
    rows, order = sorted_rows("search_ranges", key, inputs, targets, least_share, ridge, weights=weights, degree=degree)
    group = groups_of(order, block, bootstrap)
    fold = folds_of(group, _held_out(held_out, rows, order), generator)
    run = policy_of(policy, candidates)
    most = min(max_ranges, rows.n // rows.least)
    path = run(rows, most)
    if criterion == "bic":
        tried = tried_by_bic(rows, path)
        ranges = min(tried, key=lambda each: each.score).ranges
    else:
        losses = held_out_losses(rows, run, most, fold, least_share)
        losses = {ranges: loss for ranges, loss in losses.items() if ranges in path}
        ranges = fewest(losses, group)
        tried = tried_on_held_out(rows, path, losses, group)
    cuts = path[ranges]
    p_value, found = None, None
    if bootstrap:
        p_value = one_range_p_value(rows, most, group, bootstrap, candidates, generator)
        found = resampled(rows, run, most, group, bootstrap, least_share, generator)
    return FoundRanges(
        points=all_points(rows, cuts),
        scores=scores_of(rows, cuts),
        gains=gains_of(rows, cuts),
        criterion=criterion,
        criterion_path=tried,
        smooth=smooth_of(rows, ranges, fold) if criterion == "held_out" else None,
        intervals=intervals(rows, cuts, group, bootstrap, generator) if bootstrap else None,
        support=None if found is None else support(found, rows, cuts),
        p_value=p_value,
        policy=policy if isinstance(policy, str) else getattr(policy, "__name__", type(policy).__name__),
        outside=outside,
    )


@on_the_cpu
def proxy_loss(
    key: Tensor,
    inputs: Tensor,
    targets: Tensor,
    points: Sequence[float],
    *,
    ridge: float = 1e-6,
    degree: int = 1,
    weights: Tensor | None = None,
) -> float:
    """Return what linear models of given ranges lose, for a search of your own.

    Args:
        key, inputs, targets, ridge, degree, weights: as ``search_ranges``.
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
    rows, _ = sorted_rows("proxy_loss", key, inputs, targets, 1e-9, ridge, weights=weights, degree=degree)
    cuts = sorted({rows.cut(point) for point in numbers} - {0, rows.n})
    return loss_of(rows, cuts) / (rows.n * rows.outputs)


def _check(
    max_ranges: int,
    criterion: str,
    block: int,
    candidates: int,
    bootstrap: int,
    outside: str,
    generator: torch.Generator | None,
) -> tuple[int, int, int, int]:
    one_of("search_ranges", "criterion", criterion, ("held_out", "bic"))
    one_of("search_ranges", "outside", outside, ("nearest", "error"))
    drawn_on_the_cpu("search_ranges", generator, "cpu")
    least = {"max_ranges": (max_ranges, 1), "block": (block, 1), "candidates": (candidates, 2)}
    checked = [
        whole("search_ranges", name, *rule)
        for name, rule in {**least, "bootstrap": (bootstrap, 0, MOST_RESAMPLES)}.items()
    ]
    return checked[0], checked[1], checked[2], checked[3]


def groups_of(order: Tensor, block: int, bootstrap: int = 0, owner: str = "search_ranges") -> Tensor:
    """Return the block of each row, or raise if there are too few blocks to hold some out."""
    group = torch.div(order, block, rounding_mode="floor")
    blocks, least = -(-len(order) // block), 3 if bootstrap else 2
    if blocks < least:
        raise ValueError(
            f"{owner}: block must leave at least {least} blocks of rows, got {block} for {len(order)} rows; make "
            "blocks shorter, or give more rows"
        )
    return group


def policy_of(policy: str | PointPolicy, candidates: int) -> Policy:
    """Return the policy of a name or of a user's function, or raise a ValueError."""
    if callable(policy):
        return of_points(policy)
    one_of("search_ranges", "policy", policy, tuple(POLICIES))
    return POLICIES[policy](candidates)


def check_share(held_out: float) -> float:
    """Return the share of rows to hold out, or raise a ValueError."""
    if isinstance(held_out, bool | str) or not 0 < real("search_ranges", "held_out", held_out) <= 0.5:
        raise ValueError(
            "search_ranges: held_out must lie in (0, 0.5], or be a bool tensor of the rows to hold out, got "
            f"{held_out!r}"
        )
    if held_out < LEAST_HELD_OUT:
        raise ValueError(
            f"search_ranges: held_out must be at least {LEAST_HELD_OUT}, since all rows are held out once, a share at "
            f"a time, and each time is a search, got {held_out}"
        )
    return float(held_out)


def _held_out(held_out: float | Tensor, rows: Rows, order: Tensor) -> float | Tensor:
    if not isinstance(held_out, Tensor):
        return check_share(held_out)
    if held_out.dtype is not torch.bool or held_out.shape != order.shape:
        raise ValueError(
            f"search_ranges: held_out as a tensor must be bool of shape ({rows.n},), one for each row, got "
            f"{held_out.dtype} {tuple(held_out.shape)}"
        )
    if not held_out.any() or rows.n - int(held_out.sum()) < rows.least:
        raise ValueError(
            f"search_ranges: held_out must name at least one row and leave {rows.least}, the fewest of a range, got "
            f"{int(held_out.sum())} of {rows.n} rows"
        )
    return held_out.cpu()[order]
