"""``hardgrad fit``: a table or a pair of sounds in, a model folder with a report out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter
from rich.console import Console

from hardgrad_lab.commands.dialect_options import DialectOptions
from hardgrad_lab.commands.fit_files import SoundOptions, TableOptions, model_for, read_files
from hardgrad_lab.commands.fit_options import (
    JobOptions,
    MemoryOptions,
    NetworkOptions,
    RangeOptions,
    estimator_options,
    without_say,
)
from hardgrad_lab.commands.fit_place import Place
from hardgrad_lab.commands.machine import stopped

if TYPE_CHECKING:
    from hardgrad_lab.fit.fitted import Fitted
    from hardgrad_lab.fit.folder import Model
    from hardgrad_lab.fit.job import Job
    from hardgrad_lab.fit.kinds import Memory
    from hardgrad_lab.fit.tables import Table

app = App(name="fit", help="Fit a hard IF to a table or to a pair of sounds; write a model folder and a report.")
MOST_SAMPLES = 10_000_000  # of sounds: almost four minutes at 44.1 kHz, and some gigabytes at work
FEWEST = 10  # rows: below that a tenth to test on is less than one
Flag = Parameter(negative="")
Listed = Parameter(allow_leading_hyphen=True)  # a list of numbers may begin with a minus sign


@app.default
def fit(
    *files: Path,
    target: str,
    table: Annotated[TableOptions | None, Parameter(name="*")] = None,
    text: Annotated[DialectOptions | None, Parameter(name="*")] = None,
    sound: Annotated[SoundOptions | None, Parameter(name="*")] = None,
    ranges: Annotated[RangeOptions | None, Parameter(name="*")] = None,
    network: Annotated[NetworkOptions | None, Parameter(name="*")] = None,
    memory: Annotated[MemoryOptions | None, Parameter(name="*")] = None,
    job: Annotated[JobOptions | None, Parameter(name="*")] = None,
) -> int:
    """Fit one network for each range of a key, and report.

    Parameters
    ----------
    files
        CSV or Parquet files, one a recording; or sound files (WAV, FLAC), which the target's are paired with.
    target
        The column to predict; for sounds, the target's files, with commas.
    table
        What is in the files.
    text
        How files of text are written.
    sound
        How pairs of sounds are read.
    ranges
        Where the ranges are.
    network
        What each range has.
    memory
        What a model of sounds may know of the past.
    job
        How to run.
    """
    table, ranges = table or TableOptions(), ranges or RangeOptions()
    network, job = network or NetworkOptions(), job or JobOptions()
    if not files:
        raise ValueError("fit needs at least one file: hardgrad fit data.csv --target y --key x")
    options = estimator_options(ranges, network, job)
    memory = memory or MemoryOptions()
    wanted = memory.wanted(network)
    console = Console(emoji=False)
    place = Place(out=job.out, saved=job.saved, resume=job.resume, force=job.force)
    if place.is_done(console):
        return 0
    with place.alone(console):
        if place.is_done(console):  # another process may have ended it meanwhile
            return 0
        place.check()
        place.ask_for_room(options)

        def read() -> Table:
            for note in without_say(network, ranges):
                console.print(note, style="yellow", highlight=False, soft_wrap=True)
            return read_files(files, target, table, text, sound)

        return _fit(read, target, options, table.key_only, wanted, job, console)


def _fit(
    read_them: Callable[[], Table],
    target: str,
    options: dict[str, Any],
    key_only: bool,
    memory: Memory,
    job: JobOptions,
    console: Console,
) -> int:
    from hardgrad_lab.fit.tables import shortened

    read = shortened(read_them(), MOST_SAMPLES)
    for note in read.notes:
        console.print(note, style="yellow", markup=False, highlight=False, soft_wrap=True)
    if len(read) < FEWEST:
        raise ValueError(f"a fit needs at least {FEWEST} rows, got {len(read)}; give more")
    model = model_for(read, options, key_only=key_only, seed=job.seed)
    _check_ranges(model, read, console)
    fitted, noted = _run(model, read, memory, job, console)
    from hardgrad_lab.runs.signals import stop_signals

    with stop_signals():  # a signal now would cost a finished fit, and writing it takes a second
        return _finish(fitted, read, target, noted, job, console)


def _check_ranges(model: Model, read: Table, console: Console) -> None:
    """Raise for a range without a row; say how many rows are outside."""
    if model.points is None or read.key_categories:
        return
    from hardgrad_lab.fit.training.points import empty_ranges, outside_share

    key = read.inputs[read.key].to_numpy()
    try:
        said = empty_ranges(model.points, key)
    except ValueError as error:
        raise ValueError(str(error).replace("Ranges: points", "--points")) from None
    if said:
        raise ValueError("; ".join(said))
    points = model.points
    if share := outside_share(points, key):
        console.print(
            f"{share:.2%} of the rows have a key outside [{points[0]:g}, {points[-1]:g}]; the nearest range takes them",
            style="yellow", highlight=False, soft_wrap=True,
        )  # fmt: skip


def _run(model: Model, read: Table, memory: Memory, job: JobOptions, console: Console) -> tuple[Fitted, list[str]]:
    import warnings

    import torch

    from hardgrad_lab.fit.training.progress import FitProgress
    from hardgrad_lab.runs.signals import Interrupted

    torch.set_num_threads(job.threads)
    with FitProgress(console) as progress, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        work = _job(model, read, memory, job, progress)
        try:
            fitted = work.run(resume=job.resume and job.saved.exists())
        except Interrupted as error:
            raise stopped(error, "the fit", job.saved) from None
    return fitted, [str(warning.message) for warning in caught if warning.category is UserWarning]


def _job(model: Model, read: Table, memory: Memory, job: JobOptions, progress: Any) -> Job:
    from hardgrad_lab.fit.job import Job

    return Job(
        model=model,
        table=read,
        seed=job.seed,
        test_share=job.test,
        compared=job.baselines,
        memory=memory,
        saved=job.saved,
        tell=progress,
        warn=lambda said: progress.console.print(said, style="yellow", markup=False, highlight=False, soft_wrap=True),
        checkpoint_seconds=job.checkpoint_seconds,
        checkpoint_steps=job.checkpoint_steps,
    )


def _finish(fitted: Fitted, read: Table, target: str, noted: list[str], job: JobOptions, console: Console) -> int:
    from hardgrad_lab.commands.show_fit import show_fit
    from hardgrad_lab.fit.folder import REPORT, written
    from hardgrad_lab.fit.memory import what_came_before
    from hardgrad_lab.fit.page.page import fit_page
    from hardgrad_lab.fit.page.story import tell
    from hardgrad_lab.fit.tables import INPUT
    from hardgrad_lab.runs.model_folder import write_folder
    from hardgrad_lab.runs.space import explain, refuge

    name = Path(target.split(",")[0]).stem if INPUT in read.inputs and not read.columns else target
    before = [] if read.classes or fitted.said else what_came_before(fitted, read)
    story = tell(fitted, read, name, [*noted, *fitted.said, *before])
    description, weights = written(fitted, story.notes() | read.facts)
    pages = {REPORT: fit_page(story)}
    try:
        write_folder(job.out, description, weights, pages, force=job.force or job.resume)
    except OSError as error:
        other = refuge(job.out)
        write_folder(other, description, weights, pages, force=False)
        raise OSError(
            f"the model is in {other}, since it could not be written where it belongs: {explain(error)}"
        ) from None
    job.saved.unlink(missing_ok=True)
    show_fit(story, job.out, console, read.notes)
    if fitted.model.diverged_:
        raise ArithmeticError(f"{fitted.model.diverged_}; {job.out} has these weights")
    return 0
