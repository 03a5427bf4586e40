"""``hardgrad doctor bank``: real hard functions examined, and bridges watched in training; a record each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from hardgrad_lab.commands.machine import at_least
from hardgrad_lab.runs.options import OWN_RUNS

FEWEST = 20  # draws, which the doctor's standard errors need


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
    console = Console(emoji=False)
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
    from hardgrad_lab.commands.show_doctor import examined
    from hardgrad_lab.doctor.bank import find
    from hardgrad_lab.doctor.examine import Asked, every_candidate

    case = find(name, options.data)
    case = replace(
        case,
        warm_up=case.warm_up if options.warm_up is None else options.warm_up,
        budget=case.budget if options.budget is None else options.budget,
    )
    examined(
        case, every_candidate(case, seed=options.seed), Asked(draws=options.draws, seed=options.seed), console
    ).save(path)


def _watch(layer: str, path: Path, options: BankOptions) -> None:
    from hardgrad_lab.doctor.watched import train
    from hardgrad_lab.runs.live import waiting

    with waiting(Console(emoji=False), f"watching {layer}") as say:
        train(layer, options.data, options.steps, options.seed, lambda seen: say(f"watching {layer}: {seen}")).save(
            path
        )
