"""The bank for `hardgrad.doctor.breaks`: lines that must be found, models to leave alone."""

from __future__ import annotations

import warnings
from collections import Counter

import pytest
import torch
from torch import nn

from breaks_bank import cut, dead, flat, places, plain, public, sound, sound_tricks
from breaks_bank.case import Case

ALL_BROKEN = [*flat.CASES, *cut.CASES, *dead.CASES, *public.CASES, *places.CASES]
BROKEN = [case for case in ALL_BROKEN if not case.debatable]
SOUND = [*sound.CASES, *sound_tricks.CASES, *plain.CASES]

# All parameters of these learn from something else: it is one term, or one use, that never did anything.
ONE_TERM = {
    "sparsity term that counts",
    "occlusion penalty of a registration",
    "dependence loss of two class levels",
    "codec with commitment and without the copy line",
    "tree decoded from an order",
    "group norm over one element",  # rounding is left of the gradient
}
RAISES = {"heaviside raises in the backward", "floor division"}  # torch has no derivative, and says so without a line


def names(cases: list[Case]) -> list[str]:
    return [case.name for case in cases]


def starved(case: Case) -> set[str]:
    """Trainable parameters, and inputs, that plain autograd gives no gradient, zero, or NaN."""
    setup = case.build()
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        setup.backward()
    return {name for name, leaf in leaves(setup.model, setup.inputs).items() if hungry(leaf.grad)}


def leaves(model: object, inputs: tuple[object, ...]) -> dict[str, torch.Tensor]:
    found = dict(model.named_parameters()) if isinstance(model, nn.Module) else {}
    found |= {f"input {i}": x for i, x in enumerate(inputs) if isinstance(x, torch.Tensor)}
    return {name: leaf for name, leaf in found.items() if leaf.requires_grad}


def hungry(grad: torch.Tensor | None) -> bool:
    return grad is None or not grad.to_dense().any() or bool(grad.to_dense().isnan().any())


def test_the_bank_is_as_large_and_as_varied_as_it_should_be() -> None:
    kinds = Counter(kind for case in BROKEN for mark in case.marks for kind in mark.kinds)
    assert len(BROKEN) >= 60
    assert len(public.CASES) >= 11
    assert len(SOUND) >= 100
    assert all(kinds[kind] >= 5 for kind in ("flat", "cut", "dead", "suspicious")), kinds
    assert all(case.marks for case in BROKEN)
    assert max(Counter(names(ALL_BROKEN + SOUND)).values()) == 1


@pytest.mark.parametrize("case", [case for case in BROKEN if case.name not in RAISES | ONE_TERM], ids=str)
def test_a_broken_model_starves_something_by_plain_autograd(case: Case) -> None:
    assert starved(case)


@pytest.mark.parametrize("case", [case for case in BROKEN if case.name in ONE_TERM], ids=str)
def test_where_one_term_is_dead_all_parameters_learn_from_others(case: Case) -> None:
    assert not starved(case)


@pytest.mark.parametrize("case", [case for case in BROKEN if case.name in RAISES], ids=str)
def test_where_torch_has_no_derivative_it_raises(case: Case) -> None:
    with pytest.raises(RuntimeError, match=r"derivative for aten::.* is not implemented"):
        starved(case)


@pytest.mark.parametrize("case", [case for case in SOUND if case.whole], ids=str)
def test_a_sound_model_starves_nothing_by_plain_autograd(case: Case) -> None:
    assert not starved(case)
