"""The seconds of a run: a pause of its process is none of them."""

from __future__ import annotations

import pytest

from hardgrad_lab.runs import stopwatch
from hardgrad_lab.runs.stopwatch import Stopwatch


def test_a_pause_counts_for_nothing_and_a_crowded_machine_as_the_wall_says(monkeypatch: pytest.MonkeyPatch) -> None:
    wall, work = [100.0], [7.0]
    monkeypatch.setattr(stopwatch.time, "monotonic", lambda: wall[0])
    monkeypatch.setattr(stopwatch.time, "process_time", lambda: work[0])
    watch = Stopwatch(30.0)
    for passed, worked, counted in (
        (1.0, 1.0, 1.0),
        (4.0, 0.0, 4.0),  # a short wait, for a disk
        (60.0, 2.0, 60.0),  # a thirtieth of a core on a crowded machine
        (3600.0, 0.5, 0.5),  # stopped for an hour
        (28_800.0, 0.0, 0.0),  # asleep for a night
        (90.0, 90.0, 90.0),  # an evaluation, or torch.compile
    ):
        before = watch.seconds
        wall[0] += passed
        work[0] += worked
        assert watch.read() - before == pytest.approx(counted)
