"""One run: a device's recordings, a model of one kind trained on them, its error on each test sound."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import torch
from rich.console import Console
from torch import Tensor

from hardgrad_lab.data.root import Root
from hardgrad_lab.devices.clips import Clips
from hardgrad_lab.devices.device import Device
from hardgrad_lab.devices.kinds import build
from hardgrad_lab.devices.recordings import Recording, knobs_of
from hardgrad_lab.devices.score import error_to_signal, heard
from hardgrad_lab.devices.training import train
from hardgrad_lab.experiments.switches.devices import SEARCHED, THEIRS, Setup
from hardgrad_lab.experiments.switches.devices.tasks import PLUGINS, Task, loud, task_of
from hardgrad_lab.experiments.switches.devices.window import Window
from hardgrad_lab.runs.execute import How, Outcome
from hardgrad_lab.runs.record import Run
from hardgrad_lab.runs.whole import Result, run_whole

SHARES = (0.02, 0.2, 0.8, 0.98)  # of the training samples that lie below each inner point of a switch
WIDTHS = ("gru", "lstm")  # kinds that have one


def reproduce(run: Run, setup: Setup, seed: int, root: Root, how: How, console: Console) -> Outcome:
    """Train a model and say what came of it, or find the record; see ``runs.whole.run_whole``."""
    done = run_whole(run, lambda: trained(setup, seed, root), how, console)
    console.print(f"  ESR {done.record.metrics['esr']:.2%}")
    return done


def trained(setup: Setup, seed: int, root: Root) -> Result:
    """Return what a run comes to: the error of each test sound after it has settled, and the mean of these."""
    task = task_of(setup, seed, root)
    if setup.system in (*THEIRS, "told"):
        return Result(
            metrics=_errors(task, {name: _known(setup, them) for name, them in task.tests.items()}), samples=0
        )
    task = task if setup.task in PLUGINS else loud(task)  # an open gate's gain is 1
    model = model_of(setup, task)
    passes = -(-setup.passes // 4) if setup.system in SEARCHED else setup.passes
    learned = train(model, task.train, task.held_out, steps=passes, seed=seed)
    model.eval()
    errors = _errors(task, {name: heard(model, them) for name, them in task.tests.items()})
    sizes = {"parameters": sum(each.numel() for each in model.parameters()), "active": model.active()}
    clips = Clips(task.train, seed)
    samples = learned.steps * clips.batch_size * clips.length
    return Result(metrics={**errors, **sizes}, samples=samples, curve=learned.curve)


def model_of(setup: Setup, task: Task) -> Device:
    """Return a model with fresh weights; torch's global seed decides them."""
    knob = knobs_of(task.train)
    if setup.system in ("switch", "plain-total"):
        samples = torch.cat([each.dry[:: 1 + len(each.dry) // 10_000] for each in task.train])
        points = [-1.0, *torch.quantile(samples[:: 1 + len(samples) // 100_000], torch.tensor(SHARES)).tolist(), 1.0]
        return Window(
            rate=task.rate, knob=knob, system=setup.system, points=points, window=setup.window, hidden=setup.hidden
        )
    width = {"hidden": setup.hidden} if setup.system in WIDTHS else {}
    return build(setup.system, rate=task.rate, knob=knob, **width)


def _known(setup: Setup, recordings: Sequence[Recording]) -> list[Tensor]:
    """Return the dry sounds, which are predictions where a published network is asked; else with their best gain."""
    dry, wet = ([getattr(each, side)[each.lead :] for each in recordings] for side in ("dry", "wet"))
    if setup.system != "told":
        return dry
    return [(x @ y) / (x @ x) * x for x, y in zip(dry, wet, strict=True)]


def _errors(task: Task, said: dict[str, list[Tensor]]) -> dict[str, float]:
    errors = {
        f"esr_{name}": error_to_signal(torch.cat(said[name]), torch.cat([each.wet[each.lead :] for each in them]))
        for name, them in task.tests.items()
    }
    return {"esr": statistics.fmean(errors.values()), "parameters": 0.0, "active": 0.0, **errors}
