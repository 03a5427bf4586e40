"""What is known of a function's manners, and what the layers do where nothing is known."""

from __future__ import annotations

import functools
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

import hardgrad as hg
from cases import HARD
from hardgrad import user_code
from hardgrad.bridge import HardLayer
from hardgrad.surrogate import twins
from hardgrad.user_code import writes_nowhere

TRUSTED: dict[str, Callable[[Tensor], Tensor]] = {
    **{name: hard.function for name, hard in HARD.items() if writes_nowhere(hard.function)},
    **{
        f"soft.{name}": partial(getattr(hg.soft, name), temperature=0.5)
        for name in ("sort", "rank", "argmax", "median")
    },
    "soft.top_k_mask": partial(hg.soft.top_k_mask, k=2, temperature=0.0),
    **{f"twins.{name}": getattr(twins, name)() for name in ("clipped", "sigmoid", "tanh", "arctan")},
    **{str(function.__name__): function for function in user_code._TORCH},
    "softmax": partial(torch.softmax, dim=-1),
    "clamp": partial(torch.clamp, min=-1.0),
}


@pytest.mark.parametrize("name", TRUSTED)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_those_that_are_trusted_write_nowhere_and_keep_nothing(name: str, dtype: torch.dtype) -> None:
    assert writes_nowhere(TRUSTED[name])
    shape = HARD[name].sample if name in HARD else (6,)
    for x in (torch.randn(4, *shape, dtype=torch.float64).to(dtype), torch.ones(4, *shape, dtype=dtype)):
        kept = x.clone()
        first = TRUSTED[name](x)
        again = TRUSTED[name](x)
        assert torch.equal(x, kept)
        storages = [t.untyped_storage().data_ptr() for t in (x, first, again)]
        assert len(set(storages)) == 3
        assert x._version == 0


def _wrapped() -> Callable[[Tensor], Tensor]:
    @functools.wraps(hg.hard.sign)
    def sign(x: Tensor) -> Tensor:
        return x.sign_()

    return sign


class _Unhashable:
    __hash__ = None

    def __call__(self, x: Tensor) -> Tensor:
        return x.sign_()


UNKNOWN: dict[str, Callable[[Tensor], Tensor]] = {
    "lambda": lambda x: x.sign_(),
    "Tensor.sign_": Tensor.sign_,
    "bears another's name": _wrapped(),
    "no hash": _Unhashable(),
    "module": nn.Hardtanh(inplace=True),
    "partial": partial(partial(torch.clamp_, min=-1.0), max=1.0),
    "out": partial(torch.sign, out=torch.zeros(4, 6)),
    "bound": torch.zeros(4, 6).add_,
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_those_that_may_write_are_not_trusted(name: str) -> None:
    assert not writes_nowhere(UNKNOWN[name])
    x = torch.randn(4, 6)
    kept = x.clone()
    with torch.no_grad():
        HardLayer(UNKNOWN[name])(x)
    assert torch.equal(x, kept)


LAYERS: dict[str, nn.Module] = {
    "bridge": hg.Bridge(lambda x: x, hg.approximators.elementwise(3)),
    "lends in eval": hg.Bridge(lambda x: x, hg.approximators.elementwise(3), differentiable_in_eval=True),
    "straight_through": hg.straight_through(lambda x: x),
    "nn.Identity": hg.straight_through(nn.Identity(), soft=torch.tanh),
    "stripped": hg.strip(hg.Bridge(lambda x: x, hg.approximators.elementwise(3))),
}


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("name", LAYERS)
def test_an_input_handed_back_is_not_shared(name: str, grad: bool, train: bool) -> None:
    layer, x = LAYERS[name].train(train), torch.randn(4, 6)
    leaf, kept = x.clone().requires_grad_(grad), x.clone()
    with torch.set_grad_enabled(grad):
        y = layer(leaf)
        y.mul_(3.0)
    assert torch.equal(leaf.detach(), kept)
    assert torch.equal(y.detach(), kept * 3.0)


def test_a_constant_handed_out_is_not_shared() -> None:
    codes = torch.ones(4, 6)
    for layer in (
        hg.Bridge(lambda x: codes, hg.approximators.elementwise(3)),
        hg.straight_through(lambda x: codes),
        HardLayer(lambda x: codes),
    ):
        for train in (True, False):
            layer.train(train)(torch.randn(4, 6)).mul_(5.0)
    assert torch.equal(codes, torch.ones(4, 6))


class _Program:
    """A hard rule and its soft one that work in one scratch memory."""

    def __init__(self) -> None:
        self.scratch = torch.zeros(4, 6)

    def hard(self, x: Tensor) -> Tensor:
        return torch.sign(x, out=self.scratch)

    def soft(self, x: Tensor) -> Tensor:
        self.scratch.copy_(x.detach())
        return torch.tanh(x)


def test_a_program_whose_two_rules_share_memory() -> None:
    program, x = _Program(), torch.randn(4, 6, requires_grad=True)
    assert torch.equal(hg.straight_through(program.hard, program.soft)(x), x.detach().sign())


def test_a_weight_that_a_partial_holds_gets_no_gradient() -> None:
    codes = torch.tensor([[0.0], [1.0]], requires_grad=True)
    assert not user_code.value_of(
        partial(hg.hard.nearest_code, codebook=codes), torch.tensor([[0.2], [0.9]])
    ).requires_grad
