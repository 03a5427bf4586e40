"""PyTorch-Ignite: an engine whose update opens the scope, with metrics and a checkpoint to resume from.

The problem: ``create_supervised_trainer`` takes a loss of the prediction and the target. There is no place in it for
``bag.total()``. A bridge needs none there, since it trains itself, until you accumulate gradients or use fp16, which
divide and multiply the loss.

``deterministic`` engines, handlers and metrics have nothing to do with hard layers. Evaluators call ``model.eval()``
and ``no_grad``: the approximators do not run.

The one rule: ``create_supervised_trainer`` as it is; with accumulation or fp16 an update function of your own.
"""

import tempfile
from pathlib import Path

import torch
from ignite.engine import Engine, Events, create_supervised_evaluator, create_supervised_trainer
from ignite.handlers import Checkpoint, DiskSaver
from ignite.metrics import MeanSquaredError
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import hardgrad as hg

PARTS = 2


def new() -> tuple[nn.Sequential, torch.optim.Optimizer]:
    torch.manual_seed(0)
    bridge = hg.Bridge(hg.hard.sort, hg.approximators.mlp(6, 6, hidden=(32,)))
    model = nn.Sequential(nn.Linear(6, 6), bridge, nn.Linear(6, 1))
    return model, torch.optim.Adam(model.parameters(), lr=1e-2)


def loader(seed: int) -> DataLoader[tuple[Tensor, ...]]:
    x = torch.randn(512, 6, generator=torch.Generator().manual_seed(seed))
    return DataLoader(TensorDataset(x, x.amax(1, keepdim=True)), batch_size=32)


def own_trainer(model: nn.Module, optimizer: torch.optim.Optimizer) -> Engine:
    def update(engine: Engine, batch: tuple[Tensor, Tensor]) -> dict[str, float]:
        model.train()
        with hg.penalties() as bag:
            task = nn.functional.mse_loss(model(batch[0]), batch[1])
        ((task + bag.total()) / PARTS).backward()
        if engine.state.iteration % PARTS == 0:
            optimizer.step()
            optimizer.zero_grad()
        return {"task": task.item(), "penalty": bag.total().item()}

    return Engine(update)


# As it is: the bridge trains itself.
model, optimizer = new()
create_supervised_trainer(model, optimizer, nn.functional.mse_loss).run(loader(0), max_epochs=6)
assert model[1].fidelity().relative_error < 0.4, model[1].fidelity()

# With accumulation: an update of your own, a checkpoint, and the same numbers after resuming.
model, optimizer = new()
engine = own_trainer(model, optimizer)
with tempfile.TemporaryDirectory() as folder:
    saved = {"model": model, "optimizer": optimizer, "engine": engine}
    engine.add_event_handler(Events.EPOCH_COMPLETED(once=4), Checkpoint(saved, DiskSaver(folder)))
    engine.run(loader(0), max_epochs=24)
    (path,) = Path(folder).glob("*.pt")
    state = torch.load(path, weights_only=True)
resumed, its_optimizer = new()
its_engine = own_trainer(resumed, its_optimizer)
Checkpoint.load_objects({"model": resumed, "optimizer": its_optimizer, "engine": its_engine}, state)
its_engine.run(loader(0), max_epochs=24)
assert all(torch.equal(a, b) for a, b in zip(model.parameters(), resumed.parameters(), strict=True))

evaluator = create_supervised_evaluator(hg.strip(model), {"error": MeanSquaredError()})
error = evaluator.run(loader(1)).metrics["error"]
assert error < 0.2, error  # the target's variance is 0.4
assert model[1].fidelity().relative_error < 0.4, model[1].fidelity()
print(f"held-out error {error:.3f};", engine.state.output, model[1].fidelity())
