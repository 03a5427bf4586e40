"""Every public function and class with arguments that are right, for the fuzzer to spoil one or two of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Independent, OneHotCategorical

import hardgrad as hg

ROWS = 4
Make = Callable[[], Any]


@dataclass(frozen=True)
class Call:
    """One public name.

    Args:
        function: what is called.
        arguments: each argument by name, as a function that makes a right value.
        use: what a user does with the result, if it is a layer.
        slow: how many times rarer than others it is drawn.
        named: the words that errors may call it by, besides its name.
        positional: arguments that have no name to pass them by, ``*ranges`` of Grid.
        may_be_nan: whether NaN is a documented answer to right arguments.
        aliases: other names that an argument goes by in errors, those of what it holds.
    """

    function: Callable[..., Any]
    arguments: dict[str, Make]
    use: Callable[[Any], Any] | None = None
    slow: int = 1
    named: tuple[str, ...] = ()
    positional: tuple[str, ...] = ()
    may_be_nan: bool = False
    aliases: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.function.__name__


def _randn(*shape: int) -> Make:
    return lambda: torch.randn(*shape, generator=torch.Generator().manual_seed(5))


def _rand(*shape: int) -> Make:
    return lambda: torch.rand(*shape, generator=torch.Generator().manual_seed(5))


def _same(value: Any) -> Make:
    return lambda: value


def _q() -> Independent:
    return Independent(Bernoulli(logits=torch.zeros(ROWS, 3, requires_grad=True)), 1)


def _one_hot() -> OneHotCategorical:
    return OneHotCategorical(logits=torch.zeros(ROWS, 3, requires_grad=True))


def _cost(b: Tensor) -> Tensor:
    return (b.sum(-1) - 1.0).square()


def _sorted(array: Any) -> Any:
    array.sort()
    return array


def _negative(array: Any) -> Any:
    return -array


def _cheapest(cost: Tensor) -> Tensor:
    return hg.hard.one_hot_argmax(-cost)


def _ranges() -> hg.Ranges:
    return hg.Ranges([0.0, 1.0, 2.0])


def _switch() -> hg.Switch:
    return hg.Switch(_ranges(), nn.Linear(3, 2))


def _stepped() -> hg.Switch:
    switch = _switch()
    switch(_randn(ROWS, 3)(), _keys()()).sum().backward()
    return switch


def _learned() -> hg.Switch:
    return hg.Switch(hg.LearnedRanges([0.0, 1.0, 2.0]), nn.Linear(3, 2))


def _keys(count: int = ROWS) -> Make:
    return lambda: torch.linspace(0.1, 1.9, count)


def _steps() -> Tensor:
    return torch.linspace(0.1, 1.9, 5).expand(ROWS, 5).clone()


def _row_loss(y: Tensor, target: Tensor) -> Tensor:
    return (y - target).square().sum(1)


def _run(*inputs: Make) -> Callable[[Any], Any]:
    def use(layer: Any) -> Any:
        y = layer(*(make() for make in inputs))
        first = y[0] if isinstance(y, tuple) else y
        if isinstance(first, Tensor) and first.requires_grad:
            first.sum().backward()
        return first

    return use


def _gru() -> nn.Module:
    return nn.GRU(3, 4, batch_first=True)


def _seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


_H, _MC, _T, _A = hg.hard, hg.montecarlo, hg.surrogate.twins, hg.approximators
_X = {"x": _randn(ROWS, 3)}
_QF: dict[str, Make] = {"q": _q, "f": _same(_cost)}
_DIM = {"dim": _same(-1)}
_SOFT = {
    "temperature": _same(0.5),
    "dim": _same(-1),
    "descending": _same(True),
    "method": _same("laplace"),
    "relative": _same(True),
}
_LOSS = {name: make for name, make in _SOFT.items() if name != "descending"} | {
    "soft": _same(True),
    "reduction": _same("mean"),
}
_DRAWS = {"samples": _same(2), "generator": _seeded}
_SEARCH = {"x": _randn(60, 1), "key": _rand(60), "target": _randn(60), "max_ranges": _same(2)}
_SOLVING = {
    "sense": _same("min"),
    "rows": _same(False),
    "cache": _same(2),
    "differentiable_in_eval": _same(False),
}
_NOISY = _SOLVING | {"noise": _same("gumbel"), "value": _same("mean"), "samples": _same(2), "generator": _seeded}
_TRAINED = {"switch": _learned, "x": _randn(ROWS, 3), "key": _keys(), "target": _randn(ROWS, 2)}

# A target is held against x's rows, and so is a loss of them.
_ROWS = {"key": ("key", "target"), "x": ("x", "target", "loss"), "target": ("target", "loss")}

_DEVICE: dict[str, Make] = {"sample_rate": _same(8000.0), "learn": _same(True)}
CALLS = [
    Call(_H.sign, _X | {"margin": _same(0.2)}),
    Call(_H.step, _X | {"threshold": _same(0.2)}),
    Call(_H.sign, _X | {"margin": _rand(3)}),
    Call(_H.quantize, _X | {"levels": _same(4), "low": lambda: -torch.ones(3), "high": _rand(ROWS, 1)}),
    Call(_H.quantize, _X | {"levels": lambda: torch.arange(12.0).view(3, 4)}),
    Call(_H.binarize, _X | _DIM),
    Call(_H.round, _X),
    Call(_H.quantize, _X | {"levels": _same(4), "low": _same(-1.0), "high": _same(1.0)}),
    Call(_H.one_hot_argmax, _X | _DIM),
    Call(_H.top_k, _X | {"k": _same(2)} | _DIM, aliases={"x": ("x", "size")}),
    Call(_H.top_k_mask, _X | {"k": _same(2)} | _DIM, aliases={"x": ("x", "size")}),
    Call(_H.quantile, _X | {"q": _same(0.3)} | _DIM, aliases={"x": ("x", "entry")}),
    Call(_H.median, _X | _DIM, aliases={"x": ("x", "entry")}),
    Call(_H.sort, _X | _DIM),
    Call(_H.rank, _X | _DIM),
    Call(_H.permutation, _X),
    Call(_H.sort_rows_cols, _X),
    *(Call(each, _X | _SOFT) for each in (hg.soft.sort, hg.soft.rank, hg.soft.permutation, hg.soft.argmax)),
    Call(hg.soft.top_k, _X | {"k": _same(2)} | _SOFT, aliases={"x": ("x", "size")}),
    Call(hg.soft.top_k_mask, _X | {"k": _same(2)} | _SOFT, aliases={"x": ("x", "size")}),
    Call(hg.soft.quantile, _X | {"q": _same(0.3)} | _SOFT, aliases={"x": ("x", "entry")}),
    Call(hg.soft.median, _X | _SOFT, aliases={"x": ("x", "entry")}),
    Call(
        hg.soft.Network,
        {"kind": _same("odd-even")},
        use=lambda network: hg.soft.sort(torch.zeros(ROWS, 3), 0.5, method=network),
    ),
    *(Call(each, _X | {"target": _randn(ROWS, 3)} | _LOSS) for each in (hg.losses.spearman, hg.losses.kendall)),
    Call(hg.losses.ndcg, {"scores": _randn(ROWS, 3), "relevance": _rand(ROWS, 3), "k": _same(2)} | _LOSS),
    Call(hg.losses.average_precision, {"scores": _randn(ROWS, 3), "labels": lambda: torch.eye(ROWS, 3)} | _LOSS),
    Call(
        hg.losses.top_k_cross_entropy,
        {"logits": _randn(ROWS, 3), "target": lambda: torch.arange(ROWS) % 3, "k": _same(2)} | _LOSS,
        aliases={"logits": ("logits", "classes")},
    ),
    Call(_H.kmeans, _X | {"k": _same(2), "iterations": _same(3)}, aliases={"x": ("x", "points")}),
    Call(_H.nearest_code, _X | {"codebook": _randn(5, 3)}),
    Call(_H.nearest_index, _X | {"codebook": _randn(5, 3)}),
    Call(_H.bernoulli, {"p": _rand(ROWS, 3), "generator": _seeded}),
    Call(_H.categorical, {"p": _rand(ROWS, 3), "generator": _seeded}, may_be_nan=True),
    Call(_H.k_subset, {"logits": _randn(ROWS, 3), "k": _same(2), "generator": _seeded}, may_be_nan=True),
    Call(
        hg.KSubset,
        {"logits": _randn(ROWS, 3), "k": _same(2), "validate_args": _same(None)},
        use=lambda q: q.log_prob(hg.hard.k_subset(torch.zeros(ROWS, 3), 2)),
        aliases={"logits": ("logits", "value"), "k": ("k", "value")},
    ),
    Call(
        hg.Ballistics,
        {"attack_ms": _same(1.0), "release_ms": _rand(3)} | _DEVICE,
        use=lambda layer: layer(torch.ones(ROWS, 3, 5))[0],
    ),
    Call(
        hg.EnvelopeKey,
        {"attack_ms": _same(1.0), "release_ms": _rand(ROWS)} | _DEVICE | {"floor_db": _same(-90.0), "column": _same(0)},
        use=lambda key: key.eval()(torch.ones(ROWS, 5, 1)),
    ),
    Call(
        hg.Gate,
        {name: _same(2.0) for name in ("open_db", "close_db", "hold_ms", "attack_ms", "release_ms", "detector_ms")}
        | {"range_db": _same(-9.0), "band_db": _same(6.0)}
        | _DEVICE,
        use=_run(_rand(ROWS, 2, 5)),
    ),
    Call(hg.graft, {"value": _randn(ROWS, 3), "path": _randn(ROWS, 3)}),
    Call(
        hg.Bridge,
        {
            "hard": _same(_H.sign),
            "approximator": lambda: _A.mlp(3, 3),
            "weight": _same(2.0),
            "distance": _same(None),
            "conditioning": _same(False),
        },
        use=_run(_randn(ROWS, 3)),
    ),
    Call(
        hg.perturb,
        {
            "f": _same(_H.round),
            "scale": _same(0.5),
            "samples": _same(2),
            "directions": _same("coordinates"),
            "noise": _same(None),
            "antithetic": _same(True),
            "low": _same(-9.0),
            "high": _same(9.0),
            "generator": _seeded,
            "differentiable_in_eval": _same(False),
        },
        use=_run(lambda: _randn(ROWS, 3)().requires_grad_()),
        aliases={"low": ("low", "scale"), "high": ("high", "scale")},
    ),
    Call(
        hg.perturb,
        {
            "f": _same(_H.sort),
            "scale": _same(0.5),
            "noise": _same("normal"),
            "samples": _same(2),
            "antithetic": _same(False),
        },
        use=_run(lambda: _randn(ROWS, 3)().requires_grad_()),
    ),
    Call(
        hg.interpolated,
        {"solver": _same(_cheapest), "strength": _same(2.0), "two_sided": _same(True), "rho": _same(0.1)} | _SOLVING,
        use=_run(lambda: _randn(ROWS, 3)().requires_grad_()),
    ),
    Call(
        hg.perturbed,
        {"solver": _same(_cheapest), "scale": _same(0.5)} | _NOISY,
        use=_run(lambda: _randn(ROWS, 3)().requires_grad_()),
    ),
    Call(
        hg.ResidualCodebook,
        {"layer": lambda: hg.Codebook(4, 3), "stages": _same(2), "dropout": _same(0.5)},
        use=_run(_randn(ROWS, 3)),
        aliases={"layer": ("layer", "x")},
    ),
    Call(
        hg.levels,
        {"levels": _same([3, 4, 5]), "dim": _same(-1), "differentiable_in_eval": _same(False)},
        use=_run(lambda: _randn(ROWS, 3)().requires_grad_()),
        aliases={"levels": ("levels", "x"), "dim": ("dim", "x")},
    ),
    Call(
        hg.lookup_free,
        {
            "bits": _same(3),
            "entropy": _same(0.1),
            "temperature": _same(1.0),
            "commitment": _same(0.25),
            "dim": _same(-1),
            "differentiable_in_eval": _same(False),
        },
        use=_run(lambda: _randn(ROWS, 3)().requires_grad_()),
        aliases={"bits": ("bits", "x"), "dim": ("dim", "x")},
    ),
    Call(
        hg.imle,
        {
            "solver": _same(_cheapest),
            "strength": _same("servo"),
            "scale": _same(0.5),
            "two_sided": _same(True),
            "aim": _same(1.0),
        }
        | _NOISY,
        use=_run(lambda: _randn(ROWS, 3)().requires_grad_()),
    ),
    Call(
        hg.fenchel_young,
        {
            "solver": _same(_cheapest),
            "cost": _randn(ROWS, 3),
            "target": _randn(ROWS, 3),
            "scale": _same(0.5),
            "samples": _same(2),
            "noise": _same("normal"),
            "sense": _same("min"),
            "rows": _same(False),
            "generator": _seeded,
        },
    ),
    Call(
        hg.spo_plus,
        {
            "solver": _same(_cheapest),
            "cost": _randn(ROWS, 3),
            "true_cost": _randn(ROWS, 3),
            "solution": _randn(ROWS, 3),
            "sense": _same("max"),
            "rows": _same(False),
        },
    ),
    Call(
        hg.straight_through,
        {"hard": _same(_H.sign), "soft": _same(torch.tanh)},
        use=_run(_randn(ROWS, 3)),
        aliases={"soft": ("soft", "twin")},
    ),
    Call(
        hg.Codebook,
        {
            "codes": _same(2),
            "width": _same(3),
            "gradient": _same("rotation"),
            "learn": _same("gradient"),
            "start": _same("kmeans"),
            "revive": _same(None),
            "commitment": _same(0.5),
            "distance": _same("cosine"),
            "heads": _same(1),
            "dim": _same(-1),
            "decay": _same(0.9),
            "approximator": _same(None),
            "differentiable_in_eval": _same(False),
        },
        use=_run(_randn(ROWS, 3)),
        aliases={"heads": ("heads", "codes"), "codes": ("codes", "start"), "width": ("width", "x")},
    ),
    *(
        Call(
            each,
            {
                "bits": _same(2),
                "signed": _same(False),
                "per_channel": _same(-1),
                "channels": _same(3),
                "start": _same(0.5),
                "batched": _same(True),
            },
            use=_run(_randn(ROWS, 3)),
            aliases={"signed": ("signed", "bits"), "per_channel": ("per_channel", "channels")},
        )
        for each in (hg.LearnedScale, hg.LearnedClip)
    ),
    Call(hg.strip, {"model": lambda: nn.Linear(3, 3)}),
    Call(_T.clipped, {"low": _same(-1.0), "high": _same(1.0)}),
    Call(_T.sigmoid, {"slope": _same(2.0), "center": _same(0.0)}),
    Call(_T.tanh, {"slope": _same(2.0), "center": _same(0.0)}),
    Call(_T.negative_identity, {"project": _same("mean"), "sense": _same("min")}),
    Call(_T.dead_zone, {"step": lambda: hg.surrogate.twins.sigmoid(2.0), "margin": _same(0.5)}),
    Call(_T.quantizer, {"levels": _same(4)}),
    Call(_T.arctan, {"slope": _same(2.0), "center": _same(0.0)}),
    Call(_T.fast_sigmoid, {"slope": _same(2.0), "center": _same(0.0)}),
    Call(_T.triangle, {"width": _same(2.0), "center": _same(0.0)}),
    Call(_T.rectangle, {"width": _same(2.0), "center": _same(0.0)}),
    Call(_T.gaussian, {"width": _same(2.0), "center": _same(0.0)}),
    Call(_T.leaky, {"below": _same(0.5), "center": _same(0.0)}),
    Call(
        _A.mlp,
        {"in_features": _same(3), "out_features": _same(2), "hidden": _same((4,)), "activation": _same(nn.Tanh)},
        use=_run(_randn(ROWS, 3)),
    ),
    Call(
        _A.elementwise, {"width": _same(4), "layers": _same(1), "activation": _same(nn.Tanh)}, use=_run(_randn(ROWS, 3))
    ),
    Call(
        _A.conv,
        {
            "in_channels": _same(2),
            "out_channels": _same(3),
            "width": _same(4),
            "kernel_size": _same(3),
            "layers": _same(1),
            "activation": _same(nn.ELU),
        },
        use=_run(_randn(2, 2, 5, 5)),
    ),
    Call(
        _A.sequence,
        {
            "in_features": _same(3),
            "out_features": _same(2),
            "width": _same(8),
            "heads": _same(2),
            "layers": _same(1),
            "positions": _same(True),
        },
        use=_run(_randn(2, 5, 3)),
    ),
    Call(_A.suggest, {"hard": _same(_H.sign), "example": _randn(ROWS, 3)}, slow=4),
    Call(
        hg.BlackBox,
        {
            "fn": _same(_sorted),
            "out": _same(_negative),
            "batched": _same(True),
            "workers": _same(0),
            "factory": _same(None),
            "timeout": _same(None),
            "cache": _same(2),
            "low": _same(-9.0),
            "high": _same([9.0, 9.0, 9.0]),
        },
        use=_run(_randn(ROWS, 3)),
        aliases={"fn": ("fn", "program")},
    ),
    Call(hg.exact, _QF | {"max_states": _same(64)}),
    Call(
        hg.score_function,
        _QF | {"baseline": _same("leave_one_out"), "context": _same(None)} | _DRAWS,
        aliases={"q": ("q", "f")},
    ),
    Call(hg.disarm, _QF | _DRAWS),
    Call(hg.arms, _QF | _DRAWS),
    Call(hg.carms, {"q": _one_hot, "f": _same(_cost)} | _DRAWS),
    Call(hg.each_unit, _QF | {"units": _same(2)} | _DRAWS),
    Call(hg.unordered_set, _QF | _DRAWS),
    Call(hg.double_cv, _QF | {"scale": _same(1.0)} | _DRAWS),
    Call(hg.gumbel, {"q": _one_hot, "f": _same(_cost), "temperature": _same(0.5), "hard": _same(True)} | _DRAWS),
    Call(
        hg.gumbel,
        {"q": _one_hot, "f": _same(_cost), "hard": _same(False), "backward_temperature": _same(0.5)} | _DRAWS,
    ),
    Call(hg.gapped, _QF | {"gap": _same(1.0), "temperature": _same(0.5)} | _DRAWS),
    Call(hg.gumbel_rao, {"q": _one_hot, "f": _same(_cost), "temperature": _same(0.5), "inner": _same(3)} | _DRAWS),
    Call(hg.reinmax, {"q": _one_hot, "f": _same(_cost), "temperature": _same(1.0)} | _DRAWS),
    Call(
        hg.rebar,
        _QF | {"control": _same(None), "temperature": _same(0.5), "scale": _same(1.0), "tied": _same(True)} | _DRAWS,
    ),
    Call(hg.relax, _QF | {"control": lambda: nn.Linear(3, 1), "tied": _same(True)} | _DRAWS),
    Call(_MC.straight_through_estimator, _QF | _DRAWS),
    Call(_MC.bridge_estimator, _QF | {"approximator": lambda: _A.elementwise(4), "weight": _same(1.0)} | _DRAWS),
    Call(_MC.each_sample, {"f": _same(_cost), "event_dims": _same(1)}),
    Call(_MC.Annealed, {"start": _same(1.0), "end": _same(0.5), "steps": _same(10)}),
    Call(_MC.MovingAverage, {"decay": _same(0.9)}),
    Call(_MC.RebarControl, {"temperature": _same(0.5), "scale": _same(1.0)}),
    Call(_MC.RelaxControl, {"network": lambda: nn.Linear(3, 1), "temperature": _same(0.5), "scale": _same(1.0)}),
    Call(
        hg.Ranges,
        {"points": _same([0.0, 1.0, 2.0]), "outside": _same("nearest"), "closed": _same("left")},
        use=_run(_keys()),
    ),
    Call(
        hg.LearnedRanges,
        {"points": _same([0.0, 1.0, 2.0]), "band": _same(0.5), "outside": _same("nearest"), "closed": _same("left")},
        use=_run(_keys()),
        named=("Ranges",),
    ),
    Call(
        hg.Grid,
        {"ranges": _ranges, "share": _same([0, 1])},
        use=_run(lambda: _keys()().unsqueeze(-1)),
        positional=("ranges",),
    ),
    Call(
        hg.If,
        {"ranges": _ranges, "then": _same(["a", "b"]), "key": _same(0)},
        use=_run(lambda: _keys()().unsqueeze(-1)),
    ),
    Call(hg.Hysteresis, {"ranges": _ranges, "margin": _same(0.1)}, use=_run(_steps)),
    Call(
        hg.Switch,
        {
            "ranges": _ranges,
            "branches": lambda: nn.Linear(3, 2),
            "key": _same(0),
            "init": _same("identical"),
            "normalize": _same(False),
            "bank": _same(False),
        },
        use=_run(_rand(ROWS, 3)),
    ),
    Call(
        hg.RangeEmbedding,
        {"ranges": _ranges, "features": _same(3), "init": _same("identical"), "normalize": _same(True)},
        use=_run(_keys()),
        named=("Switch",),
    ),
    Call(
        hg.LayerMask,
        {
            "layers": lambda: [nn.Linear(3, 3), nn.Tanh()],
            "ranges": _ranges,
            "mask": _same([[True, True], [False, True]]),
            "dropout": _same(0.1),
            "key": _same(0),
            "generator": _seeded,
        },
        use=_run(_rand(ROWS, 3)),
    ),
    Call(
        hg.Compressor,
        {
            **{name: _same(2.0) for name in ("threshold_db", "ratio", "knee_db", "makeup_db")},
            **{name: _same(2.0) for name in ("attack_ms", "release_ms", "rms_ms")},
            "sample_rate": _same(1000),
            "detector": _same("rms"),
            "link": _same(True),
            "learn": _same(True),
        },
        use=_run(_rand(ROWS, 2, 5)),
    ),
    Call(
        hg.RecurrentSwitch,
        {"ranges": _ranges, "branches": _gru, "state": _same("shared"), "key": _same(0), "init": _same("identical")},
        use=_run(_rand(ROWS, 5, 3)),
        named=("Switch",),
    ),
    Call(
        hg.CrossFade,
        {
            "switch": lambda: hg.Switch(_ranges(), nn.Linear(3, 2), key=0),
            "length": _same(2),
            "curve": _same("linear"),
            "train_old": _same(True),
        },
        use=_run(_rand(ROWS, 5, 3)),
    ),
    Call(
        hg.per_branch_mean,
        {
            "loss": _rand(ROWS),
            "index": _same(torch.tensor([0, 1, 0, 1])),
            "branches": _same(2),
            "weights": _same(torch.tensor([1.0, 2.0])),
        },
        aliases={"branches": ("branches", "branch")},
    ),
    Call(hg.clip_grad_norm_per_branch_, {"switch": _stepped, "max_norm": _same(1.0), "norm_type": _same(2.0)}),
    Call(
        hg.search_ranges,
        _SEARCH
        | {
            "policy": _same("quantile"),
            "criterion": _same("bic"),
            "least_share": _same(0.1),
            "held_out": _same(0.25),
            "block": _same(1),
        },
        slow=4,
    ),
    Call(
        hg.search_key,
        {"keys": lambda: {"a": _rand(60)(), "b": _randn(60)()}}
        | {k: v for k, v in _SEARCH.items() if k != "key"}
        | {"lags": _same((0, 1))},
        slow=4,
        named=("search_ranges",),
    ),
    Call(
        hg.segments.proxy_loss,
        {k: v for k, v in _SEARCH.items() if k != "max_ranges"} | {"points": _same([0.5]), "ridge": _same(1e-6)},
    ),
    Call(
        hg.switch.refine,
        _TRAINED | {"loss": _same(_row_loss), "window": _same(0.5)},
        named=("Switch", "Ranges"),
        aliases=_ROWS,
    ),
    Call(
        hg.switch.relocate,
        _TRAINED | {"optimizer": _same(None), "worth": _same(2.0)},
        named=("Switch", "Ranges"),
        aliases=_ROWS,
    ),
    Call(hg.switch.threshold_loss, _TRAINED | {"loss": _same(_row_loss)}, named=("Switch", "Ranges"), aliases=_ROWS),
    Call(hg.switch.agreement, {"switch": _learned, "x": _randn(ROWS, 3), "key": _keys()}, named=("Switch", "Ranges")),
    Call(hg.switch.inspect, {"switch": _switch, "x": _randn(ROWS, 3), "key": _keys()}, named=("Switch", "Ranges")),
    Call(hg.switch.History, {"switch": _switch}),
    Call(
        hg.segments.Gradient,
        {"branch": _same(None), "steps": _same(2), "batch": _same(8), "lr": _same(0.01), "seed": _same(0)},
    ),
    Call(
        hg.diagnose,
        {
            "estimators": lambda: {"disarm": hg.disarm},
            "function": _same(_cost),
            "inputs": _q,
            "draws": _same(20),
            "generator": _seeded,
            "seconds": _same(60.0),
        },
        slow=20,
        named=("disarm",),
        aliases={"inputs": ("inputs", "function")},
    ),
    Call(hg.doctor.breaks, {"model": lambda: nn.Linear(3, 1), "loss": _same(None)}),
    Call(
        hg.doctor.examine,
        {
            "box": _same(torch.tanh),
            "x": _rand(ROWS, 3),
            "low": _same(0.0),
            "high": _same(1.0),
            "chunks": _same(None),
            "read": _same(None),
            "factory": _same(None),
            "seconds": _same(5.0),
            "generator": _seeded,
        },
        slow=4,
        positional=("box", "x"),
    ),
    Call(hg.doctor.candidates, {"function": _same(_cost), "inputs": _q, "noise": _same("auto")}, slow=4),
    Call(
        hg.doctor.Watch,
        {
            "bridge": lambda: hg.Bridge(_H.sign, _A.mlp(3, 3)),
            "every": _same(10),
            "sigma": _same(0.5),
            "noise": _same("gaussian"),
            "budget": _same(100),
            "generator": _seeded,
        },
    ),
]

# What stands in the place of a right value.
ODD: dict[str, Make] = {
    "None": _same(None),
    "True": _same(True),
    "nan": _same(float("nan")),
    "inf": _same(float("inf")),
    "-inf": _same(float("-inf")),
    "-1": _same(-1),
    "0": _same(0),
    "1": _same(1),
    "7": _same(7),
    "2.5": _same(2.5),
    "1e308": _same(1e308),
    "1e-320": _same(1e-320),
    "a string": _same("odd"),
    "()": _same(()),
    "a mixed list": _same([1, "a"]),
    "nested lists": _same([[0.0, 1.0]]),
    "a dict": _same({}),
    "an object": object,
    "a function that returns None": _same(lambda *_: None),
    "an int tensor": lambda: torch.arange(ROWS),
    "an int matrix": lambda: torch.arange(ROWS * 3).view(ROWS, 3),
    "a bool tensor": lambda: torch.ones(ROWS, dtype=torch.bool),
    "a complex tensor": lambda: torch.ones(ROWS, 3, dtype=torch.complex64),
    "no rows": lambda: torch.zeros(0, 3),
    "no columns": lambda: torch.zeros(ROWS, 0),
    "a number's tensor": lambda: torch.tensor(0.5),
    "NaN": lambda: torch.full((ROWS, 3), float("nan")),
    "infinities": lambda: torch.full((ROWS, 3), float("inf")),
    "NaN keys": lambda: torch.full((ROWS,), float("nan")),
    "three dimensions": lambda: torch.zeros(2, ROWS, 3),
    "another width": lambda: torch.zeros(ROWS, 9),
    "half": lambda: torch.zeros(ROWS, 3, dtype=torch.float16),
    "a layer of other sizes": lambda: nn.Linear(7, 5),
    "a layer that returns a tuple": lambda: nn.LSTM(3, 3, batch_first=True),
    "a normal distribution": lambda: torch.distributions.Normal(torch.zeros(ROWS), 1.0),
}
WITH_NAN = ("nan", "inf", "-inf", "NaN", "infinities", "NaN keys", "1e308", "1e-320")
