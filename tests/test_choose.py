"""docs/choose.md: the names it recommends are there, and its numbers are those on record."""

from __future__ import annotations

import re
import runpy
from functools import reduce
from pathlib import Path

import pytest

import hardgrad as hg

DOCS = Path(__file__).parents[1] / "docs"
CHOOSE = runpy.run_path(str(DOCS / "scripts" / "choose.py"))
PAGE = (DOCS / "choose.md").read_text(encoding="utf-8")
AGAIN = "write it again with: python docs/scripts/choose.py"


def exists(path: str) -> bool:
    """Whether a name such as ``doctor.examine`` is public in hardgrad."""
    try:
        reduce(getattr, path.split("."), hg)
    except AttributeError:
        return False
    return True


def test_each_name_that_the_page_recommends_exists() -> None:
    names = set(re.findall(r"\bhg\.([A-Za-z_][\w.]*\w)", PAGE))
    assert len(names) > 20
    assert sorted(name for name in names if not exists(name)) == []


def test_each_name_in_the_picture_exists() -> None:
    prose = {"use it as it is", "with a soft twin", "negative identity"}
    answers = [text for _, _, *answer in CHOOSE["QUESTIONS"] for text in answer if text not in prose]
    names = [name for text in answers for name in re.findall(r"[\w.]+", text.removesuffix(", then"))]
    assert len(names) > 10
    assert [name for name in names if not exists(name)] == []


def test_numbers_are_those_on_record() -> None:
    assert len(CHOOSE["NUMBER"].findall(PAGE)) > 60
    assert CHOOSE["written"](PAGE) == PAGE, AGAIN


def test_no_number_stands_without_its_source() -> None:
    text = re.sub(r"```.*?```|`[^`]*`|\]\([^)]*\)", "", PAGE, flags=re.DOTALL)
    assert re.findall(r"-?\d*\.\d+%?(?!\d|<!--|%<!--|e-\d+<!--)[^\n]{0,20}", text) == []


def test_the_picture_is_drawn_from_the_questions() -> None:
    picture = DOCS / "pictures" / "choose.svg"
    assert picture.read_text(encoding="utf-8") == CHOOSE["diagram"](), AGAIN
    assert "](pictures/choose.svg)" in PAGE


def test_a_row_that_is_not_there_is_named() -> None:
    with pytest.raises(KeyError, match="doctor round has no row 'magic'"):
        CHOOSE["number"]("doctor", "round", "magic", "cosine")
    with pytest.raises(KeyError, match="a table below a heading 'Magic'"):
        CHOOSE["number"]("page", "Magic", "a", "b")
