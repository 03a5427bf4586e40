"""What results look like: in a notebook as small, harmless HTML of the same cells as the text; in a narrow terminal."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest
import torch
from torch import nn

import hardgrad as hg
from hardgrad._shown import page, pictures
from hardgrad._shown.table import MOST, Table
from hardgrad.codebook.usage import usage_of
from hardgrad.doctor.boxes.report import BoxReport, Finding
from hardgrad.doctor.diagnosis import Truth
from hardgrad.doctor.flow.report import Break, Harmless
from hardgrad.doctor.pace import Progress
from hardgrad.doctor.told import told
from hardgrad.segments.criterion import Tried
from hardgrad.segments.keys import KeyScore
from hardgrad.segments.result import RangeScore
from hardgrad.switch.health import RangeHealth

EVIL = "<script>alert('1')</script>&\"x\""
VOID = {"br", "rect", "path"}


def diagnosis(candidates: int = 3) -> hg.Diagnosis:
    row = hg.doctor.Row(EVIL, "layer", 0.123456, 0.1, 12.3, 1.0, 2.5, 0.4, 0.8765, 0.01, 0.5, 0.25, 0.9, 0.0, 0.0, 0.1)
    others = [hg.doctor.Row(f"candidate {i}", "layer", 0.5, progress=0.75) for i in range(candidates - 2)]
    refused = hg.doctor.Row("refused", "layer", error=EVIL)
    return hg.Diagnosis(
        (row, *others, refused), Truth("long run", 1.0, 0.01, 400, True), (EVIL,), EVIL, EVIL, EVIL, "gaussian", 0.5,
        (4, 3), "cpu", 100, 0, 1e-4, stopped=EVIL,
    )  # fmt: skip


def found_ranges() -> hg.FoundRanges:
    scores = RangeScore("[0, 1)", 1000, 0.1, 0.2, 0.9), RangeScore("[1, 4]", 20, 0.1, 0.2, float("nan"))
    path = Tried(1, 0.5, 0.1, ()), Tried(2, 0.1, None, (1.0,))
    return hg.FoundRanges(
        (0.0, 1.0, 4.0), scores, (0.4,), "held_out", path, 0.3, ((0.9, 1.1),), (0.97,), 0.01, EVIL, "nearest"
    )


def ranked() -> Any:
    return hg.segments.RankedKeys((KeyScore(EVIL, 1, 2, (0.5,), 0.4, 0.1, 0.0, 0.0),))


def breaks() -> Any:
    found = hg.doctor.Breaks()
    found._about = EVIL
    found._found = (Break("flat", EVIL, 3, EVIL, EVIL, EVIL, EVIL, (EVIL, "b"), (2, 3), 1.0, 0.0),)
    found._harmless, found._parameters = (Harmless(EVIL, 4, EVIL, EVIL, EVIL),), {EVIL: "zero"}
    return found


def watch(looks: int = 3) -> Any:
    seen = hg.doctor.Watch(hg.Bridge(hg.hard.sign, hg.approximators.mlp(2, 2)))
    seen.remove()
    for call in range(looks):
        seen.records.append(hg.doctor.Sighting(call, 0.5 + call / 100, 0.01, 0.3, 1.0, "enumeration", 0.0, 0.5, EVIL))
    seen.records.append(hg.doctor.Sighting(looks, error=EVIL))
    return seen


def box_report() -> Any:
    return BoxReport(
        box=EVIL, shapes=((2, 3), (2, 1)), findings=(Finding("stairs", EVIL, 0, 1, 0.25),), scale=torch.tensor([0.5]),
        delay=3, seconds=1e-5, calls=40, output=(0.0, 1.0), cosines=({EVIL: 0.9},), advice=EVIL, code=EVIL,
        left_out=(EVIL,),
    )  # fmt: skip


def health() -> Any:
    good = RangeHealth("[0, 1)", 10, 100, {"1": (0, 4)}, False)
    return hg.switch.Health((good, RangeHealth(EVIL, 2, 0, {EVIL: (4, 4)}, True)))


def history() -> Any:
    told = hg.switch.History(hg.If(hg.Ranges([0.0, 1.0, 2.0]), [EVIL, "other"]))
    for step in range(6):
        told.add(torch.tensor([1.0, 3.0]) / (step + 1), torch.tensor([0, 1]) if step else torch.tensor([0, 0]))
        told.mark(step)
    return told


SHOWN: dict[str, Callable[[], Any]] = {
    "Agreement": lambda: hg.switch.Agreement(0.9, 0.1, (0.5, 1.0), (3, 0), (0.2, float("nan")), 0.01),
    "BoxReport": box_report,
    "Breaks": breaks,
    "Diagnosis": diagnosis,
    "Fidelity": lambda: hg.Fidelity(0.0812345, None),
    "FoundRanges": found_ranges,
    "Health": health,
    "History": history,
    "RankedKeys": ranked,
    "Usage": lambda: usage_of(torch.arange(1024).reshape(2, 512)),
    "Watch": watch,
}


class Reader(HTMLParser):
    """The tags that are opened and closed in order, and the text between them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += "" if "style" in self.open else f" {data} "


@pytest.mark.parametrize("name", SHOWN)
def test_html_is_whole_small_and_needs_nothing_but_itself(name: str) -> None:
    html = SHOWN[name]()._repr_html_()
    read = Reader(html)
    assert len(html.encode()) < 20_000
    allowed = "div style table caption thead tbody tr th td p b ul li br code details summary svg rect path g"
    assert {tag for tag, _ in read.tags} <= set(allowed.split())
    for tag, attributes in read.tags:
        assert not [key for key in attributes if key.startswith("on") or key in ("src", "href")], tag
    assert not re.search(r"url\(|@import|https?:", html)


@pytest.mark.parametrize("name", SHOWN)
def test_a_name_that_is_a_script_is_shown_and_not_run(name: str) -> None:
    thing = SHOWN[name]()
    html = thing._repr_html_()
    assert "<script" not in html.lower()
    if name not in ("Agreement", "Fidelity", "Usage"):  # these have no words of a user's
        assert EVIL in Reader(html).text


@pytest.mark.parametrize("name", SHOWN)
def test_tables_are_told_to_those_who_hear_them(name: str) -> None:
    html = SHOWN[name]()._repr_html_()
    tags = Reader(html).tags
    assert not re.search("<th[^>]*></th>", html)
    assert [tag for tag, _ in tags].count("table") == [tag for tag, _ in tags].count("caption") > 0
    assert {attributes.get("scope") for tag, attributes in tags if tag == "th"} == {"col", "row"}
    for tag, attributes in tags:
        if tag == "svg":
            assert attributes.get("aria-label") or attributes.get("aria-hidden") == "true"
        if attributes.get("tabindex"):
            assert attributes["aria-label"], "what scrolls has a name"


@pytest.mark.parametrize("name", [name for name in SHOWN if name != "Usage"])
def test_a_notebook_has_the_numbers_of_the_text(name: str) -> None:
    thing = SHOWN[name]()
    words = " ".join(Reader(thing._repr_html_()).text.split())
    for number in re.findall(r"(?<![\w.])\d+\.\d+%?", str(thing)):
        assert number in words


@pytest.mark.parametrize("name", SHOWN)
def test_a_shell_shows_one_line(name: str) -> None:
    assert len(repr(SHOWN[name]()).splitlines()) == 1
    assert len(repr(SHOWN[name]())) < 300
    assert "\x1b" not in f"{SHOWN[name]()!r}{SHOWN[name]()}"


def test_what_is_not_over_and_what_is_empty_are_shown() -> None:
    assert "the step is not over" in hg.doctor.Breaks()._repr_html_()
    assert "0 looks" in (lambda seen: seen.records.clear() or seen)(watch())._repr_html_()
    assert "0 intervals" in repr(hg.switch.History(hg.Ranges([0.0, 1.0])))
    Reader(hg.switch.History(hg.Ranges([0.0, 1.0]))._repr_html_())
    flat = replace(found_ranges(), points=(0.0, 4.0), scores=found_ranges().scores[:1], gains=(), intervals=None)
    flat = replace(flat, criterion_path=(Tried(1, 0.5, None, ()),), smooth=None, support=None)
    assert "one range" in flat._repr_html_()


def test_thousands_of_rows_stay_small() -> None:
    html = watch(5000)._repr_html_()
    assert len(html) < 20_000
    assert f"{5001 - MOST:,} more rows" in html
    assert len(diagnosis(35)._repr_html_()) < 20_000
    assert len(usage_of(torch.ones(1, 8192, dtype=torch.int64))._repr_html_()) < 20_000


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def on_a_terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setenv("COLUMNS", str(columns))


@pytest.mark.parametrize("columns", [40, 80, 200])
@pytest.mark.parametrize("name", [name for name in SHOWN if name not in ("Fidelity", "Usage")])
def test_lines_fit_the_terminal(monkeypatch: pytest.MonkeyPatch, name: str, columns: int) -> None:
    thing = SHOWN[name]()
    on_a_terminal(monkeypatch, columns)
    long = [line for line in str(thing).splitlines() if len(line) > columns]
    assert [line for line in long if EVIL[8:-5] not in line] == []  # what has no space stays whole


def test_a_pipe_gets_whole_rows_whatever_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    wide = str(diagnosis())
    assert max(map(len, wide.splitlines())) > 100
    on_a_terminal(monkeypatch, 40)
    narrow = str(diagnosis())
    assert sorted(re.findall(r"[\d.]+", wide)) != []
    assert set(re.findall(r"[\d.]+", wide)) == set(re.findall(r"[\d.]+", narrow))


def test_no_standard_output_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert "candidate" in str(diagnosis())


def test_groups_of_columns_repeat_the_names(monkeypatch: pytest.MonkeyPatch) -> None:
    on_a_terminal(monkeypatch, 24)
    table = Table(("name", "one", "two", "three"), [("a", "1" * 9, "2" * 9, "3" * 9), ("b", "an error that runs on")])
    assert table.lines() == [
        "name        one", "a     111111111", "b     an error that runs on", "",
        "name        two", "a     222222222", "",
        "name      three", "a     333333333",
    ]  # fmt: skip


def quick(progress: Any) -> None:
    hg.diagnose({"a": hg.score_function, "b": hg.exact}, torch.round, torch.ones(2, 2), draws=20, budget=200,
                progress=progress)  # fmt: skip


@pytest.mark.parametrize("columns", [40, 100])
def test_the_doctor_writes_over_its_line_on_a_terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    on_a_terminal(monkeypatch, columns)
    monkeypatch.setenv("TERM", "xterm")
    screen = sys.stdout
    quick(True)
    assert isinstance(screen, Terminal)
    text = screen.getvalue()
    assert "\n" not in text
    *said, last, end = text.split("\r")
    assert (last.strip(), end) == ("", ""), "nothing is left for what comes next to stand in"
    assert any(each.startswith("truth: ") for each in said)
    assert any(each.startswith("cost: ") for each in said)
    assert max(map(len, said)) < columns


@pytest.mark.parametrize("term", ["dumb", "a pipe"])
def test_the_doctor_prints_a_line_a_turn_elsewhere(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], term: str
) -> None:
    if term == "dumb":
        on_a_terminal(monkeypatch, 80)
        monkeypatch.setenv("TERM", "dumb")
    screen = sys.stdout
    quick(True)
    text = screen.getvalue() if isinstance(screen, Terminal) else capsys.readouterr().out
    assert "\r" not in text
    assert [line.partition(":")[0] for line in text.splitlines()] == ["truth", "a", "b", "cost"]


def test_a_notebook_is_written_over(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = type("OutStream", (io.StringIO,), {"__module__": "ipykernel.iostream"})()
    monkeypatch.setattr(sys, "stdout", stream)
    quick(True)
    assert stream.getvalue().count("\r") > 3
    quick(False)
    assert "\n" not in stream.getvalue()


def test_a_line_is_ended_by_what_goes_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    on_a_terminal(monkeypatch, 80)
    monkeypatch.setenv("TERM", "xterm")
    screen = sys.stdout

    def fails() -> None:
        with told(True) as tell:
            assert tell is not None
            tell(Progress("truth", 0.0, 3, None))
            raise ValueError("planted")

    with pytest.raises(ValueError, match="planted"):
        fails()
    assert screen.getvalue().endswith("\r")  # type: ignore[attr-defined]


def test_pictures_take_any_numbers() -> None:
    nothing = [None, float("nan"), float("inf")]
    assert pictures.bar(None) == pictures.bar(float("nan")) == pictures.line(nothing) == pictures.line([]) == ""
    assert pictures.bars([]) == pictures.bars([0, 0]) == ""
    for drawn in (pictures.bar(-3.0), pictures.bar(9.0), pictures.line([1.0]), pictures.line([2.0, 2.0, None, 1.0]),
                  pictures.bars(range(1000)), pictures.axis(1.0, 1.0, [1.0])):  # fmt: skip
        Reader(drawn)
        assert not re.search(r"nan|inf|-\d", drawn.replace("stroke-", ""))


def test_words_of_any_length_are_cut() -> None:
    assert len(page.words("x" * 10_000)) < 3000
    assert page.points([]) == ""
    assert page.points(["a"] * 50).count("<li>") == 21


def test_a_model_with_a_script_for_a_name_is_shown_by_the_doctor() -> None:
    model = nn.Sequential()
    model.add_module("<script>alert(1)</script>", nn.Linear(2, 2))
    html = hg.doctor.breaks(model, torch.ones(3, 2), loss=lambda y: y.round().sum())._repr_html_()
    assert "<script" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
