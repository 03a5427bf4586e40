"""``hardgrad predict``: a model folder and files in, predictions out, with the range that each row used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter
from rich.console import Console

from hardgrad_lab.commands.dialect_options import DialectOptions, names_in
from hardgrad_lab.commands.machine import at_least
from hardgrad_lab.fit.options import TooLoud

if TYPE_CHECKING:
    from hardgrad_lab.fit.folder import Model
    from hardgrad_lab.fit.tables import Table

app = App(name="predict", help="Predict with a fitted model: a table or a sound in, a table or a sound out.")
Flag = Parameter(negative="")


@app.default
def predict(
    model: Path,
    /,
    *files: Path,
    out: Path | None = None,
    text: Annotated[DialectOptions | None, Parameter(name="*")] = None,
    drop_missing: Annotated[bool, Flag] = False,
    resample: Annotated[bool, Flag] = False,
    knob: Annotated[tuple[str, ...], Flag] = (),
    too_loud: TooLoud = "float",
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
    text
        How files of text are written.
    drop_missing
        Leave out rows that lack a value, in the predictions too.
    resample
        Bring a sound of another sample rate to the model's, and the prediction back.
    knob
        Where the model's knob stands: gain=0.25.
    too_loud
        What becomes of samples above full scale in FLAC and OGG, which end there: float writes a WAV in floats
        instead, clip cuts them off, scale makes the whole quieter.
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

    from hardgrad_lab.devices.device import Device
    from hardgrad_lab.fit.folder import load_any, read_description
    from hardgrad_lab.fit.sounds.knob import stands

    torch.set_num_threads(threads)
    described = read_description(model)
    fitted = load_any(model, trust=trust)
    if isinstance(fitted, Device) and isinstance(told := described.get("notes"), dict):
        described = {**told, **described}  # its folder has what the files said in its notes
    sounds = _sounds(model, files, described)
    out = out or Path("predictions.wav" if sounds[0] else "predictions.csv")
    _check_out(out, sound=sounds[0], force=force)
    console = Console(emoji=False)
    notes: list[str] = []
    if sounds[0]:
        from hardgrad_lab.commands.predict_sound import predict_sound

        stood = stands(described, knob, notes)
        predict_sound(
            fitted, described, files[0], out, console, notes, resample=resample, too_loud=too_loud, knob=stood
        )
        return 0
    if isinstance(fitted, Device):
        raise ValueError(f"{model} is a device and hears sounds, got {files[0]}; give it a WAV, a FLAC or an AIFF")
    if resample or too_loud != "float":
        raise ValueError("--resample and --too-loud are for sounds; a table has neither rate nor full scale")
    read = _read(files, described, text or DialectOptions(), knob, drop_missing=drop_missing)
    for note in read.notes:
        console.print(note, style="yellow", markup=False, highlight=False, soft_wrap=True)
    _write(fitted, read, out, str(described.get("target", "target")), console)
    return 0


def _sounds(model: Path, files: tuple[Path, ...], described: dict[str, Any]) -> list[bool]:
    """Return which files are sounds; one that the model does not hear, or one of several, raises."""
    from hardgrad_lab.fit.sounds.sound_file import is_sound

    sounds = [is_sound(path) for path in files]
    if any(sounds) and (len(sounds) > 1 or not _hears(described)):
        raise ValueError(
            f"{model} was fitted to columns, not to sounds" if len(sounds) == 1 else "predict takes one sound at a time"
        )
    return sounds


def _hears(described: dict[str, Any]) -> bool:
    from hardgrad_lab.fit.sounds.knob import knob_of
    from hardgrad_lab.fit.tables import INPUT

    knob = knob_of(described)
    # A device has no columns.
    heard = [INPUT, *([] if knob is None else [knob.name])]
    return bool(described.get("columns", heard) == heard)


def _read(
    files: Sequence[Path], described: dict[str, Any], text: DialectOptions, knob: Sequence[str], *, drop_missing: bool
) -> Table:
    from hardgrad_lab.fit.reading.files import has_header
    from hardgrad_lab.fit.reading.settings import settings_of
    from hardgrad_lab.fit.sounds.knob import stands
    from hardgrad_lab.fit.sounds.pairs import Pairing, read_pairs
    from hardgrad_lab.fit.tables import Columns, Reading, read_table

    if _hears(described) and text.columns is None and not has_header(files[0]):
        notes: list[str] = []
        stood = stands(described, knob, notes)
        stood = None if stood is None else replace(stood, values=stood.values * len(files))
        table = read_pairs(files, None, Pairing(knob=stood))
        return replace(table, notes=[*notes, *table.notes])
    if knob:
        raise ValueError("--knob is for sounds and files of one column; a table has a column that says it")
    settings = settings_of(described)
    names = [column.name for column in settings.columns]
    wanted = Columns(target=None if settings.target is None else settings.target.name, key=settings.key, inputs=names)
    known = settings.columns if settings.target is None else (*settings.columns, settings.target)
    how = Reading(dialect=text.dialect(settings.missing), known=known, inputs=settings.inputs)
    return read_table(files, wanted, names_in(text.columns), drop_missing=drop_missing, how=how)


def _check_out(out: Path, *, sound: bool, force: bool) -> None:
    from hardgrad_lab.fit.reading.files import PARQUETS
    from hardgrad_lab.fit.sounds.sound_out import WRITTEN

    allowed = tuple(WRITTEN) if sound else (".csv", *PARQUETS)
    if out.suffix.lower() not in allowed:
        raise ValueError(f"--out must end in {', '.join(allowed)} here, got {str(out)!r}")
    if out.exists() and not force:
        raise ValueError(f"{out} is there already; choose another --out, or replace it with --force")


def _write(fitted: Model, read: Table, out: Path, target: str, console: Console) -> None:
    from hardgrad_lab.fit.estimator import SwitchClassifier
    from hardgrad_lab.fit.predictions import prediction_table, score_line, share_of_ranges, write_table

    groups = read.groups if len(read.paths) > 1 or fitted.window > 1 else None
    classes = fitted.classes_ if isinstance(fitted, SwitchClassifier) else None
    ask = fitted.predict_proba if isinstance(fitted, SwitchClassifier) else fitted.predict
    predicted = ask(read.inputs, groups)
    index = fitted.route(read.inputs)
    table, notes = prediction_table(fitted, read, predicted, index, target)
    write_table(out, table)
    for note in notes:
        console.print(note, style="yellow", markup=False, highlight=False, soft_wrap=True)
    for line in share_of_ranges(fitted, read, index):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    if scored := score_line(read, predicted, classes, target):
        console.print(scored, highlight=False, markup=False, soft_wrap=True)
    console.print(f"{len(read):,} predictions of {target}: {out}", highlight=False, markup=False, soft_wrap=True)
