"""One layer of each family in every mode and in some pairs; ``python tests/mode_pairs.py`` is the whole product."""

from __future__ import annotations

import random

import pytest
import torch
from torch import Tensor, nn

import hardgrad as hg
from mode_pairs import outcome
from mode_subjects import CONTROL, SUBJECTS, Subject, representatives
from modes import MODES, difference, pairs, run

PAIRS = 25  # of each family, another handful each; seeded


def _quick(subject: Subject) -> list[tuple[object, ...]]:
    tried = [modes for modes in pairs() if not any(m.compiler or m.forward_only for m in modes)]
    alone = [modes for modes in tried if len(modes) == 1]
    return alone + random.Random(subject.name).sample(tried[len(alone) :], PAIRS)


@pytest.mark.parametrize("subject", representatives(), ids=str)
def test_pairs(subject: Subject) -> None:
    wrong = {}
    for modes in _quick(subject):
        found = outcome(subject, modes)
        if found.word == "FAIL":
            wrong[" + ".join(map(str, modes))] = found.text
    assert wrong == {}


def test_every_family_has_its_layers() -> None:
    assert len({subject.name for subject in SUBJECTS}) == len(SUBJECTS)
    assert {subject.family for subject in representatives()} == {subject.family for subject in SUBJECTS}


def test_every_layer_of_the_library_is_tried() -> None:
    """By its own name, and a router inside of a switch; what is added to the library is missed here."""
    kinds = {n: kind for n, kind in vars(hg).items() if isinstance(kind, type) and issubclass(kind, nn.Module)}
    tried = {word for subject in SUBJECTS for word in (subject.family, *subject.name.split(", "))}
    assert {"Bridge", "Switch", "Grid"} <= kinds.keys() - {"Ranges"} <= tried, "Ranges are what a switch has as a rule"


class Doubled(nn.Module):
    """Wrong in evaluation, on purpose."""

    def forward(self, x: Tensor) -> Tensor:
        return x if self.training else 2 * x


def test_the_product_can_fail() -> None:
    by_name = {mode.name: mode for mode in MODES}
    evaluation, copied = by_name["eval"], by_name["deepcopy"]
    right = run(CONTROL, ())
    assert difference(CONTROL, (), run(CONTROL, (copied,)), right) is None
    wrong = run(Subject("doubled", "control", Doubled), (evaluation,))
    assert "output: off by" in str(difference(CONTROL, (), wrong, right))
    assert "input: no gradient" in str(difference(CONTROL, (), right | {"input": None}, right))
    half = {name: value.half() if isinstance(value, Tensor) else value for name, value in right.items()}
    assert "torch.float16" in str(difference(CONTROL, (), half, right))
    assert torch.equal(right["output"], run(CONTROL, ())["output"])


def test_a_refusal_without_our_words_fails() -> None:
    class Refuses(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError("Batching rule not implemented")

    assert outcome(Subject("refuses", "control", Refuses), ()).word == "FAIL"
