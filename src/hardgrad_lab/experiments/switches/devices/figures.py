"""The figure of the experiment: every seed's error."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hardgrad_lab.drawing.section import Drawing
from hardgrad_lab.experiments.switches.figures import error_figure
from hardgrad_lab.runs.records import Group


def draw(groups: Sequence[Group], results: Path) -> list[Drawing]:
    """Return the figure."""
    del results
    return [error_figure(groups, "esr")]
