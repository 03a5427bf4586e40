"""One run of a classifier with a hard layer; the experiments of table VI and figure 8 differ in settings alone."""

from __future__ import annotations

import math
from functools import cache

import torch
import torch.nn.functional as F
from rich.console import Console
from torch import Tensor

import hardgrad as hg
from hardgrad_lab.data import cifar10
from hardgrad_lab.data.images import Images
from hardgrad_lab.data.prepare import CIFAR10_MEAN, CIFAR10_STD, InTurn, Shifted, Standardized, mirrored
from hardgrad_lab.data.root import Root
from hardgrad_lab.data.stream import Resident, in_order
from hardgrad_lab.experiments.bridges.classify import layers as classify_layers
from hardgrad_lab.experiments.bridges.classify.config import Classification
from hardgrad_lab.experiments.bridges.classify.emd import rows_and_columns
from hardgrad_lab.experiments.bridges.classify.fast import fast_network, whiten
from hardgrad_lab.experiments.bridges.classify.networks import Classifier, resnet_18
from hardgrad_lab.experiments.bridges.classify.optimizers import make_optimizers
from hardgrad_lab.runs import spread
from hardgrad_lab.runs.execute import How, Outcome, execute
from hardgrad_lab.runs.loop import Plan, Training
from hardgrad_lab.runs.record import Run
from hardgrad_lab.runs.schedule import schedulers
from hardgrad_lab.runs.step import InBf16

EVALUATED_AT_ONCE = 500
WHITENED_BY = 2000  # pictures, two million patches


def reproduce(run: Run, config: Classification, seed: int, root: Root, how: How, console: Console) -> Outcome:
    """Train one classifier, or find its record; see ``runs.execute.execute`` for what it raises."""
    return execute(run, lambda device: begin(config, seed, root, device), how, console)


def begin(config: Classification, seed: int, root: Root, device: torch.device) -> tuple[Training, Plan]:
    """Return the training of a run at step 0, and its plan. Torch's global seed must be set."""
    model = build(config)
    images, test = rows(root, "train", config.rows), rows(root, "test", config.test_rows)
    if config.network == "fast":
        whiten(model, Standardized(CIFAR10_MEAN, CIFAR10_STD)(images.x[:WHITENED_BY], torch.Generator()))
    model.to(device)
    stream = training_stream(config, images, seed, device)
    steps = config.epochs * stream.steps_per_epoch
    optimizers = make_optimizers(config, model)

    def loss(x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(model(x), y, label_smoothing=config.label_smoothing)

    training = Training(
        model=model,
        optimizers=optimizers,
        schedulers=schedulers(config.schedule, optimizers, steps),
        stream=stream,
        loss=InBf16(loss, device) if config.precision == "bfloat16" else loss,
        evaluate=Exam(config, model, test.to(device), device),
        rows=f"{images.what}; tested on {test.what}",
        sums=torch.zeros(2, dtype=torch.float64, device=device),
    )
    return training, Plan(steps=steps, evaluate_every=-(-steps // config.evaluations))


def build(config: Classification) -> Classifier:
    """Return the network of a configuration, drawn from torch's global seed."""
    make = fast_network if config.network == "fast" else resnet_18
    model = make(
        config.width,
        classify_layers.layer(config),
        stage=config.stage,
        head=config.head,
        features=classify_layers.values_per_channel(config),
    )
    # A quarter faster on a CPU, and what a GPU's half precision wants; the numbers mean the same.
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack this form
    return model


def training_stream(config: Classification, images: Images, seed: int, device: torch.device) -> Resident:
    """Return the stream of training batches, without the smaller one at the end of an epoch."""
    shown = Standardized(CIFAR10_MEAN, CIFAR10_STD)
    fast = config.network == "fast"
    moved = InTurn([Shifted(2), shown]) if fast else InTurn([Shifted(4), mirrored, shown])
    return Resident(
        images,
        batch=spread.share(config.batch),
        seed=seed,
        device=device,
        prepare=moved if config.augment else shown,
        alternating=fast and config.augment,
        drop_last=True,
        rank=spread.rank(),
        world=spread.world(),
    )


@cache  # decoding takes seconds, and one command runs many configurations
def whole(root: Root, split: str) -> Images:
    """Return one split of CIFAR-10."""
    return cifar10.load(root, split)


def rows(root: Root, split: str, most: int) -> Images:
    """Return the first so many rows of a split; all of them if ``most`` is 0 or too many."""
    images = whole(root, split)
    return images.take(slice(0, most), f"the first {most:,}") if 0 < most < len(images) else images


class Exam:
    """What is measured on test rows.

    Args:
        config: of the run.
        model: to be measured, as it was drawn.
        images: the test rows, on the device.
        device: of the model.
    """

    def __init__(self, config: Classification, model: Classifier, images: Images, device: torch.device) -> None:
        self.config, self.model, self.images, self.device = config, model, images, device
        self.few = images.take(slice(0, config.curve_rows), f"the first {config.curve_rows:,}")
        self.untrained: dict[str, float] = {}
        if config.layer == "sort":
            model.eval()
            with torch.no_grad():
                drawn = self._measure(images)
            self.untrained = {f"{name}_untrained": drawn[name] for name in ("emd", "disorder")}
            model.train()

    def __call__(self, last: bool) -> dict[str, float]:
        """Return the measures on a few rows, or on all of them with what was measured before training."""
        return {**self._measure(self.images, last), **self.untrained} if last else self._measure(self.few)

    def _measure(self, images: Images, mirrored: bool = False) -> dict[str, float]:
        sums: dict[str, float] = {}
        prepare = Standardized(CIFAR10_MEAN, CIFAR10_STD)
        for x, y in in_order(images, batch=EVALUATED_AT_ONCE, device=self.device, prepare=prepare):
            for name, value in self._batch(x, y, mirrored).items():
                sums[name] = sums.get(name, 0.0) + value
        measured = {"accuracy": sums["right"] / len(images)}
        if mirrored:
            measured["mirrored_accuracy"] = sums["right together"] / len(images)
        if "error" in sums:
            measured["relative_error"] = ratio(sums["error"], sums["scale"]) ** 0.5
        if "carried" in sums:
            measured |= {"emd": sums["carried"] / sums["lines"], "disorder": ratio(sums["carried"], sums["worst"])}
        return measured

    def _batch(self, x: Tensor, y: Tensor, mirrored: bool) -> dict[str, float]:
        """Return sums over a batch: right answers; squares of the bridge's error and of its output; what is carried."""
        entry = self.model.before(x)
        hard = self.model.layer(entry)
        logits = self.model.judge(hard)
        sums: dict[str, float] = {"right": (logits.argmax(1) == y).sum().item()}
        if mirrored:
            sums["right together"] = ((logits + self.model(x.flip(-1))).argmax(1) == y).sum().item()
        if isinstance(self.model.layer, hg.Bridge):
            error = self.model.layer.approximator(entry) - hard
            sums |= {"error": error.square().sum().item(), "scale": hard.square().sum().item()}
        if self.config.layer == "sort":
            sums |= zip(("carried", "worst", "lines"), rows_and_columns(entry), strict=True)
        return sums


def ratio(part: float, whole: float) -> float:
    """Return part / whole; nothing of nothing is 0, and a margin may well leave nothing of an untrained network."""
    return part / whole if whole else (0.0 if part == 0 else math.inf)
