"""What an examination says of boxes in which it is known what there is to find."""

from __future__ import annotations

import pytest
import torch

import hardgrad as hg
from planted_boxes import CLEAN, PLANTED, Box


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
