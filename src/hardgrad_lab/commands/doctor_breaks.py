"""``hardgrad doctor breaks`` and ``doctor box``: where a gradient ends, and what a program does as a layer."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.console import Console

from hardgrad_lab.commands.machine import at_least

if TYPE_CHECKING:
    from hardgrad_lab.doctor.subject import Subject

KINDS = ("flat", "cut", "dead", "suspicious")


@dataclass(frozen=True, kw_only=True)
class InputOptions:
    """What it is run on."""

    shapes: Annotated[tuple[str, ...], Parameter(name="--input", negative="")] = ()
    """Shape of an input to draw, the batch first: 8,3,32,32; normal, or between the bounds that a box has. Whole
    numbers below 1000 with 8,20:1000. Once for each input."""
    inputs: Path | None = None
    """Real inputs instead: a .npy or .pt file of one tensor, or of a tuple or a dict of them."""
    seed: Annotated[int, at_least(0)] = 0
    """Of the weights that a factory draws."""
    device: str = "cpu"
    """Where it runs: cpu, cuda, cuda:1."""
    threads: Annotated[int, at_least(1)] = 1
    """CPU threads."""
    json: Path | None = None
    """File to write what was found to."""


def breaks(
    model: str,
    *,
    inputs: Annotated[InputOptions | None, Parameter(name="*")] = None,
    loss: str | None = None,
    fail_on: str | None = None,
    steps: Annotated[int, at_least(1)] = 1,
    every: Annotated[bool, Parameter(name="--all", negative="")] = False,
) -> int:
    """Run a model forward and backward, and show every place where the gradient ends, with the call that mends it.

    Parameters
    ----------
    model
        module:name or path/to/file.py:name of a model, a function of tensors, or a function without arguments that
        returns a model, (model, inputs) or (model, inputs, loss). Or a script that trains, train.py or "train.py --data
        x": it is run up to the end of its first backward.
    inputs
        What it is run on.
    loss
        module:name of a function of the model's output; by default the output itself, if it is one number, or
        its squared distance from random numbers.
    fail_on
        Kinds that make the exit status 1, with commas: flat, cut, dead, suspicious.
    steps
        How many backwards of a script to wait for.
    every
        Show each harmless place too.
    """
    kinds = [word.strip() for word in fail_on.split(",")] if fail_on else []
    if unknown := [word for word in kinds if word not in KINDS]:
        raise ValueError(f"--fail-on must name kinds of breaks, got {unknown[0]!r}; there are {', '.join(KINDS)}")
    console = Console(file=sys.stdout, emoji=False)  # now: what the user's code prints goes elsewhere
    find = _breaks if not model.partition(" ")[0].endswith(".py") else None
    found, examined = _examined(model, inputs or InputOptions(), loss, find, console, steps)
    from hardgrad_lab.commands.show_breaks import show_breaks

    named = dict(getattr(examined, "named_parameters", dict[str, Any]().items)())
    show_breaks(found, sum(each.requires_grad for each in named.values()), console, every=every)
    hits = sum(each.kind in kinds for each in found)
    if kinds:
        said = f"{hits} found, exit status 1" if hits else "none found, exit status 0"
        console.print(f"--fail-on {fail_on}: {said}", highlight=False, soft_wrap=True)
    return int(hits > 0)


def box(box: str, *, inputs: Annotated[InputOptions | None, Parameter(name="*")] = None) -> int:
    """Examine a program as a layer: state, delay, stairs, time, and which gradient to take with which scale.

    Parameters
    ----------
    box
        module:name or path/to/file.py:name of a hardgrad.BlackBox, a function of one row as a NumPy array, or a
        function without arguments that returns either, or (box, inputs).
    inputs
        What it is run on.
    """
    console = Console(file=sys.stdout, emoji=False)
    found, _ = _examined(box, inputs or InputOptions(), None, _box, console)
    from hardgrad_lab.commands.show_breaks import show_box

    show_box(found, console)
    return 0


def _breaks(given: Subject) -> tuple[Any, Any]:
    import hardgrad as hg

    return hg.doctor.breaks(given.model, *given.inputs, loss=given.loss), given.model


def _box(given: Subject) -> tuple[Any, Any]:
    from torch import nn

    import hardgrad as hg

    layer = given.model if isinstance(given.model, nn.Module) else hg.BlackBox(given.model)
    return hg.doctor.examine(layer, *given.inputs), layer


def _examined(
    place: str, options: InputOptions, loss: str | None, find: Any, console: Console, steps: int = 1
) -> tuple[Any, Any]:
    """What was found, and the model or the box; of a script where there is nothing to find it with."""
    import torch

    from hardgrad_lab.doctor.printed import counted
    from hardgrad_lab.doctor.script import watch
    from hardgrad_lab.doctor.subject import subject
    from hardgrad_lab.runs.atomic import write_text

    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    own = (options.shapes, options.inputs, loss)
    if find is None and any(own):
        raise ValueError(f"{place} is a script, with inputs and a loss of its own; leave out --input, --inputs, --loss")
    with counted() as printed:
        given = None if find is None else subject(place, *own, options.device)
        try:
            found, model = watch(place, steps) if find is None or given is None else find(given)
        except (Exception, SystemExit) as error:  # of the user's code, hence of any kind
            raise ValueError(place + _said(error)) from error
    if printed.lines:
        console.print(f"note: {printed}", style="dim", markup=False, highlight=False, soft_wrap=True)
    if options.json is not None:
        write_text(options.json, found.to_json() + "\n")
    return found, model


def _said(error: BaseException) -> str:
    """What the user's code raised, or the doctor's own sentence about it, with the line of that code."""
    from hardgrad_lab.doctor.load import said

    words, cause = str(error), error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    if not words.startswith(("breaks: ", "examine: ")):
        return f" raises {said(error)}"
    return words[words.index(":") :] + said(cause).removeprefix(f"{type(cause).__name__}: {cause}")
