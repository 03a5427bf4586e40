"""Runs of discrete autoencoders: nothing passes beside the code, every contestant learns, and what a run leaves."""

from __future__ import annotations

import itertools
import math
import re
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from torch import Tensor

import hardgrad as hg
from hardgrad_lab.data import cifar10
from hardgrad_lab.data.errors import MissingDataError
from hardgrad_lab.data.root import Root
from hardgrad_lab.experiments.bridges.latents import CONTESTANTS, LATENTS
from hardgrad_lab.experiments.bridges.latents import run as latents_run
from hardgrad_lab.experiments.bridges.latents.data import load, passes
from hardgrad_lab.experiments.bridges.latents.figures import bpp, draw
from hardgrad_lab.experiments.bridges.latents.model import build
from hardgrad_lab.runs.execute import How
from hardgrad_lab.runs.record import Record
from hardgrad_lab.runs.records import group_by_config
from lab.tiny_latents import CPU, LEARNT, some, tiny


@pytest.fixture
def root(samples: Path) -> Root:
    return Root(folder=samples)


@pytest.mark.parametrize("task", ["fashion-mnist-0.1", "cifar10-0.1", "imagenet-786"])
@pytest.mark.parametrize("contestant", CONTESTANTS)
def test_nothing_reaches_the_decoder_beside_the_code(contestant: str, task: str, root: Root) -> None:
    config = tiny(contestant, task)
    data = load(root, config.dataset, config.folder)
    torch.manual_seed(0)
    model = build(config, data, CPU).eval()
    (x, _), *_ = passes(config, data.test, 8, CPU)
    seen: list[list[Any]] = []
    model.decoder.register_forward_hook(lambda module, inputs, output: seen.append([inputs[0], output]))
    fixed = model.encoder(x[:1]).expand(len(x), -1).detach()
    model.encoder.register_forward_hook(lambda module, inputs, output: fixed)
    for pictures in (x, 1 - x):  # other pictures, and an encoder that says the same of all
        torch.manual_seed(1)
        model(pictures)
    assert torch.equal(seen[0][0], seen[1][0])
    assert torch.equal(seen[0][1], seen[1][1])
    assert seen[0][0].shape == (len(x), model.code.features)


@pytest.mark.parametrize("contestant", LEARNT)
def test_training_moves_the_encoder_and_codes_are_hard_at_test(contestant: str, root: Root) -> None:
    training, plan = some(contestant, root)
    model, before = training.model, [each.clone() for each in training.model.encoder.parameters()]
    inputs: list[Tensor] = []
    model.decoder.register_forward_hook(lambda module, given, output: inputs.append(given[0].detach()))
    for _ in range(plan.steps):
        training.step(training.loss, plan.clip)
    after = list(model.encoder.parameters())
    assert all(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    hard = [bool((each == each.round()).all()) for each in inputs]
    assert all(hard) == contestant.startswith("dab")  # a relaxation shows the decoder what lies between
    inputs.clear()
    state = torch.get_rng_state()
    training.add_point(last=True)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(bool((each == each.round()).all()) for each in inputs)
    assert model.training
    point = training.curve[-1]
    assert 0 < point["ms_ssim"] < 1
    assert 0 < point["separability"] < 1
    assert 0 <= point["usage"] <= 1


def test_a_bridge_lends_the_encoder_the_tasks_gradient_alone(root: Root) -> None:
    training, _ = some("dab-signum", root)
    x, y = training.stream.batch()
    with hg.penalties() as bag:
        loss = training.loss(x, y)
    (bag.total() + 0 * loss).backward()
    first = next(training.model.encoder.parameters())
    assert first.grad is None or first.grad.abs().max() == 0
    learnt = next(training.model.code.bridge.approximator.parameters())
    assert learnt.grad is not None
    assert learnt.grad.abs().max() > 0


def test_the_temperature_cools_with_training_alone(root: Root) -> None:
    training, plan = some("gumbel-bernoulli", root)
    code = training.model.code
    assert code.temperature.temperature.item() == 1.0
    for _ in range(plan.steps):
        training.step(training.loss, plan.clip)
    training.add_point(last=True)
    assert code.temperature.temperature.item() == pytest.approx(0.1)


@pytest.mark.parametrize("contestant", ["dab-bernoulli", "gumbel-discrete"])
def test_a_run_goes_on_bit_for_bit(contestant: str, root: Root, tmp_path: Path) -> None:
    whole, plan = some(contestant, root)
    part, _ = some(contestant, root)
    torch.manual_seed(5)
    for step in range(plan.steps):
        whole.step(whole.loss, plan.clip)
        if step == 2:
            whole.add_point(last=False)
            torch.save(whole.state_dict(), tmp_path / "state.pt")
    torch.manual_seed(77)
    part.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=False))
    for _ in range(3, plan.steps):
        part.step(part.loss, plan.clip)
    for (name, a), b in zip(whole.model.state_dict().items(), part.model.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


@pytest.fixture
def photographs(tmp_path: Path, samples: Path) -> Path:
    """ImageNet's layout: JPEG files of real pictures of two classes, of various sizes."""
    rows = cifar10.load(Root(folder=samples), "train")
    for split, first in (("train", 0), ("val", 80)):
        for number in range(first, first + 60):
            pixels, label = rows.x[number], int(rows.y[number]) % 2
            folder = tmp_path / "pictures" / split / f"class{label}"
            folder.mkdir(parents=True, exist_ok=True)
            image = Image.fromarray(np.ascontiguousarray(pixels.permute(1, 2, 0).numpy()))
            image.resize((40 + number % 9, 36 + number % 5)).save(folder / f"{number}.jpg")
    return tmp_path


def test_a_folder_of_photographs_is_coded(photographs: Path, tmp_path: Path) -> None:
    config = tiny("dab-signum", "imagenet-786", folder="pictures", side=64, batch=12)
    run, how = LATENTS.run(config, 0), How(results=tmp_path / "results")
    outcome = latents_run.reproduce(run, config, 0, Root(folder=photographs), how, Console(quiet=True))
    assert outcome.record.metrics["bits"] == pytest.approx(15 * math.log2(3))
    assert 0 <= outcome.record.metrics["ms_ssim"] < 1
    assert outcome.record.metrics["separability"] * 60 % 1 == pytest.approx(0, abs=1e-6)
    with Image.open(tmp_path / "results" / "pictures" / f"{run.name}.png") as picture:
        assert picture.size == (640, 128)
        assert picture.mode == "RGB"


def test_photographs_that_are_missing_are_asked_for(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="holds no folder a class"):
        load(Root(folder=tmp_path), "imagenet", "imagenet")


def test_records_are_drawn(root: Root, tmp_path: Path) -> None:
    records = []
    for contestant, seed in itertools.product(("dab-binary", "threshold"), (0, 1)):
        config = replace(tiny(contestant), steps=2)
        run = LATENTS.run(config, seed)
        outcome = latents_run.reproduce(run, config, seed, root, How(results=tmp_path), Console(quiet=True))
        records.append(Record.load(outcome.path))
    assert all(len(record.curve) == 2 for record in records)
    groups = group_by_config(records)
    assert bpp(groups[0]) == pytest.approx(78 / 784)
    drawings = draw(groups, tmp_path)
    assert [drawing.name for drawing in drawings] == [
        "latents-fashion-mnist",
        "latents-fashion-mnist-0.1-curves",
        "latents-fashion-mnist-0.1-pictures",
    ]
    for number, drawing in enumerate(drawings):
        drawing.figure.savefig(tmp_path / f"{number}.png")
    shown = drawings[2].figure.axes[0].images[0].get_array()
    assert shown is not None
    assert shown.shape == (3 * 28, 10 * 28)
    assert draw([], tmp_path) == []
    free = [replace(record, config={**record.config, "contestant": "gumbel-discrete", "kl": 0.0}) for record in records]
    (panel, _) = draw([*groups, *group_by_config(free)], tmp_path)[0].figure.axes
    assert panel.get_legend_handles_labels()[1] == ["dab-binary", "gumbel-discrete, kl 0", "threshold"]


def test_the_guide_says_what_the_records_say() -> None:
    home = Path(__file__).parents[2]
    page = (home / "docs" / "commands" / "experiments.md").read_text(encoding="utf-8")
    guide = page.partition("## Discrete codes at the same")[2]
    records = [Record.load(path) for path in sorted((home / "results" / "latents").glob("*-0.1-*.json"))]
    said = re.findall(r"^\| ([\w-]+)(, kl 0)? \| ([\d.]+) \| ([\d.]+) % \|$", guide, flags=re.MULTILINE)
    assert len(said) == 7
    for contestant, free, *numbers in said:
        mine = [
            record.metrics
            for record in records
            if (record.config["task"], record.config["budget"]) == ("fashion-mnist-0.1", "small")
            and (record.config["contestant"], record.config["kl"]) == (contestant, 0.0 if free else 1.0)
        ]
        assert len(mine) == 3
        likeness, accuracy = (statistics.fmean(each[name] for each in mine) for name in ("ms_ssim", "separability"))
        assert numbers == [f"{likeness:.3f}", f"{100 * accuracy:.1f}"], (contestant, free)
