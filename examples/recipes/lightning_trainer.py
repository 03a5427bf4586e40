"""Lightning: a bridge and a switch in a LightningModule, with accumulation, clipping and checkpoints.

The problem: automatic optimization divides what ``training_step`` returns by ``accumulate_grad_batches`` and, under
fp16, multiplies it. It knows nothing of a penalty that a bridge adds by itself, so that one is neither divided nor
multiplied.

With hard layers, watch two more things. ``gradient_clip_val`` takes one norm over all weights, of which the
approximators have the largest part: clip them apart in ``configure_gradient_clipping``. And a checkpoint holds the
approximators, which resuming needs and deployment does not: strip after loading.

The one rule: return ``task + bag.total()`` from ``training_step``.
"""

import logging
import tempfile
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import hardgrad as hg

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", ".*does not have many workers.*")


class Module(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.before = nn.Linear(4, 8)
        self.rounded = hg.Bridge(hg.hard.round, hg.approximators.elementwise())
        self.choose = hg.Switch(hg.Ranges([0.0, 0.5, 1.0, 2.0]), nn.Linear(8, 1))

    def forward(self, x: Tensor, key: Tensor) -> Tensor:
        return self.choose(self.rounded(self.before(x)), key=key)

    def training_step(self, batch: list[Tensor], number: int) -> Tensor:
        x, key, target = batch
        with hg.penalties() as bag:
            task = nn.functional.mse_loss(self(x, key), target)
        self.log("task", task)
        self.log_dict({f"penalty {name}": penalty for name, penalty in bag})
        return task + bag.total()

    def validation_step(self, batch: list[Tensor], number: int) -> None:
        x, key, target = batch
        self.log("held out", nn.functional.mse_loss(self(x, key), target))  # eval(): the hard function alone

    def configure_gradient_clipping(self, optimizer: Any, gradient_clip_val: Any, gradient_clip_algorithm: Any) -> None:
        approximator = list(self.rounded.approximator.parameters())
        apart = {id(p) for p in approximator}
        nn.utils.clip_grad_norm_(approximator, gradient_clip_val)
        nn.utils.clip_grad_norm_([p for p in self.parameters() if id(p) not in apart], gradient_clip_val)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=2e-2)


def loader(seed: int) -> DataLoader[tuple[Tensor, ...]]:
    generator = torch.Generator().manual_seed(seed)
    x, key = torch.randn(512, 4, generator=generator), torch.rand(512, generator=generator)
    target = torch.where(key < 0.5, x[:, 0], -x[:, 1]).unsqueeze(1)
    return DataLoader(TensorDataset(x, key, target), batch_size=32)


def trained(folder: Path, epochs: int, resume: Path | None = None) -> tuple[Module, dict[str, Any]]:
    L.seed_everything(0, verbose=False)
    module = Module()
    trainer = L.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        max_epochs=epochs,
        accumulate_grad_batches=2,
        gradient_clip_val=1.0,
        callbacks=[ModelCheckpoint(folder, filename=str(epochs))],
    )
    trainer.fit(module, loader(0), loader(1), ckpt_path=resume, **({"weights_only": True} if resume else {}))
    return module, trainer.callback_metrics


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        whole, metrics = trained(folder, 12)
        trained(folder, 5)
        resumed, _ = trained(folder, 12, folder / "5.ckpt")
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))
    torch.manual_seed(0)
    never = Module().choose.branch(2)
    assert all(torch.equal(a, b) for a, b in zip(whole.choose.branch(2).parameters(), never.parameters(), strict=True))
    assert metrics["held out"] < 0.5, metrics  # the target's variance is 1
    assert whole.rounded.fidelity().relative_error < 0.5, whole.rounded.fidelity()
    assert not any("approximator" in name for name in hg.strip(whole).state_dict())
    print({name: round(value.item(), 3) for name, value in metrics.items()}, whole.rounded.fidelity())
