"""Neural sorting: the configuration of a run, and its presets. Does not import torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, cast, get_args

from hardgrad_lab.runs.experiment import Budget
from hardgrad_lab.runs.options import require

Setting = Literal["fast", "published"]
System = Literal["signum-dense", "tanh-dense", "elu-dense", "signum-rnn", "pointer", "read-process-write"]
Surrogate = Literal["bridge", "straight-through"]
Approximator = Literal["batch", "independent"]
Optimizer = Literal["adam", "muon"]
Schedule = Literal["constant", "one-cycle"]
Precision = Literal["float32", "bfloat16"]

SIGNUM: tuple[System, ...] = ("signum-dense", "signum-rnn")
POINTING: tuple[System, ...] = ("pointer", "read-process-write")


@dataclass(frozen=True, kw_only=True)
class Sorting:
    """One configuration of neural sorting, seed apart.

    Args:
        setting: the paper's values (published) or our faster ones (fast), in place of those of the budget: paper takes
            published, small takes fast, and smoke cuts a fast run short.
        system: which network.
        length: how many numbers to sort, T.
        samples: training samples to see.
        batch: samples in a step.
        optimizer: Adam for all weights; or Muon for the matrices of the network that sorts, and Adam for the rest.
        lr: learning rate; the peak of it under one-cycle.
        approximator_lr: Adam's learning rate for the bridge's approximator; 0 takes ``lr``.
        schedule: of the learning rate.
        clip: largest norm of the gradient; 0 never clips.
        width: features of the hidden layers and of the LSTM.
        margin: half width of the zero band of the hard signum.
        surrogate: what lends the hard signum a gradient.
        gamma: weight of the bridge's penalty.
        approximator: imitates all features of the layer at once (batch) or one by one (independent).
        hidden: widths of the hidden layers of the batch approximator; none takes half of width, twice, as published.
        precision: of what a training step multiplies (signum-rnn): bfloat16 by ``torch.autocast``, on any device;
            numbers to sort, cells of the LSTM, weights, gradients and evaluations stay in float32.
        center_inputs: whether 1/2 is subtracted from every input.
        near_ties: share of the training rows in which one number is moved close to another; the test set has none but
            those that chance makes.
        fixed_rows: train on so many rows, shuffled anew each epoch; 0 draws every sample afresh.
        test_rows: rows of the held-out test set, drawn from a seed of its own.
        curve_rows: how many of them the points along the curve are measured on; the last point takes all.
        drop_last: whether rows that do not fill a batch are left out, in training and in the test.
        ponder: LSTM steps with a zero input after the last number (signum-rnn).
        glimpses: looks at the memory before each pointing (pointer, read-process-write).
        process_steps: LSTM steps over the memory (read-process-write).
        mask_chosen: whether greedy decoding rules out numbers already pointed at (pointer, read-process-write).
        evaluations: how often the test accuracy is measured in a run.
    """

    setting: Setting
    system: System
    length: int
    samples: int
    batch: int
    optimizer: Optimizer
    lr: float
    approximator_lr: float
    schedule: Schedule
    clip: float
    width: int
    margin: float
    surrogate: Surrogate
    gamma: float
    approximator: Approximator
    center_inputs: bool
    near_ties: float
    fixed_rows: int
    test_rows: int
    curve_rows: int
    drop_last: bool
    ponder: int
    glimpses: int
    process_steps: int
    mask_chosen: bool
    evaluations: int
    hidden: tuple[int, ...] = ()
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        """Refuse values that make no sense, alone or together."""
        for name, allowed in _CHOICES.items():
            require(getattr(self, name) in allowed, name, f"one of {', '.join(allowed)}", getattr(self, name))
        for name, least in _LEAST.items():
            require(getattr(self, name) >= least, name, f"at least {least}", getattr(self, name))
        require(self.lr > 0, "lr", "greater than 0", self.lr)
        require(self.near_ties <= 1, "near_ties", "at most 1", self.near_ties)
        require(self.width % 2 == 0, "width", "even, as half of it is used too", self.width)
        require(all(each >= 1 for each in self.hidden), "hidden", "widths of at least 1", self.hidden)
        only = self.surrogate == "bridge" and self.approximator == "batch"
        require(only or not self.hidden, "hidden", "left out: it is for a bridge's batch approximator", self.hidden)
        if self.fixed_rows:
            require(self.fixed_rows >= self.batch, "fixed_rows", f"0 or at least batch ({self.batch})", self.fixed_rows)
        if self.drop_last:
            require(self.test_rows >= self.batch, "test_rows", f"at least batch ({self.batch})", self.test_rows)


_CHOICES: dict[str, tuple[str, ...]] = {
    "setting": get_args(Setting),
    "system": get_args(System),
    "surrogate": get_args(Surrogate),
    "approximator": get_args(Approximator),
    "optimizer": get_args(Optimizer),
    "schedule": get_args(Schedule),
    "precision": get_args(Precision),
}
_LEAST: dict[str, float] = {
    "length": 2, "samples": 1, "batch": 1, "approximator_lr": 0, "near_ties": 0, "clip": 0, "width": 2, "margin": 0,
    "gamma": 0, "fixed_rows": 0, "test_rows": 1, "curve_rows": 1, "ponder": 0, "glimpses": 0, "process_steps": 0,
    "evaluations": 1,
}  # fmt: skip
# Options that mean something to some systems only. To give one to another system is a mistake worth an error.
_ONLY_FOR: dict[str, tuple[str, ...]] = {
    "margin": SIGNUM, "surrogate": SIGNUM, "gamma": SIGNUM, "approximator": SIGNUM, "hidden": SIGNUM,
    "approximator_lr": SIGNUM, "ponder": ("signum-rnn",), "precision": ("signum-rnn",),
    "glimpses": POINTING, "mask_chosen": POINTING, "process_steps": ("read-process-write",),
}  # fmt: skip

# What both settings share: the published program's values, which the paper's appendix C repeats in part.
_COMMON: dict[str, Any] = {
    "width": 256, "margin": 0.5, "surrogate": "bridge", "gamma": 10.0, "approximator": "batch",
    "ponder": 0, "glimpses": 0, "process_steps": 0, "mask_chosen": False, "clip": 0.0,
}  # fmt: skip

PRESETS: dict[Setting, dict[str, Any]] = {
    # 2,168 epochs of 2 million rows is where the published program's log stands at 94.64 % for T=10.
    "published": {
        **_COMMON, "batch": 1024, "optimizer": "adam", "lr": 1e-4, "approximator_lr": 0.0, "schedule": "constant",
        "center_inputs": False, "near_ties": 0.0, "samples": 2_168 * 2_000_000, "fixed_rows": 2_000_000,
        "test_rows": 400_000, "curve_rows": 400_000, "drop_last": True, "evaluations": 400,
    },
    # Ours: the same networks. What each change is worth is in docs/evidence/benchmarks.md.
    "fast": {
        **_COMMON, "batch": 512, "optimizer": "muon", "lr": 0.02, "approximator_lr": 0.003, "schedule": "one-cycle",
        "center_inputs": True, "near_ties": 0.75, "samples": 12_000_000, "fixed_rows": 0,
        "test_rows": 100_000, "curve_rows": 10_000, "drop_last": False, "evaluations": 40,
    },
}  # fmt: skip

# The budgets of other experiments, as settings and values: smoke is a fast run cut short.
BUDGETS: dict[Budget, tuple[Setting, dict[str, Any]]] = {
    "smoke": (
        "fast",
        {"samples": 640, "batch": 32, "width": 16, "test_rows": 200, "curve_rows": 100, "evaluations": 2},
    ),
    "small": ("fast", {}),
    "paper": ("published", {}),
}

# What a system changes in either setting. Clipping at 5: the paper's appendix C for the LSTM; at 2: Vinyals, Fortunato
# and Jaitly 2015 (arXiv 1506.03134) section 4. Process steps and glimpses: within the range of Vinyals, Bengio and
# Kudlur 2016 (arXiv 1511.06391) section 4.3.
SYSTEMS: dict[str, dict[str, Any]] = {
    "signum-dense": {},
    "tanh-dense": {},
    "elu-dense": {},
    "signum-rnn": {"clip": 5.0},
    "pointer": {"clip": 2.0},
    "read-process-write": {"clip": 2.0, "process_steps": 5, "glimpses": 1},
}

# The fast setting, where a length or a system needs something else. The most specific entry wins.
FAST_LENGTH: dict[int, dict[str, Any]] = {5: {"samples": 3_000_000}, 15: {"samples": 40_000_000}}
_POINTING = {"optimizer": "adam", "lr": 2e-3, "approximator_lr": 0.0, "batch": 1024, "mask_chosen": True}
FAST_SYSTEM: dict[str, dict[str, Any]] = {
    # What half a million samples came to on validation rows, at 5 and at 10, one seed each: 94.4 % at a rate of 0.02,
    # 95.2 and 34.5 at 0.03, 96.2 and 31.0 at 0.05 (96.6 at 5 in float32, in twice the time), nothing at 0.1.
    "signum-rnn": {"lr": 0.03, "precision": "bfloat16", "samples": 12_000_000},
    "pointer": {**_POINTING, "samples": 2_000_000},
    "read-process-write": {**_POINTING, "samples": 500_000},
}


def configure(setting: Setting, system: str, length: int, given: Mapping[str, Any]) -> Sorting:
    """Return the configuration of a setting, with the given values in place of the preset's.

    Args:
        setting: fast or published.
        system: which network.
        length: how many numbers to sort.
        given: field names of ``Sorting`` and values.

    Returns:
        The configuration.

    Raises:
        OptionError: if a value is not allowed.
        TypeError: if a name in ``given`` is no field.
    """
    require(setting in PRESETS, "setting", f"one of {', '.join(PRESETS)}", setting)
    require(system in SYSTEMS, "system", f"one of {', '.join(SYSTEMS)}", system)
    for name in given:
        systems = _ONLY_FOR.get(name, tuple(SYSTEMS))
        require(system in systems, name, f"left out: it is for {', '.join(systems)}, not for {system}", given[name])
    values = {**PRESETS[setting], **SYSTEMS[system]}
    if setting == "fast":
        values |= {**FAST_LENGTH.get(length, {}), **FAST_SYSTEM.get(system, {})}
    preset = Sorting(setting=setting, system=cast(System, system), length=max(length, 2), **values)
    return replace(preset, length=length, **given)


def of_budget(budget: Budget, task: str, contestant: str, given: Mapping[str, Any]) -> Sorting:
    """Return the configuration of a budget: that of its setting, or of the setting that is given in its place."""
    require(task.isdecimal(), "task", "a whole number, how many numbers to sort", task)
    usual, values = BUDGETS[budget]
    setting = given.get("setting", usual)
    others = {name: value for name, value in given.items() if name != "setting"}
    return configure(setting, contestant, int(task), {**values, **others})


def label(config: Mapping[str, Any]) -> str:
    """Return the readable part of a run's name, from its configuration as records have it."""
    parts = [config["system"], f"t{config['length']}", config["setting"]]
    parts += [config["surrogate"]] if config["surrogate"] != "bridge" else []
    parts += [f"ponder{config['ponder']}"] if config["ponder"] else []
    return "-".join(parts)
