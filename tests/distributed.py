"""The law that needs two processes: DistributedDataParallel on halves equals one process on the joint batch."""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn.parallel import DistributedDataParallel

import hardgrad as hg
from cases import CASES, Case
from laws import assert_close, gradients, loss_of

LAW = "DDP"


def run_two_processes(folder: Path) -> dict[str, str]:
    """Run the law for all cases; return the error text of each, empty where it holds."""
    mp.spawn(_work, args=(str(folder),), nprocs=2)
    found = [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]
    return {case: found[0][case] + found[1][case] for case in found[0]}


def _work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    os.environ.pop("OMP_NUM_THREADS", None)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    found = {}
    for case in CASES:
        try:
            _check(case, rank)
            found[str(case)] = ""
        except AssertionError as error:
            found[str(case)] = f"rank {rank}: {error}\n"
    (Path(folder) / f"{rank}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


def _check(case: Case, rank: int) -> None:
    model, x = case.model(), case.input()
    _, joint = gradients(model, x)
    joint.pop("input")
    mine = x.chunk(2)[rank]
    parallel = DistributedDataParallel(case.model())
    loss_of(parallel(mine)).backward()
    assert_close({name: p.grad for name, p in parallel.module.named_parameters()}, joint)
    parallel.zero_grad()
    with hg.penalties() as bag:
        (loss_of(parallel(mine)) + bag.total()).backward()
    assert_close({name: p.grad for name, p in parallel.module.named_parameters()}, joint)
    assert [name for name, _ in bag] == (["1"] if case.surrogate == "bridge" else [])
