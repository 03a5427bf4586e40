"""Tables as people have them: each number read is the one that was written, or a sentence says why not."""

from __future__ import annotations

import bz2
import datetime
import decimal
import gzip
import importlib.util
import lzma
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hardgrad_lab.fit.reading.dialect import Dialect
from hardgrad_lab.fit.reading.files import FileFault
from hardgrad_lab.fit.tables import Columns, Reading, Table, read_table

VALUES = [-1234567.5, 0.25, 12.0, -0.001, 98765.4321, 1000.0, 7.0, -42.5, 3141592.653589793, 2.0]
WAYS = [(".", ""), (",", ""), (".", ","), (",", "."), (",", " "), (".", "'"), (",", "\u202f")]


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def written(value: float, point: str, thousands: str) -> str:
    """Return a number as people write it; Python's own repr, with other signs."""
    whole, _, fraction = f"{abs(value):,.10f}".partition(".")
    fraction = fraction.rstrip("0")
    sign = "-" if value < 0 else ""
    return sign + whole.replace(",", thousands) + (point + fraction if fraction else "")


def table(columns: dict[str, list[str]], delimiter: str = ",") -> str:
    rows = [list(columns), *(list(row) for row in zip(*columns.values(), strict=True))]
    quoted = [[f'"{v}"' if delimiter in v or (delimiter == " " and not v) else v for v in row] for row in rows]
    return "\n".join(delimiter.join(row) for row in quoted) + "\n"


def read(path: str | Path, how: Reading | None = None, *, drop: bool = False, **columns: Any) -> Table:
    wanted = Columns(**({"target": "y", "key": "x"} | columns))
    return read_table([Path(path)], wanted, None, drop_missing=drop, how=how)


def fault(path: str | Path, how: Reading | None = None, **columns: Any) -> str:
    with pytest.raises((FileFault, ValueError)) as caught:
        read(path, how, **columns)
    assert "\n" not in str(caught.value), "one sentence"
    return str(caught.value)


def numbers(n: int = 40, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return pd.DataFrame(random.uniform(-1, 1, (n, 3)).round(6), columns=["x", "z", "y"])


# ------------------------------------------------------------------------------------------------------- every dialect


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize(("point", "thousands"), WAYS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
def test_what_is_read_is_what_was_written(delimiter: str, point: str, thousands: str, encoding: str) -> None:
    if encoding == "cp1252" and thousands == "\u202f":
        thousands = "\u00a0"  # the only narrow blank that Latin-1 has
    words = [written(value, point, thousands) for value in VALUES]
    columns = {"größe": words, "x": [written(v / 3, point, thousands) for v in VALUES], "y": words[::-1]}
    Path("t.csv").write_bytes(table(columns, delimiter).encode(encoding))
    found = read("t.csv")
    assert found.inputs["größe"].tolist() == VALUES
    assert found.inputs["x"].tolist() == [float(written(v / 3, ".", "")) for v in VALUES]
    assert found.target is not None
    assert found.target.tolist() == VALUES[::-1]
    plain = (delimiter, point, thousands, encoding[:5]) == (",", ".", "", "utf-8")
    assert bool(found.notes) != plain, "what was found is said, and only if it is not the plain one"


@pytest.mark.parametrize(
    "content", ["x  y   z\n1.5 2   3\n-1  2.5 3\n7   8   9\n", "  x y z\n1.5 2 3\n -1 2.5   3\n7 8 9\n"]
)
def test_columns_lined_up_with_blanks(content: str) -> None:
    Path("t.txt").write_text(content)
    found = read("t.txt")
    assert found.inputs.to_numpy().tolist() == [[1.5, 3], [-1, 3], [7, 9]]
    assert found.notes[0] == "t.txt: read with blanks between columns"


def test_the_first_line_by_which_excel_knows_the_delimiter() -> None:
    Path("t.csv").write_text("sep=|\nx|y\n1|2\n3|oops\n5|6\n7|8\n")
    assert "column 'y', line 4: 'oops' is no number" in fault("t.csv")
    Path("t.csv").write_text("sep=;\nx;y\n1,5;2\n3;4\n")
    assert read("t.csv").inputs["x"].tolist() == [1.5, 3]


def packed(path: Path, content: bytes) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("inside.csv", content)


def zstandard(path: Path, content: bytes) -> None:
    with pa.output_stream(str(path), compression="zstd") as file:
        file.write(content)


@pytest.mark.parametrize(
    ("suffix", "write"),
    [
        (".gz", lambda path, content: path.write_bytes(gzip.compress(content))),
        (".bz2", lambda path, content: path.write_bytes(bz2.compress(content))),
        (".xz", lambda path, content: path.write_bytes(lzma.compress(content))),
        (".zip", packed),
        (".zst", zstandard),
    ],
)
def test_a_packed_file_is_read_and_a_damaged_one_is_said(suffix: str, write: Callable[[Path, bytes], Any]) -> None:
    path = Path(f"t.csv{suffix}")
    write(path, table({"x": ["0,5", "1"], "y": ["1", "2"]}, ";").encode())
    assert read(path).inputs["x"].tolist() == [0.5, 1]
    path.write_bytes(path.read_bytes()[:-9])
    assert f"t.csv{suffix} cannot be unpacked as {suffix}: " in fault(path)
    path.write_bytes(b"x,y\n1,2\n")
    assert f"t.csv{suffix} cannot be unpacked as {suffix}: " in fault(path)


def test_an_option_overrides_what_would_be_found() -> None:
    Path("t.csv").write_bytes("x;y;ß\n1.234;2;1\n5.678;3;1\n".encode("iso-8859-15"))
    for dialect, value in [
        (Dialect(decimal="."), 1.234),
        (Dialect(thousands="."), 1234.0),
        (Dialect(decimal=","), 1234.0),
    ]:
        assert read("t.csv", Reading(dialect=dialect)).inputs["x"][0] == value
    how = Reading(dialect=Dialect(delimiter=";", encoding="iso-8859-15", decimal="."))
    assert read("t.csv", how).notes == ["left out, as they have one value in all rows: ß (1)"]
    assert "t.csv is not text in ascii" in fault("t.csv", Reading(dialect=Dialect(encoding="ascii")))


def test_a_letter_outside_utf8_far_down_is_read_as_latin() -> None:
    rows = "".join(f"{i},a,{i}\n" for i in range(60_000))
    Path("t.csv").write_bytes(f"x,w,y\n{rows}7,\xe4,8\n".encode("cp1252"))
    found = read("t.csv")
    assert found.notes[0] == "t.csv: read with Latin-1 (cp1252) as encoding"
    assert "w=ä" in found.inputs.columns


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"delimiter": "ab"}, "--delimiter must be one sign, tab or space, got 'ab'"),
        ({"decimal": ";"}, "--decimal must be one of '. ,', got ';'"),
        ({"thousands": "x"}, "--thousands must be one of"),
        ({"decimal": ",", "thousands": ","}, "--decimal and --thousands must differ, got ',' for both"),
        ({"encoding": "latin9000"}, "--encoding must be one such as utf-8, utf-16, cp1252"),
        ({"encoding": "rot13"}, "--encoding must be one such as utf-8, utf-16, cp1252"),
    ],
)
def test_an_option_that_cannot_be_is_named(options: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match="--") as caught:
        Dialect(**options)
    assert message in str(caught.value)


# --------------------------------------------------------------------------------------- a round trip of ugly numbers


def signs(value: float) -> Iterable[str]:
    yield repr(value)
    yield f"{value:.3f}"
    yield f"{value:.0f}"


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=st.lists(st.floats(-1e7, 1e7), min_size=2, max_size=6),
    style=st.integers(0, 2),
    way=st.sampled_from(WAYS),
    delimiter=st.sampled_from([",", ";", "\t", "|"]),
)
@example(values=[0.0, 1000.0], style=2, way=(",", "."), delimiter="|")  # a zero beside 1.000 hid the doubt
def test_numbers_come_back_or_are_refused_but_never_become_others(
    values: list[float], style: int, way: tuple[str, str], delimiter: str
) -> None:
    plain = [list(signs(value))[style] for value in values]
    plain = [f"{decimal.Decimal(word):f}" for word in plain]
    words = []
    for word in plain:
        whole, _, fraction = word.lstrip("-").partition(".")
        grouped = f"{int(whole):,}".replace(",", way[1])
        words.append(("-" if word.startswith("-") else "") + grouped + (way[0] + fraction if fraction else ""))
    Path("t.csv").write_text(table({"x": words, "y": [str(i) for i in range(len(words))]}, delimiter), encoding="utf-8")
    try:
        table_read = read("t.csv", inputs=["x"])
    except FileFault as error:
        assert "thousands" in str(error) or "two ways" in str(error)  # noqa: PT017
        return
    wanted = [float(word) for word in plain]
    if table_read.inputs["x"].tolist() != wanted:
        # 1.234 alone is a fraction, unless semicolons make it doubtful; but that is said.
        assert any("if these are thousands, add --thousands ." in note for note in table_read.notes)


# --------------------------------------------------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("x,y\n3521.5,1\n7,2\n\"1,5\",3\n0.5,4\n", "column 'x', line 4: '1,5' is no number; if commas are decimal"),
        ("x;y\n1,234;5\n6;7\n", "t.csv: column 'x', line 2: '1,234' may be a fraction or have thousands; say --de"),
        ("x;y\n1.234;5\n567;7\n", "t.csv: column 'x', line 2: '1.234' may be a fraction or have thousands; say --dec"),
        ("x;y;z\n0,25;5;0.5\n6,5;7;1.5\n", "column 'z', line 2: '0.5' and column 'x', line 2: '0,25' write numbers"),
        ("x,y\n1,2\n-,3\n4,5\n", "column 'x', line 3: '-' is no number; mend it, leave the line out, or, if it stands"),
        ("x,y\n1,2\n?,3\n4,5\n", "for a missing value, add --missing ?"),
        ("x,y\n1 234.5,2\n1 000,3\n", None),
        ("x,y\n1,2\n\"1,234.50\",3\n", None),
        ("x,y\n1,2\n1.5.2024,3\n4,5\n", "column 'x', line 3: '1.5.2024' is no number"),
        ("x,y\n1,2\n12 %,3\n4,5\n", "column 'x', line 3: '12 %' is no number"),
        ("x,y\n1,2\ninf,3\n4,5\n", "t.csv: 1 of 3 rows have a value that is not finite: line 3 (x); fill them"),
        ("x,y\n1,2\n,3\ninf,\n", "t.csv: 2 of 3 rows lack a value: line 3 (x), line 4 (y, x not finite); fill them"),
        ("x,x,y\n1,2,3\n", "t.csv: line 1: columns 1 and 2 are both named 'x'"),
        ("x,x ,y\n1,2,3\n", "t.csv: line 1: columns 1 and 2 are both named 'x' (blanks around a name do not count)"),
        ("x,y\n0,5,0,25\n1,5,2,25\n", "the header names 2 columns, and the line below has 4; name them all, or"),
        ("x,y\n1,2\n0,5,0,25\n", "t.csv cannot be read as CSV: Expected 2 fields in line 3, saw 4; if commas"),
        ("x,y\n\"1,2\n3,4\n", "t.csv cannot be read as CSV"),
        ("1;2\n3;4\n", "t.csv has no header: its first line is '1;2'; name its 2 columns with --columns a,b"),
        ("0,5;2\n3;4\n", "t.csv has no header: its first line is '0,5;2'; name its 2 columns with --columns a,b"),
        ("x,y\n,1\n,2\n", "t.csv: column 'x' (--key) has no value in any row; choose another"),
        ("x,y\n1,\n2,\n", "t.csv: column 'y' (--target) has no value; choose another"),
    ],
)  # fmt: skip
def test_a_refusal_names_column_line_value_and_cure(content: str, message: str | None) -> None:
    Path("t.csv").write_text(content)
    if message is None:
        read("t.csv")
    else:
        assert message in fault("t.csv")


def test_the_cure_of_a_refusal_cures() -> None:
    Path("t.csv").write_text("x;y\n352,500;1\n7;2\n8;3\n")
    assert "say --decimal , or --thousands ," in fault("t.csv")
    assert read("t.csv", Reading(dialect=Dialect(decimal=","))).inputs["x"].tolist() == [352.5, 7, 8]
    Path("t.csv").write_text("x,y\n1,2\n-,3\n?,4\n")
    found = read("t.csv", Reading(dialect=Dialect(missing=("-", "?"))), drop=True)
    assert found.inputs["x"].tolist() == [1]
    assert found.notes == ["t.csv: left out 2 of 3 rows, which lack a value: x 2"]


# ------------------------------------------------------------------------------------------ names, and what is left out


def test_an_index_that_pandas_wrote_is_left_out_and_said() -> None:
    data = numbers()
    for write in (lambda: data.to_csv("t.csv"), lambda: data.to_csv("t.csv", sep=";", decimal=",")):
        write()
        found = read("t.csv")
        assert list(found.inputs.columns) == ["x", "z"]
        assert np.allclose(found.inputs, data[["x", "z"]], rtol=0, atol=0)
        assert "t.csv: left out column 1, which has no name and counts the rows" in found.notes


def test_an_index_in_parquet_is_a_column_with_a_name_and_left_out_without_one() -> None:
    data = numbers()
    data.set_index(data.index + 5).to_parquet("t.parquet")
    assert list(read("t.parquet").inputs.columns) == ["x", "z"]
    data.set_index("z").to_parquet("t.parquet")
    assert sorted(read("t.parquet").inputs.columns) == ["x", "z"], "an index with a name is data"


def test_columns_without_a_name_or_with_one_value_or_none_are_left_out_and_said() -> None:
    Path("t.csv").write_text("x,,site,gap,y,\n1,9,A,,3,\n2,8,A,,4,\n3,5,A,,7,\n")
    found = read("t.csv")
    assert list(found.inputs.columns) == ["x"]
    assert found.notes == [
        "t.csv: left out column 2, which has no name; name it to use it",
        "left out, as they have one value in all rows: site (A)",
        "left out, as they have no value in any row: gap",
    ]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_table_too_wide_is_refused_before_it_is_read(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wide = {f"c{i}": [float(i)] * 5 for i in range(3000)}
    if kind == "csv":
        Path("t.csv").write_text("\n".join([",".join(wide), *[",".join("7" for _ in wide)] * 5]) + "\n")
    else:
        pd.DataFrame(wide).to_parquet("t.parquet")
    with monkeypatch.context() as blind:
        blind.setattr(pd, "read_csv", lambda *_, **__: pytest.fail("was read"))
        blind.setattr(pq.ParquetFile, "read", lambda *_, **__: pytest.fail("was read"))
        said = fault(f"t.{kind}", key="c0", target="c1")
    assert f"t.{kind} has 3,000 columns and 5 rows, and a fit takes at most 1,000 inputs; name them with" in said
    assert read(f"t.{kind}", key="c0", target="c1", inputs=["c2"]).inputs.shape == (5, 2)


def test_a_flag_or_nothing_and_dates_in_an_unknown_order_are_left_out_and_said() -> None:
    rows = [f"{i},{'set' if i % 3 else ''},{i % 9 + 1}/{i % 7 + 1}/2024,{i}" for i in range(12)]
    Path("t.csv").write_text("x,flag,day,y\n" + "\n".join(rows) + "\n")
    found = read("t.csv")
    assert list(found.inputs.columns) == ["x"]
    assert found.notes == [
        "left out, as they have one value in all rows that have any: flag (set)",
        "left out, as they may hold dates in an order that cannot be known (only 2024-12-31 can be read): "
        "day (1/1/2024)",
    ]


def test_a_file_without_a_header_has_its_delimiter_found_by_its_numbers() -> None:
    Path("t.csv").write_text("0,5;2\n1,5;3\n2,5;7\n")
    found = read_table([Path("t.csv")], Columns(target="y", key="x"), ["x", "y"], drop_missing=False)
    assert found.inputs["x"].tolist() == [0.5, 1.5, 2.5]


def test_digits_that_are_lost_are_said() -> None:
    for large in ("99999999999999999999999", "9007199254740993", "18446744073709551615"):
        Path("t.csv").write_text(f"x,y\n{large},1\n3,2\n")
        assert "whole numbers beyond 2^53, whose last digits are lost: x" in read("t.csv").notes


# ------------------------------------------------------------------------------------------------ what columns hold


def kinds() -> pd.DataFrame:
    when = pd.to_datetime(
        ["2024-01-01 12:00", "1969-12-31", "2024-02-29", "2024-01-02", "2024-03-01", "2024-03-02"],
        format="ISO8601",
    )
    return pd.DataFrame(
        {
            "x": [1.0, 2, 3, 4, 5, 6],
            "when": when,
            "took": pd.to_timedelta(["1 days", "12:00:00", "0:00:00", "2 days", "-1 days", "6:00:00"]),
            "on": [True, False, True, True, False, False],
            "plan": ["b", "a", "b", "a", "b", "a"],
            "y": [1.5, 2, 3, 4, 5, 6],
        }
    )


@pytest.mark.parametrize("kind", ["csv", "parquet", "semicolon"])
def test_dates_durations_booleans_and_categories_are_numbers_and_said(kind: str) -> None:
    if kind == "parquet":
        kinds().to_parquet("t.parquet")
    elif kind == "csv":
        kinds().to_csv("t.csv", index=False)
    else:
        kinds().to_csv("t.csv", index=False, sep=";", decimal=",")
    found = read("t.parquet" if kind == "parquet" else "t.csv")
    # By hand: 2024-01-01 is 54 years after 1970, 13 of them leap years.
    assert found.inputs["when"].tolist() == [19723.5, -1, 19782, 19724, 19783, 19784]
    assert found.inputs["took"].tolist() == [1, 0.5, 0, 2, -1, 0.25]
    assert found.inputs["on"].tolist() == [1, 0, 1, 1, 0, 0]
    assert found.inputs["plan=a"].tolist() == [0, 1, 0, 1, 0, 1]
    assert found.inputs["plan=b"].tolist() == [1, 0, 1, 0, 1, 0]
    assert "true and false as 1 and 0: on" in found.notes
    assert "dates as days since 1970-01-01: when" in found.notes
    assert "durations as days: took" in found.notes
    assert "plan has 2 categories, an input for each: a, b" in found.notes


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("name", ["when", "took", "on", "plan", "x"])
def test_a_missing_value_of_any_kind_is_a_missing_value(kind: str, name: str) -> None:
    data = pd.concat([kinds()] * 2, ignore_index=True)
    data[name] = data[name].astype(object if name == "on" else data[name].dtype).where(data.index != 3, None)
    getattr(data, f"to_{kind}")(f"t.{kind}", index=False)
    place = "line 5" if kind == "csv" else "row 4"
    assert f"t.{kind}: 1 of 12 rows lack a value: {place} ({name}); fill them" in fault(f"t.{kind}")
    found = read(f"t.{kind}", drop=True)
    assert len(found) == 11
    assert np.abs(found.inputs.to_numpy()).max() < 1e5
    assert f"t.{kind}: left out 1 of 12 rows, which lack a value: {name}" in found.notes[0]


def test_parquets_own_types() -> None:
    n = 12
    table = pa.table(
        {
            "x": pa.array(range(n), pa.uint8()),
            "half": pa.array(np.arange(n) / 4, pa.float16()),
            "money": pa.array([decimal.Decimal(i) / 100 for i in range(n)], pa.decimal128(10, 2)),
            "day": pa.array([i * 2 for i in range(n)], pa.date32()),
            "clock": pa.array([i * 3_600_000_000 for i in range(n)], pa.time64("us")),
            "zone": pa.array([i * 86_400_000 for i in range(n)], pa.timestamp("ms", "Europe/Berlin")),
            "word": pa.array(["ab"[i % 2] for i in range(n)]).dictionary_encode(),
            "large": pa.array([2**60 + i for i in range(n)], pa.int64()),
            "list": pa.array([[i] for i in range(n)]),
            "bytes": pa.array([b"x"] * n),
            "nothing": pa.nulls(n),
            "y": pa.array([None, *range(1, n)], pa.int64()),
        }
    )
    pq.write_table(table, "t.parquet")
    found = read("t.parquet", drop=True)
    at = np.arange(1, n)
    wanted = {"x": at, "half": at / 4, "money": at / 100, "day": at * 2.0, "clock": at / 24, "zone": at,
              "word=a": at % 2 == 0, "word=b": at % 2, "large": at + 2.0**60}  # fmt: skip
    assert list(found.inputs.columns) == list(wanted)
    for name, values in wanted.items():
        assert np.allclose(found.inputs[name], np.asarray(values, dtype=float), rtol=1e-15, atol=1e-15), name
    assert "t.parquet: left out, as no numbers or words: list (list<element: int64>), bytes (binary)" in found.notes
    assert "left out, as they have no value in any row: nothing" in found.notes
    assert "whole numbers beyond 2^53, whose last digits are lost: large" in found.notes
    assert "column 'list' (--key) holds list<element: int64>; choose another" in fault("t.parquet", key="list")


def test_a_word_among_numbers_is_a_mistake_and_a_number_among_words_a_word() -> None:
    rows = [f"{i},{word},{i}" for i, word in enumerate(["7", "a", "b", "a", "b", "7"] * 4)]
    Path("t.csv").write_text("x,w,y\n" + "\n".join(rows) + "\n")
    assert "w has 3 categories, an input for each: 7, a, b" in read("t.csv").notes
    rows = [f"{i},{word},{i}" for i, word in enumerate(["7", "8", "9", "a", "6", "5"] * 4)]
    Path("t.csv").write_text("x,w,y\n" + "\n".join(rows) + "\n")
    assert "column 'w', line 5: 'a' is no number, nor in 3 more rows; mend it" in fault("t.csv")


def test_words_that_mostly_stand_for_missing_are_asked_for() -> None:
    Path("t.csv").write_text("x,w,y\n1,-,1\n2,-,2\n3,-,3\n4,0.5,4\n5,1.5,5\n")
    assert "column 'w', line 2: '-' is no number, nor in 2 more rows; mend it, leave the line out, or" in fault("t.csv")


def test_many_different_words_are_left_out_or_asked_for_by_name() -> None:
    data = numbers().assign(name=[f"n{i}" for i in range(40)], code=[i % 4 for i in range(40)])
    data.to_csv("t.csv", index=False)
    found = read("t.csv")
    assert list(found.inputs.columns) == ["x", "z", "code"]
    told = "left out, as they hold text with many different values (--categories takes it as categories): name (40)"
    assert told in found.notes
    assert "column 'name' (--inputs) holds 40 different words, such as 'n0'" in fault("t.csv", inputs=["x", "name"])
    both = read("t.csv", Reading(categories=("name", "code")))
    assert both.inputs.shape == (40, 2 + 40 + 4)
    assert list(both.inputs.columns[-4:]) == ["code=0", "code=1", "code=2", "code=3"]
    assert "t.csv has no column 'who' (--categories)" in fault("t.csv", Reading(categories=("who",)))


def test_a_key_of_categories_is_their_numbers_and_their_inputs_besides() -> None:
    numbers(30).assign(plan=["c", "a", "b"] * 10).to_csv("t.csv", index=False)
    found = read("t.csv", key="plan")
    assert found.key_categories == ("a", "b", "c")
    assert found.inputs["plan"].tolist() == [2, 0, 1] * 10
    assert list(found.inputs.columns) == ["x", "z", "plan=a", "plan=b", "plan=c", "plan"]
    assert "plan has 3 categories, a branch for each: a, b, c" in found.notes
    assert list(read("t.csv", Reading(key_only=True), key="plan").inputs.columns) == ["x", "z", "plan"]
    numbers(40).assign(name=[f"n{i}" for i in range(40)]).to_csv("t.csv", index=False)
    assert "column 'name' (--key) holds 40 different words, such as 'n0'; a branch for" in fault("t.csv", key="name")


def test_a_target_of_words_is_classes_and_whole_numbers_may_be() -> None:
    data = numbers(40)
    data.assign(y=["no", "yes"] * 20).to_csv("t.csv", index=False)
    found = read("t.csv")
    assert found.classes
    assert found.target is not None
    assert found.target.tolist() == ["no", "yes"] * 20
    assert found.notes == ["y is taken as 2 classes: no, yes"]
    data.assign(y=[0, 1, 2, 1] * 10).to_csv("t.csv", index=False)
    assert not (found := read("t.csv")).classes
    assert found.notes == [
        "y has 3 different values, all whole, and is taken as a number; --classify takes them as classes"
    ]
    found = read("t.csv", Reading(classify=True))
    assert found.target is not None
    assert found.target.tolist() == ["0", "1", "2", "1"] * 10
    data.assign(y=[f"n{i}" for i in range(40)]).to_csv("t.csv", index=False)
    assert "column 'y' holds 40 different words in 40 rows (n0, n1, n10 and 37 more), which are too" in fault("t.csv")
    data.assign(y="same").to_csv("t.csv", index=False)
    assert "column 'y' is 'same' in every row: there is nothing to tell apart" in fault("t.csv")


# ------------------------------------------------------------------------------------------------------ several files


def test_files_must_write_decimals_alike_and_columns_that_some_lack_are_left_out() -> None:
    numbers().assign(more=1.5).to_csv("a.csv", index=False)
    numbers(seed=1).to_csv("b.csv", index=False, sep=";", decimal=",")
    wanted = Columns(target="y", key="x")
    with pytest.raises(FileFault, match=r"b\.csv has commas as decimal points and a\.csv has points; write them alike"):
        read_table([Path("a.csv"), Path("b.csv")], wanted, None, drop_missing=False)
    numbers(seed=1).to_csv("b.csv", index=False, sep=";")
    found = read_table([Path("a.csv"), Path("b.csv")], wanted, None, drop_missing=False)
    assert list(found.inputs.columns) == ["x", "z"]
    assert found.notes == [
        "b.csv: read with semicolons between columns",
        "a.csv: left out more, which b.csv does not have",
    ]


def test_categories_and_kinds_are_decided_over_all_files() -> None:
    numbers(20).assign(w=["a", "b"] * 10, d="2024-01-01").to_csv("a.csv", index=False)
    numbers(20).assign(w=["c", "b"] * 10, d="2024-01-03").to_csv("b.csv", index=False)
    found = read_table([Path("a.csv"), Path("b.csv")], Columns(target="y", key="x"), None, drop_missing=False)
    assert list(found.inputs.columns) == ["x", "z", "w=a", "w=b", "w=c", "d"]
    assert found.inputs["w=c"].tolist() == [0] * 20 + [1, 0] * 10
    numbers(20).assign(w=1.0, d="2024-01-03").to_csv("b.csv", index=False)
    with pytest.raises(FileFault, match=r"a\.csv: column 'w', line 2: 'a' is no number, nor in 19 more rows"):
        read_table([Path("a.csv"), Path("b.csv")], Columns(target="y", key="x"), None, drop_missing=False)


# -------------------------------------------------------------------------------------------------------------- Excel


def sheets(path: str, **rows: list[list[Any]]) -> None:
    """Write an Excel file of sheets by name, each a list of rows."""
    book = openpyxl.Workbook()
    book.remove(book["Sheet"])
    for name, cells in rows.items():
        sheet = book.create_sheet(name)
        for row in cells:
            sheet.append(row)
    book.save(path)


def test_the_command_that_makes_an_excel_file_readable_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("t.xlsx").write_bytes(b"no matter what")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "t.xlsx: Excel files need openpyxl; install it with: pip install 'hardgrad[excel]'" in fault("t.xlsx")


def test_the_first_sheet_of_an_excel_file_is_read_and_the_others_are_said() -> None:
    days = [datetime.datetime(2024, 1, 1), datetime.datetime(2024, 1, 2), None]
    rows = [[1.5, days[0], 5, 1], [2, days[1], 6, 2], [3, days[2], 7, 4.0]]
    sheets("t.xlsx", Jan=[["x ", "day", None, "y"], *rows], Feb=[["of no matter"]])
    assert "t.xlsx: 1 of 3 rows lack a value: line 4 (day); fill them" in fault("t.xlsx")
    found = read("t.xlsx", drop=True)
    assert found.inputs.to_dict("list") == {"x": [1.5, 2.0], "day": [19723.0, 19724.0]}
    assert found.target is not None
    assert found.target.tolist() == [1, 2]
    assert found.notes[:2] == [
        "t.xlsx: read its first sheet, 'Jan', of 2",
        "t.xlsx: left out column 3, which has no name and counts the rows",
    ]


def test_numbers_and_words_of_an_excel_file() -> None:
    rows = [[f"{i},5", i % 2 == 0, "ab"[i % 2], i / 4, None if i == 3 else i] for i in range(10)]
    sheets("t.xlsx", Jan=[["x", "on", "plan", "y", "z"], *rows])
    found = read("t.xlsx", drop=True)
    assert found.inputs.columns.tolist() == ["x", "on", "plan=a", "plan=b", "z"]
    kept = [i for i in range(10) if i != 3]
    assert found.inputs["x"].tolist() == [i + 0.5 for i in kept]
    assert found.inputs["on"].tolist() == [i % 2 == 0 for i in kept]
    assert found.target is not None
    assert found.target.tolist() == [i / 4 for i in kept]
    assert "t.xlsx: text read with commas as decimal points" in found.notes


def test_what_is_no_excel_file_or_has_no_rows() -> None:
    Path("t.xlsx").write_bytes(b"no matter what")
    assert fault("t.xlsx").startswith("t.xlsx cannot be read as an Excel file: ")
    sheets("t.xlsx", Jan=[["x", "y"]])
    assert "t.xlsx has no rows below its header on its first sheet, 'Jan'" in fault("t.xlsx")
