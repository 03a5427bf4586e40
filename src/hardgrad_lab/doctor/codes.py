"""Quantizers as they are used: codes that fit their data, a chain of them, a scale and a threshold that learn.

What lends a gradient here lends the task's alone: neither term of a codebook is in it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import hardgrad as hg
from hardgrad_lab.doctor.case import Case, seeded, titled
from hardgrad_lab.doctor.images import codec, pictures

ROWS = 16
WIDTH, CODES, STAGES = 8, 32, 3
LOW, HIGH = -2, 1  # two bits with a sign


def picture_codes(folder: Path | None, moved: float = 1.0) -> Case:
    """Pictures as one of 32 codes; the encoder is off by so much, in deviations of what it encodes."""
    name, where = ("picture-codes", "amid") if moved else ("settled-codes", "at the end of")
    about = f"Pictures as the nearest of {CODES} codes, an encoder {where} its training"
    case = _coded(name, about, folder, (CODES,), moved)
    case.extra["rotation, no guards"] = partial(unguarded, hard=case.function)
    case.extra["commitment alone"] = partial(committed, hard=case.function)
    return case


def residual_codes(folder: Path | None) -> Case:
    """Pictures as a sum of three codes, each the nearest to what the ones before it left."""
    about = f"Pictures as a sum of {STAGES} codes of {WIDTH}, each the nearest to what those before left"
    case = _coded("residual-codes", about, folder, (WIDTH,) * STAGES, 1.0)
    tables = case.function.keywords["tables"]  # type: ignore[attr-defined]  # it is a partial
    for gradient in ("rotation", "directional"):
        layer = hg.Codebook(WIDTH, WIDTH, gradient=gradient, start=tables[0], learn=None)
        case.extra[gradient] = chain = hg.ResidualCodebook(layer, STAGES)
        for stage, table in zip(chain.stages, tables, strict=True):
            stage.get_buffer("weight").copy_(table)
        case.extra[f"{gradient}, each stage"] = partial(each_stage, stages=chain.stages)
    return case


def each_stage(x: Tensor, stages: nn.ModuleList) -> Tensor:
    """Return the value of a chain in which each stage lends a gradient of its own."""
    y = torch.zeros_like(x)
    for stage in stages:
        y = y + stage(x - y.detach())[0]
    return y


def _coded(name: str, about: str, folder: Path | None, sizes: tuple[int, ...], moved: float) -> Case:
    found = pictures(folder)
    x = codec(found.rows, WIDTH).codes
    tables, left = [], x
    for size in sizes:
        centers = hg.hard.kmeans(left, k=size)
        tables.append(centers.unique(dim=0))
        left = left - centers
    hard = partial(chained, tables=tables)
    shown = torch.cat([hard(x), torch.ones(len(x), 1)], 1)
    decoder: Tensor = torch.linalg.lstsq(shown.double(), found.rows.double()).solution.float()

    def loss(y: Tensor) -> Tensor:
        return (y @ decoder[:-1] + decoder[-1] - found.rows[:ROWS]).square().sum(-1)

    return Case(
        name=name, title=name, about=f"{about}; the squared error of a linear decoder.", function=hard,
        inputs=x[:ROWS] + moved * torch.randn(ROWS, WIDTH, generator=seeded(23)), objective=loss, source=found.source,
    )  # fmt: skip


def chained(x: Tensor, tables: list[Tensor]) -> Tensor:
    """Return the sum of codes, one of each table: the nearest to what is left of x."""
    y = torch.zeros_like(x)
    for table in tables:
        y = y + hg.hard.nearest_code(x - y, table)
    return y


def unguarded(x: Tensor, hard: Callable[[Tensor], Tensor]) -> Tensor:
    """Return a code with the gradient of its rotation as published, wherever the code is (arXiv 2410.06424, 4.2)."""
    with torch.no_grad():
        code = hard(x)
        u, v = F.normalize(x, dim=-1), F.normalize(code, dim=-1)
        half = F.normalize(u + v, dim=-1)
        stretch = code.norm(dim=-1, keepdim=True) / x.norm(dim=-1, keepdim=True)
    turned = x - 2 * half * (half * x).sum(-1, keepdim=True) + 2 * v * (u * x).sum(-1, keepdim=True)
    return hg.graft(code, stretch * turned)


def committed(x: Tensor, hard: Callable[[Tensor], Tensor]) -> Tensor:
    """Return a code with the gradient of its distance to x, whatever the task's: what a commitment adds to that."""
    with torch.no_grad():
        code = hard(x)
    y = hg.graft(code, x)
    y.register_hook(lambda _: (x - code).detach())
    return y


def learned_scale() -> Case:
    """Weights in two bits, whose scale is learned, too: the last number of a row is its logarithm."""
    generator = seeded(21)
    data = torch.randn(32, 8, generator=generator)
    weights = torch.randn(ROWS, 8, generator=generator)
    wanted = data @ weights.T

    def loss(rounded: Tensor) -> Tensor:
        return (data @ rounded.mT - wanted).square().mean(-2)

    scale = weights.abs().mean(-1, keepdim=True).log() + 0.3 * torch.randn(ROWS, 1, generator=generator)
    x = torch.cat([weights + 0.3 * torch.randn(ROWS, 8, generator=generator), scale], -1)
    case = titled(
        "learned-scale", "Eight weights in two bits, and the logarithm of their scale; the error of the neuron.",
        partial(scaled, rounding=hg.hard.round), x, loss,
    )  # fmt: skip
    straight = hg.straight_through(hg.hard.round)
    case.extra["LearnedScale"] = _lsq
    case.extra["straight_through, scale too"] = partial(scaled, rounding=straight)
    case.extra["straight_through, scale fixed"] = partial(scaled, rounding=straight, fixed=True)
    return case


def scaled(row: Tensor, rounding: Callable[[Tensor], Tensor], fixed: bool = False) -> Tensor:
    """Return the weights of a row as whole numbers from LOW to HIGH times its scale."""
    scale = row[..., -1:].exp()
    scale = scale.detach() if fixed else scale
    return scale * rounding((row[..., :-1] / scale).clamp(LOW, HIGH))


def _lsq(row: Tensor) -> Tensor:
    layer = hg.LearnedScale(2, per_channel=0, channels=len(row), start=1.0, batched=False)
    y: Tensor = torch.func.functional_call(layer, {"scale": row[..., -1].exp()}, row[..., :-1])
    return y


def learned_threshold() -> Case:
    """Neurons that fire above a threshold they share, which is learned: the last number of a row."""
    generator = seeded(22)
    readout = torch.randn(6, 3, generator=generator)
    potential = torch.randn(ROWS, 6, generator=generator)
    wanted = (potential > 0.3 * torch.randn(ROWS, 1, generator=generator)).float() @ readout

    def loss(spikes: Tensor) -> Tensor:
        return (spikes @ readout - wanted).square().mean(-1) + 0.1 * spikes.sum(-1)

    x = torch.cat([potential + 0.5 * torch.randn(ROWS, 6, generator=generator), torch.zeros(ROWS, 1)], -1)
    case = titled(
        "learned-threshold", "Six potentials above one learned threshold, 0.1 for each spike; the error of a readout.",
        partial(fired, spike=hg.hard.step), x, loss,
    )  # fmt: skip
    for name in ("sigmoid", "arctan", "fast_sigmoid", "triangle", "rectangle", "gaussian", "leaky"):
        spike = hg.straight_through(hg.hard.step, getattr(hg.surrogate.twins, name)())
        case.extra[f"straight_through, {name}"] = partial(fired, spike=spike)
    return case


def fired(row: Tensor, spike: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Return where the potentials of a row are above its threshold."""
    return spike(row[..., :-1], row[..., -1:])
