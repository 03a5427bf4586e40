"""The rows of the experiments on switches: maps by formula, published preparation, recordings that are damaged."""

from __future__ import annotations

import itertools
import math
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

import hardgrad as hg
from hardgrad_lab.data.errors import DamagedDataError, MissingDataError
from hardgrad_lab.data.recordings import numbers, sound
from hardgrad_lab.data.root import Root
from hardgrad_lab.experiments.switches.ecg import ECG
from hardgrad_lab.experiments.switches.ecg import run as hearts
from hardgrad_lab.experiments.switches.piecewise import PIECEWISE
from hardgrad_lab.experiments.switches.piecewise import run as maps
from hardgrad_lab.experiments.switches.points import deviation, near_points, wrong_points
from hardgrad_lab.experiments.switches.rows import Batches, Part, some
from hardgrad_lab.experiments.switches.waveshaper import WAVESHAPER
from hardgrad_lab.experiments.switches.waveshaper import run as circuits
from lab.recordings import SWITCHES, rows_of, smoke


def folders(made: Path) -> list[Path]:
    """The made-up recordings, and the real ones where the environment says where they are."""
    real = os.environ.get("HARDGRAD_DATA")
    return [made, *([Path(real)] if real else [])]


def test_the_talks_map_is_continuous_and_has_its_slopes() -> None:
    points, slopes = maps.TALK_POINTS, maps.TALK_SLOPES
    for i, slope in enumerate(slopes):
        x = np.linspace(points[i] + 1e-6, points[i + 1] - 1e-6, 7)
        assert np.diff(maps.talk_map(x)) / np.diff(x) == pytest.approx([slope] * 6)
    for point in points[1:-1]:
        below, above = maps.talk_map(np.array([point - 1e-9, point + 1e-9]))
        assert below == pytest.approx(above, abs=1e-7)


def test_the_talk_has_720000_samples_four_fifths_to_train_on() -> None:
    rows = rows_of(PIECEWISE.configure("small", "talk", "switch", {}), 0)
    assert len(rows.train) == 576_000
    assert len(rows.test) == 144_000
    assert torch.equal(rows.train.x[:, 0], rows.train.key)


@pytest.mark.parametrize("seed", range(5))
def test_the_toy_is_four_lines_between_its_points(seed: int) -> None:
    points, lines = maps.toy_map(seed)
    assert len(points) == 5
    assert (points[0], points[-1]) == (-1.0, 1.0)
    assert all(-4 <= value <= 3 and value == round(value) for line in lines for value in line)
    rows = rows_of(smoke("piecewise", "toy"), seed)
    # A plain loop over the conditions, up to the one factor that brings the peak to 1.
    expected = []
    for key in rows.test.key[:2000].tolist():
        branch = max(i for i in range(4) if key >= np.float32(points[i]))
        expected.append(lines[branch][0] * key + lines[branch][1])
    wanted, got = np.array(expected), rows.test.y[:2000, 0].numpy()
    factor = float((wanted @ got) / (wanted @ wanted))
    assert got == pytest.approx(factor * wanted, abs=1e-4)
    assert float(rows.test.y.abs().max()) <= 1 + 1e-6


def test_a_point_belongs_to_the_range_that_begins_there() -> None:
    lines = [(0.0, 1.0), (0.0, 2.0), (0.0, 3.0)]
    x = np.array([-1.0, -0.5, 0.25, 1.0])
    assert maps.pieces(x, (-1.0, -0.5, 0.25, 1.0), lines).tolist() == [1, 2, 3, 3]


def test_shapes_by_hand() -> None:
    x = np.array([-1.0, -0.75, -0.5, -0.25, 0.0, 0.1, 0.25, 0.5, 0.75, 1.0])
    assert circuits.shape("fold", x) == pytest.approx(_folded(x))
    assert circuits.shape("crush", x) == pytest.approx(
        [-0.875, -0.625, -0.375, -0.125, 0.125, 0.125, 0.375, 0.625, 0.875, 0.875]
    )
    assert circuits.shape("dead-zone", x).tolist() == [-1, -0.75, -0.5, -0.25, 0, 0, 0, 0.5, 0.75, 1]
    assert circuits.shape("dead-zone", np.array([-0.2, 0.3])).tolist() == [0.0, 0.3]
    with pytest.raises(ValueError, match="task must be one of fold, crush, dead-zone, got 'fuzz'"):
        circuits.shape("fuzz", x)


def _folded(x: np.ndarray[Any, Any]) -> list[float]:
    """Folding done as a circuit does it: what goes past an end comes back, as often as it takes."""
    found = []
    for value in x:
        y = 4 * float(value)
        while abs(y) > 1:
            y = 2 * math.copysign(1, y) - y
        found.append(y)
    return found


@pytest.mark.parametrize("task", WAVESHAPER.tasks)
def test_a_shape_is_one_line_in_each_of_its_ranges(task: str) -> None:
    points = circuits.POINTS[task]
    for low, high in itertools.pairwise(points):
        x = np.linspace(low, high, 50, endpoint=False)[1:]
        assert np.diff(circuits.shape(task, x), 2) == pytest.approx(0, abs=1e-9)
    kinks = np.diff([np.diff(circuits.shape(task, np.array([p - 2e-3, p - 1e-3]))) for p in points[1:-1]], axis=0)
    jumps = [abs(np.diff(circuits.shape(task, np.array([p - 1e-6, p + 1e-6]))))[0] > 1e-3 for p in points[1:-1]]
    assert any(jumps) or np.abs(kinks).max() > 1e-4


def test_wrong_points_are_30_percent_off_and_that_is_what_deviation_says() -> None:
    for points in circuits.POINTS.values():
        wrong = wrong_points(points)
        assert list(wrong) == sorted(wrong)
        assert all(abs(a) < abs(b) for a, b in zip(wrong[1:-1], points[1:-1], strict=True) if b), "never past the data"
        assert deviation(wrong, points) == pytest.approx(0.3)
        assert deviation(points, points) == 0
    assert deviation((-1, 0.5, 1), (-1, -0.25, 0.5, 1)) == pytest.approx(3), "a point that was not found"


def test_the_published_preparation_of_a_heart(recordings: Path) -> None:
    for folder in folders(recordings):
        for source, window in (("bcg", 1), ("bcg", 80), ("voc", 80)):
            part = hearts.recording(Root(folder=folder), "lactose/TrainData/001_Normal1", source, window)
            raw = (folder / "lactose/TrainData/001_Normal1_ecg.csv").read_text().split()
            # By a loop: the first line lost to a heading, 30 or 10 samples lost at the front, one at the end.
            heart = [float(value) - 1 for value in raw[1:]][10 if source == "voc" else 30 : -1]
            peak = max(map(abs, heart))
            expected = [heart[i] / peak for i in range(len(heart)) if i > window]
            assert part.y[:, 0].tolist() == pytest.approx(expected, abs=1e-6)
            assert torch.equal(part.key, part.x[:, -1])
            assert part.x.shape == (len(expected), window)
            assert torch.equal(part.x[1:, :-1], part.x[:-1, 1:]), "rows are windows one sample apart"
            assert float(part.x.abs().max()) <= 1


def test_a_window_holds_the_samples_before_the_heart() -> None:
    part = hearts.windows(np.arange(10.0), 100 + np.arange(10.0), 3)
    assert part.x.tolist() == [[i - 3, i - 2, i - 1] for i in range(4, 10)]
    assert part.y[:, 0].tolist() == [104, 105, 106, 107, 108, 109]


def test_subject_020_is_never_trained_on(recordings: Path) -> None:
    asked: list[str] = []
    for task in ECG.tasks:
        rows = rows_of(smoke("ecg", task, rows=0), 0, recordings)
        asked += [task]
        trained = {tuple(row) for row in rows.train.x.tolist()} if rows.train.x.shape[1] > 1 else set()
        for part in rows.tests.values():
            assert trained.isdisjoint(tuple(row) for row in part.x.tolist())
        takes = len(rows.train) / 9, len(rows.tests["same"]) / 3, len(rows.tests["unseen"]) / 12
        assert len(set(takes)) == 1, "nine recordings train, three of the same subject and twelve of another test"
    assert asked == list(ECG.tasks)


def test_near_points_are_nearest_to_their_own_break() -> None:
    for points in circuits.POINTS.values():
        near = near_points(points)
        assert list(near) == sorted(near)
        for i, point in enumerate(near[1:-1], 1):
            assert min(range(len(points)), key=lambda j: abs(points[j] - point)) == i
            widths = points[i] - points[i - 1], points[i + 1] - points[i]
            assert abs(point - points[i]) == pytest.approx(0.3 * min(*widths, abs(points[i]) or 9))


def test_even_draws_take_as_many_rows_of_each_range_and_follow_its_points() -> None:
    key = torch.cat([torch.linspace(-1, 0, 990), torch.linspace(0.1, 1, 10)])
    part = Part(x=key[:, None], key=key, y=key[:, None])
    ranges = hg.LearnedRanges([-1.0, 0.05, 1.0])
    batches = Batches(part, 100, 0, ranges)
    assert int((batches.batch()[0][:, 1] > 0.05).sum()) == 50
    with torch.no_grad():
        ranges.inner.fill_(-0.5)
    assert int((batches.batch()[0][:, 1] > -0.5).sum()) == 50
    state = batches.state_dict()
    ahead = batches.batch()[0]
    other = Batches(part, 100, 9, ranges)
    other.load_state_dict(state)
    assert torch.equal(other.batch()[0], ahead)


def test_recordings_that_train_do_not_test() -> None:
    assert not set(circuits.TRAIN) & set(circuits.TESTS.values())


@pytest.mark.parametrize("name", ["ecg", "waveshaper"])
def test_missing_data_says_where_it_was_looked_for(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setup = smoke(name, next(iter(SWITCHES[name].tasks)))
    monkeypatch.delenv("HARDGRAD_DATA", raising=False)
    with pytest.raises(MissingDataError, match=r"no folder was given; pass --data FOLDER .* or set HARDGRAD_DATA"):
        rows_of(setup, 0)
    monkeypatch.setenv("HARDGRAD_DATA", str(tmp_path))
    with pytest.raises(
        MissingDataError, match=rf"no recording; looked for\n  {re.escape(str(tmp_path))}/(?s:.*)docs/commands/data.md"
    ):
        rows_of(setup, 0)


def test_numbers_are_read_without_the_first_line(tmp_path: Path) -> None:
    (tmp_path / "there.csv").write_text("1\n2\n3.5\n")
    assert numbers(Root(folder=tmp_path), "there.csv").tolist() == [2, 3.5]


@pytest.mark.parametrize("content", [b"", b"1\n", b"1\n2\nheart\n", b"1\n2\nnan\n", b"1\n2 3\n4 5\n", b"\xff\xfe\x00"])
def test_a_damaged_recording_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(DamagedDataError, match=rf"{re.escape(str(tmp_path / 'a.csv'))} .*copy it again"):
        numbers(Root(folder=tmp_path), "a.csv")


def test_a_damaged_or_silent_sound_is_named(tmp_path: Path) -> None:
    (tmp_path / "noise.flac").write_bytes(b"no sound")
    soundfile.write(tmp_path / "silent.flac", np.zeros(100), 44_100)
    for name, fault in (("noise.flac", "is no readable sound file"), ("silent.flac", "holds no sound")):
        with pytest.raises(DamagedDataError, match=rf"{re.escape(str(tmp_path / name))} {fault}.*copy it again"):
            sound(Root(folder=tmp_path), name)


def test_some_rows_are_drawn_once_and_by_the_seed() -> None:
    part = Part(x=torch.arange(100.0)[:, None], key=torch.arange(100.0), y=torch.arange(100.0)[:, None])
    drawn = some(part, 30, 1)
    assert len(set(drawn.key.tolist())) == 30
    assert torch.equal(drawn.key, some(part, 30, 1).key)
    assert not torch.equal(drawn.key, some(part, 30, 2).key)
    assert some(part, 0, 1) is part
