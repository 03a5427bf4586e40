"""The page of the maps of linear pieces."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hardgrad_lab.drawing.section import Drawing, Section
from hardgrad_lab.experiments.switches.figures import curves_of, error_figure, range_figure, transfer_figure
from hardgrad_lab.experiments.switches.piecewise import RATE
from hardgrad_lab.experiments.switches.section import page_of
from hardgrad_lab.experiments.switches.table import Columns
from hardgrad_lab.runs.experiment import Experiment
from hardgrad_lab.runs.records import Found, Group

INTRODUCTION = (
    "A number in, a number out, along straight lines that change at known points. talk: a continuous map of five "
    "pieces, 720,000 samples, 80 % of them to train on, as in the author's talk, whose own map is not published. "
    "toy: four lines at random with jumps between them, one map a seed, trained on a sum of two sines and tested "
    "on another, after his program."
)


def page(experiment: Experiment, found: Found, results: Path) -> Section:
    """Return the page of the experiment."""
    return page_of(experiment, found, results, introduction=INTRODUCTION, columns=Columns(rate=RATE), draw=draw)


def draw(groups: Sequence[Group], results: Path) -> list[Drawing]:
    """Return the figures."""
    return [error_figure(groups, "esr"), *transfer_figure(curves_of(groups, results)), *range_figure(groups)]
