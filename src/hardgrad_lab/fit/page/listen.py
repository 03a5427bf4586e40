"""Players: what went in, what came out, what the model makes of it, these two in turn, and the error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hardgrad_lab.drawing.clips import MOST_S, Clip, clips_of
from hardgrad_lab.fit.page.sound import Array, Sound, Voice

FADE_S = 0.004  # at both ends of a stretch: one that begins in the middle of a wave would click
TURN_S = 0.75  # that one of two is heard before the other one goes on from there


@dataclass(frozen=True, kw_only=True)
class Players:
    """The players of one voice.

    Args:
        name: above them; empty for a box without a knob.
        clips: at one place of the recording, in one loudness.
        said: below them.
    """

    name: str
    clips: Sequence[Clip]
    said: str


def players(sound: Sound, *, unseen: bool) -> list[Players]:
    """Return what there is to hear of each voice.

    Pages have no scripts, so no button can change from one player to another in the middle: a clip that changes does.

    Args:
        sound: the voices.
        unseen: whether the model was not trained on them.
    """
    return [_of_voice(voice, sound.rate, unseen) for voice in sound.voices]


def _of_voice(voice: Voice, rate: int, unseen: bool) -> Players:
    heard = zip(*(stretch.parts() for stretch in voice.stretches), strict=True)
    dry, wet, ours, wrong = (_joined(parts, rate) for parts in heard)
    louder = np.sqrt(np.square(wet).sum() / np.square(dry).sum()) if dry.any() and wet.any() else 1.0
    how = f" ({20 * np.log10(louder):+.1f} dB, to be as loud as the box)" if abs(20 * np.log10(louder)) > 0.1 else ""
    sounds = [
        (f"dry: the input{how}", louder * dry),
        ("wet: the box", wet),
        ("the model", ours),
        (f"the box and the model in turn, a change each {TURN_S:g} s", _in_turn(wet, ours, rate)),
        ("the error: the model less the box", wrong),
    ]
    clips, gain = clips_of(sounds, rate)
    parts = voice.stretches
    seen = "that nothing was trained on" if unseen else "that the model was trained on"
    count = f"{len(parts)} of {voice.held_out} stretches" if voice.held_out > 1 else "One stretch"
    said = f"{count} {seen}, the loudest, one after another, {len(wet) / rate:.2g} s in all; "
    said += f"at most {MOST_S:g} s, so that the page stays small."
    quieter = "" if gain == 1 else f" All are {-20 * np.log10(gain):.1f} dB quieter than they are, so that none clips."
    return Players(name=voice.name, clips=clips, said=said + quieter)


def _joined(parts: Sequence[Array], rate: int) -> Array:
    faded = []
    for part in parts:
        length = min(int(FADE_S * rate), len(part) // 2)
        ramp = np.linspace(0, 1, length)
        faded.append(part * np.concatenate([ramp, np.ones(len(part) - 2 * length), ramp[::-1]]))
    return np.concatenate(faded)


def _in_turn(first: Array, second: Array, rate: int) -> Array:
    """Return one sound, and from time to time the other, which goes on where the first one was."""
    turns = np.arange(len(first)) // int(TURN_S * rate) % 2
    length = max(1, int(FADE_S * rate))
    share = np.convolve(turns, np.ones(length) / length, "same")
    return first + share * (second - first)
