"""Devices trained along time: what is heard, what is learned from, and that a stopped training goes on bit for bit."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from scipy import signal
from torch import Tensor

from hardgrad_lab.devices import loss as losses
from hardgrad_lab.devices import training
from hardgrad_lab.devices.choose import fresh, try_device
from hardgrad_lab.devices.clips import Clips
from hardgrad_lab.devices.kinds import build
from hardgrad_lab.devices.loss import device_loss, esr
from hardgrad_lab.devices.passes import detached
from hardgrad_lab.devices.recordings import LEAD_S, Recording, Split
from hardgrad_lab.devices.score import error_to_signal, heard, score
from hardgrad_lab.devices.training import DeviceTraining, passes_in, train

RATE = 8000
WARM_UP = 64


def leaky(n: int = 6000, pole: float = 0.9, knob: float | None = None, seed: int = 0) -> Recording:
    """Noise through one pole: the best gain leaves much of it, a state none."""
    x = 0.3 * np.random.default_rng(seed).normal(size=n)
    wet = signal.lfilter([1 - pole], [1, -pole], x)
    return Recording(dry=torch.tensor(x).float(), wet=torch.tensor(wet).float(), knob=knob, name="leaky")


def in_time(recordings: Sequence[Recording], rate: int) -> Split:
    """The last tenth of each fifth of a recording is the test, the tenth before it held out."""
    made = Split([], [], [])
    for each in recordings:
        edges = [round(i * len(each.dry) / 5) for i in range(6)]
        for first, end in pairwise(edges):
            last, middle = end - round(0.1 * (end - first)), end - round(0.2 * (end - first))
            for part, begin, stop in (
                (made.train, first, middle),
                (made.held_out, middle, last),
                (made.test, last, end),
            ):
                part.append(each.part(begin, stop, round(LEAD_S * rate)))
    return made


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hardgrad_lab.devices.clips.LENGTH", 800)
    monkeypatch.setattr("hardgrad_lab.devices.recurrent.Recurrent.chunk", 100)
    monkeypatch.setattr("hardgrad_lab.devices.clips.BATCH", 4)
    for module in ("clips", "passes"):
        monkeypatch.setattr(f"hardgrad_lab.devices.{module}.WARM_UP", WARM_UP)


# --------------------------------------------------------------------------------------------------------------- loss


def test_the_loss_is_the_error_over_the_signal_with_pre_emphasis_and_dc() -> None:
    random = np.random.default_rng(0)
    y, t = random.normal(size=(2, 3, 50))
    bright = [side[:, 1:] - 0.85 * side[:, :-1] for side in (y, t)]
    wanted = np.square(bright[0] - bright[1]).sum() / np.square(bright[1]).sum()
    wanted += np.square((y - t).mean(axis=1)).mean() / np.square(t).mean()
    assert float(device_loss("esr")(torch.tensor(y), torch.tensor(t))) == pytest.approx(wanted)
    assert float(esr(torch.tensor(y), torch.tensor(t))) == pytest.approx(np.square(y - t).sum() / np.square(t).sum())
    assert error_to_signal(torch.tensor(y), torch.tensor(t)) == pytest.approx(
        float(esr(torch.tensor(y), torch.tensor(t)))
    )


def test_a_loss_of_spectra_asks_for_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(losses, "load", absent)
    with pytest.raises(ValueError, match=r"needs auraloss, which is not installed: pip install 'hardgrad\[audio\]'"):
        device_loss("spectra")
    with pytest.raises(ValueError, match="loss must be one of esr, mse, spectra, got 'l1'"):
        device_loss("l1")


# ------------------------------------------------------------------------------------------------------------- places


def test_nothing_is_learned_from_what_brings_the_state_or_is_held_out(small: None) -> None:
    count = torch.arange(1.0, 5001.0)
    whole = Recording(dry=count, wet=-count)
    parts = [whole.part(0, 900, 300), whole.part(1000, 2500, 300), whole.part(2600, 4600, 300)]
    assert [each.lead for each in parts] == [0, 300, 300]
    allowed = torch.cat([each.wet[each.lead :] for each in parts])
    clips, seen = Clips(parts, seed=0, chunk=100), set()
    for _ in range(200):
        (dry, wet), knob = clips.batch()
        learned = wet[:, WARM_UP:]
        assert torch.isin(learned, allowed).all()
        assert (learned.diff(dim=1) == -1).all(), "a place is a stretch"
        assert torch.equal(dry, -wet)
        assert not knob.any()
        seen |= set(learned.flatten().tolist())
    assert len(seen) > 4300, "of 4400 samples, all are heard at last"


def test_places_follow_from_the_seed_and_their_number(small: None) -> None:
    first, again, other = Clips([leaky()], 1), Clips([leaky()], 1), Clips([leaky()], 2)
    first.batch()
    again.load_state_dict(first.state_dict())
    assert torch.equal(first.batch()[0], again.batch()[0])
    assert not torch.equal(Clips([leaky()], 1).batch()[0], other.batch()[0])


def test_recordings_without_sound_enough_are_refused() -> None:
    with pytest.raises(ValueError, match="recordings must have at least 64 samples to learn from, got 20"):
        Clips([leaky(20)], seed=0)
    with pytest.raises(ValueError, match="got 0"):
        Clips([], seed=0)


# ----------------------------------------------------------------------------------------------------------- recurrent


@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_two_chunks_are_the_whole_and_knobs_stay_apart(kind: str) -> None:
    torch.manual_seed(0)
    device = build(kind, rate=RATE, knob=[0.0, 0.5, 1.0], hidden=3)
    x, knob = torch.randn(5, 70), torch.tensor([1.0, 0.24, 0.0, 0.75, 0.25])
    whole, _ = device(x, None, knob)
    first, state = device(x[:, :31], None, knob)
    none, same = device(x[:, :0], state, knob)
    second, _ = device(x[:, 31:], same, knob)
    assert none.shape == (5, 0)
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole, rtol=0, atol=1e-6)
    alone = [device(x[i : i + 1], None, knob[i : i + 1])[0] for i in range(5)]
    torch.testing.assert_close(torch.cat(alone), whole, rtol=1e-5, atol=1e-6)
    # Midway is 0.25 and 0.75, which belong to the upper range.
    index = device.index(x, knob)
    assert index is not None
    assert index[:, 0].tolist() == [2, 0, 0, 2, 1]
    device(x[1:3], None, knob[1:3])[0].sum().backward()
    moved = [any(p.grad is not None for p in cell.parameters()) for cell in device.cells]  # type: ignore[union-attr]  # a list of modules
    assert moved == [True, False, False]
    assert device.active() * 3 == sum(p.numel() for p in device.parameters())
    with pytest.raises(ValueError, match="knob must be"):
        device(x)


def test_a_state_loses_its_history_whatever_it_is_made_of() -> None:
    class Pair(NamedTuple):
        level: Tensor
        rest: Any

    x = torch.ones(2, requires_grad=True)
    found = detached(Pair(2 * x, (3 * x, None)))
    assert isinstance(found, Pair)
    assert not found.level.requires_grad
    assert not found.rest[0].requires_grad
    assert found.rest[1] is None


# ------------------------------------------------------------------------------------------------------------ training


def test_a_state_is_learned_where_a_gain_is_not_enough(small: None) -> None:
    split = in_time([leaky()], RATE)
    gain = build("constant", rate=RATE)
    left = train(gain, split.train, split.held_out).error
    torch.manual_seed(0)
    device = build("lstm", rate=RATE, hidden=4)
    made = train(device, split.train, split.held_out, steps=40)
    assert left > 0.8
    assert made.error < 0.5 * left
    assert made.error == min(point["held_out"] for point in made.curve), "the best weights are kept"
    assert score(device, split.held_out) == made.error


def test_a_training_that_was_stopped_goes_on_bit_for_bit(small: None) -> None:
    split = in_time([leaky(2000, knob=0.0), leaky(2000, pole=0.5, knob=1.0, seed=1)], RATE)

    def fresh() -> DeviceTraining:
        torch.manual_seed(0)
        device = build("lstm", rate=RATE, knob=[0.0, 1.0], hidden=3)
        return DeviceTraining(device, split.train, split.held_out, passes=6, seed=3)

    whole, stopped, resumed = fresh(), fresh(), fresh()
    whole.run()
    states: list[dict[str, Any]] = []
    stopped.run(save=lambda: states.append(copy.deepcopy(stopped.state_dict())), save_every=4)
    assert states[0]["steps"] == 4
    resumed.load_state_dict(states[0])
    resumed.run()
    for name, weight in whole.device.state_dict().items():
        assert torch.equal(weight, resumed.device.state_dict()[name]), name
    assert [p["held_out"] for p in whole.curve] == [p["held_out"] for p in resumed.curve]


def test_a_training_that_diverges_says_so_and_keeps_what_it_had(small: None) -> None:
    bad = leaky()
    torch.manual_seed(0)
    device = build("lstm", rate=RATE, hidden=2)
    work = DeviceTraining(device, [bad], [leaky(seed=1)], passes=60)
    bad.wet[::100] = float("nan")
    work.run()
    assert "it diverged at pass" in work.diverged
    assert all(bool(weight.isfinite().all()) for weight in device.state_dict().values())


def test_what_is_measured_begins_with_its_own_state_and_no_sample_later() -> None:
    whole = leaky(3000)
    torch.manual_seed(0)
    device = build("lstm", rate=RATE, hidden=3)
    (all_of_it,) = heard(device, [whole])
    part, short = heard(device, [whole.part(1000, 1800, 5000), whole.part(0, 300, 0)])
    torch.testing.assert_close(part, all_of_it[1000:1800])
    torch.testing.assert_close(short, all_of_it[:300])


def test_minutes_become_passes_by_what_one_costs(small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    split = in_time([leaky()], RATE)
    ticks = iter([-6.0, 0.0, 1.0, 10.0, 14.0])  # a search takes 6 s, a look 1 s, a pass 2 s
    monkeypatch.setattr(training.time, "monotonic", lambda: next(ticks))
    device, starts = build("lstm", rate=RATE, hidden=2), []
    device.start = starts.append  # type: ignore[assignment]  # to count its calls
    random, weights = torch.get_rng_state(), copy.deepcopy(device.state_dict())
    # Until it is known what a pass takes 20 s of 150 have gone; 30 looks take 30 s, and the passes the rest.
    assert passes_in(150.0, device, split.train, split.held_out, "esr") == 50
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(weight, device.state_dict()[name]) for name, weight in weights.items())
    for count in (1, 2):
        DeviceTraining(device, split.train, split.held_out, passes=3)
        assert len(starts) == count, "the search of seconds is taken up once, and made anew for another training"


def test_a_kind_that_was_tried_has_its_errors_on_held_out_and_test_time(small: None) -> None:
    split = in_time([leaky()], RATE)
    tried = [try_device(fresh(kind, split, rate=RATE), split) for kind in ("constant", "filter")]
    assert [each.kind for each in tried] == ["constant", "filter"]
    assert tried[1].error < tried[0].error
    assert tried[1].test < 0.01 < tried[0].test
    assert [each.device.active() for each in tried] == [1, 64]
