"""Recorded devices: recordings cut and aligned, published figures by the same measure, runs that leave records."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from rich.console import Console

from hardgrad_lab.data import pairs
from hardgrad_lab.data.errors import DamagedDataError
from hardgrad_lab.data.root import Root
from hardgrad_lab.experiments.switches.devices import DEVICES, TASKS, THEIRS
from hardgrad_lab.experiments.switches.devices import tasks as recordings
from hardgrad_lab.experiments.switches.devices.run import model_of, trained
from hardgrad_lab.experiments.switches.devices.tasks import KNOBS, SOUNDS, loud, task_of
from hardgrad_lab.experiments.switches.devices.window import Window
from hardgrad_lab.runs.execute import How
from hardgrad_lab.runs.options import OptionError
from hardgrad_lab.runs.record import Record

CLIP = 400
LENGTH = 2_000


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Root:
    """Devices made up of noise: each halves what goes in, the Klon by its knob."""
    monkeypatch.setattr(pairs, "CLIP", CLIP)
    monkeypatch.setattr(recordings, "SETTLED", 100)
    random = np.random.default_rng(0)

    def write(place: str, signal: np.ndarray, rate: int = 44_100) -> None:
        path = tmp_path / "audio" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, signal, rate)

    clips = 0.3 * random.uniform(-1, 1, 20 * CLIP)
    write("klon_centaur_gainstage/klon_in.flac", clips)
    for knob in KNOBS:
        write(f"klon_centaur_gainstage/klon_gain{round(100 * knob):03}.flac", -(0.1 + knob) * clips)
    for sound in SOUNDS:
        dry = random.uniform(-0.5, 0.5, LENGTH)
        write(f"tubetech_cl1b/{sound}__inp.flac", dry, 48_000)
        for mode, code in pairs.MODES.items():
            wet = 0.5 * dry[pairs.LATE[mode] :]
            write(f"tubetech_cl1b/{code}_{sound}__tar.flac", wet, 48_000)
            for name, early in pairs.NETWORKS.values():
                silent = code == "MC" and name != "ED"
                said = 0.0 * wet if silent else 0.9 * wet[early:]
                write(f"tubetech_cl1b/published_predictions/{name}_Model__{code}_{sound}__pred.flac", said, 48_000)
    kit = random.uniform(-0.5, 0.5, LENGTH)
    for name, gain in (("clean", 1.0), ("target", 0.5)):
        write(f"steerable_drum_compressor/drum_kit_{name}.flac", gain * kit)
    for name in (recordings.LOOP, *recordings.HITS):
        write(f"sonicpi_clean/{name}.flac", random.uniform(-0.5, 0.5, LENGTH))
    return Root(folder=tmp_path)


def test_every_contestant_leaves_a_record_of_its_errors(root: Root, tmp_path: Path) -> None:
    heavy = [("heavy", name) for name in ("told", "constant", "switch", "plain", "lstm", "their-lstm")]
    for task, contestant in [*heavy, ("klon", "lstm"), ("klon", "switch"), ("drums", "told")]:
        run = DEVICES.run(DEVICES.configure("smoke", task, contestant, {"hidden": 2, "window": 4}), 3)
        found = DEVICES.reproduce(run, root, How(results=tmp_path / "out"), Console(quiet=True))
        metrics = Record.load(found.path).metrics
        assert (metrics["parameters"] > 0) == (contestant not in (*THEIRS, "told")), contestant
        assert set(metrics) >= {metric.name for metric in DEVICES.metrics}
        assert all(math.isfinite(value) for value in metrics.values())
        parts = [value for name, value in metrics.items() if name.startswith("esr_")]
        assert metrics["esr"] == pytest.approx(sum(parts) / len(parts))


def test_every_contestant_that_learns_is_made_for_every_task_it_has(root: Root) -> None:
    for name in DEVICES.contestants:
        if name not in (*THEIRS, "told", "gate"):
            setup = DEVICES.configure("smoke", "klon" if name != "compressor" else "drums", name, {"hidden": 2})
            assert model_of(setup, task_of(setup, 0, root)).active() > 0


def test_a_told_gain_and_published_predictions_are_measured_as_by_hand(root: Root) -> None:
    def error(task: str, contestant: str) -> float:
        return trained(DEVICES.configure("smoke", task, contestant, {}), 0, root).metrics["esr"]

    for task in pairs.MODES:  # what came out is half of what went in, once that is moved: 16 bits are what is wrong
        assert error(task, "told") < 1e-8
    assert error("gentle", "their-lstm") == pytest.approx(0.01, rel=1e-3)
    assert error("heavy", "their-encoder-decoder") == pytest.approx(0.01, rel=1e-3)
    assert error("klon", "told") < 1e-6
    with pytest.raises(DamagedDataError, match=r"MC_sweep__pred\.flac is silent"):
        pairs.tubetech(root, "medium", "sweep", "lstm")


def test_parts_share_no_sample_and_what_comes_out_is_as_loud_as_what_goes_in(root: Root) -> None:
    klon = task_of(DEVICES.configure("smoke", "klon", "gru", {}), 0, root)
    assert [len(klon.train), len(klon.held_out)] == [14 * 5, 2 * 5]
    heard = [each.dry for each in (*klon.train, *klon.held_out, *(one for them in klon.tests.values() for one in them))]
    assert len({tuple(each.tolist()) for each in heard}) == 20, "each clip at five knobs, in one part"
    assert len(heard) == 100
    assert all(
        each.lead == 100 and each.knob == float(name) / 100 for name, them in klon.tests.items() for each in them
    )
    kit = loud(task_of(DEVICES.configure("smoke", "drums", "gru", {}), 0, root))
    assert [len(kit.train[0]), len(kit.held_out[0]), len(kit.tests["end"][0])] == [1_200, 200, 600]
    assert kit.train[0].wet.square().sum().item() == pytest.approx(kit.train[0].dry.square().sum().item(), rel=1e-5)


def test_a_plug_in_is_looked_for_in_three_places(root: Root, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    setup = DEVICES.configure("smoke", "gate", "told", {})
    monkeypatch.setenv("LADSPA_PATH", str(tmp_path / "none"))
    with pytest.raises(OptionError, match=r"gate_1410.so of Debian's swh-plugins.*LADSPA_PATH.*none, .*ladspa"):
        task_of(setup, 0, root)
    (tmp_path / "ladspa").mkdir()
    (tmp_path / "ladspa" / "gate_1410.so").touch()
    asked = []

    def half(path: Path, **options: object) -> torch.nn.Module:
        asked.append((path, options["fixed"]))
        return torch.nn.Threshold(-9.0, 0.0)

    monkeypatch.setattr(recordings, "ladspa", half)
    one, other = (task_of(setup, seed, root) for seed in (0, 1))
    assert asked[0] == (tmp_path / "ladspa" / "gate_1410.so", recordings.PLUGINS["gate"][1])
    assert list(one.tests) == ["tabla", "hits"]
    assert not torch.equal(one.train[0].dry, other.train[0].dry), "each seed has noise of its own"
    assert torch.equal(one.train[0].dry, one.train[0].wet)


def test_a_window_in_two_chunks_is_the_whole_and_the_knob_chooses_its_network() -> None:
    torch.manual_seed(0)
    points = [-1.0, 0.0, 1.0]
    device = Window(rate=8, knob=[0.0, 1.0], system="switch", points=points, window=3, hidden=4)
    x, knob = torch.randn(3, 20), torch.tensor([1.0, 0.0, 0.9])
    whole, _ = device(x, None, knob)
    first, state = device(x[:, :7], None, knob)
    second, state = device(x[:, 7:8], state, knob)
    rest, _ = device(x[:, 8:], state, knob)
    assert torch.allclose(torch.cat([first, second, rest], 1), whole, atol=1e-6)
    for row, net in ((0, 1), (1, 0), (2, 1)):
        last = x[row, 9:12]
        torch.testing.assert_close(device.nets[net](last[None], last[-1:])[0, 0], whole[row, 11])


def test_who_contends_where() -> None:
    assert {task for task, name in DEVICES.pairs("small") if name == "gate"} == {"gate"}
    assert {task for task, name in DEVICES.pairs("small") if name in THEIRS} == set(pairs.MODES)
    assert {task for task, _ in DEVICES.pairs("small")} == set(TASKS)
    for claim in DEVICES.claims:
        assert not {(claim.task, claim.better), (claim.task, claim.worse)} & set(DEVICES.without), claim.says
