"""What the processes of a shared run do together: meet, agree, and let the first one decide.

Every function here is called by all of them at the same place of the program, or they wait for each other for ever.
With one process each of them is what it would be without the others.
"""

from __future__ import annotations

import atexit
import gc
import os
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from hardgrad_lab.runs.spread import rank, world

T = TypeVar("T")
# How long a process waits for the others: the first one may evaluate for hours meanwhile. torchrun notices by itself,
# and at once, when one of them dies.
PATIENCE = timedelta(days=1)
ASK_EVERY_S = 0.5  # how often they agree on whether to stop: well within the 30 s that torchrun gives them to do so


def join(device: torch.device) -> torch.device:
    """Join the processes that ``torchrun`` started beside this one, if it did. Doing so again changes nothing.

    Args:
        device: cuda or cpu.

    Returns:
        The device of this process: with several of them, each has a CUDA device of its own.

    Raises:
        ValueError: if there are more processes on this machine than CUDA devices.
    """
    if not (dist.is_available() and dist.is_torchelastic_launched()) or int(os.environ["WORLD_SIZE"]) == 1:
        return device
    if device.type == "cuda":
        local, there = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if local >= there:
            needed = os.environ["LOCAL_WORLD_SIZE"]
            rule = f"at most {there}, the CUDA devices here, or go with --device cpu"
            raise ValueError(f"--nproc-per-node of torchrun must be {rule}, got {needed}")
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        # What they agree on lies in plain memory, so that no step waits for a GPU.
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
        atexit.register(_leave)
    return device


def _leave() -> None:
    # Whatever still holds the group, a distributed model in a circle of references say, keeps its threads alive past
    # its end, and a process that ends with them aborts: 1 time in 25 without the collection, 4 in 20 with a model kept.
    gc.collect()
    dist.destroy_process_group()


def first_decides(work: Callable[[], T]) -> T:
    """Return in all processes what ``work`` returns in the first, the only one that runs it.

    Args:
        work: reads or writes files, say. What it raises, all of them raise.
    """
    if world() == 1:
        return work()
    said: list[Any] = [None]
    if rank() == 0:
        try:
            said = [(True, work())]
        except Exception as error:  # whatever it is, the others must hear of it rather than wait
            said = [(False, error)]
    dist.broadcast_object_list(said, src=0, device=torch.device("cpu"))
    went_well, value = said[0]
    if not went_well:
        raise value
    result: T = value
    return result


def gather(own: T) -> list[T]:
    """Return what each process has, in the order of their numbers."""
    if world() == 1:
        return [own]
    found: list[Any] = [None] * world()
    dist.all_gather_object(found, own)
    return found


def mean(values: torch.Tensor) -> torch.Tensor:
    """Return the mean over all processes of a tensor that each of them has."""
    if world() == 1:
        return values
    joint = values.clone()
    dist.all_reduce(joint)
    return joint / world()


class Agreement:
    """What all processes do at the same step, though each of them sees its own signals and clock.

    They ask each other every so many steps, counted alike by all, which comes to about ``ASK_EVERY_S``. One process
    alone has its answer after every step.
    """

    def __init__(self) -> None:
        self.every, self.since, self.began = 1, 0, time.monotonic()

    def largest(self, *values: int) -> list[int]:
        """Return the largest of each value over the processes; zeros when it is not time to ask.

        Args:
            values: 0 for nothing to say; nothing is lost if it is said again until all have heard.
        """
        if world() == 1:
            return list(values)
        self.since += 1
        if self.since < self.every:
            return [0] * len(values)
        microseconds = int((time.monotonic() - self.began) * 1e6)
        found = torch.tensor([*values, microseconds])
        dist.all_reduce(found, dist.ReduceOp.MAX)
        *answers, slowest = found.tolist()
        self.every = max(1, int(ASK_EVERY_S * 1e6 * self.since / max(slowest, 1)))
        self.since, self.began = 0, time.monotonic()
        return answers
