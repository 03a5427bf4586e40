"""Where this process stands in a run that several share, each with a part of every batch.

``torchrun`` starts the processes; outside it there is one, which stands for all, and nothing here costs anything.
"""

from __future__ import annotations

import hashlib

import torch
import torch.distributed
from torch import Tensor


def world() -> int:
    """Return how many processes share the run; 1 outside ``torchrun``."""
    return torch.distributed.get_world_size() if _is_shared() else 1


def rank() -> int:
    """Return the number of this process among them, from 0."""
    return torch.distributed.get_rank() if _is_shared() else 0


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
    return torch.distributed.is_available() and torch.distributed.is_initialized()
