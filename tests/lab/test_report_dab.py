"""The report on a described experiment, from records written by hand: every number is worked out beside it."""

from __future__ import annotations

import sys
import types
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hardgrad_lab.report.experiment import report_experiment
from hardgrad_lab.report.experiment_table import not_run
from hardgrad_lab.runs.compare import Mean, mean_of, standard_error
from hardgrad_lab.runs.experiment import Experiment
from hardgrad_lab.runs.judge import compare
from hardgrad_lab.runs.published import Published
from hardgrad_lab.runs.records import NoRecordsError, read_records
from hardgrad_lab.runs.reported import groups_of
from hardgrad_lab.runs.standing import standings, trials
from hardgrad_lab.runs.words import say_count, say_duration
from lab.pages import Page
from lab.tea import ACCURACY, LOSS, TEA, write


def table(results: Path, experiment: Experiment = TEA) -> list[list[str]]:
    return report_experiment(experiment, results, results / "report").cells


# ------------------------------------------------------------------------------------------------ the table


def test_the_table_is_the_one_worked_out_by_hand(tmp_path: Path) -> None:
    # 80, 82, 84: mean 82, deviations 2, 0, 2: spread 2. Against 85 ± 1 of 5: sqrt(4/3 + 1/5) = 1.24 is one standard
    # error, and of 2.6 degrees of freedom it takes 3.4 of them. 62 against a bare 60. Seconds 60, 120, 180: mean 120.
    write(tmp_path, "pot", [0.80, 0.82, 0.84], losses=[1.0, 2.0, 3.0])
    write(tmp_path, "bag", [0.62], samples=12_500_000)
    write(tmp_path, "bag", [0.61], lr=0.5)
    write(tmp_path, "tin", [0.5, 0.5], budget="smoke")
    page = report_experiment(TEA, tmp_path, tmp_path / "report")
    headings = ["task", "contestant", "budget", "accuracy", "published, table 1", "loss", "n", "samples", "time", ""]
    assert list(page.headings) == headings
    pot, bag, black = "85.0% ± 1% (n=5)", "60.0%", "70.0% ± 2% (n=5)"
    assert page.cells == [
        ["green", "tin", "smoke", "50.0% ± 0.0%", "-", "-", "2", "2.5 k", "90 s", ""],
        ["green", "pot", "small", "82.0% ± 2.0%", pot, "2.00 ± 1.00", "3", "2.5 k", "2 min", "as published"],
        ["green", "bag", "small", "62.0%", bag, "-", "1", "12.5 M", "60 s", "better by 2.0 points"],
        ["green", "bag", "small, lr 0.5", "61.0%", bag, "-", "1", "2.5 k", "60 s", ""],
        ["black", "pot", "-", "-", black, "-", "0", "-", "-", "not run"],
    ]
    lines = page.markdown.read_text(encoding="utf-8").splitlines()
    assert lines[2] == "| " + " | ".join(page.cells[0]) + " |"
    assert len({line.count("|") for line in lines[: 2 + len(page.cells)]}) == 1


@pytest.mark.parametrize(
    ("values", "said"),
    [
        # One standard error is sqrt(1/3 + 1/5) = 0.73 points, of 4.4 degrees of freedom: chance shows up to 2.0.
        ([0.8305, 0.8405, 0.8505], "as published"),
        ([0.818, 0.828, 0.838], "short by 2.2 points"),
        # sqrt(0.01/3 + 1/5) = 0.45 points, of 4.1 degrees of freedom: 1.24.
        ([0.838, 0.839, 0.840], "as published"),
        ([0.836, 0.837, 0.838], "short by 1.3 points"),
        ([0.869, 0.870, 0.871], "better by 2.0 points"),
        # One run: the published spread stands for ours. sqrt(1 + 1/5) = 1.095; two points are less than two, 2.3 more.
        ([0.83], "as published"),
        ([0.827], "short by 2.3 points"),
    ],
)
def test_a_mark_goes_by_what_chance_shows(values: list[float], said: str) -> None:
    number = Published(value=0.85, spread=0.01, replications=5, source="")
    assert compare(ACCURACY, mean_of(values), number) == said


def test_which_runs_count_is_decided_without_a_look_at_them(tmp_path: Path) -> None:
    # Trained for longer is the same recipe; another rate is another one, however many its runs and good its numbers.
    write(tmp_path, "pot", [0.80, 0.82, 0.84], steps=20)
    write(tmp_path, "pot", [0.99] * 8, steps=90, lr=0.5)
    write(tmp_path, "pot", [0.99, 0.99], samples=9000, steps=80)
    write(tmp_path, "pot", [0.98], steps=80, lr=0.4)
    write(tmp_path, "bag", [0.5])
    groups, _ = groups_of(TEA, read_records(tmp_path))
    found = {(each.task, each.contestant): each for each in standings(TEA, groups)}
    pot, bag, black = found["green", "pot"], found["green", "bag"], found["black", "pot"]
    assert (pot.ours, pot.kind, pot.spent) == (mean_of([0.80, 0.82, 0.84]), "as published", "small, steps 20")
    assert (bag.kind, bag.said) == ("too few runs to say", "short by 10.0 points")
    assert bag.spent == "small, 10 of 100 steps"
    assert (black.kind, black.ours) == ("not run", None)
    assert [each.config["lr"] for each in trials(TEA, groups)] == [0.4], "one run beside others; the bag has no others"
    write(tmp_path, "pot", [0.9, 0.9, 0.9], samples=9000, steps=80)
    groups, _ = groups_of(TEA, read_records(tmp_path))
    assert standings(TEA, groups)[0].said == "better by 5.0 points", "the longer one once it has three"


def test_what_neither_the_paper_nor_the_plan_has_is_not_missing(tmp_path: Path) -> None:
    write(tmp_path, "pot", [0.8])
    groups, _ = groups_of(TEA, read_records(tmp_path))
    planned = replace(TEA, planned={"small": ("green",)}, unplanned=[("small", "green", "tin")])
    assert not_run(planned, groups) == ["green: bag", "black"]
    assert not_run(replace(planned, published={}), groups) == ["green: bag"]


def test_a_mark_minds_which_way_is_better() -> None:
    number = Published(value=1.0, source="")
    assert compare(LOSS, mean_of([1.25]), number) == "short by 0.25"
    assert compare(LOSS, mean_of([0.75]), number) == "better by 0.25"
    assert compare(LOSS, mean_of([1.004]), number) == "as published", "equal as printed"
    assert compare(LOSS, mean_of([float("nan")]), number) == "short: no finite number"


def test_the_standard_error_of_a_difference() -> None:
    # Spreads 3 and 4 of 9 and 16 runs: sqrt(9/9 + 16/16).
    assert standard_error(Mean(value=0, spread=3.0, n=9), Mean(value=0, spread=4.0, n=16)) == pytest.approx(2**0.5)
    assert standard_error(Mean(value=0, spread=None, n=1), Mean(value=0, spread=None, n=None)) is None
    # A published mean alone is taken as exact: 3 / sqrt(9).
    assert standard_error(Mean(value=0, spread=3.0, n=9), Mean(value=0, spread=None, n=None)) == 1.0


def test_counts_and_durations_in_few_digits() -> None:
    counts = [0, 999, 1000, 12_345, 999_499, 999_600, 4_336_000_000]
    assert [say_count(each) for each in counts] == ["0", "999", "1 k", "12.3 k", "999 k", "1 M", "4.34 G"]
    seconds = [0.04, 9.9, 119.0, 120.0, 3600.0, 7200.0]
    assert [say_duration(each) for each in seconds] == ["0.0 s", "9.9 s", "119 s", "2 min", "60 min", "2.0 h"]


def test_two_metrics_are_marked_by_name(tmp_path: Path) -> None:
    both = {"accuracy": Published(value=0.9, source="t"), "loss": Published(value=3.0, source="t")}
    write(tmp_path, "pot", [0.8], losses=[2.5])
    cells = table(tmp_path, replace(TEA, published={("green", "pot"): both}))
    assert cells[0][-1] == "accuracy short by 10.0 points; loss better by 0.50"
    indifferent = replace(TEA, published={("green", "pot"): both}, metrics=[ACCURACY, replace(LOSS, better=None)])
    assert table(tmp_path, indifferent)[0][-1] == "short by 10.0 points", "of a loss that need not be small"


def test_a_run_of_something_else_is_not_held_against_the_published_number(tmp_path: Path) -> None:
    write(tmp_path, "pot", [0.99])
    write(tmp_path, "pot", [0.8], lr=0.5)
    cells = table(tmp_path, replace(TEA, comparable={"green": {"lr": 0.5}}))
    assert [row[-1] for row in cells[:2]] == ["not comparable: lr 0.1", "short by 5.0 points"]


# ------------------------------------------------------------------------------------------------ damage, files


def test_damaged_records_are_named_and_left_out(tmp_path: Path) -> None:
    write(tmp_path, "pot", [0.8])
    good = next(tmp_path.glob("tea-*.json")).read_text(encoding="utf-8")
    for name, changed in {
        "contestant": good.replace('"pot"', '"urn"'),
        "budget": good.replace('"small"', '"huge"'),
        "metric": good.replace('"accuracy"', '"colour"'),
        "field": good.replace('"task"', '"cup"'),
        "broken": good[: len(good) // 2],
    }.items():
        (tmp_path / f"{name}.json").write_text(changed, encoding="utf-8")
    (tmp_path / "other.json").write_text('{"format": "hardgrad-doctor-1"}', encoding="utf-8")
    page = report_experiment(TEA, tmp_path, tmp_path / "report")
    assert [cells[6] for cells in page.cells] == ["1", "0", "0"]
    for part in ("'urn'", "'huge'", "lacks accuracy, loss", "lacks task", "broken.json is not readable JSON"):
        assert sum(part in warning for warning in page.warnings) == 1
    assert len(page.warnings) == 5
    assert "broken.json" in page.page.read_text(encoding="utf-8")


def test_nothing_to_report_says_how_to_make_some(tmp_path: Path) -> None:
    with pytest.raises(NoRecordsError, match=r"no records of tea in .*hardgrad reproduce tea"):
        table(tmp_path)


def test_damage_to_what_figures_are_drawn_from_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def draw(groups: Any, results: Path) -> list[Any]:
        raise KeyError("gradient")

    drawer = types.ModuleType("tea_figures")
    drawer.draw = draw  # type: ignore[attr-defined]  # a module made by hand
    monkeypatch.setitem(sys.modules, drawer.__name__, drawer)
    write(tmp_path, "pot", [0.8])
    page = report_experiment(replace(TEA, figures="tea_figures:draw"), tmp_path, tmp_path / "report")
    assert page.warnings == ["no figures of tea: what its runs left is damaged or incomplete (KeyError('gradient'))"]
    assert page.cells


def test_the_page_is_whole_and_self_contained(tmp_path: Path) -> None:
    write(tmp_path, "pot", [0.80, 0.82, 0.84])
    write(tmp_path, "bag", [0.7, 0.7])
    made = report_experiment(replace(TEA, published={}), tmp_path, tmp_path / "report")
    text = made.page.read_text(encoding="utf-8")
    page = Page(text)
    page.check()
    assert "a &lt;machine&gt;" in text
    assert "Figure only, no numbers printed in the paper." in text
    assert "Not run: green: tin; black." in text
    assert "Data of green, small: all leaves." in text
    assert "holds" in page.cells
