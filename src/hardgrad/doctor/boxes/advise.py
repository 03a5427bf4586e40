"""Which gradient to take through a box, by cosines that are measured at the scale found."""

from __future__ import annotations

import torch
from torch import Tensor

from hardgrad.doctor.boxes.asked import SMALL, Asked, Row, thinned
from hardgrad.doctor.boxes.report import numbers

_FEW = 4  # numbers, up to which both sides of each are asked for
_DRAWS = 8
_ROWS = 3
_NEAR = 0.8  # cosine from which the identity will do, though differences cost little
_FAR = 0.5  # below which it will not do, though differences are no way
_TINY = 1e-4  # of the range: the step that difference quotients usually have
_ILL = ("writes", "unapplied", "late", "state", "rows", "nan", "raises", "threads")


def identity_cosine(asked: Asked, which: int, scale: Tensor, lag: int | None) -> float | None:
    """Return E u'Ju / |u| |Ju|: a straight-through gradient against the box's. Of a signal u has x's spectrum."""
    x, size, ways, moves = asked.inputs[which], scale.mean(), [], []
    for _ in range(_DRAWS):
        u = torch.randint(0, 2, x.shape, generator=asked.generator).to(x).double() * 2 - 1
        if lag is not None:
            u = torch.fft.irfft(torch.fft.rfft(u) * torch.fft.rfft(x.double()).abs(), x.shape[-1])
            u = u / u.square().mean().sqrt().clamp(min=1e-30)
        up, down = (
            asked(*((x + s * u).to(x) if k == which else y for k, y in enumerate(asked.inputs))) for s in (size, -size)
        )
        ways.append(torch.roll(u, lag or 0, -1))
        moves.append(up - down)
    return _cosine(torch.stack(ways), torch.stack(moves))


def two_point_cosines(asked: Asked, which: int, scale: Tensor) -> list[float]:
    """Return cosines of two-point Jacobians, at the scale and at a tiny step, with one averaged within the scale."""
    flat, tiny = scale.reshape(-1).double(), _TINY * (asked.high[which] - asked.low[which]).reshape(-1).double()
    found: list[list[Tensor]] = [[], [], [], []]
    for row in map(asked.row, range(min(_ROWS, len(asked.inputs[which])))):
        aside = torch.rand((_DRAWS, len(flat)), generator=asked.generator, dtype=torch.float64).to(flat) * 2 - 1
        around = torch.stack([_jacobian(asked, row, which, flat, flat * each) for each in aside])
        steps = [_jacobian(asked, row, which, step, 0 * flat) for step in (flat, tiny)]
        for kept, made in zip(found, (*steps, around[::2].mean(0), around[1::2].mean(0)), strict=True):
            kept.append(made)
    wide, narrow, one, two = map(torch.cat, found)
    # The average has noise left in it, which its halves do not share: their cosine says how much.
    clean = max(_cosine(one, two), 0.25)
    return [min(_cosine(step, one + two) * ((1 + clean) / 2 / clean) ** 0.5, 1.0) for step in (wide, narrow)]


def _cosine(a: Tensor, b: Tensor) -> float:
    return float((a * b).sum() / (a.norm() * b.norm()).clamp(min=1e-30))


def _jacobian(asked: Asked, row: Row, which: int, step: Tensor, aside: Tensor) -> Tensor:
    x, low, high = row[which], asked.low[which].reshape(-1), asked.high[which].reshape(-1)
    middle, moves = (x.reshape(1, -1) + aside).clamp(low + step, high - step), torch.diag(step)
    points = (middle + torch.cat([moves, -moves])).to(x).view(-1, *x.shape[1:])
    y = thinned(asked(*(points if k == which else z.expand(len(points), *z.shape[1:]) for k, z in enumerate(row))))
    return (y[: len(step)] - y[len(step) :]) / (2 * step[:, None])


def advise(asked: Asked, scale: Row, cosines: tuple[dict[str, float], ...], lag: int | None) -> tuple[str, str]:
    """Return which gradient to take and why, and the line of code."""
    floating = [k for k, x in enumerate(asked.inputs) if x.is_floating_point()]
    small = [k for k in floating if asked.inputs[k][0].numel() <= SMALL]
    ill = dict.fromkeys(finding.kind for finding in asked.findings if finding.kind in _ILL)
    first = [f"First see to {', '.join(ill)}, which no gradient mends."] if ill else []
    words = " ".join([*first, *(_words(asked, k, cosines[k]) for k in floating)])
    if len(scale) == 1 and cosines[0].get("straight-through", 0.0) >= (_NEAR if small else _FAR):
        return words, f"layer = hg.straight_through(box{f', lambda x: x.roll({lag}, -1)' if lag else ''})"
    if not small:
        return words, "layer = hg.Bridge(box, hg.approximators.suggest(box, x))"
    given = [_literal(scale[k]) if k in small else "None" for k in range(len(scale))]
    how = 'directions="coordinates"' if sum(scale[k].numel() for k in small) <= _FEW else "samples=4"
    how = 'noise="normal", samples=8' if asked.kind in ("random", "unseeded") else how
    together = given[0] if len(given) == 1 else f"({', '.join(given)})"
    return words, f"layer = hg.perturb(box, {together}, {how})"


def _words(asked: Asked, which: int, cosines: dict[str, float]) -> str:
    name, count = f"input {which}: " if len(asked.inputs) > 1 else "", asked.inputs[which][0].numel()
    copied = cosines.get("straight-through", 0.0)
    if copied >= (_NEAR if count <= SMALL else _FAR):
        better = "" if copied >= _NEAR else "; hg.Bridge may do better"
        return (
            f"{name}the identity is near (cosine {copied:.2f}), so hg.straight_through, which costs no calls{better}."
        )
    if count > SMALL:
        return f"{name}too many numbers for differences, and the identity is far, so hg.Bridge, which learns the box."
    if cosines.get("two-point", 1.0) < _FAR:
        return f"{name}differences agree at no scale (cosine {cosines['two-point']:.2f}); put the loss into the box."
    return f"{name}few numbers ({count}), so hg.perturb, with steps that see over the jumps."


def _literal(scale: Tensor) -> str:
    all_alike, words = len(set(numbers(scale))) == 1, ", ".join(numbers(scale))
    shape = f".view({', '.join(map(str, scale.shape))})" if scale.ndim > 1 else ""
    return numbers(scale)[0] if all_alike else f"torch.tensor([{words}]){shape}"
