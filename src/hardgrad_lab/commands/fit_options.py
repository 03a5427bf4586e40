"""What ``fit`` is told of ranges, of networks and of how to run; and what follows for the estimator."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from hardgrad_lab.commands.fit_files import Flag, Listed
from hardgrad_lab.commands.machine import at_least
from hardgrad_lab.fit.options import DEVICE_LOSSES, STATES, Device, DeviceLoss, Loss, Optimizer

if TYPE_CHECKING:
    from hardgrad_lab.fit.kinds import Memory


@dataclass(frozen=True, kw_only=True)
class RangeOptions:
    """Where the ranges are."""

    points: Annotated[str | None, Listed] = None
    """Points between the ranges, with commas: -1,-0.5,0,1 makes three."""
    search: Annotated[int, at_least(1)] = 8
    """Find the points: at most so many ranges. Used where there are no points."""
    learn_points: Annotated[bool, Flag] = False
    """Let the inner points move, from the given or the found ones, where that pays on held-out rows."""


@dataclass(frozen=True, kw_only=True)
class NetworkOptions:
    """What each range has, and how it is trained."""

    branch: str = "mlp"
    """mlp, linear (solved by least squares, no training), gru, lstm, conv, or module:factory, a function of
    (in_features, out_features)."""
    hidden: str = "32,32"
    """Widths of a branch's hidden layers, with commas; one number is that of the units of gru and lstm, too, else 8."""
    window: Annotated[int, at_least(1)] = 1
    """Memory: so many rows, the newest last, are an input. Recordings stay apart."""
    normalize: bool | None = None
    """Map the key to [-1, 1] in each range; by default where it is an input of an mlp or a linear branch."""
    loss: Loss | DeviceLoss = "mean"
    """Mean over rows, or over ranges, so that a small range is not drowned. Models with a memory take esr (error over
    signal, with pre-emphasis), which is their default, mse, or spectra (of three resolutions, besides)."""
    optimizer: Optimizer = "adam"
    """What takes the steps."""
    lr: float = 5e-3
    """Peak of the learning rate."""
    epochs: Annotated[int | None, at_least(1)] = None
    """Passes over the rows; by default what makes 4000 steps, 10 to 300."""
    batch_size: Annotated[int | None, at_least(1)] = None
    """Rows in a step; by default a hundredth of the rows, 32 to 1024."""
    validation: float = 0.1
    """Share of the rows that chooses the best weights."""
    patience: Annotated[int, at_least(1)] = 20
    """Epochs without a better held-out loss after which training ends."""


@dataclass(frozen=True, kw_only=True)
class MemoryOptions:
    """What a model of sounds may know of the past."""

    memory: str = "auto"
    """window: the switch alone, of the samples in its --window. envelope, gru, lstm, compressor, gate: models with a
    state, with commas; the best of those named is chosen on held-out time. auto: the window, and all of these where
    what came before it matters."""
    minutes: Annotated[float, at_least(0)] = 5.0
    """For all models with a state together; the window and its rivals go by --epochs."""

    def wanted(self, network: NetworkOptions) -> Memory:
        """Return the same for the fit, or raise a ValueError."""
        from hardgrad_lab.fit.kinds import Memory

        named = self.memory.split(",")
        if wrong := [name for name in named if name not in (*STATES, "auto", "window")]:
            raise ValueError(f"--memory must be auto, window, or of {', '.join(STATES)} with commas, got {wrong[0]!r}")
        if not 0 < self.minutes < math.inf:
            raise ValueError(f"--minutes must be greater than 0, got {self.minutes}")
        if network.loss == "spectra":
            from hardgrad_lab.devices.loss import device_loss

            device_loss(network.loss)  # says now if it is not installed
        auto = "auto" in named
        return Memory(
            kinds=STATES if auto else tuple(kind for kind in STATES if kind in named),
            window=auto or "window" in named,
            auto=auto and len(named) == 1,
            minutes=self.minutes,
            loss=network.loss if network.loss in DEVICE_LOSSES else "esr",
            units=int(network.hidden) if network.hidden.isdecimal() else 8,
        )


@dataclass(frozen=True, kw_only=True)
class JobOptions:
    """How to run."""

    test: float = 0.1
    """Share of the rows that the report measures on; nothing is trained on them."""
    baselines: bool = True
    """Compare with rivals: networks trained for as many updates; lines, trees and tables solved on the same rows."""
    seed: Annotated[int, at_least(0)] = 0
    """Of weights, of the order of rows and of which are set aside."""
    out: Path = Path("model")
    """The model folder to make."""
    force: Annotated[bool, Flag] = False
    """Replace a model folder, or start a stopped fit again."""
    resume: Annotated[bool, Flag] = False
    """Continue a fit that was stopped, bit for bit."""
    threads: Annotated[int, at_least(1)] = 1
    """CPU threads. More help wide branches on an idle machine, and hurt on a busy one."""
    device: Device = "cpu"
    """Where to train."""
    checkpoint_seconds: Annotated[float, at_least(0)] = 30.0
    """Seconds between checkpoints: what a kill may cost."""
    checkpoint_steps: Annotated[int, at_least(0)] = 0
    """Steps between checkpoints, besides; 0 goes by the clock alone."""

    @property
    def saved(self) -> Path:
        """Return where the checkpoint is while the fit is under way."""
        return self.out.parent / f"{self.out.name}.checkpoint.pt"


def estimator_options(ranges: RangeOptions, network: NetworkOptions, job: JobOptions) -> dict[str, Any]:
    """Return what the estimator is told, or raise a ValueError."""
    for name, share in (("validation", network.validation), ("test", job.test)):
        if not 0 <= share < 1:
            raise ValueError(f"--{name} must be a share from 0 to below 1, got {share}")
    if not 0 < network.lr < math.inf:
        raise ValueError(f"--lr must be greater than 0, got {network.lr}")
    return {
        "points": None if ranges.points is None else _numbers("points", ranges.points, float),
        "search": ranges.search,
        "learn_points": ranges.learn_points,
        "branch": network.branch,
        "hidden": tuple(_numbers("hidden", network.hidden, int)),
        "window": network.window,
        "normalize": "auto" if network.normalize is None else network.normalize,
        "loss": "mean" if network.loss in DEVICE_LOSSES else network.loss,
        "optimizer": network.optimizer,
        "lr": network.lr,
        "epochs": network.epochs or "auto",
        "batch_size": network.batch_size or "auto",
        "validation": network.validation,
        "patience": network.patience,
        "device": job.device,
    }


def without_say(network: NetworkOptions, ranges: RangeOptions) -> list[str]:
    """Return a sentence on options of training that were given for lines, which are not trained."""
    if network.branch != "linear":
        return []
    names = ["optimizer", "lr", "epochs", "batch_size", "patience", *([] if ranges.learn_points else ["validation"])]
    given = [f"--{name.replace('_', '-')}" for name in names if getattr(network, name) != getattr(NetworkOptions, name)]
    if not given:
        return []
    return [f"{', '.join(given)} had no say: a linear branch is solved by least squares, not trained"]


def _numbers(option: str, listed: str, kind: type[float] | type[int]) -> list[Any]:
    found = []
    for word in listed.split(","):
        try:
            found.append(kind(word))
        except ValueError:
            wanted: Literal["numbers", "whole numbers"] = "numbers" if kind is float else "whole numbers"
            raise ValueError(f"--{option} must be {wanted} with commas between, got {word!r} in {listed!r}") from None
    return found
