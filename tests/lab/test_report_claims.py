"""What a report says of a paper's claims, from records written by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from scipy.stats import ttest_ind_from_stats

from hardgrad_lab.report.experiment import report_experiment, sections_of
from hardgrad_lab.report.glance import glance_at
from hardgrad_lab.runs.compare import Mean, by_chance
from hardgrad_lab.runs.published import Claim
from hardgrad_lab.runs.records import read_records
from lab.tea import TEA, claim, write


def verdicts(results: Path, *claims: Claim) -> list[list[str]]:
    """Return budget, ours, difference and verdict of each claim."""
    page = report_experiment(replace(TEA, claims=claims), results, results / "report").markdown
    lines = [line for line in page.read_text(encoding="utf-8").splitlines() if line.count("|") == 8]
    return [line.strip("| ").split(" | ")[3:] for line in lines[2:] if " beats " in line]


@pytest.mark.parametrize(("n", "spread"), [((2, 2), (1.0, 1.0)), ((3, 5), (1.0, 0.2)), ((40, 40), (2.0, 1.0))])
def test_what_chance_shows_is_what_welchs_test_says(n: tuple[int, int], spread: tuple[float, float]) -> None:
    sides = [Mean(value=0.0, spread=each, n=runs) for each, runs in zip(spread, n, strict=True)]
    apart = by_chance(*sides)
    test = ttest_ind_from_stats(apart, spread[0], n[0], 0.0, spread[1], n[1], equal_var=False)
    assert test.pvalue == pytest.approx(0.05, abs=1e-9)


def test_three_standard_errors_of_two_runs_are_too_close_to_say(tmp_path: Path) -> None:
    # 4 points are 2.8 standard errors, sqrt(1 + 1) = 1.4; with two degrees of freedom it takes 4.3.
    write(tmp_path, "pot", [0.84, 0.86])
    write(tmp_path, "bag", [0.80, 0.82])
    assert verdicts(tmp_path, claim("pot", "bag"))[0][2:] == ["+4.0 ± 1.4 points", "too close to say"]


def test_a_claim_is_judged_by_its_standard_error(tmp_path: Path) -> None:
    # 82 ± 2 of 3 against 70 ± 1 of 3: 12 points, standard error sqrt(4/3 + 1/3) = 1.29. Losses 2 and 2.5, spread 1
    # both, standard error sqrt(1/3 + 1/3) = 0.82: half a unit less is too close to say.
    write(tmp_path, "pot", [0.80, 0.82, 0.84], losses=[1.0, 2.0, 3.0])
    write(tmp_path, "bag", [0.69, 0.70, 0.71], losses=[1.5, 2.5, 3.5])
    write(tmp_path, "tin", [0.9])
    said = verdicts(
        tmp_path, claim("pot", "bag"), claim("bag", "pot"), claim("pot", "bag", "loss"), claim("tin", "bag"),
        claim("tin", "bag", "loss"),
    )  # fmt: skip
    ours = "pot 82.0% ± 2.0% (n=3); bag 70.0% ± 1.0% (n=3)"
    assert said[0] == ["small", ours, "+12.0 ± 1.3 points", "holds"]
    assert said[1][2:] == ["-12.0 ± 1.3 points", "does not hold at this budget"]
    assert said[2][2:] == ["+0.50 ± 0.82", "too close to say"]
    assert said[3][2:] == ["+20.0 points", "too few runs to say"]
    assert said[4][3] == "not run: tin", "it has no loss"
    write(tmp_path, "tin", [float("nan"), 0.9])
    assert verdicts(tmp_path, claim("pot", "tin"))[0][2:] == ["-", "no finite number"]


def test_both_sides_of_a_claim_have_equal_configurations(tmp_path: Path) -> None:
    write(tmp_path, "pot", [0.80, 0.82], lr=0.5)
    write(tmp_path, "bag", [0.70, 0.72])
    assert verdicts(tmp_path, claim("pot", "bag"))[0][3] == "not run at equal configuration"
    write(tmp_path, "bag", [0.90, 0.92], lr=0.5)
    assert verdicts(tmp_path, claim("pot", "bag"))[0][0] == "small, lr 0.5"
    assert verdicts(tmp_path, claim("pot", "bag"))[0][3] == "does not hold at this budget"
    write(tmp_path, "pot", [0.80, 0.82])
    assert [row[0] for row in verdicts(tmp_path, claim("pot", "bag"))] == ["small", "small, lr 0.5"], "both are said"


def test_of_several_settings_none_counts_for_what_it_says(tmp_path: Path) -> None:
    write(tmp_path, "pot", [0.80, 0.82], lr=0.5)
    write(tmp_path, "bag", [0.90, 0.92], lr=0.5)
    write(tmp_path, "pot", [0.90, 0.92], lr=0.5, steps=20)
    write(tmp_path, "bag", [0.80, 0.82], lr=0.5, steps=20)
    bare = replace(TEA, published={})
    first = glance_at(sections_of(bare, read_records(tmp_path), tmp_path))
    assert [[says for _, says in lines] for lines in first.decided.values()] == [
        ["pot beats bag (-10.0 ± 1.4 points, n=2, small, lr 0.5)"],
    ], "the one nearer to the experiment's own, not the one that holds"
    for contestant in ("pot", "bag"):
        write(tmp_path, contestant, [0.5, 0.6])
    first = glance_at(sections_of(bare, read_records(tmp_path), tmp_path))
    assert "1 are too close to say" in first.headline, "its own, where it ran"
    for steps, shift in ((20, 0.1), (30, 0.2)):
        write(tmp_path, "pot", [0.7 + shift, 0.7 + shift, 0.7 + shift], samples=2500 * steps, steps=steps)
        write(tmp_path, "bag", [0.7, 0.71, 0.72], samples=2500 * steps, steps=steps)
    first = glance_at(sections_of(bare, read_records(tmp_path), tmp_path))
    line = "pot beats bag (+19.0 ± 0.6 points, n=3, small, steps 30)"
    assert line in [says for _, says in first.decided["Reproduced"]], "the longest of three runs"


def test_a_value_that_means_nothing_to_the_winner_may_differ(tmp_path: Path) -> None:
    write(tmp_path, "pot", [0.80, 0.82])
    write(tmp_path, "bag", [0.70, 0.72])
    write(tmp_path, "bag", [0.90, 0.92], lr=0.5)
    said = verdicts(tmp_path, replace(claim("pot", "bag"), aside=("lr",)))
    assert [(row[0], row[3]) for row in said] == [
        ("small", "holds"), ("small against small, lr 0.5", "does not hold at this budget"),
    ]  # fmt: skip


def test_a_claim_is_judged_at_the_largest_budget_that_has_both(tmp_path: Path) -> None:
    write(tmp_path, "pot", [0.6, 0.6], budget="smoke")
    write(tmp_path, "bag", [0.7, 0.7], budget="smoke")
    write(tmp_path, "pot", [0.80, 0.82])
    write(tmp_path, "bag", [0.70, 0.72], samples=2400)
    write(tmp_path, "pot", [0.1, 0.1], budget="paper")
    said = verdicts(tmp_path, claim("pot", "bag"))[0]
    assert (said[0], said[3]) == ("small", "holds (not the same number of samples)")


def test_of_alternatives_one_is_enough(tmp_path: Path) -> None:
    write(tmp_path, "pot", [0.80, 0.82])
    write(tmp_path, "bag", [0.90, 0.92])
    write(tmp_path, "tin", [1.02, 1.04])  # 12 points at sqrt(1 + 1) = 1.4 of a standard error; 4.3 of them count
    either = replace(claim("pot", "bag"), alternatives=("tin",))
    assert verdicts(tmp_path, either)[0][1:] == [
        "tin 103.0% ± 1.4% (n=2); bag 91.0% ± 1.4% (n=2)", "+12.0 ± 1.4 points", "holds",
    ]  # fmt: skip
    neither = replace(claim("pot", "tin"), alternatives=("bag",))
    assert verdicts(tmp_path, neither)[0][2:] == ["-12.0 ± 1.4 points", "does not hold at this budget"]
