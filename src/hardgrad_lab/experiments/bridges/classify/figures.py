"""Test accuracy along the runs of table VI, which the paper does not show."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hardgrad_lab.drawing.section import Drawing
from hardgrad_lab.experiments.bridges.along import accuracy
from hardgrad_lab.experiments.bridges.classify import CLASSIFY
from hardgrad_lab.runs.records import Group


def draw(groups: Sequence[Group], results: Path) -> list[Drawing]:
    """Return the figure of the largest budget that was run."""
    del results  # the records hold the curves
    return accuracy(CLASSIFY, groups, "Table VI: the accuracy along the run")
