"""Figures by themselves: colours that everybody can tell apart, plain numbers, and a narrow form that hides nothing."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
from numpy.typing import NDArray

from hardgrad_lab.drawing.figures import COLOURS, inline_svg, legend, new_figure, sized_figure
from hardgrad_lab.drawing.layout import narrowed
from hardgrad_lab.drawing.palette import DARK, DARK_PAGE, HATCHES, LIGHT_PAGE, colour_of, hatch_of
from hardgrad_lab.drawing.ticks import MINUS, plain

# Machado, Oliveira and Fernandes 2009, table of the supplementary material at severity 1.0, for linear RGB.
SIGHT = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)


def linear(colour: str) -> NDArray[np.float64]:
    value = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def lab(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return CIELAB of linear RGB, as CIE 15:2004 has it, with sRGB's white."""
    x, y, z = (np.cbrt(v) if v > 0.008856 else 7.787 * v + 16 / 116 for v in XYZ @ rgb / XYZ.sum(1))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def contrast(one: str, other: str) -> float:
    """Return WCAG's contrast ratio."""
    low, high = sorted(float(XYZ[1] @ linear(colour)) for colour in (one, other))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize(("colours", "page"), [(COLOURS, LIGHT_PAGE), (DARK, DARK_PAGE)])
def test_colours_stand_out_from_the_page_and_from_each_other(colours: tuple[str, ...], page: str) -> None:
    assert len(colours) == len(COLOURS) == 8
    assert min(contrast(colour, page) for colour in colours) >= 3, "WCAG 2.2, 1.4.11"
    for name, matrix in SIGHT.items():
        seen = [lab(np.clip(np.asarray(matrix) @ linear(colour), 0, 1)) for colour in colours]
        assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) >= 15, name


def test_as_many_ranges_as_have_names_look_different() -> None:
    assert len({(colour_of(i), hatch_of(i)) for i in range(len(COLOURS) * len(HATCHES))}) == 32


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([0, 100_000, 200_000], ["0", "100k", "200k"]),
        ([0, 500_000, 1_000_000], ["0.0", "0.5M", "1.0M"]),
        ([1000, 2000], ["1000", "2000"]),
        ([23.505, 23.510], ["23.505", "23.510"]),
        ([-0.006, 0, 0.006], [f"{MINUS}0.006", "0.000", "0.006"]),
        ([0, 2e-5], ["0", "2e-5"]),
        ([-1, -0.5, 0], [f"{MINUS}1.0", f"{MINUS}0.5", "0.0"]),
        ([1_600_000_000.0, 1_600_000_001.0], ["1.600000000G", "1.600000001G"]),
        ([0.001], ["0.001"]),
        ([], []),
    ],
)
def test_numbers_are_written_out(values: list[float], words: list[str]) -> None:
    assert plain(values) == words
    scale = {"k": 1e3, "M": 1e6, "G": 1e9}
    for value, word in zip(values, words, strict=True):
        unit = scale.get(word[-1], 1)
        assert float(word.rstrip("kMG").replace(MINUS, "-")) * unit == pytest.approx(value, rel=1e-9, abs=1e-12)


def letters(svg: str) -> list[str]:
    return re.findall(r"<text [^>]*>([^<]*)</text>", svg)


def test_no_axis_counts_from_another_number() -> None:
    figure, (panel,) = sized_figure(6, 3)
    panel.plot([23.5001, 23.5009], [1e7, 1e7 + 3])
    said = letters(inline_svg(figure, "near"))
    assert not [text for text in said if "+" in text or re.fullmatch(r"1e\d+", text)], said
    assert any(text.startswith("23.500") for text in said)


def test_a_logarithmic_axis_names_a_few_powers() -> None:
    figure, (panel,) = sized_figure(3, 3)
    panel.plot([1e-14, 1], [1, 1e6])
    panel.set_xscale("log")
    panel.set_yscale("log")
    said = letters(inline_svg(figure, "powers"))
    assert {"1", "1k", "1M"} & set(said)
    assert 2 <= len([text for text in said if text.startswith("1e-")]) <= 5


def test_what_is_drawn_later_is_in_the_pages_ink_and_no_formula() -> None:
    figure, (panel,) = sized_figure(6, 3)
    panel.plot([0, 1], [0, 1], color=COLOURS[1], label="$a_{")
    panel.text(0.5, 0.5, "later", fontsize=5)
    panel.legend()
    figure.colorbar(panel.scatter([0, 1], [0, 1], c=[0, 1]))
    svg = inline_svg(figure, "later")
    assert "$a_{" in letters(svg)
    assert "#000000" not in svg
    assert "var(--c1)" in svg
    assert re.search(r'<text style="font-size: 9.5px;[^"]*fill: currentColor[^"]*"[^>]*>later', svg)


def test_the_narrow_form_stacks_the_panels_and_hides_no_number() -> None:
    figure, panels = new_figure(3)
    for number, panel in enumerate(panels):
        panel.plot(
            [0, 4],
            [0, 1 - number / 9],
            color=COLOURS[number],
            label=f"a long name of a line that must be broken, number {number}",
        )
    panels[0].set_ylabel("shared")
    legend(figure, panels)
    before = letters(inline_svg(figure, "wide"))
    narrow = narrowed(figure)
    assert letters(inline_svg(figure, "wide")) == before, "the wide one stays as it was"
    said = letters(inline_svg(narrow, "narrow"))
    places = [panel.get_position() for panel in narrow.panels]
    assert all(above.y0 >= below.y1 for above, below in itertools.pairwise(places))
    assert said.count("shared") == 3
    assert (before.count("0.2"), said.count("0.2")) == (1, 3), "each has the numbers of the upright axis"
    assert before.count("shared") == 1


def test_a_name_longer_than_the_figure_is_wide_stays_in_it() -> None:
    figure, panels = sized_figure(4.0, 2.0, 1)
    for name in ("short", "signum-dense, small, batch 32, width 16, test rows 200, curve rows 100, evaluations 2"):
        panels[0].plot([0, 1], [0, 1], label=name)
    legend(figure, list(panels))
    figure.draw_without_rendering()
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.width
    assert [text.get_text().count("\n") for text in figure.legends[0].get_texts()] == [0, 1]
