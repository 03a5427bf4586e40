"""Gates whose thresholds start 6 dB off: how near they come back, by Adam on what the gate lends them.

    python tests/lab/gate_trials.py --data FOLDER/audio --ladspa /usr/lib/ladspa --seeds 10 11 12

Five devices, three of them gates of our own and two plug-ins: LADSPA's gate 1410, which says what it listens to, and
pedalboard's NoiseGate. The seed draws the drum hits, their times and the noise at -50 dB. Thresholds alone learn.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pedalboard
import soundfile
import torch
from torch import Tensor

import hardgrad as hg
from hardgrad_lab.audio.ladspa import ladspa
from hardgrad_lab.devices.gate import recover

RATE = 44_100
HITS = ("drum_snare_hard", "drum_heavy_kick", "drum_cymbal_closed", "bass_hit_c")
NAMES = ("open_db", "close_db", "hold_ms", "detector_ms", "attack_ms", "release_ms", "range_db")
TRUE = {
    "drums": (-20, -28, 40, 20, 0.5, 80, -60),
    "wide": (-12, -34, 5, 10, 0.1, 30, -40),
    "held": (-24, -24, 150, 50, 5, 300, -24),
    "ladspa": (-20, -20, 0, 226.75, 1, 25, -40),  # hold, detector and times by which our gate is nearest to it
    "pedalboard": (-24, -24, 0, 16, 0.03, 0.1, -90),
}


def sound(folder: Path, seed: int, seconds: float) -> Tensor:
    """Drum hits, a tabla and a guitar, a third each, with noise: (1, samples) in double precision."""
    draws = torch.Generator().manual_seed(seed)
    x = torch.zeros(int(seconds * RATE), dtype=torch.float64)
    third, at, hits = len(x) // 3, 0, [_recording(folder, name) for name in HITS]
    while at < third:
        hit = hits[int(torch.randint(4, (1,), generator=draws))] * 10 ** (
            -0.7 * torch.rand(1, generator=draws).double()
        )
        x[at : at + len(hit)] += hit[: len(x) - at]
        at += int(RATE * (0.25 + 0.35 * torch.rand(1, generator=draws)))
    for begin, name in ((third, "loop_tabla"), (2 * third, "guit_e_fifths")):
        part = 0.7 * _recording(folder, name)[:third]
        x[begin : begin + len(part)] += part
    return (x + 10**-2.5 * torch.randn(len(x), generator=draws).double())[None]


def _recording(folder: Path, name: str) -> Tensor:
    samples, _ = soundfile.read(folder / "sonicpi_clean" / f"{name}.flac", always_2d=True)
    x = torch.from_numpy(samples[:, 0].copy())
    return x / x.abs().max()


def gate(device: str, off: float, learn: Any) -> hg.Gate:
    """Our gate at a device's settings, its thresholds off by so many dB."""
    opens, closes, *others = TRUE[device]
    settings: dict[str, Any] = dict(zip(NAMES[2:], map(float, others), strict=True))
    return hg.Gate(opens + off, closes + off, **settings, sample_rate=RATE, learn=learn, band_db=12.0).double()


@torch.no_grad()
def played(device: str, x: Tensor, plugins: Path) -> tuple[Tensor, Tensor | None]:
    """What a device makes of a sound, and what it listens to where it says."""
    if device == "pedalboard":
        box = pedalboard.NoiseGate(-24, 100, 0.1, 1)
        return torch.from_numpy(box.process(x.float().numpy(), RATE)).double(), None
    if device != "ladspa":
        return gate(device, 0.0, False)(x)[0], None
    select = "Output select (-1 = key listen, 0 = gate, 1 = bypass)"
    fixed = {"Attack (ms)": 2.0, "Hold (ms)": 2.0, "Decay (ms)": 60.0, "Range (dB)": -40.0, "LF key filter (Hz)": 30.87}
    both = []
    for choice in (0.0, -1.0):
        now = {**fixed, "HF key filter (Hz)": 21_609.0, select: choice}
        box = ladspa(plugins / "gate_1410.so", "gate", ["Threshold (dB)"], sample_rate=RATE, fixed=now)
        both.append(box(x[None], torch.full((1, 1), 50 / 90, dtype=torch.float64))[0])  # -70 + 50 dB
    return both[0], both[1]


def main() -> None:
    """Run all of them and print a line each."""
    parser = argparse.ArgumentParser(description="Gates whose thresholds start 6 dB off.")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--ladspa", type=Path, default=Path("/usr/lib/ladspa"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[10, 11, 12])
    parser.add_argument("--seconds", type=float, default=9.0)
    parser.add_argument("--steps", type=int, default=200)
    asked = parser.parse_args()
    for device, true in TRUE.items():
        worst = []
        for seed in asked.seeds:
            x = sound(asked.data, seed, asked.seconds)
            wet, side = played(device, x, asked.ladspa)
            for off in (6.0, -6.0):
                found = recover(gate(device, off, ["open_db", "close_db"]), x, wet, side=side, steps=asked.steps)
                opens = float(found.open_db)
                errors = opens - true[0], min(opens, float(found.close_db)) - true[1]
                worst.append(max(map(abs, errors)))
                print(
                    f"{device} seed {seed}, {off:+g} dB off: open {errors[0]:+.2f} dB, close {errors[1]:+.2f}",
                    flush=True,
                )
        within = sum(error <= 0.5 for error in worst)
        print(f"{device}: {within} of {len(worst)} within 0.5 dB, the worst {max(worst):.2f} dB", flush=True)


if __name__ == "__main__":
    main()
