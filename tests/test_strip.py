"""Stripping: what goes, what stays, and that the outputs of eval() are kept bit for bit."""

from __future__ import annotations

import copy
import functools
import pickle
import types
import warnings
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

import hardgrad as hg
from hardgrad.bridge import HardLayer

SIGN = partial(hg.hard.sign, margin=0.5)
X = torch.linspace(-2.0, 2.0, 20).view(5, 4)


def bridge(hard: object = SIGN, kind: type[hg.Bridge] = hg.Bridge, **options: object) -> hg.Bridge:
    return kind(hard, hg.approximators.mlp(4, 4, hidden=(5,)), **options)


def test_strip_keeps_outputs_and_drops_keys() -> None:
    model = nn.Sequential(nn.Linear(4, 4), bridge(), nn.Linear(4, 2)).eval()
    x, keys = torch.randn(5, 4), set(model.state_dict())
    stripped = hg.strip(model)
    assert torch.equal(stripped(x), model(x))
    assert not any(module.training for module in stripped.modules())
    assert set(stripped.state_dict()) == {"0.weight", "0.bias", "2.weight", "2.bias"}
    assert set(model.state_dict()) == keys
    stripped[0].weight.data.zero_()
    assert model[0].weight.abs().sum() > 0


def test_strip_follows_a_layer_wherever_it_is_referred_to() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = bridge()
            self.again = nn.ModuleList([self.first])
            self.plain = {"hidden": self.first}

        def forward(self, x: Tensor) -> Tensor:
            return self.plain["hidden"](self.again[0](self.first(x)))

    stripped = hg.strip(Twice())
    assert stripped.first is stripped.again[0] is stripped.plain["hidden"]
    assert not list(stripped.parameters())
    assert stripped.training


def test_strip_keeps_a_hard_modules_own_state() -> None:
    class Codes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("codes", torch.randn(3, 4))

        def forward(self, x: Tensor) -> Tensor:
            return hg.hard.nearest_code(x, self.codes)

    layer = hg.Bridge(Codes(), hg.approximators.mlp(4, 4))
    stripped = hg.strip(layer)
    x = torch.randn(5, 4)
    assert torch.equal(stripped(x), layer.eval()(x))
    assert list(stripped.state_dict()) == ["hard.codes"]
    assert stripped.hard is not layer.hard


class _Doubled(hg.Bridge):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


class _Scaled(hg.Bridge):
    def __init__(self, *arguments: object, **options: object) -> None:
        super().__init__(*arguments, **options)
        self.scale = nn.Parameter(torch.tensor(3.0))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * super().forward(x)


class _Tripled(nn.Module):
    def forward(self, scale: Tensor) -> Tensor:
        return 3 * scale


class _Around(nn.Module):
    """A hard function that is a method of the model itself, and bridges where no module looks for modules."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.mix = bridge(), nn.Linear(4, 4)
        self.outer = bridge(self.program)
        self.hidden = {"list": [bridge(torch.round)], "tuple": (bridge(torch.sign),)}

    def program(self, x: Tensor) -> Tensor:
        return self.inner(self.mix(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.outer(x) + self.hidden["list"][0](x) * self.hidden["tuple"][0](x)


def _apply(network: nn.Module, x: Tensor) -> Tensor:
    return network(x) * 2


def _hooked() -> hg.Bridge:
    layer = bridge()
    layer.custom = 4.0
    layer.register_forward_pre_hook(lambda module, given: (given[0] + 0.3,))
    layer.register_forward_hook(lambda module, given, output: output * module.custom)
    return layer


def _method_replaced() -> hg.Bridge:
    layer = bridge()
    layer.forward = types.MethodType(lambda self, x: 5 * hg.Bridge.forward(self, x), layer)
    return layer


def _parametrized() -> hg.Bridge:
    layer = bridge(kind=_Scaled)
    nn.utils.parametrize.register_parametrization(layer, "scale", _Tripled())
    return layer


def _compiled_in_place() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 4), bridge())
    model[1].compile(backend="eager")
    return model


MODELS: dict[str, Callable[[], nn.Module]] = {
    "nested": lambda: bridge(nn.Sequential(nn.Linear(4, 4), bridge())),
    "nested twice": lambda: bridge(nn.Sequential(bridge(nn.Sequential(bridge(), nn.Linear(4, 4))))),
    "in a partial": lambda: bridge(partial(_apply, nn.Sequential(nn.Linear(4, 4), bridge()))),
    "method of the model": _Around,
    "forward of another": lambda: bridge(bridge().forward),
    "call of another": lambda: bridge(bridge().__call__),
    "in a closure": lambda: bridge(functools.partial(lambda inner, x: inner(x) * 3, bridge())),
    "in a straight_through": lambda: hg.straight_through(bridge()),
    "subclass": lambda: bridge(kind=_Doubled),
    "subclass with a weight": lambda: bridge(kind=_Scaled),
    "parametrized": _parametrized,
    "forward of its own": _method_replaced,
    "hooks": _hooked,
    "compiled": lambda: torch.compile(nn.Sequential(nn.Linear(4, 4), bridge()), backend="eager"),
    "compiled part": lambda: nn.Sequential(nn.Linear(4, 4), torch.compile(bridge(), backend="eager")),
    "compiled in place": _compiled_in_place,
    "DataParallel": lambda: nn.DataParallel(nn.Sequential(bridge())),
    "writes in place": lambda: bridge(lambda x: x.mul_(2).round_()),
}


@torch.no_grad()
@pytest.mark.parametrize("name", MODELS)
def test_stripped_is_eval_without_approximators(name: str) -> None:
    torch.compiler.reset()
    model = MODELS[name]().eval()
    want, keys = model(X), set(model.state_dict())
    stripped = hg.strip(model)
    assert torch.equal(stripped(X), want)
    assert not any("approximator" in key for key in stripped.state_dict())
    assert not any("approximator" in path for path, _ in stripped.named_modules())
    assert {key for key in keys if "approximator" not in key} == set(stripped.state_dict())
    assert not any(part.training for part in stripped.modules())
    assert torch.equal(model(X), want)
    assert set(model.state_dict()) == keys


def test_a_bridge_held_by_a_functions_variables_alone_runs_its_hard_function() -> None:
    inner, ran = bridge(), []
    inner.approximator.register_forward_hook(lambda *_: ran.append(1))
    stripped = hg.strip(nn.Sequential(bridge(lambda x: inner(x) * 3)))
    assert torch.equal(stripped(X.clone().requires_grad_()), SIGN(X) * 3)
    assert not ran


def test_a_subclass_that_asks_for_its_approximator_is_told() -> None:
    class Mixed(hg.Bridge):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + self.approximator(x)

    class Looks(hg.Bridge):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * self.approximator.training

    with pytest.raises(RuntimeError, match=r"strip removed this bridge's approximator.*forward of the bridge's own"):
        hg.strip(bridge(kind=Mixed))(X)
    with pytest.raises(AttributeError, match="strip removed this bridge's approximator"):
        hg.strip(bridge(kind=Looks))(X)


def test_a_stripped_subclass_in_training_runs_the_hard_function_alone() -> None:
    stripped = hg.strip(bridge(kind=_Doubled))
    assert stripped.training
    assert type(stripped) is _Doubled
    assert torch.equal(stripped(X), 2 * SIGN(X))
    assert type(pickle.loads(pickle.dumps(hg.strip(bridge())))) is HardLayer


def test_a_network_that_something_else_holds_too_stays_there() -> None:
    first = bridge()
    model = nn.Sequential(first, bridge(torch.round), first, first.approximator).eval()
    model[1].approximator = first.approximator
    stripped = hg.strip(model)
    assert stripped[0] is stripped[2]
    assert torch.equal(stripped(X), model(X))
    assert {key.partition(".")[0] for key in stripped.state_dict()} == {"3"}


def test_a_backward_through_a_stripped_layer_is_told() -> None:
    stripped, x = hg.strip(bridge()), X.clone().requires_grad_()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        y = stripped(x)
    with pytest.warns(UserWarning, match=r"HardLayer\(sign\): no gradient passes.*given to strip"):
        y.sum().backward()


def test_deepcopy_keeps_the_approximator_and_what_a_subclass_keeps() -> None:
    class Keeps(hg.Bridge):
        def __getstate__(self) -> dict[str, object]:
            return super().__getstate__() | {"note": "copied"}

    copied = copy.deepcopy(nn.Sequential(bridge(kind=Keeps)))
    assert copied[0].note == "copied"
    assert set(copied.state_dict()) == set(nn.Sequential(bridge()).state_dict())


class DistributedDataParallel(nn.Module):
    """Stands for torch's, which needs processes."""


class FSDPModule(nn.Module):
    """Stands for what ``fully_shard`` makes of a model."""


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (5, "strip: model must be an nn.Module, got int"),
        (nn.Sequential(DistributedDataParallel()), r"strip: DistributedDataParallel at '0' cannot be copied.*\.module"),
        (FSDPModule(), "strip: FSDPModule at 'the top' cannot be copied; load its full state dict into a plain model"),
    ],
)
def test_mistakes_are_named(model: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        hg.strip(model)
