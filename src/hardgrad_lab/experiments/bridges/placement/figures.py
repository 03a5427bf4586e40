"""Figure 8, left: the test accuracy along the run, with signum after each stage."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hardgrad_lab.drawing.section import Drawing
from hardgrad_lab.experiments.bridges.along import accuracy
from hardgrad_lab.experiments.bridges.placement import PLACEMENT
from hardgrad_lab.runs.records import Group


def draw(groups: Sequence[Group], results: Path) -> list[Drawing]:
    """Return the figure of the largest budget that was run."""
    del results  # the records hold the curves
    return accuracy(PLACEMENT, groups, "Figure 8, left: signum after each stage")
