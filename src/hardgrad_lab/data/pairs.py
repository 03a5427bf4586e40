"""Recordings of devices: what went in, and what came out at the same time; docs/commands/data.md has the sources.

The Klon's clips are those of github.com/jatinchowdhury18/KlonCentaur (BSD-3-Clause), the CL 1B's sounds and predictions
of github.com/RiccardoVib/CONDITIONED-MODELING-OF-OPTICAL-COMPRESSOR (LGPL-3.0), the drum compressor's of
github.com/csteinmetz1/steerable-nafx (Apache-2.0).
"""

from __future__ import annotations

from hardgrad_lab.data.errors import DamagedDataError
from hardgrad_lab.data.recordings import CURE, Signal, samples
from hardgrad_lab.data.root import Root

KLON, TUBETECH, DRUMS = "audio/klon_centaur_gainstage", "audio/tubetech_cl1b", "audio/steerable_drum_compressor"
CLIP = 11_025  # samples of each of the Klon's clips, which lie one after the other
MODES = {"gentle": "GC", "medium": "MC", "heavy": "HC"}
# What came out at t is of what went in at t + LATE, by cross-correlation of all sounds but the bass, which says up to
# 12 more: there the device turns the phase.
LATE = {"gentle": 96, "medium": 0, "heavy": 1}
NETWORKS = {"lstm": ("LSTM", 0), "feed-forward": ("Feed-forward", 0), "encoder-decoder": ("ED", 15)}  # and how early
Pair = tuple[Signal, Signal]  # dry and wet, of equal length


def klon(root: Root, knob: float) -> list[Pair]:
    """Return the clips of the Klon Centaur's gain stage with its knob at 0, 0.25, 0.5, 0.75 or 1."""
    dry, wet = (samples(root, f"{KLON}/klon_{name}.flac")[0] for name in ("in", f"gain{round(100 * knob):03}"))
    if len(dry) != len(wet) or len(dry) % CLIP:
        raise DamagedDataError(f"data: {KLON} must hold clips of {CLIP:,} samples, as many in each file; {CURE}")
    return list(zip(dry.reshape(-1, CLIP), wet.reshape(-1, CLIP), strict=True))


def tubetech(root: Root, mode: str, sound: str, network: str = "") -> Pair:
    """Return a sound through a TubeTech CL 1B; with a network, its published prediction stands for the dry sound.

    Args:
        root: where data sets lie.
        mode: one of ``MODES``.
        sound: sweep, bass, guitar, drumKick or drumHH.
        network: one of ``NETWORKS``.

    Raises:
        DataError: if a file is not there, or a prediction is silent, as those of lstm and feed-forward for medium are.
    """
    wet = samples(root, f"{TUBETECH}/{MODES[mode]}_{sound}__tar.flac")[0]
    if not network:
        return _cut(samples(root, f"{TUBETECH}/{sound}__inp.flac")[0][LATE[mode] :], wet)
    name, early = NETWORKS[network]
    place = f"{TUBETECH}/published_predictions/{name}_Model__{MODES[mode]}_{sound}__pred.flac"
    said = samples(root, place)[0]
    if not said.any():
        raise DamagedDataError(f"data: {place} is silent, so there is nothing to compare with; leave {network} out")
    return _cut(said, wet[early:])


def drums(root: Root) -> Pair:
    """Return a drum kit through an aggressive compressor."""
    dry, wet = (samples(root, f"{DRUMS}/drum_kit_{name}.flac")[0] for name in ("clean", "target"))
    return _cut(dry, wet)


def _cut(dry: Signal, wet: Signal) -> Pair:
    length = min(len(dry), len(wet))
    return dry[:length], wet[:length]
