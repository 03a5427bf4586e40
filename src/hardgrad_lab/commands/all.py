"""``hardgrad reproduce all``: every experiment, at one budget, by as many processes or machines as there are."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from rich.console import Console

from hardgrad_lab.commands.machine import as_option, at_least
from hardgrad_lab.experiments import LIST
from hardgrad_lab.plan.groups import Estimates, Group, groups_of
from hardgrad_lab.plan.jobs import Queue, in_order
from hardgrad_lab.runs.experiment import Budget
from hardgrad_lab.runs.options import OWN_RUNS, OptionError, chosen
from hardgrad_lab.runs.record import Run

if TYPE_CHECKING:
    from hardgrad_lab.plan.progress import Lines
    from hardgrad_lab.plan.work import Setup

Flag = Parameter(negative="")


@dataclass(frozen=True, kw_only=True)
class PlanOptions:
    """What to run, and where."""

    plan: Path | None = None
    """A TOML file of runs, with seeds, options and priorities, in place of a budget: docs/commands/experiments.md."""
    budget: Budget | None = None
    """Smoke takes seconds a run, small minutes to an hour on two cores, paper what the papers took; by default small.
    A plan file says it for each of its entries."""
    only: Annotated[tuple[str, ...], Parameter(negative="", consume_multiple=True)] = ()
    """Only these experiments; by default all."""
    seeds: Annotated[int, at_least(0)] = 0
    """How many seeds of each configuration; 0 takes as many as each experiment's budget plans."""
    list: Annotated[bool, Flag] = False
    """Print which runs are done, under way and left, and in how many hours, and do nothing."""
    jobs: Annotated[int, at_least(0)] = 0
    """Runs at a time on this machine; 0 takes one for each CUDA device, or core where there is none."""
    engine: Literal["processes", "ray"] = "processes"
    """Processes on this machine, or a Ray cluster: that of RAY_ADDRESS or of this machine, else one of its own."""
    scratch: Path | None = None
    """With Ray, the folder of runs under way on every machine, by default a temporary one. In one that all machines
    share, a run goes on from its checkpoint when its machine dies; in others it begins anew."""
    out: Path = OWN_RUNS
    """Folder for all records: each experiment has one in it. What `reproduce NAME` left beside them counts too."""
    data: Path | None = None
    """Folder that holds the data sets; by default what HARDGRAD_DATA says. With Ray, on every machine."""
    download: Annotated[bool, Flag] = False
    """Fetch data sets that are missing, where that is possible."""


@dataclass(frozen=True, kw_only=True)
class EachOptions:
    """How to do each run."""

    threads: Annotated[int, at_least(1)] = 1
    """CPU threads of a run."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; auto takes a CUDA device where there is one."""
    compile: Annotated[bool, Flag] = False
    """Run losses through torch.compile."""
    bf16: Annotated[bool, Flag] = False
    """Compute losses under torch.autocast in bfloat16; weights and evaluations stay in float32."""
    checkpoint_seconds: Annotated[float, at_least(0)] = 30.0
    """Seconds between checkpoints: what a kill may cost."""


def everything(
    *,
    plan: Annotated[PlanOptions | None, Parameter(name="*")] = None,
    each: Annotated[EachOptions | None, Parameter(name="*")] = None,
) -> int:
    """Do every run of a budget, or of a plan file, that is not recorded yet.

    A budget's runs are done with the first seed of everything first, those of a plan file by priority.

    A run that fails is tried once more at the end, and the others go on. Ctrl-C stops all runs once they are saved; the
    same command goes on from there.

    Parameters
    ----------
    plan
        What to run, and where.
    each
        How to do each run.
    """
    plan, each, console = plan or PlanOptions(), each or EachOptions(), Console(emoji=False)
    if "TORCHELASTIC_RUN_ID" in os.environ:
        raise ValueError(
            "torchrun shares one run; for many runs, start hardgrad without it, with --jobs or --engine ray"
        )
    groups = _groups(plan)
    if plan.list:
        from hardgrad_lab.plan.listing import show

        show(groups, plan.out, plan.jobs or max(1, _cores() // each.threads), console)
        return 0
    from hardgrad_lab.plan.listing import estimates_of

    estimates, runs = estimates_of(groups, plan.out), in_order(groups, by_seed=plan.plan is None)
    missing = [run for run in runs if run.name not in estimates.done]
    console.print(f"{len(runs)} runs, {len(runs) - len(missing)} of them done before", highlight=False)
    if not missing:
        return 0
    return _do(missing, estimates, plan, each, console)


def _groups(plan: PlanOptions) -> Sequence[Group]:
    try:
        if plan.plan is None:
            return groups_of(plan.budget or "small", plan.only, plan.seeds)
        from hardgrad_lab.plan.file import read

        if plan.budget or plan.seeds:
            given = "--budget" if plan.budget else "--seeds"
            raise ValueError(f"{given} must be left out with --plan: each entry of {plan.plan} says its own")
        only = chosen("only", plan.only, LIST)
        groups = [group for group in read(plan.plan) if group.runs[0].experiment in only]
    except OptionError as error:
        raise as_option(error) from None
    if not groups:
        raise ValueError(f"--only must name experiments of {plan.plan}, got {', '.join(plan.only)}, which has none")
    return groups


def _do(missing: Sequence[Run], estimates: Estimates, plan: PlanOptions, each: EachOptions, console: Console) -> int:
    from hardgrad_lab.runs.signals import stop_signals

    try:
        with stop_signals() as arrived:
            return _follow(missing, estimates, plan, each, arrived, console)
    except KeyboardInterrupt:  # a second Ctrl-C
        console.print("stopped at once: what is under way saves itself and ends; the same command goes on from there")
        return 130


def _follow(
    missing: Sequence[Run],
    estimates: Estimates,
    plan: PlanOptions,
    each: EachOptions,
    arrived: Sequence[int],
    console: Console,
) -> int:
    from hardgrad_lab.plan.listing import standings
    from hardgrad_lab.plan.progress import Lines

    setup = _setup(plan, each)
    lines = Lines(missing, estimates, console, standings(missing, plan.out))
    with lines.progress:
        if plan.engine == "ray":
            from hardgrad_lab.plan.cluster import do

            do(Queue(missing), setup, lines, arrived, plan.scratch)
        else:
            from hardgrad_lab.plan.processes import Workers

            devices = _devices(each.device)
            jobs = plan.jobs or len(devices) or max(1, _cores() // each.threads)
            Workers(jobs, setup, devices).do(Queue(missing), lines, arrived)
    return _sum_up(lines, setup, arrived, console)


def _setup(plan: PlanOptions, each: EachOptions) -> Setup:
    from hardgrad_lab.plan.work import Setup

    return Setup(
        out=plan.out,
        data=plan.data,
        download=plan.download,
        threads=each.threads,
        device=each.device,
        compiled=each.compile,
        bf16=each.bf16,
        checkpoint_every_s=each.checkpoint_seconds,
    )


def _cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _devices(device: str) -> list[str]:
    """Return the CUDA devices that jobs may have, by the names that CUDA_VISIBLE_DEVICES takes."""
    if device == "cpu":
        return []
    if given := os.environ.get("CUDA_VISIBLE_DEVICES"):
        return given.split(",")
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]


def _sum_up(lines: Lines, setup: Setup, arrived: Sequence[int], console: Console) -> int:
    from hardgrad_lab.plan.worker import log_of

    done = lines.total - len(lines.left) - len(lines.failed)
    console.print(f"{done} runs done now, {len(lines.failed)} failed, {len(lines.left)} left", highlight=False)
    alike: dict[str, list[Run]] = {}  # one missing data set fails a hundred runs
    for run, error in lines.failed.values():
        alike.setdefault(error.strip(), []).append(run)
    for error, runs in alike.items():
        others = f" and {len(runs) - 1} others" if len(runs) > 1 else ""
        line = f"failed: {runs[0].name}{others}: {error}\n  log: {log_of(runs[0], setup.out)}"
        console.print(line, style="red", highlight=False, markup=False, soft_wrap=True)
    if lines.total > len(lines.left) + len(lines.failed):
        console.print(f"tables   hardgrad report --results {setup.out}", highlight=False, soft_wrap=True)
    if arrived:
        saved = f"but {len(lines.unsaved)} runs could not be saved whole" if lines.unsaved else "and saved"
        console.print(f"stopped, {saved}; the same command goes on from here", style="yellow", highlight=False)
        return 128 + arrived[0]
    return 1 if lines.failed else 0
