"""Whether a run of a plan is recorded, begun or neither, as its files say."""

from __future__ import annotations

from pathlib import Path

from hardgrad_lab.plan.jobs import folder_of, record_of
from hardgrad_lab.runs.record import Run


def state_of(run: Run, out: Path) -> str:
    if record_of(run, out) is not None:
        return "done"
    return "begun" if run.checkpoint_path(folder_of(run, out)).exists() else "missing"
