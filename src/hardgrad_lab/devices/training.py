"""A device trained along time: truncated backpropagation at many places of its recordings at once."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hardgrad_lab.devices.clips import CHUNK, WARM_UP, Clips
from hardgrad_lab.devices.device import Device
from hardgrad_lab.devices.loss import FFTS, device_loss
from hardgrad_lab.devices.recordings import Recording
from hardgrad_lab.devices.score import score
from hardgrad_lab.runs import loop
from hardgrad_lab.runs.schedule import schedulers

RATE = 5e-3  # of Adam at its peak
CLIP = 1.0  # largest norm of a gradient
LOOKS = 30  # at the held-out time, in a training
MOST_EPOCHS = 300  # times that all samples are heard
FEWEST = 5  # passes
MINUTES = 1.0  # of a training that nobody gives a time


class Passes(loop.Training):
    """The loop's training, whose step is a batch of places heard from end to end, an update after each chunk."""

    def step(self, loss: loop.Loss, clip: float) -> None:
        assert isinstance(self.stream, Clips)
        (dry, wet), stood = self.stream.batch()
        knob = stood if self.stream.knob else None
        with torch.no_grad():
            _, state = self.model(dry[:, :WARM_UP], None, knob)
        losses = []
        for x, target in zip(*(side[:, WARM_UP:].split(self.stream.chunk, dim=1) for side in (dry, wet)), strict=True):
            y, state = self.model(x, detached(state), knob)
            losses.append(loss(y, target))
            self._update(losses[-1], clip)
        self.count(torch.stack(losses).mean(), torch.zeros(()), wet.numel())

    def _update(self, loss: Tensor, clip: float) -> None:
        for parameter in self._parameters:
            parameter.grad = None
        loss.backward()
        nn.utils.clip_grad_norm_(self._parameters, clip)
        self.optimizers[0].step()
        for scheduler in self.schedulers:
            scheduler.step()


def detached(state: Any) -> Any:
    """Return a state without its history."""
    if isinstance(state, Tensor):
        return state.detach()
    if not isinstance(state, tuple):
        return state
    parts = map(detached, state)
    return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)


class DeviceTraining:
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

    Attributes:
        best_error: error-to-signal ratio on the held-out recordings.
        diverged: why it had to stop; empty if it did not.
    """

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
        chunk = getattr(device, "chunk", CHUNK)
        self.clips = Clips(recordings, seed, max(chunk, *FFTS) if loss == "spectra" else chunk)
        if not device.begun and (start := getattr(device, "start", None)):
            start(recordings)
        device.begun = False
        self.best, self.best_error, self.best_epoch, self.diverged = None, math.inf, 0, ""
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

    best: dict[str, Tensor] | None

    @property
    def steps(self) -> int:
        """Return how many passes are done."""
        return self._run.steps

    @property
    def seconds(self) -> float:
        """Return how long they took, in all sittings."""
        return self._run.seconds

    @property
    def steps_an_epoch(self) -> int:
        """Return the passes between two looks at the held-out time."""
        return max(1, self.all_steps // LOOKS)

    @property
    def epoch(self) -> int:
        """Return how many looks were taken."""
        return self.steps // self.steps_an_epoch

    @property
    def epochs(self) -> int:
        """Return how many looks there will be."""
        return self.all_steps // self.steps_an_epoch

    @property
    def curve(self) -> list[dict[str, Any]]:
        """Return for each look its number, the seconds so far, the loss, and the held-out error."""
        return [
            {"epoch": i, **{name: value for name, value in point.items() if name not in ("samples", "penalty")}}
            for i, point in enumerate(self._run.curve, 1)
        ]

    @property
    def done(self) -> bool:
        """Return whether all passes are done."""
        return self.steps >= self.all_steps or bool(self.diverged)

    def average(self) -> float:
        """Return the mean training loss since the last look."""
        return self._run.averages()["loss"]

    def run(
        self,
        after_step: Callable[[], None] = lambda: None,
        save: Callable[[], None] = lambda: None,
        *,
        save_every_s: float = math.inf,
        save_every: int = 0,
    ) -> None:
        """Train to the end from wherever it stands, and take the best weights; arguments as of the fit's training.

        Raises:
            Interrupted: if a signal stopped it, once a checkpoint is written.
        """
        if self.steps == 0:
            self._keep(score(self.device, self.held_out) if self.held_out else math.inf)
        plan = loop.Plan(
            steps=self.all_steps,
            evaluate_every=self.steps_an_epoch,
            checkpoint_every_s=save_every_s,
            checkpoint_every=save_every,
            clip=CLIP,
        )
        if not self.done:
            try:
                loop.train(self._run, plan, save, _Watcher(after_step))
            except loop.DivergedError as error:
                self.diverged = f"it diverged at pass {self.steps} ({error})"
        if self.best is not None and (self.held_out or self.diverged):
            self.device.load_state_dict(self.best)
        self.device.eval()

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next step depends on."""
        return {**self._run.state_dict(), **{name: getattr(self, name) for name in _OWN}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Become what ``state`` was taken from."""
        for name in _OWN:
            setattr(self, name, state[name])
        self._run.load_state_dict(state)

    def _look(self, last: bool) -> dict[str, Any]:
        del last
        if not self.held_out:
            return {}
        error = score(self.device, self.held_out)
        if error < self.best_error:
            self._keep(error)
        return {"held_out": error}

    def _keep(self, error: float) -> None:
        self.best_error, self.best_epoch = error, self.epoch
        self.best = copy.deepcopy(self.device.state_dict())


class _Watcher:
    """Calls a function after every pass."""

    def __init__(self, after_step: Callable[[], None]) -> None:
        self.after_step = after_step

    def step(self, training: loop.Training) -> None:
        self.after_step()

    def point(self, training: loop.Training) -> None:
        pass


_OWN = ("best", "best_error", "best_epoch", "diverged")


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
        seconds: of training.
        steps: passes taken; 0 for a device that was solved.
        error: error-to-signal ratio on the held-out recordings.
        diverged: why it had to stop early; empty if it did not.
    """

    curve: list[dict[str, Any]]
    seconds: float
    steps: int
    error: float
    diverged: str = ""


def train(
    device: Device,
    recordings: Sequence[Recording],
    held_out: Sequence[Recording],
    *,
    steps: int | None = None,
    minutes: float = MINUTES,
    seed: int = 0,
    loss: str = "esr",
    run: Callable[[DeviceTraining], None] = DeviceTraining.run,
) -> Trained:
    """Bring a device to what it can do on recordings: solve it where it has ``solve(recordings)``, else train it.

    Args:
        device: changed in place.
        recordings: to learn from.
        held_out: that choose the weights.
        steps: batches of places to hear; by default what takes about ``minutes``.
        minutes: of the clock, for a device that is trained.
        seed: of the places that are heard.
        loss: of ``LOSSES``.
        run: brings a training to its end.
    """
    if solve := getattr(device, "solve", None):
        began = time.monotonic()
        solve(recordings)
        return Trained(curve=[], seconds=time.monotonic() - began, steps=0, error=score(device, held_out))
    if steps is None:
        steps = passes_in(60 * minutes, device, recordings, held_out, loss)
    training = DeviceTraining(device, recordings, held_out, passes=steps, seed=seed, loss=loss)
    run(training)
    return Trained(
        curve=training.curve,
        seconds=training.seconds,
        steps=training.steps,
        error=score(device, held_out),
        diverged=training.diverged,
    )
