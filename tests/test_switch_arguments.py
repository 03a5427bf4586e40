"""Wrong arguments are named, and what could be meant in two ways is said."""

from __future__ import annotations

import copy
import gc
import math
import pickle
import time
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

import hardgrad as hg

NAN = math.nan
RANGES = hg.Ranges([0, 1, 2])
X, KEY = torch.randn(4, 3), torch.tensor([0.1, 0.3, 1.2, 1.3])


def plain() -> hg.Switch:
    return hg.Switch(RANGES, nn.Linear(3, 2))


def learned(**kwargs: Any) -> hg.Switch:
    return hg.Switch(hg.LearnedRanges([0, 1, 2.0], **kwargs), nn.Linear(3, 2))


def squared(y: Tensor, t: Tensor) -> Tensor:
    return (y - t).square().sum(1)


T = torch.randn(4, 2)
# What is done, and the words that must be in the message: the argument, and the value got where it has one.
WRONG: dict[str, tuple[Callable[[], object], tuple[str, ...]]] = {
    "points a word": (lambda: hg.Ranges("abc"), ("points", "abc")),
    "points a number": (lambda: hg.Ranges(3.0), ("points", "3.0")),
    "points None": (lambda: hg.Ranges(None), ("points", "None")),
    "points nested": (lambda: hg.Ranges([[0, 1], [2, 3]]), ("points",)),
    "points with a word": (lambda: hg.Ranges([0, "1"]), ("points",)),
    "points with a bool": (lambda: hg.Ranges([False, True]), ("points",)),
    "points complex": (lambda: hg.Ranges([0, 1j]), ("points",)),
    "outside a tensor": (lambda: hg.Ranges([0, 1], torch.zeros(2)), ("outside",)),
    "closed None": (lambda: hg.Ranges([0, 1], closed=None), ("closed", "None")),
    "band a word": (lambda: hg.LearnedRanges([0, 1, 2], band="wide"), ("band", "wide")),
    "band NaN": (lambda: hg.LearnedRanges([0, 1, 2], band=NAN), ("band", "nan")),
    "band a bool": (lambda: hg.LearnedRanges([0, 1, 2], band=True), ("band", "True")),
    "hysteresis margin": (lambda: hg.Hysteresis(RANGES, "0.1"), ("margin", "0.1")),
    "hysteresis start": (lambda: hg.Hysteresis(RANGES, 0.1)(KEY[None], torch.zeros(1)), ("start", "float32")),
    "grid of a list": (lambda: hg.Grid([RANGES, RANGES]), ("ranges", "list")),
    "grid of points": (lambda: hg.Grid([0, 1, 2]), ("ranges", "list")),
    "share of floats": (lambda: hg.Grid(RANGES, share=[0.0, 1.0]), ("share", "float")),
    "share of bools": (lambda: hg.Grid(RANGES, share=[False, True]), ("share", "bool")),
    "share ragged": (lambda: hg.Grid(RANGES, RANGES, share=[[0, 1], [1]]), ("share",)),
    "share negative": (lambda: hg.Grid(RANGES, share=[-1, 0]), ("share", "-1")),
    "if of a word": (lambda: hg.If(RANGES, "ab"), ("then", "ab")),
    "if of numbers": (lambda: hg.If(RANGES, [0, 1]), ("then", "0")),
    "if of a number": (lambda: hg.If(RANGES, 2), ("then", "int")),
    "if of hysteresis": (lambda: hg.If(hg.Hysteresis(RANGES, 0.1), ["a", "b"]), ("ranges", "Hysteresis")),
    "if of points": (lambda: hg.If([0, 1], ["a"]), ("ranges", "list")),
    "if key negative": (lambda: hg.If(RANGES, ["a", "b"], key=-1), ("key", "-1")),
    "if key a float": (lambda: hg.If(RANGES, ["a", "b"], key=0.0), ("key", "0.0")),
    "switch of points": (lambda: hg.Switch([0, 1], nn.Linear(1, 1)), ("ranges", "list")),
    "a function for a branch": (lambda: hg.Switch(RANGES, torch.tanh), ("branches", "builtin")),
    "a class for a branch": (lambda: hg.Switch(RANGES, nn.Tanh), ("branches", "type")),
    "a list with None": (lambda: hg.Switch(RANGES, [nn.Tanh(), None]), ("branches", "NoneType", "1")),
    "key a float": (lambda: hg.Switch(RANGES, nn.Tanh(), key=0.5), ("key", "0.5")),
    "key a bool": (lambda: hg.Switch(RANGES, nn.Tanh(), key=True), ("key", "True")),
    "key a word": (lambda: hg.Switch(RANGES, nn.Tanh(), key="a"), ("key", "a")),
    "key beyond x": (lambda: hg.Switch(RANGES, nn.Tanh(), key=7)(X), ("key", "7", "(4, 3)")),
    "key a function of no tensor": (lambda: hg.Switch(RANGES, nn.Tanh(), key=lambda x: 1)(X), ("key", "int")),
    "init": (lambda: hg.Switch(RANGES, nn.Tanh(), init="same"), ("init", "same")),
    "init 0": (lambda: hg.Switch(RANGES, nn.Tanh(), init=0), ("init", "0")),
    "normalize 0": (lambda: hg.Switch(RANGES, nn.Tanh(), normalize=0), ("normalize", "0")),
    "normalize a word": (lambda: hg.Switch(RANGES, nn.Tanh(), normalize="all"), ("normalize", "all")),
    "normalize of bools": (lambda: hg.Switch(RANGES, nn.Tanh(), normalize=[True, False]), ("normalize", "True")),
    "normalize of floats": (lambda: hg.Switch(RANGES, nn.Tanh(), normalize=[0.5]), ("normalize", "0.5")),
    "normalize beyond x": (lambda: hg.Switch(RANGES, nn.Tanh(), normalize=[3])(X, KEY), ("normalize", "3")),
    "x a list": (lambda: plain()([[1.0]], KEY), ("x", "list")),
    "key a list": (lambda: plain()(X, [0.1]), ("key", "list")),
    "key bool": (lambda: plain()(X, KEY > 0), ("key", "bool")),
    "key a scalar": (lambda: plain()(X, KEY[0]), ("key", "()")),
    "features a word": (lambda: hg.RangeEmbedding(RANGES, "8"), ("features", "8")),
    "features a float": (lambda: hg.RangeEmbedding(RANGES, 1.5), ("features", "1.5")),
    "embedding of points": (lambda: hg.RangeEmbedding([0, 1], 3), ("ranges", "list")),
    "embedding normalize": (lambda: hg.RangeEmbedding(RANGES, 3, normalize=[0]), ("normalize", "[0]")),
    "embedding of a list": (lambda: hg.RangeEmbedding(RANGES, 3)([0.5]), ("x", "list")),
    "split at a word": (lambda: plain().split(0, "a"), ("at", "a")),
    "split at NaN": (lambda: plain().split(0, NAN), ("at", "nan")),
    "split a float": (lambda: plain().split(0.0, 0.5), ("i ", "0.0")),
    "split's optimizer": (lambda: plain().split(0, 0.5, "adam"), ("optimizer", "str")),
    "merge a word": (lambda: plain().merge("0", 1), ("i ", "0")),
    "merge beyond": (lambda: plain().merge(0, 2), ("j ", "2")),
    "warm start": (lambda: plain().warm_start({}), ("model", "dict")),
    "threshold_loss of a module": (lambda: hg.switch.threshold_loss(nn.Tanh(), X, KEY, T, squared), ("switch", "Tanh")),
    "threshold_loss of plain ranges": (lambda: hg.switch.threshold_loss(plain(), X, KEY, T, squared), ("switch",)),
    "threshold_loss target": (
        lambda: hg.switch.threshold_loss(learned(), X, KEY, T[:2], squared),
        ("target", "(2, 2)"),
    ),
    "threshold_loss target a list": (lambda: hg.switch.threshold_loss(learned(), X, KEY, [1], squared), ("target",)),
    "threshold_loss loss": (lambda: hg.switch.threshold_loss(learned(), X, KEY, T, "mse"), ("loss", "str")),
    "threshold_loss loss of None": (
        lambda: hg.switch.threshold_loss(learned(), X, KEY, T, lambda y, t: None),
        ("loss", "NoneType"),
    ),
    "refine window": (lambda: hg.switch.refine(learned(), X, KEY, T, squared, window="a"), ("window", "a")),
    "refine window NaN": (lambda: hg.switch.refine(learned(), X, KEY, T, squared, window=NAN), ("window", "nan")),
    "refine target": (lambda: hg.switch.refine(learned(), X, KEY, T[:3], squared), ("target", "(3, 2)")),
    "refine no rows": (lambda: hg.switch.refine(learned(), X[:0], KEY[:0], T[:0], squared), ("x",)),
    "relocate worth": (lambda: hg.switch.relocate(learned(), X, KEY, T, worth="2"), ("worth", "2")),
    "relocate target": (lambda: hg.switch.relocate(learned(), X, KEY, T[:3]), ("target", "(3, 2)")),
    "relocate no rows": (lambda: hg.switch.relocate(learned(), X[:0], KEY[:0], T[:0]), ("x",)),
    "relocate of a module": (lambda: hg.switch.relocate(nn.Tanh(), X, KEY, T), ("switch", "Tanh")),
    "agreement no rows": (lambda: hg.switch.agreement(learned(), X[:0], KEY[:0]), ("x",)),
    "agreement of a module": (lambda: hg.switch.agreement(nn.Tanh(), X, KEY), ("switch", "Tanh")),
    "learned ranges in a grid": (
        lambda: hg.Switch(hg.Grid(hg.LearnedRanges([0, 1, 2])), nn.Linear(3, 2))(X, KEY[:, None]),
        ("ranges", "Grid"),
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_argument_is_named(what: str) -> None:
    do, words = WRONG[what]
    with pytest.raises((ValueError, TypeError)) as caught:
        do()
    for word in words:
        assert word in str(caught.value)
    assert ":" in str(caught.value)


class Own(hg.switch.Router):
    def __init__(self, made: Any) -> None:
        super().__init__(2)
        self.made = made

    def index(self, key: Tensor) -> Tensor:
        return self.made

    def label(self, i: int) -> str:
        return str(i)


@pytest.mark.parametrize(
    "made",
    [None, torch.zeros(4), torch.zeros(3, dtype=torch.int64), torch.tensor([0, 1, 2, 0]), torch.tensor([-1, 0, 0, 0])],
)
def test_a_router_of_ones_own_that_breaks_the_rules_is_named(made: object) -> None:
    with pytest.raises(ValueError, match=r"Switch: Own\.index must return"):
        hg.Switch(Own(made), nn.Linear(3, 2))(X, KEY)


class Gives(nn.Linear):
    """A branch whose output is not one tensor with an entry for each row."""

    def __init__(self, give: Callable[[Tensor], object]) -> None:
        super().__init__(3, 2)
        self.give = give

    def forward(self, x: Tensor) -> Any:
        return self.give(super().forward(x))


GIVES: dict[str, Callable[[Tensor], object]] = {
    "a tuple": lambda y: (y, y),
    "a dict": lambda y: {"y": y},
    "None": lambda y: None,
    "a scalar": lambda y: y.sum(),
    "a mean": lambda y: y.mean(0, keepdim=True),
    "rows twice": lambda y: torch.cat([y, y, y]),
}
ROUTES: dict[str, Callable[[hg.Switch], object]] = {
    "one range": lambda s: s(X, KEY - KEY + 0.5),
    "two ranges": lambda s: s(X, KEY),
    "no rows": lambda s: s(X[:0], KEY[:0]),
    "vmap": lambda s: torch.func.vmap(lambda x, k: s(x, k))(X.expand(2, 4, 3), KEY.expand(2, 4)),
    "evaluation": lambda s: s.eval()(X, KEY),
    "refine": lambda s: hg.switch.refine(s, X, KEY, T, squared),
    "graph": lambda s: torch.export.export(s.eval(), (X, KEY)),
}


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("what", GIVES)
def test_a_branch_that_returns_something_else_is_named_however_it_runs(what: str, route: str) -> None:
    if what in ("a mean", "rows twice") and route in ("graph", "no rows"):
        return  # a number of rows is a symbol there, checked when the graph runs; three times none is none
    switch = hg.Switch(hg.LearnedRanges([0, 1, 2.0]), [Gives(GIVES[what]) for _ in range(2)])
    with pytest.raises(Exception, match="Switch: branches must return one") as caught:
        ROUTES[route](switch)
    assert isinstance(caught.value, ValueError) or route == "graph"


def trained(kind: str) -> nn.Module:
    module = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 1))
    if kind == "optimizer":
        module(torch.randn(3, 2)).sum().backward()
        torch.optim.SGD(module.parameters(), lr=0.1).step()
    elif kind == "loaded":
        module.load_state_dict(copy.deepcopy(module).state_dict())
    elif kind == "by hand":
        nn.init.zeros_(module[2].bias)
    return module


@pytest.mark.parametrize("kind", ["optimizer", "loaded", "by hand"])
def test_weights_that_would_be_lost_are_told_of(kind: str) -> None:
    with pytest.warns(
        UserWarning, match=r"Switch: the weights handed over are drawn anew .* init=\"identical\""
    ) as said:
        hg.Switch(RANGES, trained(kind))
    assert said[0].filename == __file__
    kept = trained(kind)
    assert torch.equal(hg.Switch(RANGES, kept, init="identical").branch(1)[0].weight, kept[0].weight)
    assert not torch.equal(hg.Switch(RANGES, kept, init="independent").branch(1)[0].weight, kept[0].weight)


FRESH: list[Callable[[], nn.Module]] = [
    lambda: nn.Linear(2, 2),
    lambda: nn.Bilinear(2, 2, 2),
    lambda: nn.Conv2d(2, 2, 3),
    lambda: nn.ConvTranspose1d(2, 2, 3),
    lambda: nn.Embedding(4, 2, padding_idx=1),
    lambda: nn.EmbeddingBag(4, 2),
    lambda: nn.LayerNorm(2),
    lambda: nn.BatchNorm1d(2),
    lambda: nn.GroupNorm(1, 2),
    lambda: nn.InstanceNorm1d(2, affine=True),
    lambda: nn.RMSNorm(2),
    lambda: nn.LSTM(2, 2, 2),
    lambda: nn.GRUCell(2, 2),
    lambda: nn.MultiheadAttention(4, 2),
    lambda: nn.PReLU(),
    lambda: nn.TransformerEncoderLayer(4, 2, 4),
    lambda: nn.TransformerDecoderLayer(4, 2, 4),
    lambda: nn.LazyLinear(2),
    lambda: nn.Linear(2, 2).double(),
    lambda: nn.Linear(2, 2).to(torch.bfloat16),
    lambda: nn.Linear(2, 2).requires_grad_(False),
    lambda: parametrizations.spectral_norm(nn.Linear(2, 2)),
    lambda: torch.nn.utils.spectral_norm(nn.Linear(2, 2)),
]


@pytest.mark.parametrize("make", range(len(FRESH)))
def test_a_fresh_module_is_not_taken_for_a_trained_one(make: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hg.Switch(RANGES, nn.Sequential(FRESH[make](), nn.ReLU()))


def test_a_modules_own_reset_has_the_last_word_on_its_parts() -> None:
    attention = hg.Switch(RANGES, nn.MultiheadAttention(4, 2), init="independent").branch(0)
    assert not attention.out_proj.bias.any()  # as in a new one, though a Linear's own bias is drawn


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize("wrapped", ["old spectral", "old weight", "pruned", "spectral", "weight", "orthogonal"])
def test_independent_weights_under_a_parametrization_are_drawn(wrapped: str) -> None:
    from torch.nn.utils import prune

    wrap: dict[str, Callable[[nn.Module], Any]] = {
        "old spectral": torch.nn.utils.spectral_norm,
        "old weight": torch.nn.utils.weight_norm,
        "pruned": lambda layer: prune.random_unstructured(layer, "weight", amount=0.25),
        "spectral": parametrizations.spectral_norm,
        "weight": parametrizations.weight_norm,
        "orthogonal": parametrizations.orthogonal,
    }
    torch.manual_seed(0)
    layer = wrap[wrapped](nn.Linear(4, 3))
    switch = hg.Switch(RANGES, nn.Sequential(layer, nn.Tanh()), init="independent")
    x = torch.randn(5, 4)
    y = switch(x, torch.tensor([0.5, 1.5, 0.5, 1.5, 0.5]))
    y.sum().backward()
    weights = [branch[0].weight.detach() for branch in switch.branches]
    assert not torch.allclose(weights[0], weights[1], atol=1e-3)
    assert not torch.allclose(weights[0], layer.weight, atol=1e-3)
    assert all(p.grad is not None for p in switch.parameters())
    if wrapped in ("old weight", "weight"):  # at the start the weight is what the layer's own reset draws
        bound = 1 / math.sqrt(4)
        assert all(weight.abs().max() <= bound for weight in weights)
    if wrapped == "orthogonal":
        torch.testing.assert_close(weights[0] @ weights[0].T, torch.eye(3), rtol=0, atol=1e-5)


def test_a_parametrization_that_cannot_be_given_a_weight_is_named() -> None:
    class Squared(nn.Module):
        def forward(self, weight: Tensor) -> Tensor:
            return weight.square()

    layer = nn.Linear(3, 2)
    parametrize.register_parametrization(layer, "weight", Squared())
    with pytest.raises(ValueError, match=r"Switch: init=\"independent\" needs .* weight in Parametrized"):
        hg.Switch(RANGES, layer)
    assert len(hg.Switch(RANGES, layer, init="identical").branches) == 2


def step(ranges: hg.LearnedRanges, *groups: dict[str, Any], band: float | None = 0.5) -> torch.optim.Optimizer:
    ranges.band = band
    switch = hg.Switch(ranges, nn.Linear(1, 1))
    groups = groups or ({"params": switch.parameters()},)
    optimizer = torch.optim.AdamW([dict(group) for group in groups], weight_decay=0.01)
    x = torch.linspace(0, 2, 20)
    for _ in range(2):
        switch(x[:, None], x).square().sum().backward()
        optimizer.step()
    return optimizer


def test_weight_decay_on_learned_points_is_told_of_once() -> None:
    made: list[Callable[[hg.LearnedRanges], hg.LearnedRanges]] = [
        lambda ranges: ranges,
        copy.deepcopy,
        lambda ranges: pickle.loads(pickle.dumps(ranges)),
    ]
    for make in made:
        with pytest.warns(UserWarning, match=r"LearnedRanges: weight decay pulls .* AdamW") as said:
            step(make(hg.LearnedRanges([0.0, 1.0, 2.0])))
        assert len(said) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ranges = hg.LearnedRanges([0.0, 1.0, 2.0])
        step(ranges, {"params": ranges.parameters(), "weight_decay": 0})
        step(hg.LearnedRanges([0.0, 1.0, 2.0]), band=None)  # no gradient, so no step and no decay either
        frozen = hg.LearnedRanges([0.0, 1.0, 2.0]).requires_grad_(False)
        step(frozen)


def test_the_watch_over_weight_decay_keeps_nothing_alive() -> None:
    ranges = hg.LearnedRanges([0.0, 1.0, 2.0])
    optimizer = step(ranges, {"params": ranges.parameters(), "weight_decay": 0})
    left = [weakref.ref(ranges), weakref.ref(optimizer)]
    del ranges, optimizer
    gc.collect()
    assert all(each() is None for each in left)


def test_keys_outside_take_as_long_as_keys_inside() -> None:
    ranges = hg.Ranges([0.0, 1.0, 2.0])
    inside, outside = torch.full((100_000,), 0.5), torch.full((100_000,), 5.0)

    def seconds(key: Tensor) -> float:
        took = []
        for _ in range(3):
            start = time.process_time()
            ranges(key)
            took.append(time.process_time() - start)
        return min(took)

    assert seconds(outside) < 20 * seconds(inside) + 0.01  # one by one they took two hundred times as long
    mixed = torch.cat([inside, torch.tensor([-3.0, 9.0, 9.0])])
    with pytest.raises(ValueError, match=r"within \[0, 2\], got -3 in row 100000"):
        hg.Ranges([0.0, 1.0, 2.0], outside="error").index(mixed)
    with pytest.raises(ValueError, match=r"NaN in row 100003"):
        ranges.index(torch.cat([mixed, torch.tensor([NAN, NAN])]))
