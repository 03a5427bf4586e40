"""What can be chosen by name. Standard library alone, so that the command line can list it without torch."""

from __future__ import annotations

from typing import Literal, get_args

Branch = Literal["mlp", "linear", "gru", "lstm", "conv"]
Loss = Literal["mean", "per_branch_mean"]
Optimizer = Literal["adam", "adamw", "sgd", "rmsprop"]
Device = Literal["auto", "cpu", "cuda"]

BRANCHES: tuple[str, ...] = get_args(Branch)
LOSSES: tuple[str, ...] = get_args(Loss)
OPTIMIZERS: tuple[str, ...] = get_args(Optimizer)
TooLoud = Literal["float", "clip", "scale"]
DeviceLoss = Literal["esr", "mse", "spectra"]
DEVICE_LOSSES: tuple[str, ...] = get_args(DeviceLoss)
STATES = ("envelope", "gru", "lstm", "compressor", "gate")  # kinds of devices that know what came before
SOLVED = ("constant", "filter", "table")  # kinds that are solved at once: what any other must beat
