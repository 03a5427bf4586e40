"""``hardgrad doctor``: which gradient to trust on the user's own function."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter, validators
from rich.console import Console

from hardgrad_lab.commands.doctor_bank import FEWEST, bank
from hardgrad_lab.commands.doctor_breaks import box, breaks
from hardgrad_lab.commands.machine import at_least

if TYPE_CHECKING:
    from hardgrad_lab.doctor.case import Case
    from hardgrad_lab.doctor.examine import Asked
    from hardgrad_lab.doctor.record import Examination

app = App(name="doctor", help="Measure gradients on your own function: bias, noise, direction, cost; and which to use.")
app.command(breaks)
app.command(box)
app.command(bank)


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
    console = Console(file=sys.stdout, emoji=False)  # now: what the function prints goes elsewhere
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
    from hardgrad_lab.commands.show_doctor import examined, in_words
    from hardgrad_lab.doctor.examine import chosen, every_candidate

    case = _case(function, what, how)
    with in_words(case):
        given = chosen(how.estimators, every_candidate(case, how.noise, how.seed))
    return examined(case, given, how.asked(), console)


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
    Console(stderr=True, emoji=False).print(text, style="red", markup=False, highlight=False, soft_wrap=True)
    return 130


def _status(found: Examination, out: Path) -> int:
    """Say what broke it off, if something did; 130 where that was Ctrl-C, as shells have it."""
    from hardgrad_lab.doctor.record import BY_HAND

    stopped = found.diagnosis.stopped
    if stopped is None:
        return 0
    text = f"hardgrad: not all was measured: {stopped}; what was is in {out / 'doctor.json'}"
    Console(stderr=True, emoji=False).print(text, style="red", markup=False, highlight=False, soft_wrap=True)
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
