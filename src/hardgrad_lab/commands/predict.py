"""``hardgrad predict``: a model folder and files in, predictions out, with the range that each row used."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter
from rich.console import Console

from hardgrad_lab.commands.machine import at_least

if TYPE_CHECKING:
    from hardgrad_lab.tabular.folder import Model
    from hardgrad_lab.tabular.tables import Table

app = App(name="predict", help="Predict with a fitted model: a table or a sound in, a table or a sound out.")
Flag = Parameter(negative="")


@app.default
def predict(
    model: Path,
    /,
    *files: Path,
    out: Path | None = None,
    columns: str | None = None,
    drop_missing: Annotated[bool, Flag] = False,
    force: Annotated[bool, Flag] = False,
    trust: Annotated[bool, Flag] = False,
    threads: Annotated[int, at_least(1)] = 1,
) -> int:
    """Predict the target of every row, and say which range each row used.

    Parameters
    ----------
    model
        The folder that ``hardgrad fit`` made.
    files
        CSV or Parquet files with the columns the model was fitted to; or sound files.
    out
        What to write: .csv or .parquet for tables, a sound file for a sound. By default ``predictions.csv``, or
        ``predictions.wav``.
    columns
        Names for the columns of files without a header, with commas.
    drop_missing
        Leave out rows that lack a value, in the predictions too.
    force
        Replace what is there.
    trust
        Import and run the code that the model names, if its branches are made by a ``module:factory``.
    threads
        CPU threads.
    """
    if not files:
        raise ValueError("predict needs at least one file: hardgrad predict model data.csv")
    import torch

    from hardgrad_lab.tabular.files import is_sound
    from hardgrad_lab.tabular.folder import model_from, read_description

    torch.set_num_threads(threads)
    described = read_description(model)
    fitted = model_from(model, described, trust=trust)
    sounds = [is_sound(path) for path in files]
    if any(sounds) and (len(files) > 1 or not _hears(described)):
        raise ValueError(
            f"{model} was fitted to columns, not to sounds" if len(files) == 1 else "predict takes one sound at a time"
        )
    out = out or Path("predictions.wav" if sounds[0] else "predictions.csv")
    _check_out(out, sound=sounds[0], force=force)
    read = _read(files, described, columns, drop_missing=drop_missing, sound=sounds[0])
    console = Console()
    for note in read.notes:
        console.print(note, style="yellow", markup=False, highlight=False, soft_wrap=True)
    _write(fitted, read, out, str(described.get("target", "target")), console)
    return 0


def _hears(described: dict[str, Any]) -> bool:
    from hardgrad_lab.tabular.tables import INPUT

    return bool(described["columns"] == [INPUT])


def _read(
    files: Sequence[Path], described: dict[str, Any], columns: str | None, *, drop_missing: bool, sound: bool
) -> Table:
    from hardgrad_lab.tabular.files import has_header
    from hardgrad_lab.tabular.tables import Columns, read_pairs, read_table

    if sound or (_hears(described) and columns is None and not has_header(files[0])):
        return read_pairs(files, None)
    names = described["columns"]
    wanted = Columns(target=None, key=names[described["key"]], inputs=names)
    listed = None if columns is None else [name.strip() for name in columns.split(",")]
    return read_table(files, wanted, listed, drop_missing=drop_missing)


def _check_out(out: Path, *, sound: bool, force: bool) -> None:
    from hardgrad_lab.tabular.files import PARQUETS, SOUNDS

    allowed = SOUNDS if sound else (".csv", *PARQUETS)
    if out.suffix.lower() not in allowed:
        raise ValueError(f"--out must end in {', '.join(allowed)} here, got {str(out)!r}")
    if out.exists() and not force:
        raise ValueError(f"{out} is there already; choose another --out, or replace it with --force")


def _write(fitted: Model, read: Table, out: Path, target: str, console: Console) -> None:
    from hardgrad_lab.tabular.predictions import prediction_table, share_of_ranges, write_sound, write_table

    groups = read.groups if len(read.paths) > 1 or fitted.window > 1 else None
    predicted = fitted.predict(read.inputs, groups)
    index = fitted.route(read.inputs)
    if read.rate is not None:
        write_sound(out, predicted, read.rate)
    else:
        write_table(out, prediction_table(fitted, read, predicted, index, target))
    for line in share_of_ranges(fitted, read, index):
        console.print(line, highlight=False, soft_wrap=True)
    console.print(f"{len(read):,} predictions of {target}: {out}", highlight=False, soft_wrap=True)
