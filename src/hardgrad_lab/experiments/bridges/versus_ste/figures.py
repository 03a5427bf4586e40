"""Figure 8, right: the test accuracy along the run, with each gradient of a sort."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hardgrad_lab.drawing.section import Drawing
from hardgrad_lab.experiments.bridges.along import accuracy
from hardgrad_lab.experiments.bridges.versus_ste import VERSUS_STE
from hardgrad_lab.runs.records import Group


def draw(groups: Sequence[Group], results: Path) -> list[Drawing]:
    """Return the figure of the largest budget that was run."""
    del results  # the records hold the curves
    return accuracy(VERSUS_STE, groups, "Figure 8, right: a bridge against straight-through")
