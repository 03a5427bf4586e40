"""How much of a codebook is in use."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Usage:
    """Which codes the rows of recent training batches took, over all processes.

    Args:
        perplexity: of the codes' shares: how many codes would be in use if all in use were taken equally often. Of
            several heads the mean.
        dead: codes that no row took, of all heads together.
        counts: how many rows took each code, int64 (codes,), or (heads, codes) of several heads.
        rows: how many rows there were.
    """

    perplexity: float
    dead: int
    counts: Tensor
    rows: int


def usage_of(counts: Tensor) -> Usage:
    """Return the usage for counts (heads, codes) that are not all zero; waits for the device."""
    counts = counts.cpu()
    share = counts / counts.sum(-1, keepdim=True)
    entropy = -torch.special.xlogy(share, share).sum(-1)
    several = counts if len(counts) > 1 else counts.squeeze(0)
    return Usage(float(entropy.exp().mean()), int((counts == 0).sum()), several, int(counts[0].sum()))
