"""What an examination says of boxes in which it is known what there is to find."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import hardgrad as hg
from planted_boxes import CLEAN, FIVE, PLANTED, Box


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
