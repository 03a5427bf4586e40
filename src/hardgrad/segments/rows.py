"""The rows that a search works on: checked, standardized, sorted by key."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

from hardgrad import _check
from hardgrad._torch_state import hides_values
from hardgrad.segments.sums import Sums
from hardgrad.switch.arguments import real

P = ParamSpec("P")
T = TypeVar("T")
MOST_DEGREE = 8  # of the key: beyond that a range's polynomial follows the noise at its ends
Path = dict[int, list[int]]  # for each number of ranges, its cuts: c parts rows .. c - 1 from rows c ..


def on_the_cpu(function: Callable[P, T]) -> Callable[P, T]:
    """Let a search make its tensors on the CPU, whatever device the caller made the default."""

    @functools.wraps(function)
    def run(*args: P.args, **options: P.kwargs) -> T:
        if torch.get_default_device().type == "cpu":  # the context costs time in every call of torch
            return function(*args, **options)
        with torch.device("cpu"):
            return function(*args, **options)

    return run


@dataclass(frozen=True)
class Rows:
    """Rows sorted by key, in float64, so that a range is a run of rows and a point is a cut between two of them.

    Args:
        key: (n,), sorted.
        z: (n, d + o), x and target side by side, each column with mean 0 and variance 1 over all rows given.
        weight: (n,), above 0, 1 on average.
        d: how many columns of ``z`` are inputs, powers of the key included.
        given: how many of them the user gave; they come first.
        center, scale: (d + o,), what was subtracted and divided by.
        least: the fewest rows that a range may have.
        ridge: share of each input's variance within a range that is added to it.
        cast: dtype in which a point must still separate the two keys beside it.
    """

    key: Tensor
    z: Tensor
    weight: Tensor
    d: int
    given: int
    center: Tensor
    scale: Tensor
    least: int
    ridge: float
    cast: torch.dtype

    @property
    def n(self) -> int:
        return len(self.key)

    @property
    def outputs(self) -> int:
        return self.z.shape[1] - self.d

    @cached_property
    def sums(self) -> Sums:
        return Sums(self.z, self.weight)

    @cached_property
    def places(self) -> Tensor:
        """Increasing cuts that part two different keys and leave both ends rows enough."""
        cuts = (self.key[1:] > self.key[:-1]).nonzero()[:, 0] + 1
        return cuts[(cuts >= self.least) & (cuts <= self.n - self.least)]

    def snapped(self, cuts: Tensor) -> Tensor:
        """Return for each cut the place at or after it, or the last one; there must be places."""
        return self.places[torch.searchsorted(self.places, cuts).clamp_(max=len(self.places) - 1)]

    def legal(self, cuts: list[int]) -> bool:
        """Whether every range has rows enough and no cut parts equal keys."""
        edges = torch.tensor([0, *cuts, self.n])
        return bool((edges.diff() >= self.least).all()) and bool(torch.isin(edges[1:-1], self.places).all())

    def take(self, chosen: Tensor, least_share: float) -> Rows:
        """Return some rows, by increasing positions among the sorted rows, repeats allowed."""
        least = least_rows(len(chosen), least_share, self.d)
        return replace(self, key=self.key[chosen], z=self.z[chosen], weight=self.weight[chosen], least=least)

    @cached_property
    def along(self) -> Tensor:
        """The keys mapped to [-1, 1], whatever their unit, (n,)."""
        return _along(self.key)

    def point(self, cut: int) -> float:
        """Return the number halfway between the keys beside a cut, or nearer the upper where rounding eats the half."""
        low, high = float(self.key[cut - 1]), float(self.key[cut])
        for share in (0.5, 0.75):
            point = low + (high - low) * share
            if not math.isfinite(point):  # the gap is greater than any number
                point = low * (1 - share) + high * share
            rounded = float(torch.tensor(point, dtype=self.cast)) if self.cast.is_floating_point else point
            if low < rounded <= high:
                return point
        return high

    def points(self, cuts: list[int]) -> tuple[float, ...]:
        """Return the points of increasing cuts."""
        return tuple(self.point(cut) for cut in cuts)

    def cut(self, point: float) -> int:
        """Return the cut that a point makes: the number of keys below it."""
        return int(torch.searchsorted(self.key, torch.tensor([point], dtype=torch.float64)))

    def raw(self) -> tuple[Tensor, Tensor]:
        """Return x and target in the user's units."""
        raw = self.z * self.scale + self.center
        return raw[:, : self.given], raw[:, self.d :]


def _along(key: Tensor) -> Tensor:
    key = key / unit_of(key)
    return 2 * ((key - key[0]) / (key[-1] - key[0])) - 1


def least_rows(n: int, least_share: float, d: int) -> int:
    """Return the fewest rows of a range: the share, and twice the coefficients of its linear model."""
    # A range of no more rows than coefficients is fitted without error whatever it holds, and any search would take it.
    return max(math.ceil(least_share * n), 2 * (d + 1))


def sorted_rows(
    owner: str,
    x: Tensor,
    key: Tensor,
    target: Tensor,
    least_share: float,
    ridge: float,
    *,
    weights: Tensor | None = None,
    degree: int = 1,
) -> tuple[Rows, Tensor]:
    """Return the checked rows with the order that sorts them, or raise a ValueError."""
    x, key, y = _columns(owner, x, key, target)
    weight = _weights(owner, weights, len(key))
    numbers = key.double()
    low, high = torch.aminmax(numbers)
    if low == high:
        raise ValueError(
            f"{owner}: key must have at least two different values, got {float(low):g} in all {len(key)} rows; "
            "choose another column"
        )
    least_share, ridge = real(owner, "least_share", least_share), real(owner, "ridge", ridge)
    if not 0 < least_share <= 0.5:
        raise ValueError(f"{owner}: least_share must lie in (0, 0.5], got {least_share}")
    if not (ridge >= 1e-10 and math.isfinite(ridge)):
        raise ValueError(f"{owner}: ridge must be at least 1e-10, got {ridge}; a finite number, 1e-6 by default")
    d = x.shape[1] + (degree if degree > 1 else 0)
    least = least_rows(len(key), least_share, d)
    if least > len(key):
        raise ValueError(
            f"{owner}: a range needs at least {least} rows, twice the {d + 1} coefficients of its linear "
            f"model, got {len(key)} rows in all; give more rows or fewer inputs"
        )
    order = numbers.argsort(stable=True)
    along, weight = _along(numbers[order]), weight[order]
    # Legendre's polynomials, which are far apart from each other where powers are not.
    powers = [torch.special.legendre_polynomial_p(along, k) for k in range(1, degree + 1) if degree > 1]
    z, center, scale = standardized(torch.cat([x[order], *(p[:, None] for p in powers), y[order]], 1), weight)
    return Rows(numbers[order], z, weight, d, x.shape[1], center, scale, least, ridge, key.dtype), order


def standardized(z: Tensor, weight: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Return columns (n, p), float64, with mean 0 and variance 1, what was subtracted, and what was divided by.

    Weights (n,) are 1 on average.

    They are first divided by a power of two near their greatest number, which rounds nothing: squares of numbers beyond
    1e154 overflow, and below 1e-162 they are zero.
    """
    unit = unit_of(z)
    z = z / unit
    shares = 1 if weight is None else weight[:, None]
    center = (z * shares).mean(0)
    z = z - center
    rest = (z * shares).mean(0)  # the mean of numbers far from zero is itself rounded
    z, center = z - rest, center + rest
    scale = (z.square() * shares).mean(0).sqrt()
    # A column that varies by a few roundings of its values is constant: it stays as it is, near 0.
    scale = torch.where(scale > 8 * torch.finfo(z.dtype).eps * center.abs(), scale, 1.0)
    return z / scale, center * unit, scale * unit


def unit_of(z: Tensor) -> Tensor:
    """Return for each column of (n, ...) a power of two near its greatest absolute value; 1 for zeros."""
    peak = z.abs().amax(0)
    exponent = torch.frexp(torch.where(peak > 0, peak, 1.0)).exponent.clamp(min=-1020) - 1
    return torch.ldexp(torch.ones_like(peak), exponent)


def _columns(owner: str, x: Tensor, key: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    for name, values in {"x": x, "key": key, "target": target}.items():
        if hides_values(_check.tensor(owner, name, values)):
            raise ValueError(f"{owner}: {name} must have values to read, got one of vmap or on the meta device")
        if values.dtype is torch.bool or values.is_complex():
            raise ValueError(f"{owner}: {name} must be real numbers, got {values.dtype}; cast it first")
    if key.ndim != 1 or not len(key):
        raise ValueError(
            f"{owner}: key must have shape (B,), one number a row, got {tuple(key.shape)}; the order is x, key, target"
        )
    _table(owner, "key", key, len(key))
    return _table(owner, "x", x, len(key)), key.detach().cpu(), _table(owner, "target", target, len(key))


def _weights(owner: str, weights: Tensor | None, n: int) -> Tensor:
    """Return weights that are 1 on average, or raise a ValueError."""
    if weights is None:
        return torch.ones(n, dtype=torch.float64)
    if _check.tensor(owner, "weights", weights).shape != (n,):
        raise ValueError(f"{owner}: weights must have shape ({n},), one for each row, got {tuple(weights.shape)}")
    weight = weights.detach().cpu().double()
    wrong = ~((weight > 0) & weight.isfinite())
    if bool(wrong.any()):
        row = int(wrong.nonzero()[0, 0])
        raise ValueError(
            f"{owner}: weights must be above 0 and finite, got {float(weight[row]):g} in row {row}; leave out rows "
            "that weigh nothing"
        )
    weight = weight / weight.max()  # the sum of large ones overflows
    return weight / weight.mean()


def _table(owner: str, name: str, values: Tensor, n: int) -> Tensor:
    if values.ndim not in (1, 2) or len(values) != n or not values.numel():
        raise ValueError(
            f"{owner}: {name} must have shape (B,) or (B, columns) with B = {n}, the length of key, got "
            f"{tuple(values.shape)}"
        )
    values = values.detach().to_dense() if values.layout is not torch.strided else values.detach()
    table = values.cpu().double().reshape(n, -1)
    bad = (~table.isfinite()).any(1).nonzero()[:, 0]
    if len(bad):
        row = int(bad[0])
        raise ValueError(
            f"{owner}: {name} must be finite numbers, got {table[row].tolist()} in row {row} and {len(bad) - 1} "
            "more such rows; remove these rows first"
        )
    return table
