"""Which gradient to take through a box, by cosines that are measured at the scale found."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hardgrad.doctor.boxes.asked import SMALL, Asked, thinned

_FEW = 4  # numbers, up to which both sides of each are asked for
_DRAWS = 8
_ROWS = 3
_NEAR = 0.8  # cosine from which the identity will do, though differences cost little
_FAR = 0.5  # below which it will not do, though differences are no way
_TINY = 1e-4  # of the range: the step that difference quotients usually have


def identity_cosine(asked: Asked, which: int, scale: Tensor, lag: int | None) -> float | None:
    """Return E u'Ju / |u| |Ju|: a straight-through gradient against the box's. Of a signal u has x's spectrum."""
    x, size = asked.inputs[which], scale.mean()
    along = across = 0.0
    for _ in range(_DRAWS):
        u = torch.randint(0, 2, x.shape, generator=asked.generator).to(x).double() * 2 - 1
        if lag is not None:
            u = torch.fft.irfft(torch.fft.rfft(u) * torch.fft.rfft(x.double()).abs(), x.shape[-1])
            u = u / u.square().mean().sqrt().clamp(min=1e-30)
        up, down = (
            [(x + s * size * u).to(x) if k == which else y for k, y in enumerate(asked.inputs)] for s in (1, -1)
        )
        d, u = (asked(*up) - asked(*down)) / (2 * size), torch.roll(u, lag or 0, -1)
        along, across = along + float((d * u).sum()), across + float(d.square().sum())
    return along / max(math.sqrt(across * _DRAWS * x.numel()), 1e-30)


def two_point_cosines(asked: Asked, which: int, scale: Tensor) -> tuple[float, float] | None:
    """Return cosines of two-point Jacobians, at the scale and at a tiny step, with one averaged within the scale."""
    flat, count = scale.reshape(-1).double(), scale.numel()
    tiny = _TINY * (asked.high[which] - asked.low[which]).reshape(-1).double()
    sums = torch.zeros(5, dtype=torch.float64)
    for row in map(asked.row, range(min(_ROWS, len(asked.inputs[which])))):
        aside = torch.rand((_DRAWS, count), generator=asked.generator, dtype=torch.float64).to(flat) * 2 - 1
        around = torch.stack([_jacobian(asked, row, which, flat, flat * each) for each in aside])
        one, two = around[::2].mean(0), around[1::2].mean(0)  # their product is free of what noise is left in either
        here, near, mean = *(_jacobian(asked, row, which, step, 0 * flat) for step in (flat, tiny)), (one + two) / 2
        pairs = ((one, two), (here, mean), (here, here), (near, mean), (near, near))
        sums += torch.tensor([float((a * b).sum()) for a, b in pairs], dtype=torch.float64)
    norm, along, size, along_tiny, size_tiny = sums.tolist()
    both = ((along, size), (along_tiny, size_tiny))
    wide, narrow = (min(a / max(math.sqrt(max(norm, 0.0) * b), 1e-30), 1.0) for a, b in both)
    return wide, narrow


def _jacobian(asked: Asked, row: tuple[Tensor, ...], which: int, step: Tensor, aside: Tensor) -> Tensor:
    x = row[which]
    low, high = (end[which].reshape(-1) for end in (asked.low, asked.high))
    middle, moves = (x.reshape(1, -1) + aside).clamp(low + step, high - step), torch.diag(step)
    points = (middle + torch.cat([moves, -moves])).to(x).view(-1, *x.shape[1:])
    y = asked(*(points if k == which else z.expand(len(points), *z.shape[1:]) for k, z in enumerate(row)))
    return (thinned(y[: len(step)]) - thinned(y[len(step) :])) / (2 * step[:, None])


def advise(
    asked: Asked, scale: tuple[Tensor, ...], cosines: tuple[dict[str, float], ...], lag: int | None
) -> tuple[str, str]:
    """Return which gradient to take and why, and the line of code."""
    small = [k for k, x in enumerate(asked.inputs) if x.is_floating_point() and x[0].numel() <= SMALL]
    words = " ".join(_words(asked, k, each) for k, each in enumerate(cosines) if asked.inputs[k].is_floating_point())
    copied = cosines[0].get("straight-through", 0.0)
    if len(scale) == 1 and copied >= (_NEAR if small else _FAR):
        return words, f"layer = hg.straight_through(box{f', lambda x: x.roll({lag}, -1)' if lag else ''})"
    if not small:
        return words, "layer = hg.Bridge(box, hg.approximators.suggest(box, x))"
    given = [literal(scale[k]) if k in small else "None" for k in range(len(scale))]
    how = 'directions="coordinates"' if sum(asked.inputs[k][0].numel() for k in small) <= _FEW else "samples=4"
    how = 'noise="normal", samples=8' if asked.kind in ("random", "unseeded") else how
    together = given[0] if len(given) == 1 else f"({', '.join(given)})"
    return words, f"layer = hg.perturb(box, {together}, {how})"


def _words(asked: Asked, which: int, cosines: dict[str, float]) -> str:
    name, count = f"input {which}: " if len(asked.inputs) > 1 else "", asked.inputs[which][0].numel()
    copied = cosines.get("straight-through")
    if copied is not None and copied >= (_NEAR if count <= SMALL else _FAR):
        return f"{name}near the identity (cosine {copied:.2f}), so hg.straight_through, which costs no calls."
    if count > SMALL:
        far = "" if copied is None else f", and the identity is far (cosine {copied:.2f})"
        return f"{name}too many numbers for differences{far}, so hg.Bridge, which learns the box."
    if cosines.get("two-point", 1.0) < _FAR:
        return f"{name}differences agree at no scale (cosine {cosines['two-point']:.2f}); put the loss into the box."
    return f"{name}few numbers ({count}), so hg.perturb, with steps that see over the jumps."


def literal(scale: Tensor) -> str:
    """Return a scale as code: one number where all are alike, else a tensor."""
    numbers = [f"{number:.3g}" for number in scale.flatten().tolist()]
    if len(set(numbers)) == 1:
        return numbers[0]
    return f"torch.tensor([{', '.join(numbers)}])" + (
        f".view({', '.join(map(str, scale.shape))})" if scale.ndim > 1 else ""
    )
