"""The report on any experiment that ``runs.experiment`` describes."""

from __future__ import annotations

from pathlib import Path

from hardgrad_lab.report.page import Page
from hardgrad_lab.runs.experiment import Experiment


def report_experiment(experiment: Experiment, results: Path, out: Path) -> Page:
    """Write the report on all records of an experiment under a folder."""
    raise NotImplementedError
