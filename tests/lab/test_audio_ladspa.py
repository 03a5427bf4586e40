"""LADSPA by ctypes: the plug-ins of ladspa_plugins.c do what their formulas say, and every mistake is a sentence."""

from __future__ import annotations

import pickle
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import hardgrad as hg
from hardgrad_lab.audio import Parameter, ladspa, plugins

RATE = 8000
SOURCE = Path(__file__).with_name("ladspa_plugins.c")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ladspa") / "plugins.so"
    compiler = shutil.which("cc") or "gcc"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-Wall", "-Werror", SOURCE, "-o", path, "-lm"], check=True)
    return path


@pytest.fixture
def made(library: Path) -> Callable[..., Any]:
    def make(label: str, parameters: Any = None, **options: Any) -> Any:
        return ladspa(library, label, parameters, **{"sample_rate": RATE, **options})

    return make


def noise(*shape: int, seed: int = 0) -> Tensor:
    return 2 * torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) - 1


def folded(y: Tensor) -> Tensor:
    return (2 / torch.pi * torch.asin(torch.sin(torch.pi / 2 * y.double()))).float()


def test_a_folder_does_what_its_formula_says_on_each_channel_of_each_row(made: Callable[..., Any]) -> None:
    box, signal = made("fold", ["Gain"]), noise(3, 2, 2500)  # three blocks, the last one not full
    gains = torch.tensor([0.25, 1.0, 4.0])
    out = box(signal, torch.tensor([[0.0], [0.5], [1.0]]))
    torch.testing.assert_close(out, folded(gains[:, None, None] * signal), atol=2e-6, rtol=0)
    assert box.calls == 3
    assert box.latency == 0
    assert box.sample_rate == RATE


def test_a_switch_of_the_plug_in_is_a_knob_with_one_step(made: Callable[..., Any]) -> None:
    box, signal = made("fold", ["Fold"], fixed={"Gain": 4}), noise(4, 1, 50)
    out = box(signal, torch.tensor([[0.0], [0.49], [0.51], [1.0]]))
    expected = torch.cat([4 * signal[:2], folded(4 * signal[2:])])
    torch.testing.assert_close(out, expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize(("tell", "late"), [(0.0, 37), (1.0, 0)])
def test_a_delay_is_taken_out_where_the_plug_in_tells_it_and_is_heard_where_not(
    made: Callable[..., Any], tell: float, late: int
) -> None:
    box, signal = made("delay", ["Length (samples)"], fixed={"Tell": tell}), noise(2, 1, 3000)
    out = box(signal, torch.full((2, 1), 0.037))
    torch.testing.assert_close(out, torch.nn.functional.pad(signal, (late, 0))[..., :3000], atol=0, rtol=0)
    assert box.latency == (500 if tell else 0)  # with the knob in the middle of 0 to 1000 samples


def test_nothing_of_a_row_is_left_over_in_the_next(made: Callable[..., Any]) -> None:
    box, knobs = made("delay", fixed={"Tell": 0}), torch.tensor([[0.3], [0.8], [0.1]])
    signal = noise(3, 2, 1500)
    assert torch.equal(box(signal, knobs), box(signal.flip(0), knobs.flip(0)).flip(0))
    assert torch.equal(box(signal, knobs)[1:2], box(signal[1:2], knobs[1:2]))


def test_every_block_lies_alike_since_a_compiled_loop_rounds_by_where_it_begins(made: Callable[..., Any]) -> None:
    others = [bytearray(16 * i + 1) for i in range(50)]  # so that what NumPy allocates begins anywhere
    assert torch.equal(made("place")(noise(8, 1, 2050)), torch.zeros(8, 1, 2050))
    del others


def test_numbers_too_small_to_be_quick_are_zero_inside_and_only_there(made: Callable[..., Any]) -> None:
    box, tiny = made("fold", ["Gain"], fixed={"Fold": 0}), torch.full((1, 1, 10), 1.2e-38)
    assert torch.equal(box(tiny, torch.tensor([[0.25]])), torch.zeros(1, 1, 10))
    assert (tiny / 2).min() > 0


def test_whole_numbers_and_a_control_without_bounds(made: Callable[..., Any]) -> None:
    box, signal = made("crush", ["Bits", ("Offset", -1, 1)]), noise(3, 1, 64)
    out = box(signal, torch.tensor([[0.0, 0.5], [0.19, 0.75], [1.0, 0.0]]))  # 1 bit, 1 + 8 * 0.19 = 2.52 -> 3 bits, 9
    expected = [torch.sgn(signal[0]) * (2 * signal[0].abs() // 1).clamp(max=1), (4 * signal[1]).round() / 4 + 0.5]
    torch.testing.assert_close(out[:2], torch.stack(expected), atol=1e-6, rtol=0)
    torch.testing.assert_close(out[2], (256 * signal[2]).round() / 256 - 1, atol=1e-6, rtol=0)


def test_two_channels_go_in_together(made: Callable[..., Any]) -> None:
    signal = noise(2, 2, 1300)
    assert torch.equal(made("swap")(signal), signal.flip(1))
    with pytest.raises(RuntimeError, match=r"row 0.*signal must have 2 channels for this plug-in, got 1"):
        made("swap")(signal[:, :1])


def test_what_a_file_says_of_its_ports(library: Path) -> None:
    found = plugins(library, RATE)
    assert list(found) == ["fold", "delay", "crush", "swap", "never", "mute", "place"]
    ports = {port.name: port for port in [*found["fold"], *found["delay"], *found["crush"]]}
    assert ports["Gain"][2:] == (0.25, 4.0, 1.0, "log")
    assert ports["Fold"][2:] == (0.0, 1.0, 1.0, "whole")
    assert ports["Length (samples)"][2:] == (0.0, 1000.0, 0.0, "whole")
    assert ports["Bits"][2:] == (1.0, 9.0, 9.0, "whole")
    assert ports["Offset"][2:] == (None, None, 0.0, "linear")
    assert ports["Most"].scale == "linear"  # no logarithm of 0, whatever its file says
    assert [ports[name].default for name in ("Low", "High", "Most", "Pitch (Hz)")] == [2.0, 6.0, 8.0, 400.0]


def test_knobs_say_name_range_unit_and_scale(made: Callable[..., Any]) -> None:
    assert made("delay").knobs == (
        Parameter("Length (samples)", 0.0, 1000.0, "samples", "whole"),
        Parameter("Tell", 0.0, 1.0, "", "whole"),
    )
    asked = made("crush", [("Pitch (Hz)", 50, 200), ("Low", 2, 8), ("High", 1, 4, "log"), ("Offset", 0, 1)]).knobs
    assert [(p.unit, p.scale, p.value(0.5)) for p in asked] == [
        ("Hz", "linear", 125.0),  # its file says nothing of a logarithm
        ("", "log", pytest.approx(4.0)),
        ("", "log", pytest.approx(2.0)),
        ("", "linear", 0.5),
    ]
    assert [p.name for p in made("crush").knobs] == ["Bits", "Low", "High", "Most", "Pitch (Hz)"]


@pytest.mark.parametrize(
    ("label", "options", "sentence"),
    [
        (
            "gate",
            {},
            r"label of .* must be one of 'fold', 'delay', 'crush', 'swap', 'never', 'mute', 'place', got 'gate'",
        ),
        (None, {}, r"label of .* must be one of 'fold', .* got None"),
        ("mute", {}, r"label must be of a plug-in with audio in and audio out, got 'mute'"),
        ("fold", {"parameters": ["gain"]}, r"a parameter's name must be one of 'Gain', 'Fold', got 'gain'"),
        ("crush", {"parameters": ["Offset"]}, r"parameter 'Offset' must be named once, as \('Offset', low, high\)"),
        ("crush", {"parameters": ["Bits", "Bits"]}, r"parameter 'Bits' must be named once"),
        ("fold", {"parameters": ["Gain"], "fixed": {"Gain": 1}}, r"parameter 'Gain' must be named once"),
        ("fold", {"fixed": {"Loss": 1}}, r"a name in fixed must be one of 'Gain', 'Fold', got 'Loss'"),
        ("fold", {"fixed": {"Fold": float("nan")}}, r"fixed\['Fold'\] must be finite, got nan"),
        ("fold", {"parameters": [("Gain", 2, 1)]}, r"high of 'Gain' must be above 2, got 1"),
        ("fold", {"parameters": [("Gain", 0, 1, "log")]}, r"low of 'Gain' must be above 0, got 0"),
        ("fold", {"parameters": [("Gain", 0, 1, "ln")]}, r"scale of 'Gain' must be one of 'linear', 'log', 'whole'"),
        ("fold", {"sample_rate": 0}, r"sample_rate must be at least 1, got 0"),
    ],
)
def test_a_mistake_is_one_sentence(
    made: Callable[..., Any], label: str | None, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValueError, match=r"^hardgrad_lab.audio.ladspa: " + sentence) as caught:
        made(label, **options)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_none_of_ladspa(tmp_path: Path) -> None:
    text = tmp_path / "text.so"
    text.write_text("no program")
    with pytest.raises(ValueError, match=r"path must be a LADSPA plug-in for this machine, got .*text\.so"):
        plugins(text)
    compiler = shutil.which("cc") or "gcc"
    other = tmp_path / "other.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-x", "c", "-", "-o", other], input=b"int one = 1;", check=True)
    with pytest.raises(ValueError, match=r"path must be a LADSPA plug-in for this machine, got .*ladspa_descriptor"):
        ladspa(other, sample_rate=RATE)
    with pytest.raises(FileNotFoundError, match=r"path must be a file, got .*none\.so; most are in /usr/lib/ladspa"):
        ladspa(tmp_path / "none.so", sample_rate=RATE)


def test_a_plug_in_that_does_not_start_is_said_with_its_row(made: Callable[..., Any]) -> None:
    with pytest.raises(RuntimeError, match=r"BlackBox\(.*\): .*row 0.*must start at 8000 Hz, got no instance"):
        made("never")(noise(1, 1, 10))


def test_a_box_goes_to_another_process(made: Callable[..., Any]) -> None:
    box, signal, knobs = made("fold", ["Gain"]), noise(2, 1, 100), torch.tensor([[0.2], [0.9]])
    assert torch.equal(pickle.loads(pickle.dumps(box))(signal, knobs), box(signal, knobs))


def test_a_knob_is_learned_by_two_points_and_a_signal_by_a_bridge(made: Callable[..., Any]) -> None:
    torch.manual_seed(0)
    box, signal = made("fold", ["Gain"]), noise(4, 1, 400)
    knobs = torch.full((4, 1), 0.5, requires_grad=True)
    hg.perturb(box, (None, 0.1))(signal, knobs).square().mean((1, 2)).sum().backward()
    # The difference of the two points, written out; the gain is 0.25 * 16 ** knob.
    y = folded(signal)
    slope = (folded(0.25 * 16**0.6 * signal) - folded(0.25 * 16**0.4 * signal)) / 0.2
    expected = (2 * y * slope).mean((1, 2))
    torch.testing.assert_close(knobs.grad, expected[:, None], atol=1e-4, rtol=1e-3)
    x = signal.clone().requires_grad_()
    fixed = torch.full((4, 1), 0.9)
    bridge = hg.Bridge(lambda x: box(x, fixed[: len(x)]), torch.nn.Conv1d(1, 1, 5, padding=2))
    bridge(x).square().mean().backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
    assert x.grad.abs().max() > 0
