"""``hardgrad doctor``: which gradient to trust on the user's own function."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter, validators
from rich.console import Console

from hardgrad_lab.commands.machine import at_least
from hardgrad_lab.runs.options import OWN_RUNS

if TYPE_CHECKING:
    from hardgrad_lab.doctor.case import Case
    from hardgrad_lab.doctor.examine import Asked
    from hardgrad_lab.doctor.record import Examination

app = App(name="doctor", help="Measure gradients on your own function: bias, noise, direction, cost; and which to use.")
FEWEST = 20  # draws, which the doctor's standard errors need


@dataclass(frozen=True, kw_only=True)
class WhatOptions:
    """What is examined."""

    shape: str | None = None
    """Shape of the inputs to draw from a standard normal, the batch first: 8,32."""
    inputs: Path | None = None
    """Real inputs instead: a .npy or .pt file of one tensor, the batch first."""
    dtype: Literal["float32", "float64", "float16", "bfloat16"] | None = None
    """Of the inputs; by default that of the file, or float32."""
    device: str = "cpu"
    """Where the inputs are, and so the function runs: cpu, cuda, cuda:1."""
    objective: str | None = None
    """module:name of a function (n, B, *out) -> (n, B) that judges the outputs; by default a distance."""
    distribution: Literal["bernoulli", "one-hot"] | None = None
    """The function is an objective of samples, and the inputs are the logits they are drawn from."""


@dataclass(frozen=True, kw_only=True)
class HowOptions:
    """How it is examined."""

    estimators: str | None = None
    """Only these, with commas; module:name for one of yours. By default all that fit."""
    noise: Literal["auto", "gaussian", "logistic", "gumbel"] = "auto"
    """What smooths a hard function; auto knows an argmax and a threshold at 0."""
    sigma: Annotated[float | None, Parameter(validator=validators.Number(gt=0))] = None
    """Scale of the noise; by default half the spread of the inputs."""
    draws: Annotated[int | None, at_least(FEWEST)] = None
    """Gradients to take of each estimator; by default 1000, and more where that is cheap and shows a bias."""
    seconds: Annotated[float | None, Parameter(validator=validators.Number(gt=0))] = None
    """How long it may take: what does not fit is left out, which is said. By default as long as it takes."""
    truth: Literal["auto", "enumeration", "finite difference", "long run"] = "auto"
    """Where the true gradient comes from."""
    budget: Annotated[int | None, at_least(1)] = None
    """The most evaluations of the function, for each row, to spend on the truth; by default 200000, fewer if large."""
    warm_up: Annotated[int, at_least(0)] = 200
    """Steps that estimators which learn train for first."""
    seed: Annotated[int, at_least(0)] = 0
    """Of everything."""
    threads: Annotated[int, at_least(1)] = 1
    """CPU threads."""
    out: Path = Path("doctor")
    """Folder for doctor.json, the picture and the page."""

    def asked(self) -> Asked:
        """Return the same for the examination."""
        from hardgrad_lab.doctor.examine import Asked

        return Asked(
            noise=self.noise,
            sigma=self.sigma,
            draws=self.draws,
            truth=self.truth,
            seed=self.seed,
            seconds=self.seconds,
        )


@app.default
def doctor(
    function: str,
    *,
    what: Annotated[WhatOptions | None, Parameter(name="*")] = None,
    how: Annotated[HowOptions | None, Parameter(name="*")] = None,
) -> int:
    """Examine one function, given as module:name; modules in the working folder are found.

    Parameters
    ----------
    function
        mypackage.mymodule:my_function or path/to/file.py:my_function, a callable (B, ...) -> (B, ...).
    what
        What is examined.
    how
        How it is examined.
    """
    what, how = what or WhatOptions(), how or HowOptions()
    if (what.shape is None) == (what.inputs is None):
        raise ValueError("doctor needs either --shape 8,32, to draw inputs, or --inputs file.npy, to read them")
    _check_out(how.out)
    import torch

    from hardgrad_lab.doctor.printed import counted

    torch.set_num_threads(how.threads)
    console = Console(file=sys.stdout)  # now: what the function prints goes elsewhere
    try:
        with counted() as printed:
            found = _wanted(function, what, how, console)
    except KeyboardInterrupt:
        return _nothing(function)
    if printed.lines:
        console.print(f"note: {printed}", markup=False, highlight=False, soft_wrap=True)
    _write(found, how.out, console)
    return _status(found, how.out)


def _check_out(out: Path) -> None:
    """Raise ValueError, before hours of measuring, where nothing could be written at the end."""
    there = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        why = "cannot be written to" if there.is_dir() else "is a file"
        raise ValueError(f"--out must be a folder that can be written to, got {out} ({there} {why}); name another")


def _wanted(function: str, what: WhatOptions, how: HowOptions, console: Console) -> Examination:
    from hardgrad_lab.doctor.examine import chosen, every_candidate

    case = _case(function, what, how)
    with _in_words(case):
        given = chosen(how.estimators, every_candidate(case, how.noise, how.seed))
    return _examined(case, given, how.asked(), console)


def _write(found: Examination, out: Path, console: Console) -> None:
    from hardgrad_lab.commands.show_doctor import show_doctor
    from hardgrad_lab.doctor.page.examination import write_examination

    found.save(out / "doctor.json")
    show_doctor(found, console)
    console.print(f"{'record':<8} {out / 'doctor.json'}", highlight=False, soft_wrap=True)
    for kind, path in write_examination(found, out):
        console.print(f"{kind:<8} {path}", highlight=False, soft_wrap=True)


def _nothing(function: str) -> int:
    text = f"hardgrad: {function} was stopped by SIGINT before any candidate was measured; nothing is kept"
    Console(stderr=True).print(text, style="red", markup=False, highlight=False, soft_wrap=True)
    return 130


def _status(found: Examination, out: Path) -> int:
    """Say what broke it off, if something did; 130 where that was Ctrl-C, as shells have it."""
    from hardgrad_lab.doctor.record import BY_HAND

    stopped = found.diagnosis.stopped
    if stopped is None:
        return 0
    text = f"hardgrad: not all was measured: {stopped}; what was is in {out / 'doctor.json'}"
    Console(stderr=True).print(text, style="red", markup=False, highlight=False, soft_wrap=True)
    return 130 if stopped == BY_HAND else 1


def _case(function: str, what: WhatOptions, how: HowOptions) -> Case:
    from hardgrad_lab.doctor.ask import DTYPES, Given, case_of, drawn, on_device, place_of, read_shape
    from hardgrad_lab.doctor.load import read_inputs

    if what.inputs is not None:
        x, source = read_inputs(what.inputs), place_of(what.inputs)
        x = x if what.dtype is None else x.to(DTYPES[what.dtype])
    else:
        x, source = drawn(read_shape(what.shape or ""), what.dtype or "float32", how.seed), "drawn, standard normal"
    x = on_device(x, what.device)
    return case_of(
        Given(
            function=function,
            inputs=x,
            source=source,
            objective=what.objective,
            distribution=what.distribution,
            warm_up=how.warm_up,
            budget=how.budget,
        )
    )


def _examined(case: Case, given: dict[str, object], asked: Asked, console: Console) -> Examination:
    from hardgrad_lab.commands.show_doctor import Turns
    from hardgrad_lab.doctor.examine import examine

    with Turns(console, case.title, asked.seconds) as turns, _in_words(case):
        return examine(case, given, asked, turns)


@contextmanager
def _in_words(case: Case) -> Iterator[None]:
    """Say what the doctor refuses, and what the user's function raises, as of the function that was named."""
    from hardgrad_lab.doctor.load import said
    from hardgrad_lab.doctor.record import FunctionError

    try:
        yield
    except FunctionError as error:
        what = said(error).partition(": ")[2]
        if what.startswith("function "):
            what = case.title + what.removeprefix("function")
        raise ValueError(what) from error
    except ValueError as error:
        raise ValueError(str(error).removeprefix("diagnose: ").removeprefix("candidates: ")) from error
    except Exception as error:  # the user's function, at a batch of another size say
        raise ValueError(f"{case.title} raises while it is examined: {said(error)}") from error


@dataclass(frozen=True, kw_only=True)
class BankOptions:
    """What of the bank to run."""

    only: str | None = None
    """Entries by name, with commas; all by default."""
    data: Path | None = None
    """Folder of the data sets, for digits of MNIST; by default what HARDGRAD_DATA says, and drawn pictures without."""
    draws: Annotated[int | None, at_least(FEWEST)] = None
    """Gradients to take of each estimator; by default 1000, and more where that is cheap and shows a bias."""
    warm_up: Annotated[int | None, at_least(0)] = None
    """Steps that estimators which learn train for first; by default the entry's own."""
    budget: Annotated[int | None, at_least(1)] = None
    """The most evaluations of each row to spend on the truth; by default the entry's own."""
    steps: Annotated[int, at_least(1)] = 1200
    """Steps of the training that bridges are watched in."""
    seed: Annotated[int, at_least(0)] = 0
    """Of everything."""
    threads: Annotated[int, at_least(1)] = 1
    """CPU threads."""
    out: Path = OWN_RUNS / "doctor"
    """Folder for the records; the pages go to report/ in it."""


@app.command
def bank(*, options: Annotated[BankOptions | None, Parameter(name="*")] = None) -> int:
    """Examine a bank of real hard functions, and watch bridges train; a record each, and a page.

    Parameters
    ----------
    options
        What of the bank to run.
    """
    options = options or BankOptions()
    import torch

    from hardgrad_lab.commands.report_doctor import report_doctor
    from hardgrad_lab.doctor.bank import NAMES
    from hardgrad_lab.doctor.watched import LAYERS

    torch.set_num_threads(options.threads)
    console = Console()
    watches = {f"watch-{layer}": layer for layer in LAYERS}
    known = (*NAMES, *watches)
    wanted = known if options.only is None else tuple(word.strip() for word in options.only.split(","))
    if unknown := [name for name in wanted if name not in known]:
        raise ValueError(f"--only must name entries of the bank, got {unknown[0]!r}; there are {', '.join(known)}")
    for name in wanted:
        path = options.out / f"{name}.json"
        (_watch(watches[name], path, options) if name in watches else _entry(name, path, options, console))
        console.print(f"record   {path}", highlight=False, soft_wrap=True)
    return report_doctor(results=options.out)


def _entry(name: str, path: Path, options: BankOptions, console: Console) -> None:
    from dataclasses import replace

    from hardgrad_lab.doctor.bank import find
    from hardgrad_lab.doctor.examine import Asked, every_candidate

    case = find(name, options.data)
    case = replace(
        case,
        warm_up=case.warm_up if options.warm_up is None else options.warm_up,
        budget=case.budget if options.budget is None else options.budget,
    )
    _examined(
        case, every_candidate(case, seed=options.seed), Asked(draws=options.draws, seed=options.seed), console
    ).save(path)


def _watch(layer: str, path: Path, options: BankOptions) -> None:
    from hardgrad_lab.doctor.watched import train

    with Console().status(f"watching {layer}") as status:
        train(
            layer, options.data, options.steps, options.seed, lambda seen: status.update(f"watching {layer}: {seen}")
        ).save(path)
