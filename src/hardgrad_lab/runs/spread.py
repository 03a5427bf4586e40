"""Where this process stands in a run that several share, each with a part of every batch."""

from __future__ import annotations

import torch.distributed


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


def _is_shared() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()
