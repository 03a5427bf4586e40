"""Two processes: what DistributedDataParallel makes of branches that one of them visits, or neither."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

import hardgrad as hg

KEYS = [[0.5, 0.5, 1.5], [1.5, 2.5, 2.5]]  # rank 0 visits ranges 0 and 1, rank 1 ranges 1 and 2, nobody range 3


def switch(bank: bool) -> hg.Switch:
    torch.manual_seed(0)
    branch = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1))
    return hg.Switch(hg.Ranges([0, 1, 2, 3, 4]), branch, bank=bank).double()


def rows() -> Tensor:
    return torch.randn(2, 3, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def _work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    os.environ.pop("OMP_NUM_THREADS", None)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    torch.save([_gradients(rank, bank) for bank in (False, True)], Path(folder) / f"{rank}.pt")
    gc.collect()  # a model that outlives its group may wait for its threads for ever
    dist.destroy_process_group()


def _gradients(rank: int, bank: bool) -> list[Tensor | None]:
    layer = switch(bank)
    parallel = DistributedDataParallel(layer, find_unused_parameters=True)
    parallel(rows()[rank], torch.tensor(KEYS[rank])).square().sum().backward()
    return [p.grad for p in layer.parameters()]


def test_gradients_are_means_over_ranks_and_none_where_no_rank_came(tmp_path: Path) -> None:
    mp.spawn(_work, args=(str(tmp_path),), nprocs=2)
    alone = switch(bank=False)
    sum(alone(x, torch.tensor(key)).square().sum() for x, key in zip(rows(), KEYS, strict=True)).div(2).backward()
    assert all(p.grad is None for p in alone.branch(3).parameters())
    for rank in range(2):
        for grads in torch.load(tmp_path / f"{rank}.pt"):
            for grad, p in zip(grads, alone.parameters(), strict=True):
                assert (grad is None) == (p.grad is None)
                if p.grad is not None:
                    torch.testing.assert_close(grad, p.grad)


@pytest.mark.parametrize(
    "make",
    [
        lambda: switch(bank=False),
        lambda: hg.RecurrentSwitch(hg.Ranges([0, 1, 2]), nn.GRU(2, 3, batch_first=True), state="shared").double(),
        lambda: hg.LayerMask([nn.Linear(2, 2), nn.Linear(2, 2)], hg.Ranges([0, 1, 2])).double(),
    ],
)
def test_shards_of_branches_are_refused_where_a_gradient_would_be_summed_into_another(
    make: Callable[[], nn.Module], tmp_path: Path
) -> None:
    # torch 2.13, two processes that visit other branches: the first one's gradient of branch 0 went into branch 1.
    x, key = rows()[0], torch.tensor([0.5, 0.5, 1.5])
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1)
    try:
        mesh = init_device_mesh("cpu", (1,))
        for ignored in (False, True):
            layer = make()
            given = (x[None], key[None]) if isinstance(layer, hg.RecurrentSwitch) else (x, key)
            model = Around(layer)
            whole = set(layer.parameters()) if ignored else None
            fully_shard(model, mesh=mesh, ignored_params=whole)
            with torch.no_grad():
                model(*given)
            if ignored:
                model(*given).square().sum().backward()
            else:
                with pytest.raises(RuntimeError, match=f"^{type(layer).__name__}: fully_shard adds .*ignored_params"):
                    model(*given)
            del model, layer
    finally:
        gc.collect()
        dist.destroy_process_group()


class Around(nn.Module):
    """What is sharded: a layer before, and the layer of branches."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.before, self.layer = nn.Linear(2, 2).double(), layer

    def forward(self, x: Tensor, key: Tensor) -> Tensor:
        out = self.layer(self.before(x), key)
        return out[0].clone() if isinstance(out, tuple) else out  # torch warns of a view
