"""DistributedDataParallel: two processes, a bridge that trains itself, and branches that some processes never visit.

The problem: DDP waits for the gradient of every weight. A switch leaves a branch without one when no row of a process
took it, and which branches those are differs from process to process and from step to step.

``find_unused_parameters=True`` is made for that. A branch that any process visited gets the mean gradient in all of
them; one that none visited keeps ``grad is None`` in all, so no optimizer moves it. A bridge needs nothing: its penalty
hangs on the layer's output, where DDP finds it, and the approximators stay equal in all processes.

Where you need a scope (accumulation, fp16), open it inside the wrapped module's forward and return the loss: DDP looks
for weights in what a forward returns, and a penalty in a bag outside is not there.

The one rule: ``find_unused_parameters=True`` with a switch, and let bridges train themselves.
"""

import gc
import os
import tempfile

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

import hardgrad as hg

STEPS = 60


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.before = nn.Linear(4, 8)
        self.rounded = hg.Bridge(hg.hard.round, hg.approximators.elementwise())
        self.choose = hg.Switch(hg.Ranges([0, 1, 2, 3, 4]), nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1)))

    def forward(self, x: Tensor, key: Tensor) -> Tensor:
        return self.choose(self.rounded(self.before(x)), key=key)


def rows(step: int, rank: int) -> tuple[Tensor, Tensor]:
    """Process 0 sees keys of ranges 0 and 1, process 1 those of 1 and 2, and nobody those of 3."""
    generator = torch.Generator().manual_seed(2 * step + rank)
    return torch.randn(32, 4, generator=generator), torch.rand(32, generator=generator) * 2 + rank


def loss_of(model: nn.Module, x: Tensor, key: Tensor) -> Tensor:
    return nn.functional.mse_loss(model(x, key), x[:, :1] * key.unsqueeze(1))


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    model = Model()
    start = {name: p.clone() for name, p in model.named_parameters()}
    parallel = DistributedDataParallel(model, find_unused_parameters=True)
    optimizer = torch.optim.AdamW(parallel.parameters(), lr=1e-2)
    for step in range(STEPS):
        optimizer.zero_grad()
        loss_of(parallel, *rows(step, rank)).backward()
        optimizer.step()
    for name, p in model.named_parameters():
        assert torch.equal(p, start[name]) == name.startswith("choose.branches.3."), name  # this one alone never moved
    assert model.rounded.fidelity().relative_error < 0.7, model.rounded.fidelity()
    hg.strip(parallel.module)  # what DDP wraps; the wrapper is refused
    torch.save(model.state_dict(), f"{folder}/{rank}.pt")
    del parallel, optimizer
    gc.collect()
    dist.destroy_process_group()


def alone() -> dict[str, Tensor]:
    """The same training in one process, on the rows of both."""
    model = Model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for step in range(STEPS):
        optimizer.zero_grad()
        x, key = (torch.cat(parts) for parts in zip(rows(step, 0), rows(step, 1), strict=True))
        loss_of(model, x, key).backward()
        optimizer.step()
    return dict(model.named_parameters())


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(work, args=(folder,), nprocs=2)
        found = [torch.load(f"{folder}/{rank}.pt") for rank in range(2)]
    for name, expected in alone().items():
        assert torch.equal(found[0][name], found[1][name]), name  # bit for bit the same in both processes
        torch.testing.assert_close(found[0][name], expected.detach(), rtol=1e-2, atol=1e-3)
    print("both processes hold one model, that of one process on all rows; nobody's branch is bit for bit the first")
