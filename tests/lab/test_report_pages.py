"""The laws of every kind of page: it shows in light and dark, on a screen and a telephone, and for a keyboard."""

from __future__ import annotations

import base64
import io
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from hardgrad_lab import cli
from hardgrad_lab.doctor.page.examination import write_examinations
from hardgrad_lab.doctor.record import load_all
from hardgrad_lab.drawing.clips import MOST_S, clips_of
from hardgrad_lab.drawing.index import INDEX, index_reports
from hardgrad_lab.experiments.switches.waveshaper import WAVESHAPER
from hardgrad_lab.experiments.toys import TOYS
from hardgrad_lab.fit.folder import load_model
from hardgrad_lab.fit.page.words import explained, range_labels
from hardgrad_lab.fit.rivals.scores import as_db, as_esr, esr_of
from hardgrad_lab.report.experiment import report_experiment
from lab.pages import Page, check_figures

ROOT = Path(__file__).parents[2]
RATE = 8000
KINDS = (
    "fit of a table",
    "fit of a sound",
    "fit of classes",
    "doctor",
    "doctor's index",
    "waveshaper",
    "toys",
    "index",
)


def some(experiment: str, pattern: str, folder: Path) -> Path:
    """Copy some committed records, with what their runs left beside them."""
    for path in sorted((ROOT / "results" / experiment).glob(pattern)):
        (folder / experiment).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / experiment)
    return folder


def a_table() -> pd.DataFrame:
    """Return rows with a jump in every tenth of the key, and names that a careless page would choke on."""
    random = np.random.default_rng(0)
    key = random.uniform(0, 1, 300)
    return pd.DataFrame({"$k_{": key, "<b>&x": random.normal(size=300), "y$": np.floor(10 * key) % 2 + key})


def a_sound() -> tuple[np.ndarray, np.ndarray]:
    """Return a second and a half of noise that swells, and the same bent."""
    time = np.arange(int(1.5 * RATE)) / RATE
    dry = np.random.default_rng(1).uniform(-0.9, 0.9, len(time)) * (0.3 + 0.6 * np.sin(6 * time) ** 2)
    return dry, np.where(dry < 0, 0.5 * np.tanh(-3 * dry), 0.2 * np.cos(9 * dry))


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return a page of each kind, made once for all tests."""
    at = tmp_path_factory.mktemp("pages")
    a_table().to_csv(at / "data.csv", index=False)
    points = ",".join(f"{point:g}" for point in np.linspace(0, 1, 11))
    quick = ["--hidden", "4", "--epochs", "2"]
    table = ["fit", str(at / "data.csv"), "--target", "y$", "--key", "$k_{", f"--points={points}", *quick]
    assert cli.main([*table, "--out", str(at / "table")]) == 0
    for name, samples in zip(("dry", "wet"), a_sound(), strict=True):
        soundfile.write(at / f"{name}.wav", samples, RATE, subtype="FLOAT")
    sound = ["fit", str(at / "dry.wav"), "--target", str(at / "wet.wav"), "--points=-1,0,1", *quick]
    assert cli.main([*sound, "--no-baselines", "--out", str(at / "sound")]) == 0
    words = a_table().assign(kind=np.random.default_rng(2).choice(["a", "b", "c"], 300))
    words.assign(answer=np.where(words["$k_{"] < 0.5, "no", words["kind"])).to_csv(at / "words.csv", index=False)
    classes = ["fit", str(at / "words.csv"), "--target", "answer", "--key", "kind", *quick]
    assert cli.main([*classes, "--no-baselines", "--out", str(at / "classes")]) == 0
    with pytest.MonkeyPatch.context() as patch:  # the files of figures are tested elsewhere
        patch.setattr("hardgrad_lab.drawing.page.save_figure", lambda figure, path: [])
        return {
            "fit of a table": at / "table" / "report.html",
            "fit of a sound": at / "sound" / "report.html",
            "fit of classes": at / "classes" / "report.html",
            **reports(at),
        }


def reports(at: Path) -> dict[str, Path]:
    """Write the pages that come from records."""
    found = load_all(ROOT / "results" / "doctor", ("round", "sort"))
    examined = write_examinations({name: found[name] for name in ("round", "sort", "step")}, at / "doctor" / "report")
    records = some("waveshaper", "*-small-s0-*.json", at / "records")
    shutil.copytree(ROOT / "results" / "waveshaper" / "curves", records / "waveshaper" / "curves")
    for toy in ("rebar", "gumbel-rao"):
        some("toys", f"toys-{toy}-*-s0-*.json", records)
    out = at / "results" / "report"
    shutil.copytree(at / "doctor", at / "results" / "doctor")
    return {
        "doctor": examined[1],
        "doctor's index": examined[-1],
        "waveshaper": report_experiment(WAVESHAPER, records, out, source="rows of this machine").page,
        "toys": report_experiment(TOYS, records, out).page,
        "index": out / INDEX,
    }


@pytest.fixture(params=KINDS)
def page(request: pytest.FixtureRequest, pages: dict[str, Path]) -> Path:
    return pages[request.param]


def test_every_page_needs_nothing_outside_and_its_figures_show_everywhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    Page(text).check(page.parent)
    check_figures(text)
    assert text.count("<h1>") == text.count("<main>") == 1
    assert "@media print" in text
    assert "<title>" in text.split("<style>")[0]


def test_a_page_with_figures_has_some(pages: dict[str, Path]) -> None:
    # Table: transfer, ranges, agreement, rivals, training. Sound: transfer, the wave twice, levels over time, level in
    # and out, spectrograms, spectrum, ranges, training; no rivals.
    counts = {kind: check_figures(path.read_text(encoding="utf-8")) // 2 for kind, path in pages.items()}
    assert counts["fit of a table"] == 5
    assert counts["fit of a sound"] == 9
    assert counts["fit of classes"] == 4
    assert counts["doctor"] == 2
    assert counts["waveshaper"] >= 3
    assert counts["toys"] >= 5
    assert counts["doctor's index"] == counts["index"] == 0


FIGURE = '<div class="wide" style="max-width: 720px">{0}</div><div class="narrow">{0}</div>'.replace("{0}", "{svg}")


@pytest.mark.parametrize(
    "inner",
    [
        '<text style="font-size: 10px">black by default</text>',
        '<text style="font-size: 10px; fill: #010203">black</text>',
        '<text style="font-size: 5px; fill: currentColor">small</text>',
        '<text style="font: 5px sans-serif; fill: currentColor">small</text>',
        '<text style="font-size: 10px; fill: currentColor"><tspan>10</tspan><tspan>6</tspan></text>',
        '<text style="font-size: 10px; fill: currentColor">+2.35e1</text>',
        '<text style="font-size: 10px; fill: currentColor">1e6</text>',
        '<path style="fill: none; stroke: #000000"/>',
        '<g style="stroke: #000000"><path style="fill: none"/></g>',
    ],
)
def test_the_law_of_figures_sees_each_fault(inner: str) -> None:
    def text(inside: str) -> str:
        return FIGURE.replace("{svg}", f'<svg viewBox="0 0 266 100">{inside}</svg>')

    assert check_figures(text('<text style="font-size: 10px; fill: currentColor">1e-6</text>')) == 2
    with pytest.raises(AssertionError):
        check_figures(text(inner))


def test_a_page_begins_with_words_and_pictures_and_long_tables_are_folded(pages: dict[str, Path]) -> None:
    text = pages["waveshaper"].read_text(encoding="utf-8")
    first, folded = text.index("<svg"), [found.start() for found in re.finditer("<details>", text)]
    whole = text.index("The whole table, 48 rows")
    assert text.index("A distortion box") < text.index("At a glance") < first < whole
    assert len(folded) == 3, "who is who, the table, the runs"
    assert "rows of this machine" in text
    assert "rows of this machine" in pages["waveshaper"].with_suffix(".md").read_text(encoding="utf-8")


def test_dates_do_not_break(page: Path) -> None:
    for cell in re.findall(r"<td([^>]*)>\d{4}-\d\d-\d\d", page.read_text(encoding="utf-8")):
        assert 'class="whole"' in cell


# -------------------------------------------------------------------------------------------------- one page to another


def test_pages_of_the_doctor_lead_to_each_other(pages: dict[str, Path]) -> None:
    middle = pages["doctor"].read_text(encoding="utf-8")
    assert re.findall(r'href="([^"#]+)"(?: rel="(\w+)")?', middle) == [
        ("index.html", "up"), ("round.html", "prev"), ("step.html", "next"),
    ]  # fmt: skip
    index = pages["doctor's index"].read_text(encoding="utf-8")
    assert re.findall(r'<td[^>]*><a href="([^"]+)"', index) == ["round.html", "sort.html", "step.html"]


def test_the_index_lists_what_is_there_and_the_doctor(pages: dict[str, Path]) -> None:
    links = re.findall(r'<td[^>]*><a href="([^"]+)"', pages["index"].read_text(encoding="utf-8"))
    assert links == ["toys.html", "waveshaper.html", "../doctor/report/index.html"]


def test_an_index_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / INDEX).write_text("mine", encoding="utf-8")
    assert index_reports(tmp_path) is None
    assert (tmp_path / INDEX).read_text(encoding="utf-8") == "mine"


# ------------------------------------------------------------------------------------------------------ a page on a fit


def test_names_are_text_and_no_formula(pages: dict[str, Path]) -> None:
    text = pages["fit of a table"].read_text(encoding="utf-8")
    assert "<h1>y$ by $k_{</h1>" in text
    assert "&lt;b&gt;&amp;x" in text
    assert "<b>&x" not in text
    assert re.search(r"<text [^>]*>\$k_\{ \(key\)</text>", text)


def test_more_ranges_than_colours_are_told_apart(pages: dict[str, Path]) -> None:
    text = pages["fit of a table"].read_text(encoding="utf-8")
    swatches = re.findall(r'class="swatch ([^"]+)" style="([^"]+)"', text)
    assert len(swatches) == len(set(swatches)) == 10
    assert "[0, 0.1) and below" in text
    assert "[0.9, 1] and above" in text


def played(text: str) -> list[np.ndarray]:
    found = re.findall(r'src="data:audio/flac;base64,([^"]+)"', text)
    return [soundfile.read(io.BytesIO(base64.b64decode(data)))[0] for data in found]


def test_a_sound_can_be_heard_and_is_measured_as_musicians_do(pages: dict[str, Path]) -> None:
    text = pages["fit of a sound"].read_text(encoding="utf-8")
    dry, wet = a_sound()
    heard, box, model, turns, error = played(text)
    assert len(heard) == len(box) == len(model) == len(turns) == len(error) <= MOST_S * RATE
    louder = float(re.search(r"dry: the input \(([+-][\d.]+) dB", text)[1])  # type: ignore[index]
    assert (heard**2).mean() == pytest.approx((box**2).mean(), rel=0.01)
    heard /= 10 ** (louder / 20)
    # Away from the ends of a stretch, what is heard is the recording to 16 bits, and at one place in all of them.
    middle = slice(40, 90)
    at = int(np.abs(np.lib.stride_tricks.sliding_window_view(dry, 50) - heard[middle]).max(1).argmin())
    assert np.abs(dry[at : at + 50] - heard[middle]).max() < 0.01
    assert np.abs(wet[at : at + 50] - box[middle]).max() < 2**-14
    predicted = load_model(pages["fit of a sound"].parent).predict(pd.DataFrame({"input": dry}))
    assert np.abs(predicted[at : at + 50] - model[middle]).max() < 2**-14
    assert np.abs(model - box - error)[middle].max() < 2**-13
    # All held-out samples are played, faded at ten ends: their energies are in the ratio that the page states.
    shown = float(re.search(r"is ([\d.]+) % of the energy of wet", text)[1]) / 100  # type: ignore[index]
    assert (error**2).sum() / (box**2).sum() == pytest.approx(shown, rel=0.05)
    for said in ("training, s", "training seconds", "the box&#39;s output", "milliseconds after", "frequency, Hz"):
        assert said in text
    assert "rows fitted to" not in text


def test_clips_are_short_and_never_clipped() -> None:
    loud = np.linspace(-2, 2, 10 * RATE)
    clips, gain = clips_of([("loud", loud), ("quiet", 0.1 * loud)], RATE)
    assert gain == pytest.approx(0.4995)
    samples = [soundfile.read(io.BytesIO(base64.b64decode(clip.data)))[0] for clip in clips]
    assert [len(each) for each in samples] == [MOST_S * RATE] * 2
    assert np.abs(samples[0] - gain * loud[: len(samples[0])]).max() < 2**-14


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (lambda: explained(0.9993, "y"), "it explains 99.93% of y's variance"),
        (lambda: explained(-0.189, "y"), "that is worse than saying the mean of y every time (R² -0.189)"),
        (lambda: as_esr(esr_of(0.1, 0.5)), "2 %"),
        (lambda: as_esr(1e-9), "below 0.001 %"),
        (lambda: as_db(esr_of(0.1, 0.1)), "-10.0 dB"),
        (lambda: as_db(esr_of(0.1, 0.0)), "-"),
    ],
)
def test_words_of_a_fit(said: Callable[[], str], words: str) -> None:
    assert said() == words


class Three:
    def __len__(self) -> int:
        return 3

    def label(self, i: int) -> str:
        return "abc"[i]


def test_the_ranges_at_the_ends_take_what_lies_beyond() -> None:
    assert range_labels(Three()) == ["a and below", "b", "c and above"]
