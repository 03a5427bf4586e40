"""Kinds of devices tried on the sounds of a table: which, for how long, on which rows, and what they made of them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hardgrad_lab.baselines import Counts
from hardgrad_lab.devices.choose import Tried, fresh, try_device
from hardgrad_lab.devices.device import Device
from hardgrad_lab.devices.recordings import LEAD_S, Recording, Split, knob_tensor
from hardgrad_lab.devices.score import error_to_signal, heard
from hardgrad_lab.devices.training import DeviceTraining, passes_in
from hardgrad_lab.fit.memory import before_matters
from hardgrad_lab.fit.options import SOLVED
from hardgrad_lab.fit.rivals.compare import Outcome
from hardgrad_lab.fit.rivals.scores import LeftOut
from hardgrad_lab.fit.rows import Array
from hardgrad_lab.fit.tables import INPUT, Table
from hardgrad_lab.fit.training.training import Training

Index = NDArray[np.int64]
SWITCH = "switch"  # of a window, among the kinds
BASELINE = "compressor"  # of five parameters: whoever has a state is held against it
BASELINE_S = 20.0  # seconds for it where nobody asked for it


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What is asked of models with a memory.

    Args:
        kinds: of ``STATES``, that are to be tried; none for the window alone.
        window: whether the switch may be chosen, too.
        auto: try them only where what came before matters.
        minutes: for all of them together.
        loss: that they learn by.
        units: of the recurrent kinds.
    """

    kinds: tuple[str, ...] = ()
    window: bool = True
    auto: bool = False
    minutes: float = 5.0
    loss: str = "esr"
    units: int = 8

    def to_json(self) -> dict[str, Any]:
        """Return what decides the outcome of a fit."""
        return {
            "kinds": list(self.kinds),
            "window_too": self.window,
            "auto": self.auto,
            "minutes": self.minutes,
            "device_loss": self.loss,
        }


@dataclass
class Trials:
    """The kinds of one fit under way.

    Args:
        memory: what is asked.
        read: the sounds.
        parts: rows to learn from, rows that choose, and rows to measure on, ascending.
        window: rows that the switch sees.
        seed: of everything.
        passes: of each kind that was begun before, by name; it is added to, and a checkpoint keeps it.
        bring: brings the training of a kind to its end.
    """

    memory: Memory
    read: Table
    parts: tuple[Index, Index, Index]
    window: int
    seed: int
    passes: dict[str, int]
    bring: Callable[[str, DeviceTraining], None]
    tried: list[Tried] = field(default_factory=list)
    took: dict[str, float] = field(default_factory=dict)
    chosen: Tried | None = None
    left_out: list[LeftOut] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def run(self, predicted: Array, switch: Training, *, compared: bool) -> None:
        """Try what is solved at once, and the kinds that are wanted, and choose.

        Args:
            predicted: (n,) what the switch makes of every row.
            switch: its training, done; its seconds leave at least half of the time.
            compared: whether what nobody asked for is tried, too, to compare with.
        """
        kinds = self._wanted(predicted)
        if compared or kinds:
            self._try_all(kinds, switch.seconds)
        if kinds and self.tried:
            self._choose(self._error(predicted))

    def _wanted(self, predicted: Array) -> tuple[str, ...]:
        """Return the kinds to try: by itself only where what came before the window matters on held-out time."""
        if not self.memory.auto:
            return self.memory.kinds
        why = before_matters(self.read, self.parts[1], predicted, self.window)
        if why:
            self.said.append(f"{why[0].partition(';')[0]}: models with a memory were tried")
        return self.memory.kinds if why else ()

    def _error(self, predicted: Array) -> float:
        """Return the error-to-signal ratio of the switch on held-out time."""
        assert self.read.target is not None
        rows = self.parts[1]
        return error_to_signal(torch.from_numpy(predicted[rows]), torch.from_numpy(self.read.target[rows]))

    def _choose(self, window: float) -> None:
        """Choose the kind of least error on held-out time, and say so."""
        asked = [each for each in self.tried if each.kind in self.memory.kinds]
        errors = {each.kind: each.error for each in asked} | ({SWITCH: window} if self.memory.window else {})
        best, *others = sorted(errors, key=lambda kind: errors[kind])
        self.chosen = next((each for each in asked if each.kind == best), None)
        against = "".join(f", {kind} {errors[kind]:.2%}" for kind in others)
        self.said.append(f"chosen is {best}, whose error on held-out time is {errors[best]:.2%} of the energy{against}")
        gain = next((each.error for each in self.tried if each.kind == "constant"), math.inf)
        if gain <= errors[best]:
            self.said.append(f"nothing that was tried beats one constant gain there, {gain:.2%}")

    def _try_all(self, kinds: tuple[str, ...], spent: float) -> None:
        split = self._split()
        if not split.train or not split.held_out:
            self.left_out += [_too_short(kind) for kind in (*SOLVED, *kinds)]
            return
        extra = () if BASELINE in kinds or not kinds else (BASELINE,)
        each = max(60 * self.memory.minutes - spent, 30 * self.memory.minutes) / max(1, len(kinds))
        for kind in (*SOLVED, *kinds, *extra):
            began = time.monotonic()
            self._try(kind, split, BASELINE_S if kind in extra else each)
            self.took[kind] = time.monotonic() - began
        if kinds:
            listed = ", ".join(f"{kind} {took:.0f} s" for kind, took in self.took.items() if kind not in SOLVED)
            self.said.append(
                f"of {self.memory.minutes:g} minutes each kind with a memory was given {each:.0f} s; in this sitting "
                f"they took, with what they begin with: {listed}"
            )

    def outcome(self, made: Tried) -> Outcome:
        """Return what a kind made of the sounds, told as a rival is, but of all rows and in the file's units."""
        return Outcome(
            outputs=self.predicted(made.device),
            described=made.device.describe(),
            counts=Counts(total=made.parameters, active=made.device.active()),
            updates=made.steps,
            seconds=made.seconds,
        )

    def predicted(self, device: Device) -> Array:
        """Return what a device makes of every row, (n,)."""
        return torch.cat(heard(device, self._whole)).double().numpy()

    def index(self, device: Device) -> Index:
        """Return the range of every row, (n,); 0 for a device without ranges."""
        found = [device.index(each.dry[None], knob_tensor([each])) for each in self._whole]
        return np.concatenate(
            [np.zeros(len(each), dtype=np.int64) if index is None else index[0].numpy()
             for each, index in zip(self._whole, found, strict=True)]
        )  # fmt: skip

    def _try(self, kind: str, split: Split, seconds: float) -> None:
        assert self.read.rate is not None
        spec = {"hidden": self.memory.units} if kind in ("gru", "lstm") else {}
        try:
            device = fresh(kind, split, rate=self.read.rate, seed=self.seed, **spec)
            made = try_device(
                device,
                split,
                steps=0 if kind in SOLVED else self._passes(device, split, seconds),
                seed=self.seed,
                loss=self.memory.loss,
                run=partial(self.bring, kind),
            )
        except ValueError as error:
            self.left_out.append(LeftOut(name=kind, reason=str(error), possible=False))
            return
        if made.diverged:
            self.said.append(f"{kind}: {made.diverged}; its best weights before that are kept")
        self.tried.append(made)

    def _passes(self, device: Device, split: Split, seconds: float) -> int:
        """Return how many passes a kind gets: those decided in an earlier sitting, where there was one."""
        if device.kind not in self.passes:
            self.passes[device.kind] = passes_in(seconds, device, split.train, split.held_out, self.memory.loss)
        return self.passes[device.kind]

    @cached_property
    def _whole(self) -> list[Recording]:
        """Return the recordings of the table."""
        assert self.read.target is not None
        knob = self.read.facts.get("knob")
        dry, wet = (torch.from_numpy(np.asarray(side, dtype=np.float32)) for side in (self._dry, self.read.target))
        bounds = [*np.flatnonzero(np.diff(self.read.groups, prepend=-1)), len(self.read)]
        return [
            Recording(
                dry=dry[begin:end],
                wet=wet[begin:end],
                knob=None if knob is None else float(knob["values"][int(self.read.file[begin])]),
                name=self.read.paths[int(self.read.file[begin])].name,
            )
            for begin, end in pairwise(bounds)
        ]

    @property
    def _dry(self) -> Array:
        column: Array = self.read.inputs[INPUT].to_numpy()  # the key may be a knob
        return column

    def _split(self) -> Split:
        return Split(*(self._parts(rows) for rows in self.parts))

    def _parts(self, rows: Index) -> list[Recording]:
        """Return stretches of rows, none across two recordings, each with what brings its state."""
        assert self.read.rate is not None
        begins = np.flatnonzero(np.diff(self.read.groups, prepend=-1))
        which = np.searchsorted(begins, rows, side="right") - 1
        cuts = np.flatnonzero((np.diff(rows) != 1) | (np.diff(which) != 0)) + 1
        made = []
        for piece in np.split(rows, cuts):
            if len(piece):
                whole = int(which[np.searchsorted(rows, piece[0])])
                begin = int(piece[0] - begins[whole])
                made.append(self._whole[whole].part(begin, begin + len(piece), round(LEAD_S * self.read.rate)))
        return made


def _too_short(kind: str) -> LeftOut:
    return LeftOut(name=kind, reason="the sounds are too short to hold a stretch out that chooses it", possible=False)
