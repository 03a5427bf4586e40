"""FSDP2: weights in shards, approximators too, and a switch that stays whole.

The problem: ``fully_shard`` sums the gradients that exist, in their order, without asking whose they are. Processes
that visit other branches of a switch have other gradients: one branch's would be summed into another's. A switch in
shards refuses that.

Approximators can be sharded like any module, alone or with the layers around them. A switch is kept out of the
sharding, as ``ignored_params``; its gradients are averaged by the ten lines of ``average`` below. To deploy, gather the
state dict, load it into a plain model, and strip that: a sharded model cannot be copied.

The one rule: ``fully_shard`` everything but the switches, and average their gradients by hand.
"""

import os
import tempfile

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

import hardgrad as hg

STEPS = 60


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.before = nn.Linear(4, 8)
        self.signs = hg.Bridge(hg.hard.sign, hg.approximators.mlp(8, 8, hidden=(32,)))
        self.choose = hg.Switch(hg.Ranges([0, 1, 2, 3, 4]), nn.Linear(8, 1))

    def forward(self, x: Tensor, key: Tensor) -> Tensor:
        return self.choose(self.signs(self.before(x)), key=key)


def rows(step: int, rank: int) -> tuple[Tensor, Tensor]:
    """Process 0 sees keys of ranges 0 and 1, process 1 those of 1 and 2, and nobody those of 3."""
    generator = torch.Generator().manual_seed(2 * step + rank)
    return torch.randn(32, 4, generator=generator), torch.rand(32, generator=generator) * 2 + rank


def average(module: nn.Module) -> None:
    """Average gradients over processes; what none of them visited keeps ``grad is None``, so nothing moves it."""
    weights = list(module.parameters())
    visited = torch.tensor([float(p.grad is not None) for p in weights])
    dist.all_reduce(visited)
    for p, count in zip(weights, visited.tolist(), strict=True):
        if count:
            p.grad = torch.zeros_like(p) if p.grad is None else p.grad
            dist.all_reduce(p.grad)
            p.grad /= dist.get_world_size()


def train(model: Model, ranks: list[int]) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for step in range(STEPS):
        x, key = (torch.cat(parts) for parts in zip(*(rows(step, rank) for rank in ranks), strict=True))
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x, key), x[:, :1].sign() * key.unsqueeze(1)).backward()
        if dist.is_initialized():
            average(model.choose)
        optimizer.step()


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    mesh = init_device_mesh("cpu", (2,))
    model = Model()
    fully_shard(model.signs.approximator, mesh=mesh)
    fully_shard(model, mesh=mesh, ignored_params=set(model.choose.parameters()))
    train(model, [rank])
    shard = model.signs.approximator[0].weight.to_local()
    assert shard.shape[0] * 2 == model.signs.approximator[0].weight.shape[0]  # each process holds half of it
    assert model.signs.fidelity().relative_error < 0.9, model.signs.fidelity()
    state = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    if rank == 0:
        torch.save(state, f"{folder}/whole.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(work, args=(folder,), nprocs=2)
        model = Model()
        model.load_state_dict(torch.load(f"{folder}/whole.pt"))
    alone, first = Model(), Model()
    train(alone, [0, 1])  # the same training in one process, on the rows of both
    for name, p in model.named_parameters():
        torch.testing.assert_close(p, alone.get_parameter(name), rtol=1e-2, atol=1e-3)
        assert torch.equal(p, first.get_parameter(name)) == name.startswith("choose.branches.3."), name
    deployed = hg.strip(model).eval()
    print(f"two processes, one model, {len(deployed.state_dict())} tensors to deploy; nobody's branch never moved")
