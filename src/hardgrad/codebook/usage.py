"""How much of a codebook is in use."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hardgrad._shown.page import page
from hardgrad._shown.pictures import bar, bars
from hardgrad._shown.table import Table


@dataclass(frozen=True, repr=False)
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

    def __repr__(self) -> str:
        """Return one line; ``counts`` has what each code was taken for."""
        heads = f" in {len(self.counts)} heads" if self.counts.ndim > 1 else ""
        return (
            f"<Usage: perplexity {self.perplexity:.4g} of {self.counts.shape[-1]} codes{heads}, {self.dead} dead, "
            f"{self.rows:,} rows>"
        )

    def _repr_html_(self) -> str:
        """Return a small table for a notebook, and how often the codes were taken, the most taken first."""
        codes = self.counts.shape[-1]
        rows = [
            ("perplexity", f"{self.perplexity:.4g} of {codes}"),
            ("dead", f"{self.dead} of {self.counts.numel()}"),
            ("rows", f"{self.rows:,}"),
        ]
        shares = bar(self.perplexity / codes), bar(self.dead / self.counts.numel()), ""
        taken = sorted(self.counts.flatten().tolist(), reverse=True)
        said = f"rows a code, most taken first: from {taken[0]:,} to {taken[-1]:,}"
        picture = bars(taken, said=said)
        return page(
            Table(("", "recent batches"), rows, {1: shares}).html("codes in use"), f"<p>{picture}<br>{said}</p>"
        )


def usage_of(counts: Tensor) -> Usage:
    """Return the usage for counts (heads, codes) that are not all zero; waits for the device."""
    counts = counts.cpu()
    share = counts / counts.sum(-1, keepdim=True)
    entropy = -torch.special.xlogy(share, share).sum(-1)
    several = counts if len(counts) > 1 else counts.squeeze(0)
    return Usage(float(entropy.exp().mean()), int((counts == 0).sum()), several, int(counts[0].sum()))
