"""Discrete autoencoders: what a code can hold, that nothing passes beside it, and that every contestant learns."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from torch import Tensor, nn

import hardgrad as hg
from hardgrad_lab.dab import latents_run
from hardgrad_lab.dab.latents import CONTESTANTS, LATENTS, Latents, bits_of
from hardgrad_lab.dab.latents_codes import code_of
from hardgrad_lab.dab.latents_data import Pair, load, passes
from hardgrad_lab.dab.latents_measures import entropy
from hardgrad_lab.dab.latents_model import build, nats
from hardgrad_lab.dab.latents_networks import decoder, encoder
from hardgrad_lab.dab.latents_threshold import TRIED, Shrink, best_threshold, grid
from hardgrad_lab.data import cifar10
from hardgrad_lab.data.errors import MissingDataError
from hardgrad_lab.data.images import Images
from hardgrad_lab.data.root import Root
from hardgrad_lab.report.dab_figures.latents import bpp, draw
from hardgrad_lab.report.records import group_by_config
from hardgrad_lab.runs.execute import How
from hardgrad_lab.runs.options import OptionError
from hardgrad_lab.runs.record import Record

LEARNT = [name for name in CONTESTANTS if name != "threshold"]
CPU = torch.device("cpu")


@pytest.fixture
def root(samples: Path) -> Root:
    return Root(folder=samples)


def tiny(contestant: str, task: str = "fashion-mnist-0.1", **given: Any) -> Latents:
    return LATENTS.configure("smoke", task, contestant, {"rows": 120, "test_rows": 60, "curve_rows": 40, **given})


def some(contestant: str, root: Root, **given: Any) -> tuple[Any, Any]:
    torch.manual_seed(0)
    training, plan = latents_run.begin(tiny(contestant, **given), 0, root, CPU)
    return training, plan


@pytest.mark.parametrize(
    ("contestant", "values", "codes"),
    [
        ("dab-signum", {-1.0, 0.0, 1.0}, 3**4),  # 6 bits are 3.8 trits
        ("dab-binary", {0.0, 1.0}, 2**6 - 2),  # not all can be below their mean, nor all above
        ("dab-bernoulli", {0.0, 1.0}, 2**6),
        ("gumbel-bernoulli", {0.0, 1.0}, 2**6),
        ("gumbel-discrete", {0.0, 1.0}, 8**2),
    ],
)
def test_a_code_takes_as_many_values_as_its_bits_say(contestant: str, values: set[float], codes: int) -> None:
    torch.manual_seed(0)
    code = code_of(tiny(contestant, bits=6)).eval()
    seen = code.hard(torch.randn(6000, code.features) * 2)
    assert set(seen.unique().tolist()) == values
    assert len(seen.unique(dim=0)) == codes
    assert code.bits == pytest.approx(math.log2(codes + 2 * (contestant == "dab-binary")))
    assert code.numbered(seen).unique(dim=0).shape == (codes, code.symbols)
    assert code.numbered(seen).min() == 0
    assert code.numbered(seen).max() == code.alphabet - 1


def test_bits_are_those_of_the_paper() -> None:
    given = {"side": 512, "bits": 786}
    symbols = {name: code_of(tiny(name, "imagenet-786", **given)).symbols for name in LEARNT}
    # 496 as the paper has it; 262 groups of 8 classes are 786 bits too.
    bits = dict.fromkeys(("dab-binary", "dab-bernoulli", "gumbel-bernoulli"), 786)
    assert symbols == {"dab-signum": 496, "gumbel-discrete": 262, **bits}
    assert bits_of(0.1, "fashion-mnist", 28) == 78
    assert bits_of(0.1, "cifar10", 32) == 307
    assert pytest.approx(0.00097, abs=1e-5) == 768 / (512 * 512 * 3)  # how we read its bits per pixel


def test_the_papers_values_are_the_defaults_of_its_budget() -> None:
    fashion, cifar, imagenet = (
        LATENTS.configure("paper", task, "dab-signum", {})
        for task in ("fashion-mnist-0.1", "cifar10-0.1", "imagenet-786")
    )
    assert [(each.optimizer, each.lr, each.batch, each.gamma) for each in (fashion, cifar, imagenet)] == [
        ("adam", 1e-3, 128, 10.0),
        ("rmsprop", 1e-4, 128, 70.0),
        ("rmsprop", 1e-4, 192, 2.0),
    ]
    assert (imagenet.side, imagenet.bits, imagenet.margin) == (512, 786, 0.5)
    for claim in LATENTS.claims:
        assert claim.task in LATENTS.tasks
        assert {claim.better, claim.worse} <= set(CONTESTANTS)


def test_networks_of_the_paper_have_its_parts() -> None:
    parts: dict[str, set[type[nn.Module]]] = {}
    for task in ("fashion-mnist-0.1", "cifar10-0.1", "imagenet-786"):
        smaller = {"side": 64} if task == "imagenet-786" else {}
        config = LATENTS.configure("paper", task, "dab-signum", {"width": 2, "dense": 8, **smaller})
        down, up = encoder(config, 5), decoder(config, 5)
        x = torch.rand(2, config.channels, config.side, config.side)
        assert down(x).shape == (2, 5)
        assert up(torch.rand(2, 5)).shape == x.shape
        parts[task] = {type(each) for each in down.modules()}
        parts[task + " up"] = {type(each) for each in up.modules()}
    assert nn.ELU in parts["fashion-mnist-0.1"]
    assert nn.ReLU not in parts["fashion-mnist-0.1"] | parts["imagenet-786"]
    assert nn.ReLU in parts["cifar10-0.1"]
    assert "CoordConv" in {each.__name__ for each in parts["cifar10-0.1"]}
    assert not {nn.Conv2d, nn.BatchNorm1d, nn.BatchNorm2d} & parts["cifar10-0.1 up"]


def test_resnet_18_has_its_convolutions_and_weights() -> None:
    config = LATENTS.configure("paper", "imagenet-786", "dab-signum", {})
    convs = [each for each in encoder(config, 1000).modules() if isinstance(each, nn.Conv2d)]
    assert len(convs) == 1 + 16 + 3  # stem, two for each of eight blocks, three shortcuts that change the size
    weights = sum(each.weight.numel() for each in convs)
    assert weights == 11_689_512 - 513_000 - 9_600  # torchvision's resnet18 less its dense layer and normalisations


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


def test_the_bound_of_a_vae_is_enumerated() -> None:
    """The loss at a code that says nothing to the decoder: the reconstruction plus the divergence, exactly."""
    for contestant, classes in (("gumbel-bernoulli", 2), ("gumbel-discrete", 8)):
        code = code_of(tiny(contestant, bits=6))
        z = torch.randn(4, code.features, generator=torch.Generator().manual_seed(3))
        scores = torch.stack([z, torch.zeros_like(z)], -1) if classes == 2 else z.unflatten(1, (-1, classes))
        share = scores.softmax(-1).double()
        expected = torch.zeros(4, dtype=torch.float64)
        for chosen in itertools.product(range(classes), repeat=share.shape[1]):
            q = torch.stack([share[:, place, value] for place, value in enumerate(chosen)]).prod(0)
            expected += q * (q.log() + share.shape[1] * math.log(classes))
        got = code.cost(z, lambda code: torch.full((len(code),), 5.0))
        assert torch.allclose(got.double(), 5 + expected, atol=1e-4)


def test_the_temperature_cools_with_training_alone(root: Root) -> None:
    training, plan = some("gumbel-bernoulli", root)
    code = training.model.code
    assert code.temperature.temperature.item() == 1.0
    for _ in range(plan.steps):
        training.step(training.loss, plan.clip)
    training.add_point(last=True)
    assert code.temperature.temperature.item() == pytest.approx(0.1)


def test_nats_are_those_of_independent_pixels() -> None:
    logits, x = torch.randn(2, 1, 2, 3), torch.rand(2, 1, 2, 3)
    p = logits.sigmoid()
    expected = -(x * p.log() + (1 - x) * (1 - p).log()).sum((1, 2, 3))
    assert torch.allclose(nats(logits, x), expected, atol=1e-5)


def test_entropy_of_symbols() -> None:
    numbered = torch.tensor([[0, 2], [0, 1], [1, 0], [1, 0]])
    assert entropy(numbered, 3) == pytest.approx(1.0 + 1.5)


def blobs(grey: tuple[int, int]) -> Images:
    """Pictures of two classes that differ in their grey level alone."""
    y = torch.arange(60) % 2
    x = torch.tensor(grey, dtype=torch.uint8)[y].view(-1, 1, 1, 1).expand(-1, 1, 28, 28)
    return Images(x=x, y=y, classes=("dark", "light"), what="blobs")


@pytest.mark.parametrize(("grey", "low", "high"), [((30, 60), 30, 60), ((140, 230), 140, 230)])
def test_the_threshold_is_the_one_that_separates_training_rows(grey: tuple[int, int], low: int, high: int) -> None:
    config = tiny("threshold", rows=60)
    misleading = blobs((200, 10))  # no test row may have a say
    found = best_threshold(config, Shrink((4, 4)), Pair(train=blobs(grey), test=misleading), CPU)
    assert found in TRIED
    assert low / 255 < found <= high / 255


def test_the_threshold_keeps_to_its_bits(root: Root) -> None:
    for bits, channels in itertools.product((10, 39, 78, 307, 786), (1, 3)):
        height, width = grid(bits, channels)
        assert bits - channels * height - channels < channels * height * width <= bits
        assert 0 <= width - height <= 2
    training, plan = some("threshold", root)
    (shown, _), *_ = passes(tiny("threshold"), load(root, "fashion-mnist", "").test, 1, CPU)
    code = training.model.hard(shown)
    assert set(code.unique().tolist()) <= {0.0, 1.0}
    # A pixel of the small picture is a weighted mean of those around: of an even grey it is that grey.
    even = torch.full((1, 1, 28, 28), 0.37)
    assert torch.allclose(training.model.encoder(even), torch.tensor(0.37))
    for _ in range(plan.steps):
        training.step(training.loss, plan.clip)
    training.add_point(last=True)
    assert training.curve[-1]["bits"] == 72  # 8 x 9 of 78


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


@pytest.mark.parametrize(
    ("task", "given", "message"),
    [
        ("fashion-mnist-0.1", {"side": 32}, "side must be 28"),
        ("imagenet-786", {"side": 100}, "side must be a multiple of 32"),
        ("cifar10-0.1", {"bits": 2}, "bits must be at least 3"),
        ("fashion-mnist-0.1", {"fold": 3}, "fold must be 1 or 2"),
        ("fashion-mnist-0.1", {"temperature": 0.0}, "temperature must be greater than 0"),
        ("fashion-mnist-0.1", {"kl": -1.0}, "kl must be at least 0"),
    ],
)
def test_values_that_make_no_sense_are_refused(task: str, given: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        tiny("dab-signum", task, **given)
