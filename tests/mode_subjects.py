"""Every layer of the library as the middle of a small model, for the product of pairs of modes.

All of it can be pickled: no lambda, no closure. What is random follows torch's global seed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Independent, OneHotCategorical

import hardgrad as hg
from place import DEVICE

BATCH, TIME, WIDTH = 6, 5, 4


class Model(nn.Module):
    """Linear, the layer, Linear; what a user's code does around the layer is switched on by a mode.

    Args:
        layer: from ``(*, WIDTH)`` and keys to a tensor, or a tuple that begins with one.
        out: the last dimension of what the layer returns.
    """

    def __init__(self, layer: nn.Module, out: int) -> None:
        super().__init__()
        self.entry = nn.Linear(WIDTH, WIDTH)
        self.layer = layer
        self.exit = nn.Linear(out, 3)
        self.breaks = self.writes = False

    def forward(self, x: Tensor, *keys: Tensor) -> Tensor:
        h = self.entry(x)
        if self.breaks:
            torch._dynamo.graph_break()
        y = self.layer(h, *keys)
        y = y[0] if isinstance(y, tuple) else y
        if self.breaks:
            torch._dynamo.graph_break()
        if self.writes:
            y = y.mul_(1.0)
        return self.exit(y)


class Control(nn.Module):
    """A layer of torch alone: what fails with it as well is not ours.

    Args:
        draws: whether it draws random numbers, too.
    """

    def __init__(self, draws: bool = False) -> None:
        super().__init__()
        self.draws = draws

    def forward(self, x: Tensor, *keys: Tensor) -> Tensor:
        return torch.tanh(x) * torch.rand(x.shape, dtype=x.dtype, device=x.device) if self.draws else torch.tanh(x)


class Soft(nn.Module):
    """A soft operator as a layer; its temperature learns.

    Args:
        name: which.
        unsqueeze: whether it takes the dimension away that the model goes on with.
        options: what it is called with besides.
    """

    def __init__(self, name: str, unsqueeze: bool = False, **options: Any) -> None:
        super().__init__()
        self.name, self.unsqueeze, self.options = name, unsqueeze, options
        self.temperature = nn.Parameter(torch.tensor(0.8))

    def forward(self, x: Tensor) -> Tensor:
        y = getattr(hg.soft, self.name)(x, temperature=self.temperature, **self.options)
        return y.unsqueeze(-1) if self.unsqueeze else y


class Cost(nn.Module):
    """An objective with weights: (..., units) to (...)."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(-1.0, 2.0, WIDTH))

    def forward(self, b: Tensor) -> Tensor:
        return ((b * self.weight).sum(-1) - 0.4).square()


class Estimate(nn.Module):
    """A Monte Carlo estimate in the middle of a model: logits (B, WIDTH) to (B, 1)."""

    def __init__(self, estimator: Callable[..., Tensor], one_hot: bool = False, **owned: nn.Module) -> None:
        super().__init__()
        self.estimator = estimator
        self.one_hot = one_hot
        self.owned = nn.ModuleDict(owned)
        self.cost = Cost()

    def forward(self, logits: Tensor) -> Tensor:
        q = (
            OneHotCategorical(logits=logits, validate_args=False)
            if self.one_hot
            else Independent(Bernoulli(logits=logits, validate_args=False), 1, validate_args=False)
        )
        return self.estimator(q, self.cost, **dict(self.owned.items())).unsqueeze(-1)


class LowBit(nn.Module):
    """A product with a weight of two bits; a module that ``parametrize`` changed cannot be saved whole."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(-1.0, 2.0, WIDTH * WIDTH).view(WIDTH, WIDTH))
        self.quantizer = hg.LearnedScale(2, per_channel=0, channels=WIDTH, start=0.6, batched=False)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.quantizer(self.weight).T


class Taught(nn.Module):
    """A loss of a solver in the middle of a model: costs (B, WIDTH) to (B, 1)."""

    def __init__(self, loss: Callable[..., Tensor], known: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.loss, self.known = loss, known

    def forward(self, cost: Tensor) -> Tensor:
        return self.loss(_cheapest, cost, self.known(cost.detach())).unsqueeze(-1)


class Loudness(nn.Module):
    """The level of a row along its last dimension, as a fraction of 100 dB."""

    def __init__(self) -> None:
        super().__init__()
        self.key = hg.EnvelopeKey(1.0, 3.0, sample_rate=1e3, learn=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.key.level(x)[0] / 100


class Last(nn.Module):
    """The score of a row, for a baseline or a control: (..., WIDTH) to (...)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(WIDTH, 3), nn.Tanh(), nn.Linear(3, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x).squeeze(-1)


@dataclass(frozen=True)
class Subject:
    """A layer as users hold it.

    Args:
        name: its row on the page.
        family: whose representative the quick tests take: the first of each family.
        layer: builds it, under a seed.
        out: its last dimension.
        keys: the keys of a batch, beside x.
        time: whether x is (B, T, WIDTH).
        owned: prefixes of parameters that learn from a penalty of the layer's own; one that reaches x is in all before.
    """

    name: str
    family: str
    layer: Callable[[], nn.Module]
    out: int = WIDTH
    keys: Callable[[], tuple[Tensor, ...]] = tuple
    time: bool = False
    owned: tuple[str, ...] = ()

    def model(self, dtype: torch.dtype = torch.float64) -> Model:
        torch.manual_seed(1)
        return Model(self.layer(), self.out).to(DEVICE, dtype)

    def inputs(self, dtype: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
        shape = (BATCH, TIME, WIDTH) if self.time else (BATCH, WIDTH)
        x = torch.randn(shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
        return x.to(DEVICE, dtype), *(key.to(DEVICE, dtype) for key in self.keys())

    def __str__(self) -> str:
        return self.name


# Keys in the middle of ranges, so that no rounding moves one; range 1 of three gets no row.
POINTS = [0.0, 1.0, 2.0, 3.0]
ROWS = torch.tensor([0.5, 2.5, 0.5, 2.5, 2.5, 0.5], dtype=torch.float64)
STEPS = torch.stack([ROWS[torch.arange(TIME) % 2 + shift] for shift in (0, 1, 2, 3, 4, 0)])


def _branch() -> nn.Module:
    return nn.Sequential(nn.Linear(WIDTH, 5), nn.ReLU(), nn.Linear(5, WIDTH))


def _ranges() -> hg.Ranges:
    return hg.Ranges(POINTS)


def _grid() -> hg.Grid:
    return hg.Grid(hg.Ranges([0.0, 2.0, 3.0]), hg.Ranges([0.0, 1.0, 3.0]), share=[[0, 1], [2, 1]])


def _tree() -> hg.If:
    return hg.If(hg.Ranges([0.0, 1.0, 3.0]), ["low", hg.If(hg.Ranges([0.0, 2.0, 3.0]), ["mid", "high"], key=1)], key=0)


def _pair() -> tuple[Tensor, ...]:
    return (torch.stack([ROWS, ROWS.flip(0)], -1),)


def _one() -> tuple[Tensor, ...]:
    return (ROWS,)


def _steps() -> tuple[Tensor, ...]:
    return (STEPS,)


def _learned() -> nn.Module:
    # A narrow band: rows within it would have a gradient for the points in either dtype, or in none.
    return hg.Switch(hg.LearnedRanges(POINTS, band=0.9), _branch())


def _twin(name: str, **options: Any) -> nn.Module:
    hard, soft = (partial(getattr(room, name), **options) for room in (hg.hard, hg.soft))
    return hg.straight_through(hard, partial(soft, temperature=0.8))


def _stairs(row: Any) -> Any:
    return row.round(1)


def _cheapest(cost: Tensor) -> Tensor:
    return hg.hard.one_hot_argmax(-cost)


def _codebook(gradient: str, learn: str, heads: int = 1, **options: Any) -> nn.Module:
    start = torch.randn(heads, 5, WIDTH // heads, generator=torch.Generator().manual_seed(5))
    options = {"commitment": 0.0} | options
    return hg.Codebook(5, WIDTH, gradient=gradient, learn=learn, heads=heads, start=start, **options)


def _embedding() -> nn.Module:
    return nn.Sequential(_Keys(), hg.RangeEmbedding(_ranges(), 3))


class _Keys(nn.Module):
    """Features to keys of the ranges, so that an embedding sees numbers inside them."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sum(-1).sigmoid() * 0.8 + 0.1 + torch.where(x[..., 0] > 0, 2.0, 0.0)


def _mask() -> nn.Module:
    layers = [nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.Linear(WIDTH, WIDTH)]
    return hg.LayerMask(layers, _ranges(), [[True, True, True], [False, True, True], [False, True, True]])


def _compressor(**options: Any) -> hg.Compressor:
    return hg.Compressor(-9.0, 3.0, attack_ms=0.5, release_ms=2.0, sample_rate=1000, **options)


def _recurrent(state: Any, ranges: hg.switch.PointRouter | None = None) -> hg.RecurrentSwitch:
    return hg.RecurrentSwitch(ranges or _ranges(), nn.GRU(WIDTH, WIDTH, batch_first=True), state=state)


def _estimate(estimator: Callable[..., Tensor], name: str, one_hot: bool = False, **owned: Any) -> Subject:
    def layer() -> nn.Module:
        return Estimate(estimator, one_hot, **{argument: make() for argument, make in owned.items()})

    return Subject(name, "Monte Carlo", layer, out=1, owned=("layer.owned",) if owned else ())


_MC = hg.montecarlo
SUBJECTS = [
    Subject(
        "Bridge",
        "Bridge",
        lambda: hg.Bridge(hg.hard.sign, hg.approximators.mlp(WIDTH, WIDTH, hidden=(5,))),
        owned=("layer.approximator",),
    ),
    Subject(
        "Bridge, another shape",
        "Bridge",
        lambda: hg.Bridge(partial(hg.hard.top_k, k=2), hg.approximators.mlp(WIDTH, 2, hidden=(5,))),
        out=2,
        owned=("layer.approximator",),
    ),
    Subject(
        "Bridge, approximator with BatchNorm",
        "Bridge",
        lambda: hg.Bridge(hg.hard.round, nn.Sequential(nn.Linear(WIDTH, 5), nn.BatchNorm1d(5), nn.Linear(5, WIDTH))),
        owned=("layer.approximator",),
    ),
    Subject("Codebook", "Codebook", lambda: _codebook("copy", "ema", commitment=0.25), owned=("entry", "input")),
    Subject(
        "Codebook, bridge",
        "Codebook",
        lambda: _codebook("bridge", "ema", approximator=hg.approximators.mlp(WIDTH, WIDTH, hidden=(5,))),
        owned=("layer.approximator",),
    ),
    Subject(
        "Codebook, rotation, heads",
        "Codebook",
        lambda: _codebook("rotation", "gradient", heads=2, distance="cosine"),
        owned=("layer.weight",),
    ),
    Subject("Codebook, directional", "Codebook", lambda: _codebook("directional", "simvq")),
    Subject("straight_through", "straight_through", lambda: hg.straight_through(hg.hard.round)),
    Subject(
        "straight_through, twin",
        "straight_through",
        lambda: hg.straight_through(hg.hard.sign, hg.surrogate.twins.tanh(2.0)),
    ),
    Subject("straight_through, soft.rank", "soft", lambda: _twin("rank")),
    Subject("straight_through, soft.sort", "soft", lambda: _twin("sort")),
    Subject("straight_through, soft.top_k_mask", "soft", lambda: _twin("top_k_mask", k=2)),
    Subject("straight_through, soft.top_k", "soft", lambda: _twin("top_k", k=2), out=2),
    *(Subject(f"soft.{name}", "soft", partial(Soft, name)) for name in ("sort", "rank", "argmax")),
    Subject("soft.top_k_mask", "soft", partial(Soft, "top_k_mask", k=2)),
    Subject("soft.median", "soft", partial(Soft, "median", unsqueeze=True), out=1),
    Subject("perturb, coordinates", "perturb", lambda: hg.perturb(hg.hard.round, 0.75, directions="coordinates")),
    Subject("perturb", "perturb", lambda: hg.perturb(hg.hard.sort, 0.75, samples=2)),
    Subject("perturb, normal", "perturb", lambda: hg.perturb(hg.hard.round, 0.75, noise="normal")),
    Subject("straight_through, BlackBox", "BlackBox", lambda: hg.straight_through(hg.BlackBox(_stairs), nn.Tanh())),
    Subject("interpolated", "interpolated", lambda: hg.interpolated(_cheapest, 2.0, rho=0.1)),
    Subject("perturbed", "perturbed", lambda: hg.perturbed(_cheapest, 0.5, samples=3)),
    Subject(
        "perturbed, gumbel, mean",
        "perturbed",
        lambda: hg.perturbed(hg.hard.rank, 0.5, noise="gumbel", samples=2, value="mean"),
    ),
    Subject("spo_plus", "perturbed", lambda: Taught(hg.spo_plus, torch.cos), out=1),
    Subject("imle", "imle", lambda: hg.imle(_cheapest, two_sided=True, samples=2)),
    Subject(
        "fenchel_young",
        "perturbed",
        lambda: Taught(partial(hg.fenchel_young, scale=0.5), hg.hard.one_hot_argmax),
        out=1,
    ),
    Subject(
        "ResidualCodebook",
        "ResidualCodebook",
        lambda: hg.ResidualCodebook(_codebook("rotation", "gradient"), 3),
        owned=("entry", "input", "layer.stages"),
    ),
    Subject("levels", "levels", lambda: hg.levels([8, 5, 4, 3])),
    Subject("lookup_free", "lookup_free", lambda: hg.lookup_free(WIDTH), owned=("entry", "input")),
    Subject("LearnedScale", "LearnedScale", lambda: hg.LearnedScale(3, start=0.4)),
    Subject("LearnedScale, of a weight", "LearnedScale", LowBit),
    Subject("LearnedClip", "LearnedClip", lambda: hg.LearnedClip(2, start=1.2)),
    Subject("Ballistics", "Ballistics", lambda: hg.Ballistics(1.0, 3.0, sample_rate=1e3)),
    Subject("EnvelopeKey", "EnvelopeKey", Loudness),
    Subject("Gate", "Gate", lambda: hg.Gate(-3.0, -9.0, hold_ms=1.0, detector_ms=2.0, sample_rate=1e3)),
    Subject("Compressor", "Compressor", _compressor),
    Subject("Compressor, rms, linked", "Compressor", lambda: _compressor(detector="rms", link=True), time=True),
    _estimate(hg.exact, "exact"),
    _estimate(hg.score_function, "score_function"),
    _estimate(partial(hg.score_function, samples=3, baseline="leave_one_out"), "score_function, leave one out"),
    _estimate(hg.score_function, "score_function, moving average", baseline=_MC.MovingAverage),
    _estimate(hg.score_function, "score_function, network", baseline=Last),
    _estimate(hg.disarm, "disarm"),
    _estimate(partial(hg.arms, samples=3), "arms"),
    _estimate(hg.carms, "carms", one_hot=True),
    _estimate(hg.each_unit, "each_unit"),
    _estimate(hg.unordered_set, "unordered_set", one_hot=True),
    _estimate(hg.double_cv, "double_cv"),
    _estimate(hg.rebar, "rebar"),
    _estimate(hg.relax, "relax", control=Last),
    _estimate(_MC.straight_through_estimator, "straight_through_estimator"),
    _estimate(hg.gumbel, "gumbel", one_hot=True),
    _estimate(hg.gumbel_rao, "gumbel_rao"),
    _estimate(hg.gapped, "gapped"),
    _estimate(hg.reinmax, "reinmax", one_hot=True),
    _estimate(_MC.bridge_estimator, "bridge_estimator", approximator=hg.approximators.elementwise),
    Subject("Switch", "Switch", lambda: hg.Switch(_ranges(), _branch()), keys=_one),
    Subject("Switch, a key a step", "Switch", lambda: hg.Switch(_ranges(), _branch()), keys=_steps, time=True),
    Subject("Switch, normalize", "Switch", lambda: hg.Switch(_ranges(), _branch(), normalize=[0]), keys=_one),
    Subject("Switch, bank", "Bank", lambda: hg.Switch(_ranges(), _branch(), bank=True), keys=_one),
    Subject("Switch, LearnedRanges", "Switch", _learned, keys=_one),
    Subject("Switch, Grid", "Switch", lambda: hg.Switch(_grid(), _branch()), keys=_pair),
    Subject("Switch, If", "Switch", lambda: hg.Switch(_tree(), _branch()), keys=_pair),
    Subject("RangeEmbedding", "RangeEmbedding", _embedding, out=3),
    Subject("LayerMask", "LayerMask", _mask, keys=_one),
    Subject("RecurrentSwitch, shared", "RecurrentSwitch", lambda: _recurrent("shared"), keys=_steps, time=True),
    Subject("RecurrentSwitch, per branch", "RecurrentSwitch", lambda: _recurrent("per_branch"), keys=_steps, time=True),
    Subject(
        "RecurrentSwitch, Hysteresis",
        "RecurrentSwitch",
        lambda: _recurrent("reset", hg.Hysteresis(_ranges(), 0.1)),
        keys=_steps,
        time=True,
    ),
    Subject("CrossFade", "CrossFade", lambda: hg.CrossFade(hg.Switch(_ranges(), _branch()), 2), keys=_steps, time=True),
]

CONTROL = Subject("torch alone", "control", Control)
_NOISY = Subject("torch alone, with noise", "control", partial(Control, draws=True))
_IN_TIME = Subject("torch alone, in time", "control", Control, keys=_steps, time=True)


def control_of(subject: Subject) -> Subject:
    """Return the layer of torch alone that has a subject's input, and draws if it does."""
    return (
        _IN_TIME
        if subject.time
        else _NOISY
        if subject.family in ("Monte Carlo", "perturb", "perturbed", "imle")
        else CONTROL
    )


def representatives() -> list[Subject]:
    """The first subject of each family."""
    return list({subject.family: subject for subject in reversed(SUBJECTS)}.values())
