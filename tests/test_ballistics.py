"""Attack and release: a plain loop, finite differences, chunks, what compiles and what does not, and a key in dB."""

from __future__ import annotations

import io
import math
import shutil
import subprocess
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import hardgrad as hg
from hardgrad.devices import loops, native, scan
from hardgrad.devices.scan import ballistics_scan

RATE = 8000.0


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def loop(x: list[float], attack_ms: float, release_ms: float, y: float = 0.0) -> list[float]:
    """The definition, in another order of arithmetic."""
    out = []
    for value in x:
        ms = attack_ms if value > y else release_ms
        kept = math.exp(-1000 / (ms * RATE)) if ms else 0.0
        y = kept * y + (1 - kept) * value
        out.append(y)
    return out


def scanned(rows: int = 11, samples: int = 300) -> list[Tensor]:
    """Signals, coefficients and starts; a row is at once, one has a NaN, one an infinity, one ends in silence."""
    x, attack, release = noise(rows, samples).abs(), noise(rows, seed=1).sigmoid(), noise(rows, seed=2).sigmoid() / 9
    attack[2] = release[7] = 1.0
    x[3, 100], x[4, 100] = math.nan, math.inf
    x[5, 100:], release[5] = 0.0, 0.95
    return [x, attack, release, noise(rows, seed=3)]


def same(a: Tensor, b: Tensor) -> bool:
    return torch.equal(a.isnan(), b.isnan()) and torch.equal(a.nan_to_num(7.0), b.nan_to_num(7.0))


def test_value_is_that_of_a_plain_loop() -> None:
    x = noise(2, 3, 200)
    attack, release = (
        torch.tensor([0.5, 0.0, 3.0], dtype=torch.float64),
        torch.tensor([[20.0], [0.0]], dtype=torch.float64),
    )
    y, state = hg.Ballistics(attack, release, sample_rate=RATE, learn=False)(x)
    for b in range(2):
        for c in range(3):
            want = loop(x[b, c].tolist(), float(attack[c]), float(release[b, 0]))
            assert torch.allclose(y[b, c], torch.tensor(want, dtype=torch.float64), rtol=1e-12, atol=1e-14)
    assert torch.equal(state.level, y[..., -1])


def test_gradient_is_that_of_finite_differences() -> None:
    x, start, attack, release = noise(3, 12), noise(3, seed=1), torch.tensor(0.4), torch.tensor([[9.0], [2.0], [0.7]])
    layer = hg.Ballistics(attack.double(), release.double()[:, 0], sample_rate=RATE)

    def call(x: Tensor, start: Tensor, attack: Tensor, release: Tensor) -> tuple[Tensor, Tensor]:
        state = layer(x[:, :0])[1]._replace(level=start)
        y, state = layer(x, state, attack_ms=attack, release_ms=release)
        return y, state.level

    leaves = [each.double().requires_grad_() for each in (x, start, attack, release[:, 0])]
    assert torch.autograd.gradcheck(call, leaves)
    # The layer's own parameters are logarithms: d/d log(ms) = ms d/d ms.
    given = torch.autograd.grad(call(*leaves)[0].square().sum(), leaves[2:])
    own = torch.autograd.grad(layer(x, layer(x[:, :0])[1]._replace(level=start))[0].square().sum(), layer.parameters())
    for mine, theirs, ms in zip(own, given, leaves[2:], strict=True):
        assert torch.allclose(mine, theirs * ms, rtol=1e-12)


def test_compiled_and_python_are_one_to_the_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    assert native.native(loops.PRELUDE + scan._SOURCE, "ballistics") is not None, "this machine has no C compiler"
    operators, given = torch.ops.hardgrad, scanned()
    grad = noise(11, 300, seed=5)
    y = operators.ballistics(*given)
    assert y[5, 200] > 0 == y[5, 299]  # no number that is too small to be computed with fast
    grad[5, :-1] = 0.0
    back = operators.ballistics_backward(grad, given[0], y, *given[1:])
    assert back[0][5, 150] == 0 != back[0][5, 298]
    none = [each[:0] for each in given]
    monkeypatch.setattr(loops, "native", lambda *_: None)
    assert same(operators.ballistics(*given), y)
    for mine, theirs in zip(operators.ballistics_backward(grad, given[0], y, *given[1:]), back, strict=True):
        assert same(mine, theirs)
    assert operators.ballistics(*none).shape == (0, 300)
    assert operators.ballistics(given[0][:, :0], *given[1:]).shape == (11, 0)
    empty = given[0][:, :0]
    assert torch.equal(operators.ballistics_backward(empty, empty, empty, *given[1:])[3], torch.zeros(11).double())


def test_no_memory_of_others_is_read() -> None:
    x, attack, release, start = scanned()
    for wrong in ([x, attack[:1], release, start], [x, attack, release.float(), start]):
        with pytest.raises(ValueError, match="ballistics: all tensors must be float64, of x"):
            ballistics_scan(*wrong)


def test_rows_of_any_number_are_the_same_as_alone() -> None:
    x, attack, release, start = scanned(15, 150)
    together = ballistics_scan(x, attack, release, start)
    for i in range(15):
        row = slice(i, i + 1)
        assert same(ballistics_scan(x[row], attack[row], release[row], start[row]), together[row])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_chunks_are_the_whole(dtype: torch.dtype) -> None:
    x = noise(2, 3, 64).to(dtype)
    layer = hg.Ballistics(0.5, torch.tensor([3.0, 20.0, 0.2]), sample_rate=RATE)
    whole, end = layer(x)
    state, parts = None, []
    for chunk in x.split((1, 0, 30, 33), -1):
        y, state = layer(chunk, state)
        parts.append(y)
    assert state is not None
    assert torch.equal(torch.cat(parts, -1), whole)
    assert torch.equal(state.level, end.level)
    assert whole.dtype == dtype
    assert end.level.dtype == torch.float64
    wide, _ = layer(x.double())
    assert torch.equal(whole, wide.to(dtype))  # rounded once
    assert not state.detach().level.requires_grad


def test_gradient_goes_through_the_state() -> None:
    layer = hg.Ballistics(0.5, 9.0, sample_rate=RATE)
    x = noise(2, 40).requires_grad_()
    whole = torch.autograd.grad(layer(x)[0].square().sum(), [x, *layer.parameters()])
    first, state = layer(x[:, :13])
    second, _ = layer(x[:, 13:], state)
    halves = torch.autograd.grad(torch.cat([first, second], -1).square().sum(), [x, *layer.parameters()])
    for a, b in zip(whole, halves, strict=True):
        assert torch.allclose(a, b, rtol=1e-5)
    assert torch.equal(whole[0], halves[0])


def test_a_nan_stays_in_its_row() -> None:
    x = noise(3, 50)
    layer = hg.Ballistics(0.5, torch.tensor([9.0, 9.0, 9.0]), sample_rate=RATE)
    bad = x.clone()
    bad[1, 20] = math.nan
    bad.requires_grad_()
    y, _ = layer(bad)
    right = layer(x)[0]
    assert torch.equal(y[::2], right[::2])
    assert torch.equal(y[1, :20], right[1, :20])
    assert bool(y[1, 20:].isnan().all())
    y.sum().backward()
    assert bad.grad is not None
    assert bool(bad.grad[::2].isfinite().all())
    (gradient,) = (p.grad for p in [layer.log_release_ms])
    assert isinstance(gradient, Tensor)
    assert gradient.isnan().tolist() == [False, True, False]


@pytest.mark.parametrize("ms", [1e-9, 1e9])
def test_extreme_times_are_right(ms: float) -> None:
    x = torch.ones(1, 1000, dtype=torch.float64)
    y, _ = hg.Ballistics(torch.tensor(ms, dtype=torch.float64), 1.0, sample_rate=RATE)(x)
    want = [-math.expm1(-1000 * (t + 1) / (ms * RATE)) for t in range(1000)]
    assert torch.allclose(y[0], torch.tensor(want, dtype=torch.float64), rtol=1e-12, atol=0)


def test_a_tie_has_no_slope_in_the_times_and_0_ms_is_at_once() -> None:
    times = torch.tensor([0.0, 2.0], requires_grad=True)
    y, _ = hg.Ballistics(1.0, 1.0, sample_rate=RATE)(torch.zeros(2, 5), attack_ms=times, release_ms=times)
    assert torch.autograd.grad(y.sum(), times)[0].tolist() == [0.0, 0.0]
    x = noise(2, 30) * torch.logspace(-9, 9, 30, dtype=torch.float64)
    y, _ = hg.Ballistics(0, 0, sample_rate=RATE, learn=False)(x)
    assert torch.equal(y, x)  # y + (x - y) would not be


def test_times_learn_and_stay_times() -> None:
    """From 10 and 10 ms to 2 and 50, on one signal without noise: seed 0."""
    x = noise(2, 1000).abs() * (torch.arange(1000) % 500 < 200)
    target, _ = hg.Ballistics(2.0, 50.0, sample_rate=RATE, learn=False)(x)
    layer = hg.Ballistics(10.0, 10.0, sample_rate=RATE)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.2)
    for _ in range(70):
        optimizer.zero_grad()
        (layer(x)[0] - target).square().mean().backward()
        optimizer.step()
    assert layer.attack_ms.item() == pytest.approx(2, rel=0.02)
    assert layer.release_ms.item() == pytest.approx(50, rel=0.02)
    layer.attack_ms.backward()
    torch.optim.SGD(layer.parameters(), lr=1e3).step()
    assert 0 <= layer.attack_ms.item() < 2


def test_settings_can_be_set() -> None:
    layer = hg.Ballistics(10.0, torch.tensor([1.0, 2.0]), sample_rate=RATE, learn=["attack_ms"])
    layer.release_ms = 5.0
    assert layer.release_ms.tolist() == pytest.approx([5, 5])
    assert not layer.log_release_ms.requires_grad
    with pytest.raises(ValueError, match=r"Ballistics: attack_ms must broadcast to the shape it was built with, \(\)"):
        layer.attack_ms = torch.ones(2)
    with pytest.raises(ValueError, match="Ballistics: attack_ms must be above 0 to learn, got 0"):
        layer.attack_ms = 0.0
    assert layer.attack_ms.item() == pytest.approx(10)
    assert str(layer) == "Ballistics(attack_ms=10, release_ms=tensor of (2,), sample_rate=8000)"


def _other_state(layer: Any, x: Tensor) -> Any:
    return layer(x, layer(x[:1])[1])


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        (lambda layer, x: layer(x, attack_ms=-1.0), "attack_ms must be at least 0, got -1"),
        (lambda layer, x: layer(x, attack_ms=torch.tensor([1.0, -2.0])), "attack_ms must be at least 0, got -2"),
        (lambda layer, x: layer(x, release_ms=torch.ones(3)), r"release_ms must broadcast to .*\(2, 2\), got \(3,\)"),
        (lambda layer, x: layer(x, 3), "state must be the BallisticsState that an earlier call returned, got int 3"),
        (_other_state, r"state must be of x's leading dimensions \(2, 2\), got \(1, 2\); start a new batch"),
        (lambda layer, x: layer(x.long()), "x must be floating point"),
        (lambda layer, x: layer(x[0, 0, 0]), r"x must be \(\*, samples\), got one number"),
        (lambda layer, x: torch.func.jvp(lambda x: layer(x)[0], (x,), (x,)), "backward alone, got forward mode"),
        (lambda layer, x: torch.func.hessian(lambda x: layer(x)[0].sum())(x), "forward mode"),
        (lambda layer, x: _twice(layer, x), "cannot be differentiated again"),
    ],
)  # fmt: skip
def test_mistakes_are_said(mistake: Any, words: str) -> None:
    layer = hg.Ballistics(1.0, 9.0, sample_rate=RATE)
    with pytest.raises((ValueError, TypeError, RuntimeError), match=f"^Ballistics: .*{words}"):
        mistake(layer, noise(2, 2, 6))


def _twice(layer: Any, x: Tensor) -> None:
    (first,) = torch.autograd.grad(layer(x)[0].square().sum(), layer.log_attack_ms, create_graph=True)
    first.backward()


def test_transforms_are_the_loop_over_them() -> None:
    layer, x = hg.Ballistics(1.0, 9.0, sample_rate=RATE).requires_grad_(False), noise(3, 2, 20)
    times = torch.tensor([1.0, 2.0, 4.0])

    def loss(x: Tensor, ms: Tensor) -> Tensor:
        return layer(x, attack_ms=ms)[0].square().sum()

    both = torch.func.vmap(torch.func.grad(loss, (0, 1)))(x, times)
    shared = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(x[0], times)
    for i in range(3):
        leaves = [x[i].clone().requires_grad_(), times[i].clone().requires_grad_()]
        for mine, found in zip(both, torch.autograd.grad(loss(*leaves), leaves), strict=True):
            assert torch.equal(mine[i], found)
        assert torch.equal(shared[i], torch.func.grad(loss)(x[0], times[i]))
    rows, attack, release, start = (each[8:] for each in scanned())
    signals = torch.stack([rows, 2 * rows], 1)
    both = torch.func.vmap(ballistics_scan, in_dims=(1, None, None, None))(signals, attack, release, start)
    assert torch.equal(both[1], ballistics_scan(2 * rows, attack, release, start))


def test_a_graph_has_one_node() -> None:
    layer, x = hg.Ballistics(1.0, 9.0, sample_rate=RATE), torch.randn(2, 20)
    program = torch.export.export(layer, (x,))
    names = [str(node.target) for node in program.graph.nodes]
    assert names.count("hardgrad.ballistics.default") == 1
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    y, state = torch.export.load(file).module()(x)
    assert torch.equal(y, layer(x)[0])
    assert torch.equal(layer(x, state)[0], layer(x, layer(x)[1])[0])
    torch.compiler.reset()
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    mine, found = (torch.autograd.grad(f(x)[0].square().sum(), layer.parameters()) for f in (layer, compiled))
    assert all(torch.equal(a, b) for a, b in zip(mine, found, strict=True))
    y, state = layer.to("meta")(x.to("meta"), attack_ms=torch.ones(2, device="meta"))
    assert y.is_meta
    assert y.shape == (2, 20)
    assert state.level.shape == (2,)


def test_it_writes_to_nothing_and_may_be_written_to() -> None:
    layer, x = hg.Ballistics(1.0, 9.0, sample_rate=RATE), noise(2, 20)[:, ::2].requires_grad_()
    y, state = layer(x)
    want = torch.autograd.grad(layer(x)[0].sum(), x)[0]
    y.mul_(1.0)
    assert torch.equal(torch.autograd.grad(y.sum(), x)[0], want)
    end = state.level.clone()
    y.detach().zero_()
    assert torch.equal(state.level, end)


# ------------------------------------------------------------------------------------------------ what compiles it


def test_a_text_is_compiled_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    compiled: list[Any] = []
    run = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: compiled.append(a) or run(*a, **k))
    source = "int two(void) { return 2; }"
    for _ in range(2):
        native.native.cache_clear()
        library = native.native(source, "two")
        assert library is not None
        assert library.two() == 2
    assert len(compiled) == 1
    assert [path.suffix for path in (tmp_path / "hardgrad").iterdir()] == [".so"]
    monkeypatch.setenv("HARDGRAD_NATIVE", "0")
    native.native.cache_clear()
    assert native.native(source, "two") is None


@pytest.mark.parametrize(
    ("compiler", "source", "words"),
    [
        ("no-such-compiler", "", "no-such-compiler"),
        ("cc", "int f(", "error"),
        ("", "", "No such file or directory: 'cc'"),
    ],
)
def test_no_compiler_is_said_once(
    compiler: str, source: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CC", compiler)
    if not compiler:
        monkeypatch.setattr(shutil, "which", lambda name: None)
    native.native.cache_clear()
    with pytest.warns(UserWarning, match=f"one runs in Python, about 80 times slower.*{words}"):
        assert native.native(source, "one") is None
    assert list((tmp_path / "hardgrad").glob("*")) == [] if (tmp_path / "hardgrad").exists() else True


# ------------------------------------------------------------------------------------------------ a key in dB


def test_level_of_a_sine_and_of_silence() -> None:
    t = torch.arange(8000, dtype=torch.float64)
    sine = 10 ** (-12 / 20) * torch.sin(2 * math.pi * 440 * t / RATE)
    key = hg.EnvelopeKey(0.0, 1e5, sample_rate=RATE)
    level, state = key.level(sine)
    assert level[-1].item() == pytest.approx(-12, abs=0.05)
    assert key.level(sine[:0], state)[1].level == state.level
    assert key(torch.zeros(1, 3, 2)).tolist() == [[-100.0] * 3]
    assert torch.equal(hg.EnvelopeKey(1.0, 9.0, sample_rate=RATE, column=1)(noise(2, 9, 2)), _level(noise(2, 9, 2)))


def _level(x: Tensor) -> Tensor:
    return hg.EnvelopeKey(1.0, 9.0, sample_rate=RATE).level(x[..., 1])[0]


def test_it_is_the_key_of_switches() -> None:
    x = torch.cat([0.001 * noise(2, 60, 1), noise(2, 60, 1)], 1).float()
    key, ranges = hg.EnvelopeKey(0.1, 50.0, sample_rate=RATE), hg.Ranges([-100, -40, 40])
    switch = hg.Switch(ranges, [nn.Linear(1, 1), nn.Linear(1, 1)], key=key)
    level = key(x)
    taken = (level >= -40)[..., None]
    assert 0 < int(taken.sum()) < taken.numel()
    assert torch.allclose(switch(x), torch.where(taken, switch.branch(1)(x), switch.branch(0)(x)))
    recurrent = hg.RecurrentSwitch(ranges, nn.GRU(1, 3, batch_first=True), state="shared", key=key)
    whole, _ = recurrent(x)
    at, state, parts = None, None, []
    for chunk in x.split((50, 1, 69), 1):
        level, at = key.level(chunk[..., 0], at)
        y, state = recurrent(chunk, level, state)
        parts.append(y)
    assert torch.allclose(torch.cat(parts, 1), whole, atol=1e-6)


def test_points_learn_on_it_and_its_times_do_not() -> None:
    points = hg.LearnedRanges([-100, -40, 40], band=0.5)
    key = hg.EnvelopeKey(0.1, 50.0, sample_rate=RATE)
    switch = hg.Switch(points, [nn.Linear(1, 1), nn.Linear(1, 1)], key=key)
    x = torch.cat([0.001 * noise(2, 60, 1), noise(2, 60, 1)], 1).float()
    switch(x).square().sum().backward()
    assert any(p.grad is not None and bool(p.grad.any()) for p in points.parameters())
    learning = hg.EnvelopeKey(sample_rate=RATE, learn=["release_ms"])
    with pytest.raises(ValueError, match="EnvelopeKey: release_ms must not learn as a key, since a choice passes no"):
        learning(x)
    assert learning.eval()(x).shape == (2, 120)
    learning.level(x[..., 0])[0].sum().backward()
    assert isinstance(learning.log_release_ms, Tensor)
    assert learning.log_release_ms.grad is not None
    with pytest.raises(
        ValueError, match=r"EnvelopeKey: x must be \(..., samples, features\) with column 0, got \(5,\)"
    ):
        key(torch.zeros(5))


# ------------------------------------------------------------------------------------------------ others


def test_torchcomp_agrees_where_it_is_installed() -> None:
    """It follows a gain, so its attack is a fall: the signal is turned over. Value and gradients."""
    if find_spec("torchcomp") is None:
        return
    core: Any = import_module("torchcomp.core")
    x, attack, release, start = (each[5:9] for each in scanned(9, 3000))
    grad, found = noise(4, 3000, seed=7), []
    for sign, function in ((1, ballistics_scan), (-1, lambda x, a, r, s: core.compressor_core(x, s, a, r))):
        leaves = [each.clone().requires_grad_() for each in (x, attack, release, start)]
        y = sign * function(sign * leaves[0], leaves[1], leaves[2], sign * leaves[3])
        found.append([y, *torch.autograd.grad(y, leaves, grad)])
    for mine, theirs in zip(*found, strict=True):
        assert torch.allclose(mine, theirs, rtol=1e-9, atol=1e-11)
