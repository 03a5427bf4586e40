"""Which gradient to take through a box, by cosines that are measured at the scale found."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hardgrad.doctor.boxes.asked import SMALL, Asked, rows_of

_FEW = 4  # numbers, up to which both sides of each are asked for
_MOST = 32  # numbers whose whole Jacobian is measured
_DRAWS = 8
_NEAR = 0.8  # cosine from which the identity will do, though differences cost little
_FAR = 0.5  # below which it will not do, though differences are no way
_TINY = 1e-4  # of the range: the step that difference quotients usually have


def identity_cosine(asked: Asked, which: int, scale: Tensor, lag: int | None) -> float:
    """Return the cosine of a straight-through gradient with the box's, of a white cotangent: E u'Ju / |u| |Ju|."""
    x = asked.inputs[which]
    along = across = 0.0
    for _ in range(_DRAWS):
        u = torch.randint(0, 2, x.shape, generator=asked.generator).to(x) * 2 - 1
        up, down = (
            [x + sign * scale.to(x) * u if k == which else other for k, other in enumerate(asked.inputs)]
            for sign in (1, -1)
        )
        d = (asked(*up) - asked(*down)) / (2 * scale)
        shifted = torch.roll(u, lag or 0, -1).double()
        along, across = along + float((d * shifted).sum()), across + float(d.square().sum())
    return along / max(math.sqrt(across * _DRAWS * x.numel()), 1e-30)


def two_point_cosines(asked: Asked, which: int, scale: Tensor) -> dict[str, float]:
    """Return the cosines of two-point Jacobians with the one averaged over points within the scale."""
    flat = scale.flatten().double()
    base = asked.inputs[which][:1].flatten(1)
    aside = torch.rand((_DRAWS, len(flat)), generator=asked.generator) * 2 - 1
    jacobians = [_jacobian(asked, which, base + (each * flat).to(base), flat) for each in aside]
    half = _DRAWS // 2
    one, two = (
        sum(jacobians[1:half], start=jacobians[0]) / half,
        sum(jacobians[half + 1 :], start=jacobians[half]) / half,
    )
    norm = max(float((one * two).sum()), 0.0) ** 0.5  # of the average, without what is left of noise in it
    tiny = _TINY * (asked.high[which] - asked.low[which]).flatten().double()
    mean, found = (one + two) / 2, {}
    for name, step in (("two-point at this scale", flat), ("at 1e-4 of the range", tiny)):
        j = _jacobian(asked, which, base, step)
        size = float(j.norm()) * norm
        found[name] = min(float((j * mean).sum()) / size, 1.0) if size else 0.0
    return found


def _jacobian(asked: Asked, which: int, point: Tensor, step: Tensor) -> Tensor:
    x = asked.inputs[which]
    moves = torch.diag(step).to(x)
    points = torch.cat([point + moves, point - moves]).view(-1, *x.shape[1:])
    rows = [
        points if k == which else other[:1].expand(len(points), *other.shape[1:])
        for k, other in enumerate(asked.inputs)
    ]
    y = rows_of(asked(*rows))
    return (y[: len(step)] - y[len(step) :]) / (2 * step[:, None])


def advise(
    asked: Asked, scale: tuple[Tensor, ...], cosines: tuple[dict[str, float], ...], kinds: set[str]
) -> tuple[str, str]:
    """Return which gradient to take and why, and the line of code."""
    small = [k for k, x in enumerate(asked.inputs) if x.is_floating_point() and x[0].numel() <= SMALL]
    words = [_words(asked, k, cosines[k]) for k, x in enumerate(asked.inputs) if x.is_floating_point()]
    if not small or cosines[small[0]].get("straight-through", 0.0) >= _NEAR:
        near = cosines[0].get("straight-through", 0.0) >= _FAR
        code = "hg.straight_through(box)" if near else "hg.Bridge(box, hg.approximators.suggest(box, x))"
        return " ".join(words), f"layer = {code}"
    given = [literal(scale[k]) if k in small else "None" for k in range(len(scale))]
    count = sum(asked.inputs[k][0].numel() for k in small)
    how = (
        'noise="normal", samples=8'
        if "random" in kinds
        else 'directions="coordinates"'
        if count <= _FEW
        else "samples=4"
    )
    return " ".join(
        words
    ), f"layer = hg.perturb(box, scale={given[0] if len(given) == 1 else '(' + ', '.join(given) + ')'}, {how})"


def _words(asked: Asked, which: int, cosines: dict[str, float]) -> str:
    name = f"input {which}: " if len(asked.inputs) > 1 else ""
    copied, count = cosines.get("straight-through"), asked.inputs[which][0].numel()
    if count <= SMALL and (copied or 0.0) < _NEAR:
        return f"{name}{count} numbers are few, so hg.perturb, whose difference sees over the stairs."
    if copied is not None and copied >= _FAR:
        return (
            f"{name}the box is near the identity (cosine {copied:.2f}), so hg.straight_through, which costs no calls."
        )
    why = "too many for differences" + ("" if copied is None else f", and the identity is far (cosine {copied:.2f})")
    return f"{name}{count} numbers are {why}, so hg.Bridge, which learns the box."


def literal(scale: Tensor) -> str:
    """Return a scale as code: one number where all are alike or many, else a tensor."""
    flat = scale.flatten()
    if len(flat.unique()) == 1:
        return f"{float(flat[0]):.3g}"
    numbers = ", ".join(f"{number:.3g}" for number in flat.tolist())
    return f"torch.tensor([{numbers}])" + (f".view({', '.join(map(str, scale.shape))})" if scale.ndim > 1 else "")
