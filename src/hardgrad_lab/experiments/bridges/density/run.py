"""One run of the density model: the rows, the autoencoder, the contestant, the bound along the run."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from rich.console import Console
from torch import Tensor, nn

from hardgrad_lab.data import binarized
from hardgrad_lab.data.images import Images
from hardgrad_lab.data.prepare import Prepare
from hardgrad_lab.data.root import Root
from hardgrad_lab.data.stream import Resident, in_order
from hardgrad_lab.experiments.bridges.density import Density
from hardgrad_lab.experiments.bridges.density.estimators import Contestant, contestant
from hardgrad_lab.experiments.bridges.density.networks import AT_ONCE, BinaryVae, logits_of, measure
from hardgrad_lab.runs import spread
from hardgrad_lab.runs.execute import How, Outcome, execute
from hardgrad_lab.runs.loop import Plan, Training
from hardgrad_lab.runs.record import Run
from hardgrad_lab.runs.schedule import schedulers

TRAIN_ROWS = 10_000  # of the training rows are measured, where a configuration does not say


class Model(nn.Module):
    """The autoencoder and the contestant that trains it.

    Args:
        vae: what is measured.
        contestant: what is not needed any more after training.
        published_kl: train by the KL of what the contestant's approximator makes of q.
    """

    def __init__(self, vae: BinaryVae, contestant: Contestant, published_kl: bool) -> None:
        super().__init__()
        self.vae, self.contestant, self.published_kl = vae, contestant, published_kl

    def forward(self, x: Tensor) -> Tensor:
        """Return the negative bound of rows (B, ...) of zeros and ones, its mean over them."""
        rows = x.flatten(1)
        q = self.vae.bits(rows)
        nats: Tensor = self.contestant(q, lambda b: -self.vae.log_likelihood(rows, b))
        logits = logits_of(q)
        if self.published_kl:
            logits = self.contestant.imitated(logits.sigmoid()).logit()
        return (nats + self.vae.kl(logits)).mean()


@dataclass(frozen=True, kw_only=True)
class Rows:
    """What a run sees.

    Args:
        train: rows to train on, grey or binary.
        measured: of them, those that are measured.
        test: the test rows.
        prepare: makes either binary.
    """

    train: Images
    measured: Images
    test: Images
    prepare: Prepare

    def mean(self) -> Tensor:
        """Return how often each pixel is 1 in the training rows, (pixels,)."""
        pixels = self.train.x.flatten(1)
        if self.prepare is binarized.threshold:
            pixels = (pixels > 127).to(torch.uint8)
        return pixels.sum(0, dtype=torch.int64) / (len(pixels) * (255 if self.prepare is binarized.draw else 1))


def load_rows(config: Density, root: Root) -> Rows:
    """Return the rows of a configuration; see ``data.binarized.load`` for what it raises."""
    train, prepare = binarized.load(root, config.pictures, "fit", config.binarization)
    test, _ = binarized.load(root, config.pictures, "test", config.binarization)
    if config.rows:
        train = train.take(slice(config.rows), f"the first {min(config.rows, len(train)):,}")
    if config.test_rows:
        test = test.take(slice(config.test_rows), f"the first {min(config.test_rows, len(test)):,}")
    measured = train.take(slice(config.test_rows or TRAIN_ROWS), "the first of them, to measure")
    return Rows(train=train, measured=measured, test=test, prepare=prepare)


def reproduce(run: Run, config: Density, seed: int, root: Root, how: How, console: Console) -> Outcome:
    """Train one model, or find its record; see ``runs.execute.execute`` for what it raises."""
    return execute(run, lambda device: begin(config, seed, root, device), how, console)


def begin(config: Density, seed: int, root: Root, device: torch.device) -> tuple[Training, Plan]:
    """Return the training of a run at step 0, and its plan. Torch's global seed must be set."""
    rows = load_rows(config, root)
    stream = Resident(
        rows.train,
        batch=spread.share(config.batch),
        seed=seed,
        device=device,
        prepare=rows.prepare,
        drop_last=True,
        rank=spread.rank(),
        world=spread.world(),
    )
    steps = config.epochs * stream.steps_per_epoch
    vae = BinaryVae(rows.mean(), config.hidden, config.latents, config.prior == "learnt")
    model = Model(vae, contestant(config, steps), config.kl == "published").to(device)
    optimizers: list[torch.optim.Optimizer] = [_adam(config, model)]
    training = Training(
        model=model,
        optimizers=optimizers,
        schedulers=schedulers(config.schedule, optimizers, steps),
        stream=stream,
        loss=lambda x, _: model(x),
        rows=f"trained on {rows.train.what}; measured on {rows.test.what}",
        evaluate=lambda last: _look(config, rows, training, stream.steps_per_epoch, last),
        sums=torch.zeros(2, dtype=torch.float64, device=device),
    )
    return training, Plan(steps=steps, evaluate_every=max(1, steps // config.evaluations_of_curve))


def _adam(config: Density, model: Model) -> torch.optim.Adam:
    groups = [
        {"params": list(model.vae.parameters()), "lr": config.lr},
        {"params": list(model.contestant.parameters()), "lr": config.lr * config.control_lr},
    ]
    return torch.optim.Adam([group for group in groups if group["params"]], fused=True)


def _look(config: Density, rows: Rows, training: Training, steps_per_epoch: int, last: bool) -> dict[str, float]:
    """Measure the bound on test rows and on training rows; at the end with many draws, and say which was the best."""
    assert isinstance(training.model, Model)
    vae = training.model.vae
    device = vae.mean.device
    draws = {"test": config.draws, "train": max(1, config.draws // 10)} if last else {"test": 1, "train": 1}

    def bounds(images: Images, draws: int) -> tuple[float, float]:
        shown = in_order(images, batch=max(1, AT_ONCE // draws), device=device, prepare=rows.prepare)
        return measure(vae, shown, draws, torch.Generator(device).manual_seed(0))

    bound, several = bounds(rows.test, draws["test"])
    train_bound, _ = bounds(rows.measured, draws["train"])
    epoch = training.steps / steps_per_epoch
    found = {"epoch": epoch, "bound": bound, "train_bound": train_bound, "gap": train_bound - bound}
    if last:
        best, at = max([(point["bound"], point["epoch"]) for point in training.curve] + [(bound, epoch)])
        found |= {"several_draws_bound": several, "best_bound": best, "best_epoch": at}
    return found
