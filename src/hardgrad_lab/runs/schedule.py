"""Learning rates over a run. Configurations name a schedule, so torch is imported only to make one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

Schedule = Literal["constant", "one-cycle", "cosine"]


def schedulers(schedule: Schedule, optimizers: Sequence[Optimizer], steps: int) -> list[LRScheduler]:
    """Return what changes the learning rates, to be stepped after every optimiser step.

    Args:
        schedule: ``constant`` changes nothing; ``one-cycle`` rises over a tenth of the steps to each group's own rate
            and falls to a 25,000th of it; ``cosine`` starts there and falls to 0.
        optimizers: with the peak rate in each group.
        steps: of the run.
    """
    from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR

    if schedule == "constant":
        return []
    # One step more than is taken: the schedule is stepped after the last optimiser step too.
    if schedule == "cosine":
        return [CosineAnnealingLR(optimizer, T_max=steps + 1) for optimizer in optimizers]
    return [
        OneCycleLR(
            optimizer,
            max_lr=[group["lr"] for group in optimizer.param_groups],
            total_steps=max(steps + 1, 30),  # shorter, it has no warm-up to divide by
            pct_start=0.1,
            cycle_momentum=False,
            final_div_factor=1e3,
        )
        for optimizer in optimizers
    ]
