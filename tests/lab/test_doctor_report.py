"""The doctor's table, figures, page and guide, from a diagnosis written by hand and from a small bank."""

from __future__ import annotations

import dataclasses
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from hardgrad_lab import cli
from hardgrad_lab.commands.show_doctor import show_doctor
from hardgrad_lab.doctor.bank import NAMES
from hardgrad_lab.doctor.page import figures as doctor_figures
from hardgrad_lab.doctor.page.examination import table_of, write_examination
from hardgrad_lab.doctor.page.guide import write_guide
from hardgrad_lab.doctor.page.table import HEADINGS, lines
from hardgrad_lab.doctor.record import Diagnosis, Examination, Row, load_all
from hardgrad_lab.doctor.watched import load_watched
from hardgrad_lab.runs.record import RecordError

ROOT = Path(__file__).parents[2]
FAST = ["--draws", "40", "--warm-up", "0", "--budget", "400"]


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HARDGRAD_DATA", raising=False)


# -------------------------------------------------------------------------------- the table, by hand


def row(name: str, **given: object) -> Row:
    usual = {
        "kind": "layer", "bias": 0.25, "bias_norm": 0.5, "bias_z": 9.0, "norm_ratio": 1.0, "variance": 1.0,
        "signal_to_noise": 4.0, "cosine": 0.9, "cosine_error": 0.01, "cosine_of_one": 0.6, "progress": 0.5,
        "sign_agreement": 0.9, "dead": 0.0, "uphill_rows": 0.0, "zeros": 0.0, "seconds": 2e-4, "bytes_kept": 10,
        "evaluations": 1.0, "draws": 40,
    }  # fmt: skip
    return Row(name=name, **{**usual, **given})  # type: ignore[arg-type]


@pytest.fixture
def made() -> Examination:
    rows = (
        row("steady"),
        row("clean", bias=0.01, bias_z=0.3, signal_to_noise=None, cosine=1.0, cosine_error=0.0, seconds=0.02),
        row("wrong", cosine=-0.5, cosine_error=0.1, progress=0.0, cosine_of_one=-0.2, uphill_rows=1.0),
        row("nearly wrong", cosine=-0.1, cosine_error=0.06),
        row("flat", zeros=1.0, cosine=None, cosine_error=None, cosine_of_one=0.0, progress=0.0, bias=1.0),
        row("lost", cosine=None, cosine_error=None, signal_to_noise=1e-4, seconds=3.0, evaluations=None),
        Row(name="no", kind="", error="ValueError: no derivative\nmore of it"),
    )
    truth = {"kind": "enumeration", "norm": 2.0, "standard_error": 0.0, "evaluations": 8, "resolved": True}
    diagnosis = Diagnosis.from_json(
        json.dumps(
            {
                "version": 1, "rows": [dataclasses.asdict(each) for each in rows],
                "truth": {**truth, "gradient": [2.0]}, "warnings": ["wrong points uphill: cosine -0.50"],
                "advice": "use clean.", "about": "E[f]", "function": "f", "noise": "logistic", "sigma": None,
                "shape": [8, 3], "device": "cpu", "draws": 40, "warm_up": 0, "function_seconds": 1e-5,
            }
        )
    )  # fmt: skip
    return Examination(
        name="made", title="made up", about="By hand.", source="drawn", options={"seed": 0}, diagnosis=diagnosis,
        seconds=1.0, started="2026-01-01T00:00:00+00:00", environment={"versions": {"torch": "2"}, "device": "<cpu>"},
    )  # fmt: skip


def test_the_table_is_the_one_worked_out_by_hand(made: Examination) -> None:
    # Noise: one over the root of 4 is 0.5, of 1e-4 it is 100. Wrong is uphill, -0.5 + 2 * 0.1 < 0; the next is not.
    assert [line.cells for line in lines(made.diagnosis)] == [
        ["steady", "0.90 ±0.01", "0.25", "0.50", "0.50", "200 us", "1", "biased"],
        ["clean", "1.00", "none", "0", "0.50", "20.0 ms", "1", ""],
        ["wrong", "-0.50 ±0.10", "0.25", "0.50", "0", "200 us", "1", "UPHILL"],
        ["nearly wrong", "-0.10 ±0.06", "0.25", "0.50", "0.50", "200 us", "1", "biased"],
        ["flat", "-", "1.0", "0.50", "0", "200 us", "1", "flat"],
        ["lost", "-", "0.25", "100", "0.50", "3.0 s", "-", "biased"],
        ["no", "", "", "", "", "", "", "refused"],
    ]


def test_markdown_holds_the_same_table(made: Examination) -> None:
    text = table_of(made).splitlines()
    assert text[0] == "| " + " | ".join(HEADINGS) + " |"
    assert text[4] == "| wrong | -0.50 ±0.10 | 0.25 | 0.50 | 0 | 200 us | 1 | UPHILL |"


class Page(HTMLParser):
    """Collects links and ids; complains of tags that do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "link", "img", "br"):
            self.open.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src", "xlink:href")]
        self.ids += [value or "" for name, value in attrs if name == "id"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)


def test_the_page_is_self_contained_and_says_it_all(made: Examination, tmp_path: Path) -> None:
    write_examination(made, tmp_path)
    text = (tmp_path / "doctor.html").read_text(encoding="utf-8")
    page = Page(text)
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert not re.search(r"https?:|@import|<script|<link|<img|file:", text)
    for said in ("use clean.", "wrong points uphill", "no derivative", "UPHILL", "&lt;cpu&gt;", "truth by enumeration"):
        assert said in text


def test_figures_put_every_candidate_where_its_numbers_are(made: Examination) -> None:
    figure = doctor_figures.overview(made.diagnosis)
    direction, errors, cost = figure.axes
    names = [label.get_text() for label in direction.get_yticklabels()]
    assert names == ["lost", "flat", "nearly wrong", "wrong", "clean", "steady"]
    shown = {(round(float(x), 6), y) for line in direction.get_lines() for x, y in line.get_xydata().tolist()}
    assert {(0.9, 5.0), (0.6, 5.0), (-0.5, 3.0), (-0.2, 3.0)} <= shown
    bias = {tuple(p) for line in errors.get_lines() if line.get_marker() == "s" for p in line.get_xydata().tolist()}
    assert bias == {(0.25, 5.0), (0.25, 3.0), (0.25, 2.0), (0.25, 0.0)}, (
        "no square where no bias was found, or no gradient"
    )
    assert cost.get_xscale() == errors.get_xscale() == "log"


def test_time_turns_noise_into_direction_but_not_bias(made: Examination) -> None:
    figure = doctor_figures.budget(made.diagnosis)
    curves = {str(line.get_label()): line for line in figure.axes[0].get_lines()}
    x, y = np.asarray(curves["steady"].get_xdata()), np.asarray(curves["steady"].get_ydata())
    # Length 1, noise 0.5: one gradient at 0.9 / sqrt(1 + 0.25), a hundred of them at 0.9 / sqrt(1 + 0.0025).
    assert y[0] == pytest.approx(0.9 / 1.25**0.5)
    assert y[np.argmin(abs(x - 100))] == pytest.approx(0.9 / 1.0025**0.5)
    assert "points uphill" in curves


def test_uphill_is_red_on_a_terminal(made: Examination) -> None:
    screen = Console(file=io.StringIO(), force_terminal=True, width=80, color_system="standard")
    show_doctor(made, screen)
    lines_shown = screen.file.getvalue().splitlines()  # type: ignore[attr-defined]
    red = [line for line in lines_shown if "\x1b[1;31m" in line]
    assert any("UPHILL" in line for line in red)
    assert any("WARNING" in line for line in red)
    assert not any("steady" in line for line in red)


def test_a_record_of_another_shape_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text('{"format": "hardgrad-doctor-1", "name": "x"}')
    with pytest.raises(RecordError, match=r"bad.json is a record of another shape"):
        load_all(tmp_path)
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(RecordError, match="not readable JSON"):
        Examination.load(tmp_path / "bad.json")


# -------------------------------------------------------------------------------- the guide


def test_the_bank_writes_records_and_the_report_reads_them(capsys: pytest.CaptureFixture[str]) -> None:
    only = ["--only", "edit-distance,round,watch-sign", "--steps", "4"]
    assert cli.main(["doctor", "bank", *only, *FAST, "--out", "records"]) == 0
    out = capsys.readouterr().out
    assert "record   records/edit-distance.json" in out
    assert "page     records/report/round.html" in out
    assert sorted(load_all(Path("records"))) == ["edit-distance", "round"]
    (watched,) = load_watched(Path("records"))
    assert [look.call for look in watched.sightings] == [1, 2, 3, 4]
    assert len(watched.losses) == 4

    guide = Path("guide.md")
    blocks = (
        "any",
        "any progress",
        "discrete cosine",
        "pick round: bridge; autograd",
        "among gain: round; edit-distance",
        "report round",
        "watch",
        "origin",
    )
    guide.write_text("# Mine\n\n" + "\n\n".join(f"<!-- doctor: {b} -->\n<!-- end -->" for b in blocks) + "\nKept.\n")
    assert cli.main(["report", "doctor", "--results", "records", "--guide", "guide.md"]) == 0
    text = guide.read_text()
    assert text.startswith("# Mine\n")
    assert text.endswith("Kept.\n")
    assert "| `round` |" in text
    assert text.index("\n| bridge |") < text.index("\n| autograd |"), "picked in the order asked for"
    assert "| estimator | edit distance |" in text
    assert text.count("<!-- doctor: ") == text.count("<!-- end -->") == len(blocks)
    assert Path("pictures/doctor-round.svg").read_text().startswith("<svg")
    assert Path("pictures/doctor-watch.svg").exists()
    write_guide(guide, load_all(Path("records")), load_watched(Path("records")))
    assert guide.read_text() == text, "written again it is the same"


def test_the_guide_holds_the_numbers_on_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hardgrad_lab.doctor.page.guide.compact_svg", lambda figure, name: "")
    committed = (ROOT / "docs" / "evidence" / "which-estimator.md").read_text(encoding="utf-8")
    copy = tmp_path / "guide.md"
    copy.write_text(committed, encoding="utf-8")
    written = write_guide(copy, load_all(ROOT / "results" / "doctor", NAMES), load_watched(ROOT / "results" / "doctor"))
    assert copy.read_text(encoding="utf-8") == committed
    assert {path.name for path in written[1:]} == {
        path.name for path in (ROOT / "docs" / "evidence" / "pictures").glob("doctor-*")
    }
    assert all(f"pictures/{path.name}" in committed for path in written[1:])


def test_some_functions_side_by_side_in_the_order_asked_for(made: Examination, tmp_path: Path) -> None:
    other = dataclasses.replace(made, name="other", title="of old")
    rows = (row("montecarlo.bridge", progress=0.25), row("clean", progress=1.0, bias=0.0, bias_z=0.1))
    other = dataclasses.replace(other, diagnosis=dataclasses.replace(made.diagnosis, rows=rows))
    guide = tmp_path / "guide.md"
    guide.write_text("<!-- doctor: among gain: other; made -->\n<!-- end -->\n")
    write_guide(guide, {"made": made, "other": other}, [])
    lines = guide.read_text().splitlines()[1:-1]
    assert lines[0] == "| estimator | of old | made up |"
    assert lines[2:5] == [
        "| bridge_estimator | 0.25 (0.25) |  |",
        "| clean | 1.0 (none) | 0.50 (none) |",
        "| steady |  | 0.50 (0.25) |",
    ]
    assert "| no |  | refused |" in lines


def test_a_guide_that_asks_for_what_is_not_there_is_an_error(made: Examination, tmp_path: Path) -> None:
    guide = tmp_path / "guide.md"
    for block, said in (("magic", "block 'magic'"), ("report sort", "record 'sort'"), ("pick made: x", "'x' on made")):
        guide.write_text(f"<!-- doctor: {block} -->\n\n<!-- end -->\n")
        with pytest.raises(ValueError, match=said):
            write_guide(guide, {"made": made}, [])


def test_no_records_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    Path("empty").mkdir()
    assert cli.main(["report", "doctor", "--results", "empty"]) == 1
    assert "no records of the doctor" in capsys.readouterr().err
