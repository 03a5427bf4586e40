"""A device trained along time: truncated backpropagation at many places of its recordings at once."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from hardgrad_lab.devices.clips import CHUNK, Clips
from hardgrad_lab.devices.device import Device
from hardgrad_lab.devices.loss import FFTS, device_loss
from hardgrad_lab.devices.passes import Passes
from hardgrad_lab.devices.recordings import Recording
from hardgrad_lab.devices.score import score
from hardgrad_lab.runs.schedule import schedulers
from hardgrad_lab.runs.sittings import Sittings

RATE = 5e-3  # of Adam at its peak
CLIP = 1.0  # largest norm of a gradient
LOOKS = 30  # at the held-out time, in a training
MOST_EPOCHS = 300  # times that all samples are heard
FEWEST = 5  # passes


class DeviceTraining(Sittings):
    """One device under training. ``device`` ends with the weights that were best on held-out time.

    A device may have ``start(recordings)``, which is called first, ``groups()``, parameter groups with a learning rate
    of their own, as optimizers take them; others learn at ``RATE``; and ``chunk``, samples between its updates.

    Args:
        device: of any kind that learns by a gradient.
        recordings: to learn from.
        held_out: that choose the weights; none keeps the last.
        passes: batches of places to hear.
        seed: of the places.
        loss: of ``LOSSES``.
    """

    clip = CLIP

    def __init__(
        self,
        device: Device,
        recordings: Sequence[Recording],
        held_out: Sequence[Recording],
        *,
        passes: int,
        seed: int = 0,
        loss: str = "esr",
    ) -> None:
        self.device, self.held_out, self.all_steps = device, held_out, passes
        self.steps_an_epoch = max(1, passes // LOOKS)  # between two looks at the held-out time
        chunk = getattr(device, "chunk", CHUNK)
        self.clips = Clips(recordings, seed, max(chunk, *FFTS) if loss == "spectra" else chunk)
        if not device.begun and (start := getattr(device, "start", None)):
            start(recordings)
        device.begun = False
        groups = getattr(device, "groups", device.parameters)
        optimizer = torch.optim.Adam(groups(), lr=RATE)
        chunks = self.clips.length // self.clips.chunk
        self._run = Passes(
            model=device,
            optimizers=[optimizer],
            schedulers=schedulers("one-cycle", [optimizer], passes * chunks),
            stream=self.clips,
            loss=device_loss(loss),
            evaluate=self._look,
        )

    def _begin(self) -> None:
        if self.steps == 0:
            self._remember(score(self.device, self.held_out) if self.held_out else math.inf)

    def _end(self) -> None:
        if self.best is not None and (self.held_out or self.diverged):
            self.device.load_state_dict(self.best)

    def _say_diverged(self, loss: float) -> None:
        self.diverged = f"it diverged at pass {self.steps} (its loss is {loss:.3g})"

    def _look(self, last: bool) -> dict[str, Any]:
        del last
        if not self.held_out:
            return {}
        error = score(self.device, self.held_out)
        if error < self.best_loss:
            self._remember(error)
        return {"held_out": error}


def passes_in(
    seconds: float, device: Device, recordings: Sequence[Recording], held_out: Sequence[Recording], loss: str
) -> int:
    """Return how many passes a device takes in so many seconds, by a few that are timed and undone.

    What the device begins with is found now, in these seconds. At most what hears every sample ``MOST_EPOCHS`` times:
    short recordings need no minutes.
    """
    entered = time.monotonic()
    with torch.random.fork_rng([]):
        trial = DeviceTraining(device, recordings, held_out, passes=3, loss=loss)
        found = copy.deepcopy(device.state_dict())
        began = time.monotonic()
        score(device, held_out)
        look = time.monotonic() - began
        trial._run.step(trial._run.loss, CLIP)  # the first pass warms up caches
        began = time.monotonic()
        for _ in range(2):
            trial._run.step(trial._run.loss, CLIP)
        ended = time.monotonic()
    device.load_state_dict(found)
    device.begun = True
    each, seconds = (ended - began) / 2, seconds - (ended - entered)
    clips = trial.clips
    most = math.ceil(MOST_EPOCHS * clips.used / (clips.batch_size * clips.length))
    few = seconds / (each + look)  # with a look after each pass
    return max(FEWEST, min(most, int(few if few <= LOOKS else (seconds - LOOKS * look) / each)))


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a training came to.

    Args:
        curve: for each look at the held-out time: the loss and the error.
        best_epoch: the look that the weights are of; 0 for those it began with.
        seconds: of training.
        steps: passes taken; 0 for a device that was solved.
        error: error-to-signal ratio on the held-out recordings.
        diverged: why it had to stop early; empty if it did not.
    """

    curve: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int = 0
    seconds: float
    steps: int = 0
    error: float
    diverged: str = ""


def train(
    device: Device,
    recordings: Sequence[Recording],
    held_out: Sequence[Recording],
    *,
    steps: int = 0,
    seed: int = 0,
    loss: str = "esr",
    run: Callable[[DeviceTraining], None] = DeviceTraining.run,
) -> Trained:
    """Bring a device to what it can do on recordings: solve it where it has ``solve(recordings)``, else train it.

    Args:
        device: changed in place.
        recordings: to learn from.
        held_out: that choose the weights.
        steps: batches of places to hear, for a device that is trained.
        seed: of the places that are heard.
        loss: of ``LOSSES``.
        run: brings a training to its end.
    """
    if solve := getattr(device, "solve", None):
        began = time.monotonic()
        solve(recordings)
        return Trained(seconds=time.monotonic() - began, error=score(device, held_out))
    training = DeviceTraining(device, recordings, held_out, passes=steps, seed=seed, loss=loss)
    run(training)
    return Trained(
        curve=training.curve,
        best_epoch=training.best_epoch,
        seconds=training.seconds,
        steps=training.steps,
        error=score(device, held_out),
        diverged=training.diverged,
    )
