"""Discrete codes: what each can hold, its loss, the networks around it, the threshold, and the values of the paper."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from hardgrad_lab.data.images import Images
from hardgrad_lab.data.root import Root
from hardgrad_lab.experiments.bridges.latents import CONTESTANTS, LATENTS, bits_of
from hardgrad_lab.experiments.bridges.latents.codes import code_of
from hardgrad_lab.experiments.bridges.latents.data import Pair, load, passes
from hardgrad_lab.experiments.bridges.latents.measures import entropy
from hardgrad_lab.experiments.bridges.latents.model import nats
from hardgrad_lab.experiments.bridges.latents.networks import decoder, encoder
from hardgrad_lab.experiments.bridges.latents.threshold import TRIED, Shrink, best_threshold, grid
from hardgrad_lab.runs.options import OptionError
from lab.tiny_latents import CPU, LEARNT, some, tiny


@pytest.fixture
def root(samples: Path) -> Root:
    return Root(folder=samples)


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


def test_a_folded_network_starts_and_ends_at_half_the_side() -> None:
    config = tiny("dab-signum", fold=2)
    down, up = encoder(config, 5), decoder(config, 5)
    sides: list[int] = []
    for each in (*down.modules(), *up.modules()):
        if isinstance(each, nn.BatchNorm2d):
            each.register_forward_hook(lambda module, inputs, output: sides.append(output.shape[-1]))
    x = torch.rand(2, 1, 28, 28)
    assert down(x).shape == (2, 5)
    assert up(torch.rand(2, 5)).shape == x.shape
    assert sides == [14, 7, 14]


def test_resnet_18_has_its_convolutions_and_weights() -> None:
    config = LATENTS.configure("paper", "imagenet-786", "dab-signum", {})
    convs = [each for each in encoder(config, 1000).modules() if isinstance(each, nn.Conv2d)]
    assert len(convs) == 1 + 16 + 3  # stem, two for each of eight blocks, three shortcuts that change the size
    weights = sum(each.weight.numel() for each in convs)
    assert weights == 11_689_512 - 513_000 - 9_600  # torchvision's resnet18 less its dense layer and normalisations


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
