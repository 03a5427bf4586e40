"""Discrete autoencoders that train in a blink, for the tests of latents."""

from __future__ import annotations

from typing import Any

import torch

from hardgrad_lab.data.root import Root
from hardgrad_lab.experiments.bridges.latents import CONTESTANTS, LATENTS, Latents
from hardgrad_lab.experiments.bridges.latents import run as latents_run

LEARNT = [name for name in CONTESTANTS if name != "threshold"]
CPU = torch.device("cpu")


def tiny(contestant: str, task: str = "fashion-mnist-0.1", **given: Any) -> Latents:
    return LATENTS.configure("smoke", task, contestant, {"rows": 120, "test_rows": 60, "curve_rows": 40, **given})


def some(contestant: str, root: Root, **given: Any) -> tuple[Any, Any]:
    torch.manual_seed(0)
    training, plan = latents_run.begin(tiny(contestant, **given), 0, root, CPU)
    return training, plan
