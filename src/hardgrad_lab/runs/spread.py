"""Where this process stands in a run that several share, each with a part of every batch.

``torchrun`` starts the processes; outside it there is one, which stands for all, and nothing here costs anything: torch
is not even imported, for a process that trains nothing itself.
"""

from __future__ import annotations

import hashlib
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def world() -> int:
    """Return how many processes share the run; 1 outside ``torchrun``."""
    if not _is_shared():
        return 1
    from torch import distributed

    return distributed.get_world_size()


def rank() -> int:
    """Return the number of this process among them, from 0."""
    if not _is_shared():
        return 0
    from torch import distributed

    return distributed.get_rank()


def share(batch: int) -> int:
    """Return this process's part of a batch.

    Args:
        batch: rows that all processes see together in a step.

    Raises:
        ValueError: if they cannot share it evenly.
    """
    if batch % world():
        raise ValueError(f"batch must be a multiple of the {world()} processes that share it, got {batch}")
    return batch // world()


def mine(rows: Tensor) -> Tensor:
    """Return this process's rows of a batch that all processes drew alike.

    For rows that cost little to draw: together the processes see what one alone would.

    Args:
        rows: (B, ...), the same in all processes.

    Raises:
        ValueError: if they cannot share it evenly.
    """
    each = share(len(rows))
    return rows[rank() * each : (rank() + 1) * each]


def own_seed(seed: int) -> int:
    """Return a seed that no other process has; the first process keeps the one given.

    Args:
        seed: of the run.
    """
    if rank() == 0:
        return seed
    digest = hashlib.sha256(f"rank:{rank()}:{seed}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def _is_shared() -> bool:
    distributed = sys.modules.get("torch.distributed")  # whoever shares a run has imported it
    return distributed is not None and bool(distributed.is_available() and distributed.is_initialized())
