"""What every device with a state obeys: saved programs, devices of torch, states, settings, and C that is kept."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import hardgrad as hg
from hardgrad.devices import native

LAYERS: dict[str, Callable[[], nn.Module]] = {
    "Ballistics": lambda: hg.Ballistics(1.0, 9.0, sample_rate=8000),
    "Gate": lambda: hg.Gate(-20.0, -30.0, sample_rate=8000),
    "Compressor": lambda: hg.Compressor(-20.0, 4.0, sample_rate=8000),
    "Compressor, rms": lambda: hg.Compressor(-20.0, 4.0, detector="rms", sample_rate=8000),
}
each_layer = pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)


def sound(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@each_layer
def test_a_saved_program_is_the_layer(make: Callable[[], nn.Module]) -> None:
    layer, x, file = make(), sound(2, 30), io.BytesIO()
    torch.export.save(torch.export.export(layer, (x,)), file)
    file.seek(0)
    assert torch.equal(torch.export.load(file).module()(x)[0], layer(x)[0])


@each_layer
def test_a_layer_elsewhere_than_its_sound_is_a_sentence(make: Callable[[], nn.Module]) -> None:
    with pytest.raises((ValueError, RuntimeError), match="device"):  # it ended the process, once
        make().to("meta")(sound(2, 30))


@each_layer
@pytest.mark.parametrize("shapes", [((3, 20), (20,)), ((2, 5, 20), (2, 20))], ids=str)
def test_a_state_of_another_batch_is_a_sentence(make: Callable[[], nn.Module], shapes: Any) -> None:
    layer = make()
    first, second = shapes
    with pytest.raises(ValueError, match="state must be of x's leading dimensions"):
        layer(sound(*second), layer(sound(*first))[1])


@each_layer
@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (2, 0, 5), (0,), (1,)], ids=str)
def test_nothing_in_is_nothing_out(make: Callable[[], nn.Module], shape: tuple[int, ...]) -> None:
    layer, x = make(), torch.zeros(shape, requires_grad=True)
    y, state = layer(x)
    y.sum().backward()
    assert y.shape == shape
    assert x.grad is not None
    assert all(part.shape == shape[:-1] for part in state)
    assert len({part.data_ptr() for part in state if part.numel()}) == len([part for part in state if part.numel()])


def test_the_end_of_a_knee_has_the_slope_of_finite_differences() -> None:
    def level(threshold: Tensor) -> Tensor:
        layer = hg.Compressor(0.0, 4.0, attack_ms=0.0, knee_db=6.0, sample_rate=8000, learn=False).double()
        y: Tensor = layer(torch.ones(1, 1, dtype=torch.float64), threshold_db=threshold)[0]
        return y.sum()

    at = torch.tensor(-3.0, dtype=torch.float64, requires_grad=True)  # 0 dB is 3 above it, half of the knee
    (slope,) = torch.autograd.grad(level(at), at)
    step = 1e-6
    assert slope.item() == pytest.approx(((level(at + step) - level(at - step)) / (2 * step)).item(), rel=1e-4)


def test_a_time_far_below_what_a_float_holds_has_a_slope_of_0() -> None:
    layer: Any = hg.Ballistics(1.0, 1.0, sample_rate=8000)
    with torch.no_grad():
        layer.log_attack_ms.fill_(-400.0)
    layer(sound(1, 10))[0].sum().backward()
    assert layer.log_attack_ms.grad == 0


@pytest.mark.parametrize(
    "make",
    [
        lambda: hg.Compressor(-20.0, 4.0, sample_rate=8000, learn=["rms_ms"]),
        lambda: hg.Gate(-20.0, -30.0, range_db=-math.inf, sample_rate=8000, learn=["range_db"]),
        lambda: hg.Compressor(-20.0, 4.0, sample_rate=8000, link=True)(torch.zeros(2, 0, 5)),
    ],
    ids=["rms of a peak", "range of silence", "linked nothing"],
)
def test_what_could_not_learn_or_link_is_refused(make: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"rms_ms|range_db|channel"):
        make()


def test_operators_read_nobody_elses_memory() -> None:
    x, setting, start = sound(2, 10).double(), sound(1, 4).double(), sound(2, 4).double()
    with pytest.raises(ValueError, match="of x's rows"):
        torch.ops.hardgrad.gate(x, setting, start)


@pytest.mark.parametrize("size", [0, 100, 4096])
def test_c_that_was_cut_short_is_made_anew(size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = "int three(void) { return 3; }"

    def kept_in(folder: Path) -> int:
        monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
        library: Any = native.native.__wrapped__(source, "three")
        return int(library.three())

    assert kept_in(tmp_path / "whole") == 3
    (kept,) = tmp_path.rglob("*.so")
    cut = tmp_path / "cut" / kept.relative_to(tmp_path / "whole")  # elsewhere: what is loaded is not read again
    cut.parent.mkdir(parents=True)
    cut.write_bytes(kept.read_bytes()[:size])
    assert kept_in(tmp_path / "cut") == 3
