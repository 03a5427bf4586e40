"""The published program beside what it meant: same recording, same network, same number of passes."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn

import hardgrad as hg
from hardgrad_lab.data.root import Root
from hardgrad_lab.experiments.switches.branches import published
from hardgrad_lab.experiments.switches.ecg.run import BCG_POINTS, TEST, TRAIN, recording
from hardgrad_lab.experiments.switches.measure import esr
from hardgrad_lab.experiments.switches.program import BATCHED, VARIANTS, Program
from hardgrad_lab.experiments.switches.program.program import PublishedSwitch, Quirks
from hardgrad_lab.experiments.switches.rows import Part
from hardgrad_lab.runs.execute import How, Outcome
from hardgrad_lab.runs.record import Run
from hardgrad_lab.runs.whole import Result, run_whole

SHARE = 0.7  # of one recording trains, as published; the rest is ``later``


@dataclass(frozen=True, kw_only=True)
class Heart:
    """The rows of the published program: one recording's first 70 %, its rest, and a subject that it never tested."""

    train: Part
    later: Part
    unseen: Part


def rows_of(config: Program, root: Root) -> Heart:
    """Return the rows, windows of one sample, each recording scaled to a peak of 1.

    Raises:
        DataError: if a recording is not there, or damaged.
    """
    one = recording(root, f"{TRAIN}_Normal1", "bcg", 1)
    cut = int(SHARE * len(one))
    train = slice(0, min(cut, config.rows or cut))
    other = recording(root, f"{TEST}_Normal1", "bcg", 1)
    return Heart(train=one.take(train), later=one.take(slice(cut, len(one))), unseen=other)


def reproduce(run: Run, config: Program, seed: int, root: Root, how: How, console: Console) -> Outcome:
    """Train one variant, or find its record; see ``runs.whole.run_whole``.

    Args:
        run: its identity.
        config: what to train.
        seed: decides the first weights.
        root: where the recordings lie.
        how: folder of the records, threads, whether to run again.
        console: where progress is shown.

    Raises:
        DataError: if a recording is not there, or damaged.
    """
    del seed  # torch has it

    def work() -> Result:
        rows = rows_of(config, root)
        fit = _batched if config.contestant == BATCHED else _row_by_row
        return Result(metrics=fit(config, rows), samples=config.passes * len(rows.train))

    return run_whole(run, work, how, console)


def _row_by_row(config: Program, rows: Heart) -> dict[str, float]:
    quirks = Quirks(**{name: name not in VARIANTS[config.contestant] for name in asdict(Quirks())})
    switch = PublishedSwitch(BCG_POINTS, quirks=quirks)
    x, key, y = _lists(rows.train)
    began = time.perf_counter()
    for _ in range(config.passes):
        switch.train(x, key, y)
    trained = time.perf_counter() - began
    said, rate = {}, 0.0
    for name, part in _parts(rows).items():
        began = time.perf_counter()
        said[name] = switch.predict(*_lists(part)[:2])
        rate = max(rate, len(part) / (time.perf_counter() - began))
    filed = sum(map(len, switch.history)) / (config.passes * len(x))
    figures = {"filed": filed, "saved_ranges": len(switch.saved()), "constant_branches": _constant(switch, rows.train)}
    return {**_figures(said, rows), **figures, "rows_per_s": config.passes * len(x) / trained, "said_per_s": rate}


def _constant(switch: PublishedSwitch, part: Part) -> int:
    """Return how many visited ranges say one thing on all of their training rows."""
    said = switch.predict(*_lists(part)[:2])[:, 0]
    index = torch.tensor([switch.branch_of(key) for key in part.key.tolist()])
    mine = [said[index == i] for i in range(len(switch.networks)) if (index == i).any()]
    return sum(float(each.max() - each.min()) < 1e-6 for each in mine)


def _batched(config: Program, rows: Heart) -> dict[str, float]:
    branch = published("bcg-1")(1, 1.0)
    switch = hg.Switch(hg.Ranges(BCG_POINTS), branch)
    optimizer = torch.optim.RMSprop(switch.parameters(), lr=1e-3, alpha=0.9, eps=1e-7)
    began = time.perf_counter()
    for _ in range(config.passes):
        for index in torch.randperm(len(rows.train)).split(config.batch):
            batch = rows.train.take(index)
            loss = nn.functional.mse_loss(switch(batch.x, batch.key), batch.y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    trained = time.perf_counter() - began
    said, rate = {}, 0.0
    with torch.no_grad():
        for name, part in _parts(rows).items():
            began = time.perf_counter()
            said[name] = switch(part.x, part.key)
            rate = max(rate, len(part) / (time.perf_counter() - began))
    figures = {"filed": 1.0, "saved_ranges": len(switch.branches), "constant_branches": 0}
    return {
        **_figures(said, rows),
        **figures,
        "rows_per_s": config.passes * len(rows.train) / trained,
        "said_per_s": rate,
    }


def _parts(rows: Heart) -> dict[str, Part]:
    return {"train": rows.train, "later": rows.later, "unseen": rows.unseen}


def _figures(said: dict[str, Tensor], rows: Heart) -> dict[str, float]:
    found: dict[str, float] = {}
    mean = rows.train.y.mean()
    for name, part in _parts(rows).items():
        found[f"esr_{name}"] = esr(said[name], part.y)
        found[f"esr_constant_{name}"] = esr(mean.expand_as(part.y), part.y)
    return found


def _lists(part: Part) -> tuple[Any, Any, Any]:
    return part.x.tolist(), part.key.tolist(), part.y[:, 0].tolist()
