"""Accelerate: your own loop, on any hardware, with the penalty in what ``accelerator.backward`` gets.

The problem: ``accelerator.backward(loss)`` divides the loss by ``gradient_accumulation_steps``, and multiplies it under
fp16. A bridge that trains itself takes no part in that.

With hard layers, watch also: ``accelerator.prepare`` may wrap the model, so unwrap it before ``hg.strip``. On several
devices a switch needs ``DistributedDataParallelKwargs(find_unused_parameters=True)``, since no process visits all
branches. ``save_state`` keeps model, optimizer and random state together, approximators included.

The one rule: open ``hg.penalties()`` around the forward and hand ``task + bag.total()`` to ``accelerator.backward``.
"""

import tempfile

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import hardgrad as hg

PARTS = 2


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.before = nn.Linear(4, 8)
        self.rounded = hg.Bridge(hg.hard.round, hg.approximators.elementwise())
        self.choose = hg.Switch(hg.Ranges([0.0, 0.5, 1.0, 2.0]), nn.Linear(8, 1))

    def forward(self, x: Tensor, key: Tensor) -> Tensor:
        return self.choose(self.rounded(self.before(x)), key=key)


def data() -> TensorDataset:
    generator = torch.Generator().manual_seed(0)
    x, key = torch.randn(512, 4, generator=generator), torch.rand(512, generator=generator)
    return TensorDataset(x, key, torch.where(key < 0.5, x[:, 0], -x[:, 1]).unsqueeze(1))


accelerator = Accelerator(cpu=True, gradient_accumulation_steps=PARTS)


def prepared() -> tuple[nn.Module, torch.optim.Optimizer, DataLoader[tuple[Tensor, ...]]]:
    model = Model()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-2)
    return accelerator.prepare(model, optimizer, DataLoader(data(), batch_size=32))


def epoch(model: nn.Module, optimizer: torch.optim.Optimizer, batches: DataLoader[tuple[Tensor, ...]]) -> Tensor:
    model.train()
    for x, key, target in batches:
        with accelerator.accumulate(model):
            with hg.penalties() as bag:
                task = nn.functional.mse_loss(model(x, key), target)
            accelerator.backward(task + bag.total())
            optimizer.step()
            optimizer.zero_grad()
    return task


model, optimizer, batches = prepared()
for _ in range(4):
    epoch(model, optimizer, batches)
with tempfile.TemporaryDirectory() as folder:
    accelerator.save_state(folder)
    for _ in range(8):
        task = epoch(model, optimizer, batches)
    accelerator.free_memory()
    resumed, its_optimizer, batches = prepared()
    accelerator.load_state(folder)
for _ in range(8):
    epoch(resumed, its_optimizer, batches)
assert all(torch.equal(a, b) for a, b in zip(model.parameters(), resumed.parameters(), strict=True))

plain = Model()  # and by hand, in batches that are PARTS times as large
optimizer = torch.optim.Adam(plain.parameters(), lr=2e-2)
for _ in range(12):
    for x, key, target in DataLoader(data(), batch_size=32 * PARTS):
        optimizer.zero_grad()
        nn.functional.mse_loss(plain(x, key), target).backward()
        optimizer.step()
ours = accelerator.unwrap_model(model)
for name, p in ours.named_parameters():
    torch.testing.assert_close(p, plain.get_parameter(name), rtol=1e-2, atol=1e-3)
for a, b in zip(ours.choose.branch(2).parameters(), Model().choose.branch(2).parameters(), strict=True):
    assert torch.equal(a, b)  # nobody visited it
assert ours.rounded.fidelity().relative_error < 0.6, ours.rounded.fidelity()
deployed = hg.strip(ours).eval()
print(f"task {task.item():.3f};", ours.rounded.fidelity(), f"{len(deployed.state_dict())} tensors to deploy")
