"""Which column, and which lag of it, should be the key."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from hardgrad import _check
from hardgrad._shown.page import page
from hardgrad._shown.table import Table
from hardgrad.segments.criterion import fewest, folds_of, held_out_losses, mean_and_error
from hardgrad.segments.options import Options, checked_share, groups_of
from hardgrad.segments.policies import Name, PointPolicy, policy_of
from hardgrad.segments.rows import Rows, on_the_cpu, sorted_rows
from hardgrad.switch.arguments import whole


@dataclass(frozen=True)
class KeyScore:
    """One column at one lag as a key.

    Losses are held out, as shares of the targets' variance.

    Args:
        name: the column.
        lag: so many rows back.
        ranges: how many ranges were chosen.
        points: their inner points, found on all rows.
        gain: loss of one range minus loss of the ranges.
        error: standard error of the gain.
        behind: loss of these ranges minus that of the best key's.
        behind_error: standard error of ``behind``; the best key is no surer than the runner-up's ``behind`` over this.
    """

    name: str
    lag: int
    ranges: int
    points: tuple[float, ...]
    gain: float
    error: float
    behind: float
    behind_error: float


@dataclass(frozen=True, repr=False)
class RankedKeys:
    """What ``search_key`` found: ``ranking``, a tuple of ``KeyScore``, the best key first."""

    ranking: tuple[KeyScore, ...]

    @property
    def best(self) -> KeyScore:
        return self.ranking[0]

    def to_json(self) -> str:
        """Return the ranking as JSON."""
        return json.dumps([asdict(score) for score in self.ranking], indent=2)

    def __repr__(self) -> str:
        """Return one line; ``print`` shows everything."""
        return f"<RankedKeys: {len(self.ranking)} keys; the best is {self.best.name}, {self.best.lag} rows back>"

    def _repr_html_(self) -> str:
        """Return the ranking for a notebook."""
        return page(self._table().html("keys, the best first"))

    def __str__(self) -> str:
        return "\n".join(self._table().lines())

    def _table(self) -> Table:
        rows = [
            (
                s.name,
                str(s.lag),
                str(s.ranges),
                f"{s.gain:.4g} ± {s.error:.2g}",
                f"{s.behind:.4g} ± {s.behind_error:.2g}",
                ", ".join(f"{point:.4g}" for point in s.points) or "-",
            )
            for s in self.ranking
        ]
        return Table(("key", "lag", "ranges", "gain", "behind the best", "points"), rows)


@on_the_cpu
def search_key(
    x: Tensor,
    keys: Mapping[str, Tensor] | Tensor,
    target: Tensor,
    *,
    max_ranges: int,
    lags: Sequence[int] = (0,),
    policy: Name | PointPolicy = "dynamic_programming",
    least_share: float = 0.05,
    held_out: float = 0.25,
    block: int = 1,
    candidates: int = 64,
    ridge: float = 1e-6,
    generator: torch.Generator | None = None,
) -> RankedKeys:
    r"""Rank columns, and lags of them, by how much ranges of each gain over one range on held-out rows.

    .. math:: k_t = c_{t - \text{lag}}, \qquad \text{gain} = L_1 - L_N

    All keys are judged on the same rows: the first ``max(lags)`` are left out. Of many keys that are worth nothing the
    best still looks a little better than it is; compare ``gain`` with ``error``, and ``behind`` with ``behind_error``.

    Args:
        keys: (B, c), or a mapping from names to (B,). Rows are in order of time if lags are used, and of one recording.
        x, target, max_ranges, policy, least_share, block, candidates, ridge, generator: as ``search_ranges``.
        lags: how many rows back each column is read, each at least 0.
        held_out: share of rows held out at a time.

    Returns:
        ``RankedKeys``; ``print`` it.

    Raises:
        ValueError: as ``search_ranges``; for no keys or lags, or a lag that is negative or leaves no rows.

    Example:
        >>> import torch, hardgrad as hg
        >>> g = torch.Generator().manual_seed(0)
        >>> a, b = torch.rand(2, 400, generator=g)
        >>> y = torch.where(a.roll(3) < 0.4, b, -b)
        >>> ranked = hg.search_key(b, {"a": a, "b": b}, y, max_ranges=3, lags=[0, 3], generator=g)
        >>> ranked.best.name, ranked.best.lag, ranked.best.ranges
        ('a', 3, 2)

    Source: the choice of the delay in threshold autoregression (Tong 1983), with held-out loss in place of AIC.
    """
    for name, values in {"x": x, "target": target}.items():
        if not _check.tensor("search_key", name, values).ndim:
            raise ValueError(f"search_key: {name} must have shape (B,) or (B, columns), got ()")
    columns = _columns(keys, len(x))
    lags = _checked_lags(lags, len(x))
    held_out = checked_share(held_out)
    options = Options("search_key", max_ranges, least_share, block, candidates, generator)
    first = max(lags)
    tried = []
    for name, column in columns.items():
        for lag in lags:
            key = column[first - lag : len(column) - lag]
            owner = f"search_key({name!r})"
            rows, order = sorted_rows(owner, x[first:], key, target[first:], least_share, ridge)
            tried.append(_tried(name, lag, rows, order, policy, held_out, options))
    return _ranked(tried, options.block)


class _Tried(NamedTuple):
    """A column at a lag: its choice, and the held-out losses of each row with the ranges and with one range."""

    name: str
    lag: int
    ranges: int
    points: tuple[float, ...]
    loss: Tensor
    one_range: Tensor


def _tried(
    name: str, lag: int, rows: Rows, order: Tensor, policy: Name | PointPolicy, held_out: float, options: Options
) -> _Tried:
    group = groups_of(order, options)
    run, most = policy_of(policy, options.candidates), min(options.max_ranges, rows.n // rows.least)
    fold = folds_of(group, held_out, options.generator)
    losses = held_out_losses(rows, run, most, fold, options.least_share)
    path = run(rows, most)
    ranges = fewest({n: loss for n, loss in losses.items() if n in path}, group)
    chosen, one = (torch.empty_like(losses[n]).index_copy_(0, order, losses[n]) for n in (ranges, 1))
    return _Tried(name, lag, ranges, rows.points(path[ranges]), chosen, one)


def _ranked(tried: list[_Tried], block: int) -> RankedKeys:
    tried.sort(key=lambda key: float(key.loss.mean()))
    best = tried[0].loss
    group = torch.div(torch.arange(len(best)), block, rounding_mode="floor")
    return RankedKeys(
        tuple(
            KeyScore(
                *key[:4], *mean_and_error(key.one_range - key.loss, group), *mean_and_error(key.loss - best, group)
            )
            for key in tried
        )
    )


def _columns(keys: Mapping[str, Tensor] | Tensor, rows: int) -> dict[str, Tensor]:
    if isinstance(keys, Tensor):
        if keys.ndim != 2:
            raise ValueError(
                f"search_key: keys must have shape (B, columns), or be a mapping from names to (B,), got "
                f"{tuple(keys.shape)}"
            )
        keys = {str(i): column for i, column in enumerate(keys.T)}
    if not isinstance(keys, Mapping):
        raise TypeError(
            f"search_key: keys must be a tensor (B, columns), or a mapping from names to (B,), got "
            f"{type(keys).__name__}"
        )
    if not keys:
        raise ValueError("search_key: keys must be at least one, got none")
    for name, column in keys.items():
        if _check.tensor("search_key", f"keys[{name!r}]", column).shape != (rows,):
            raise ValueError(
                f"search_key: keys[{name!r}] must have shape ({rows},), one number for each row of x, got "
                f"{tuple(column.shape)}"
            )
    return dict(keys)


def _checked_lags(lags: Sequence[int], rows: int) -> list[int]:
    try:
        numbers = [whole("search_key", "lags", lag, 0) for lag in lags]
    except (TypeError, ValueError):
        numbers = []
    if not numbers or max(numbers) >= rows:
        raise ValueError(
            f"search_key: lags must be whole numbers from 0 up to the number of rows, {rows}, got {lags!r}"
        )
    return numbers
