"""The compressor: against a loop over samples in plain Python, finite differences, and itself in chunks."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap

import hardgrad as hg
from hardgrad.devices.compressor import CompressorState

RATE = 8000
SETTINGS: dict[str, float] = {
    "threshold_db": -24.0,
    "ratio": 3.0,
    "knee_db": 6.0,
    "makeup_db": 2.0,
    "attack_ms": 0.7,
    "release_ms": 4.0,
    "rms_ms": 1.5,
}
KINDS = [("peak", False), ("peak", True), ("rms", False), ("rms", True)]


def layer(detector: str = "peak", link: bool = False, **given: Any) -> hg.Compressor:
    settings = {name: value for name, value in SETTINGS.items() if detector == "rms" or name != "rms_ms"} | given
    return hg.Compressor(**settings, sample_rate=RATE, detector=detector, link=link).double()  # type: ignore[arg-type]  # of several types


def sound(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 0.3


def coefficient(ms: float) -> float:
    return 1.0 if ms == 0 else 1 - math.exp(-1000 / (ms * RATE))


def loop(x: list[float], side: list[float], detector: str, s: dict[str, float]) -> list[float]:
    """One channel, a sample at a time, as the paper's formulas say it."""
    held, power, out = 0.0, 0.0, []
    for now, heard in zip(x, side, strict=True):
        power += coefficient(s["rms_ms"]) * (heard * heard - power)
        size = abs(heard) if detector == "peak" else math.sqrt(power)
        over = 20 * math.log10(max(size, 1e-6)) - s["threshold_db"]
        if abs(over) < s["knee_db"] / 2:
            over = (over + s["knee_db"] / 2) ** 2 / (2 * s["knee_db"])
        wanted = (1 - 1 / s["ratio"]) * max(over, 0.0)
        held += coefficient(s["attack_ms"] if wanted > held else s["release_ms"]) * (wanted - held)
        out.append(now * 10 ** ((s["makeup_db"] - held) / 20))
    return out


@pytest.mark.parametrize("detector", ["peak", "rms"])
@pytest.mark.parametrize("changed", [{}, {"knee_db": 0.0}, {"attack_ms": 0.0}, {"ratio": math.inf}, {"ratio": 1.0}])
def test_it_is_the_loop_over_samples(detector: str, changed: dict[str, float]) -> None:
    x, side = sound(2, 400), sound(2, 400, seed=1)
    x[0, 50:60] = side[0, 50:80] = 0.0
    own = layer(detector, False, **changed, learn=False)
    for heard in (None, side):
        y, _ = own(x, side=heard)
        pairs = zip(x.tolist(), (x if heard is None else side).tolist(), strict=True)
        expected = [loop(*pair, detector, SETTINGS | changed) for pair in pairs]
        torch.testing.assert_close(y, torch.tensor(expected, dtype=torch.float64), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("detector", "link"), KINDS)
def test_gradients_to_signal_side_state_and_settings_are_those_of_finite_differences(detector: str, link: bool) -> None:
    own = layer(detector, link, learn=False)
    names = [name for name in SETTINGS if detector == "rms" or name != "rms_ms"]
    by_channel = torch.tensor([1.0, 1.1, 1.3], dtype=torch.float64)
    given = [(SETTINGS[name] * by_channel).requires_grad_() for name in names]
    x, side = sound(2, 3, 12).requires_grad_(), sound(2, 1, 12, seed=1).requires_grad_()
    state = (sound(2, 3, seed=2).abs() * 9).requires_grad_(), sound(2, 3, seed=3).abs().requires_grad_()

    def run(x: Tensor, side: Tensor, reduction_db: Tensor, power: Tensor, *settings: Tensor) -> tuple[Tensor, Tensor]:
        before = CompressorState(reduction_db, power)
        y, after = own(x, before, side=side, **dict(zip(names, settings, strict=True)))
        return y, after.reduction_db

    assert torch.autograd.gradcheck(run, (x, side, *state, *given), fast_mode=True)
    parameters = {name: value.detach().requires_grad_() for name, value in own.named_parameters()}
    mine = parameters if detector == "rms" else {k: v for k, v in parameters.items() if k != "log_rms_ms"}
    assert torch.autograd.gradcheck(
        lambda x, *p: functional_call(own, dict(zip(mine, p, strict=True)), (x,))[0],
        (x, *mine.values()),
        fast_mode=True,
    )


@pytest.mark.parametrize(("detector", "link"), KINDS)
def test_chunks_are_the_whole_bit_for_bit(detector: str, link: bool) -> None:
    x = sound(2, 3, 3001).float()
    own = layer(detector, link).float()
    whole, end = own(x)
    for cuts in ([0, 1, 2, 3, 3001], [0, 7, 1000, 1000, 1013, 3001], [0, 1500, 3001]):
        state: CompressorState | None = None
        chunks = []
        for begin, stop in pairwise(cuts):
            y, state = own(x[..., begin:stop], state)
            chunks.append(y)
        assert torch.equal(torch.cat(chunks, -1), whole)
        assert state is not None
        assert all(torch.equal(*pair) for pair in zip(state, end, strict=True))


def test_linked_channels_are_turned_down_as_their_loudest_is() -> None:
    x = sound(2, 2, 300) * torch.tensor([[1.0], [0.01]], dtype=torch.float64)
    y, _ = layer(link=True)(x)
    gain = y / x
    torch.testing.assert_close(gain[:, 0], gain[:, 1])
    alone, _ = layer()(x)
    assert float((alone[:, 1] / x[:, 1] - gain[:, 1]).detach().abs().max()) > 0.1
    loudest, _ = layer()(x, side=x.abs().amax(1, keepdim=True))
    torch.testing.assert_close(y, loudest)


def test_its_gradient_brings_wrong_settings_back() -> None:
    x = sound(3, 1500) * torch.logspace(-2, 0.3, 10, dtype=torch.float64).repeat_interleave(150)
    target, _ = layer(learn=False)(x)
    own = layer(threshold_db=-18.0, ratio=2.0, knee_db=3.0, makeup_db=0.0, attack_ms=2.0, release_ms=10.0)
    optimizer = torch.optim.LBFGS(own.parameters(), max_iter=60, line_search_fn="strong_wolfe")

    def loss() -> float:
        optimizer.zero_grad()
        error = (own(x)[0] - target).square().sum()
        error.backward()
        return float(error.detach())

    optimizer.step(loss)
    for name in set(SETTINGS) - {"rms_ms"}:
        assert float(getattr(own, name).detach()) == pytest.approx(SETTINGS[name], rel=0.01), name


def test_half_is_the_float64_result_rounded_once_and_extremes_are_numbers() -> None:
    x = sound(2, 200).half()
    own = layer()
    assert torch.equal(own(x)[0], own(x.double())[0].half())
    y, state = own(torch.zeros(2, 0))
    assert y.shape == (2, 0)
    assert state.reduction_db.tolist() == [0.0, 0.0]
    silent = torch.zeros(1, 9, requires_grad=True)
    own(silent)[0].sum().backward()
    assert silent.grad is not None
    assert bool(silent.grad.isfinite().all())
    x = sound(1, 9)
    x[0, 4] = math.nan
    assert own(x)[0].isnan().tolist() == [[False] * 4 + [True] * 5]


def test_a_transform_and_a_graph_give_what_eager_code_gives() -> None:
    x, own = sound(3, 2, 40), layer()

    def loss(x: Tensor, threshold_db: Tensor) -> Tensor:
        return own(x, threshold_db=threshold_db)[0].square().sum()

    thresholds = torch.tensor([-20.0, -24.0, -30.0], dtype=torch.float64)
    found = grad(lambda each: vmap(loss)(x, each).sum())(thresholds)
    expected = torch.stack([grad(loss, argnums=1)(*pair) for pair in zip(x, thresholds, strict=True)])
    torch.testing.assert_close(found, expected)
    compiled = torch.compile(own, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x)[0], own(x)[0])
    leaf = x.clone().requires_grad_()
    (first,) = torch.autograd.grad(own(leaf)[0].sum(), leaf, create_graph=True)
    with pytest.raises(RuntimeError, match="Compressor: its gradient cannot be differentiated again"):
        first.sum().backward()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: layer(ratio=0.5), "ratio must be at least 1"),
        (lambda: layer(ratio=math.inf), "ratio must be finite to learn, got inf"),
        (lambda: layer(knee_db=-1.0), "knee_db must be at least 0"),
        (lambda: layer(rms_ms=3.0), "rms_ms must come with detector='rms'"),
        (lambda: layer()(torch.ones(3), rms_ms=3.0), "rms_ms must come with detector='rms'"),
        (lambda: layer("mean"), "detector must be one of 'peak', 'rms'"),
        (lambda: layer(link=True)(torch.ones(3)), r"x must be \(\*, channels, samples\) to link"),
        (lambda: layer()(torch.ones(2, 3), side=torch.ones(2, 1)), "side must broadcast to x"),
        (lambda: layer()(torch.ones(2, 3), side=torch.ones(3, 3)), "side must broadcast to x"),
        (lambda: layer()(torch.ones(2, 3), layer()(torch.ones(3, 3))[1]), "state must be of x's leading dimensions"),
        (lambda: layer()(torch.ones(2, 3), threshold_db=torch.ones(5)), "threshold_db must broadcast"),
    ],
)
def test_mistakes_are_said(call: Any, words: str) -> None:
    with pytest.raises((ValueError, TypeError), match=words):
        call()


def test_a_knee_too_wide_for_its_precision_is_named_whether_it_learns_or_not() -> None:
    for learn in (True, False):
        with pytest.raises(ValueError, match=r"Compressor: knee_db must be finite in torch.float32, got inf"):
            hg.Compressor(-20.0, 4.0, knee_db=1e308, attack_ms=1.0, release_ms=9.0, sample_rate=48_000, learn=learn)
