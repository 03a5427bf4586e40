"""What an examination says of boxes in which it is known what there is to find."""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import hardgrad as hg
from planted_boxes import CLEAN, FIVE, PLANTED, SIGNAL, Box


def examine(box: Box, seed: int = 0) -> hg.doctor.BoxReport:
    return hg.doctor.examine(box.make(), *box.x, **box.options, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", PLANTED)
def test_what_is_planted_is_found(name: str) -> None:
    box = PLANTED[name]
    report = examine(box)
    found = [finding for finding in report.findings if finding.kind == box.kind]
    assert found, report
    if box.place != (None, None):
        assert box.place in [(finding.input, finding.entry) for finding in found], report
    if box.value is not None:
        (value,) = (finding.value for finding in found if (finding.input, finding.entry) == box.place)
        assert value == pytest.approx(box.value, rel=0.1 if box.kind == "stairs" else 0, abs=0), report
    assert {finding.kind for finding in report.findings} <= {box.kind, *box.also}, report
    assert not report.left_out, report


@pytest.mark.parametrize("name", CLEAN)
def test_nothing_is_found_where_nothing_is(name: str) -> None:
    report = examine(CLEAN[name])
    assert not report.findings, report
    assert not report.left_out, report


@pytest.mark.parametrize("name", FIVE)
def test_the_scale_sees_over_the_stairs_where_a_tiny_step_does_not(name: str) -> None:
    """Against the box smoothed by normal noise as wide as its stairs: 3000 pairs of draws a row, all by hand."""
    box, widths = FIVE[name]
    *others, knobs = box.x
    f = box.make()
    report = examine(box)
    scale = report.scale[-1] if isinstance(report.scale, tuple) else report.scale
    v = f(*box.x).sign() if others else torch.ones_like(f(*box.x))

    def repeated(x: Tensor, n: int) -> Tensor:
        return x.repeat(n, *[1] * (x.ndim - 1))

    n, sigma = 3000, torch.tensor(widths)
    z = torch.randn((n * len(knobs), knobs.shape[1]), generator=torch.Generator().manual_seed(5))
    around = [repeated(x, n) for x in others]
    pair = f(*around, repeated(knobs, n) + sigma * z) - f(*around, repeated(knobs, n) - sigma * z)
    truth = ((repeated(v, n) * pair).sum(1, keepdim=True) * z / (2 * sigma)).view(n, *knobs.shape).mean(0)
    for step, least, most in ((scale, 0.95, 1.0), (torch.full_like(scale, 1e-4), -1.0, 0.3)):
        torch.manual_seed(1)
        layer = hg.perturb(f, (*[None] * len(others), step) if others else step, samples=8)
        many = repeated(knobs, 60).requires_grad_()
        (repeated(v, 60) * layer(*(repeated(x, 60) for x in others), many)).sum().backward()
        assert many.grad is not None
        estimate = many.grad.view(60, *knobs.shape).mean(0)
        cosine = float((estimate * truth).sum() / (estimate.norm() * truth.norm()).clamp(min=1e-30))
        assert least <= cosine <= most, (cosine, report)


@pytest.mark.parametrize("name", ["stairs of 1/8", "one knob unused", "37 samples late", "noise", "steps of 50 Hz"])
def test_the_line_of_code_runs_and_lends_a_gradient(name: str) -> None:
    box = PLANTED[name]
    made, inputs = box.make(), tuple(torch.as_tensor(x).float() for x in box.x)
    if name == "steps of 50 Hz":  # a program of one row
        one = box.make()
        made = hg.BlackBox(lambda row: one(row[None])[0], low=0, high=1000)
    report = hg.doctor.examine(made, *inputs, **({} if name == "steps of 50 Hz" else box.options))
    scope: dict[str, Any] = {"hg": hg, "torch": torch, "box": made, "x": inputs[0]}
    exec(report.code, scope)
    learned = inputs[-1].clone().requires_grad_()
    y = scope["layer"](*inputs[:-1], learned)
    y.square().sum().backward()
    assert learned.grad is not None
    assert float(learned.grad.abs().sum()) > 0


def test_one_jump_takes_a_quarter_of_the_range() -> None:
    report = hg.doctor.examine(lambda knobs: (knobs > 0.5).float(), torch.tensor([[0.3], [0.9]]), low=0, high=1)
    assert [(f.kind, f.value) for f in report.findings] == [("stairs", None)]
    assert report.scale.tolist() == [0.25]  # type: ignore[union-attr]


def test_rounding_is_no_stair() -> None:
    """An equalizer at 0 dB: its frequency changes the last bit of single precision, here and there."""
    box = hg.BlackBox(lambda row: np.float32(row[0]) * (1 + 1e-7 * np.round(np.sin(40 * row[1]))), low=0.0, high=1.0)
    report = hg.doctor.examine(box, torch.rand(8, 2, generator=torch.Generator().manual_seed(0)))
    assert [finding.kind for finding in report.findings] == ["unapplied"]


def test_where_there_is_noise_the_scale_sees_over_it() -> None:
    """A step of 1/64 meets noise of standard deviation 0.1 with a difference of 1/32: a cosine of 0.2."""
    noisy = hg.doctor.examine(lambda x: x + 0.1 * torch.randn_like(x), torch.rand(4, 3), low=0, high=1)
    assert bool((noisy.scale >= 3 / 64).all())  # type: ignore[union-attr]
    smooth = hg.doctor.examine(lambda x: x.exp(), torch.rand(4, 3), low=0, high=1)
    assert smooth.scale.tolist() == [1 / 64] * 3  # type: ignore[union-attr]


def test_noise_that_a_seed_reaches_is_told_from_noise_that_none_does() -> None:
    assert "two random seeds" in examine(PLANTED["noise"]).findings[0].sentence
    assert "no seed reaches it" in examine(PLANTED["noise without a seed"]).findings[0].sentence


def test_a_late_box_is_copied_with_its_delay() -> None:
    report = examine(PLANTED["37 samples late"])
    assert (report.delay, report.code) == (37, "layer = hg.straight_through(box, lambda x: x.roll(37, -1))")
    assert report.cosines[0]["straight-through"] > 0.9


def test_a_report_is_a_narrow_table_and_json() -> None:
    for name in ("one knob late", "stairs of 1/8", "raises"):
        report = examine(PLANTED[name])
        text = str(report)
        assert max(map(len, text.splitlines())) < 100
        assert all(finding.kind in text for finding in report.findings)
        assert text.splitlines()[-1].strip() in report.code.replace("\n", "") or len(report.code) > 99
        back = json.loads(report.to_json())
        assert [f["kind"] for f in back["findings"]] == [f.kind for f in report.findings]
        assert back["code"] == report.code


def test_a_slow_box_is_left_in_time_and_what_was_not_asked_is_said() -> None:
    rows = []

    def slow(x: Tensor) -> Tensor:
        rows.append(len(x))
        time.sleep(0.01 * len(x))
        return torch.floor(8 * x)

    report = hg.doctor.examine(slow, torch.rand(2, 4), low=0, high=1, seconds=0.8)
    assert sum(rows) <= 2 + 80  # the first call, and 0.8 seconds of at least 0.01 a row
    assert any("stairs of input 0" in words and "no time" in words for words in report.left_out)
    assert report.scale.shape == (4,)  # type: ignore[union-attr]


@pytest.mark.parametrize("shared", [True, False])
def test_boxes_that_share_what_they_work_in_are_found_in_threads(shared: bool) -> None:
    """Each writes, waits and reads back: between, the other one writes."""
    together, made = np.zeros((2, 3)), []

    def make() -> Any:
        made.append(len(made))
        memory, gain = together if shared else np.zeros((2, 3)), 1.0 + len(made)

        def box(x: Any) -> Any:
            memory[: len(x)] = gain * x
            time.sleep(0.002)
            return memory[: len(x)].copy()

        return box

    report = hg.doctor.examine(lambda x: x, np.random.default_rng(0).normal(size=(2, 3)), factory=make)
    assert len(made) == 2
    assert [finding.kind for finding in report.findings] == ["threads"] * shared
    assert "Two in threads are" in report.advice


def test_nothing_is_left_changed() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    x = SIGNAL.clone().requires_grad_()
    before = np.random.get_state()[1].copy()  # type: ignore[index,union-attr]
    hg.doctor.examine(lambda x: torch.rand_like(x) + x, x)
    assert torch.equal(torch.rand(2), expected)
    assert (np.random.get_state()[1] == before).all()  # type: ignore[index]
    assert torch.equal(x, SIGNAL)
    assert x.grad is None


@pytest.mark.parametrize(
    ("box", "x", "options", "says"),
    [
        (torch.tanh, (), {}, "x must be inputs of as many rows, one or more, batch first, got shapes none"),
        (torch.add, (torch.rand(3, 2), torch.rand(2, 2)), {}, r"got shapes \(3, 2\), \(2, 2\)"),
        (torch.tanh, (torch.full((2, 2), torch.nan),), {}, "x must be finite"),
        (
            torch.sum,
            (torch.rand(3, 2),),
            {},
            r"box must return numbers for each row, first dimension 3, got shape \(\)",
        ),
        (lambda x: None, (torch.rand(3, 2),), {}, "box must return a tensor or an array of real numbers, got NoneType"),
        (lambda x: x @ x, (torch.rand(3, 2),), {}, "box raises for the x given, RuntimeError"),
        (torch.tanh, (torch.rand(3, 2),), {"low": 2.0, "high": 1.0}, "low must be below high .* leave them out"),
        (torch.tanh, (torch.rand(3, 2),), {"high": (1, 2)}, "high must be a tuple of one for each of 1 inputs, got 2"),
        (torch.tanh, (torch.rand(3, 2),), {"low": [0.0] * 3}, r"low must broadcast to a row of x, \(2,\), got \(3,\)"),
        (torch.tanh, (torch.rand(3, 2),), {"seconds": 0}, "seconds must be above 0, got 0"),
        (hg.BlackBox(np.tanh, cache=9), (torch.rand(3, 2),), {}, "box must have no cache, got BlackBox"),
    ],
)
def test_mistakes_are_one_sentence(box: Any, x: Any, options: dict[str, Any], says: str) -> None:
    with pytest.raises((ValueError, TypeError), match=f"^examine: .*{says}"):
        hg.doctor.examine(box, *x, **options)
