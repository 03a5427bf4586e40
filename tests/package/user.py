"""A user's own program, which mypy --strict and pyright read: what the library promises of its types.

Nothing here is run; .ci/run asks both checkers.
"""

from __future__ import annotations

from typing import assert_type

import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Independent

import hardgrad as hg
from hardgrad import approximators, doctor, hard, losses, soft


class Model(nn.Module):
    """A bridge, a switch and a codebook in one network."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.before = nn.Linear(4, width)
        self.bridge = hg.Bridge(torch.sign, approximators.mlp(width, width), weight=0.5)
        self.switch = hg.Switch(hg.Ranges([-1.0, 0.0, 1.0]), nn.Linear(width, 1))
        self.codes = hg.Codebook(16, width)

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        """Sign, then one of two lines by level."""
        out: Tensor = self.switch(self.bridge(self.before(x)), key=level)
        return out


def cost(bits: Tensor) -> Tensor:
    """Any program."""
    return (bits.sum(-1) - 3).abs()


def main() -> None:
    """Use each room once."""
    model = Model()
    x = torch.randn(5, 4)
    assert_type(hard.sort(x), Tensor)
    assert_type(soft.rank(x, 0.5), Tensor)
    assert_type(losses.spearman(x, x), Tensor)
    q = Independent(Bernoulli(logits=torch.zeros(3, 8, requires_grad=True)), 1)
    assert_type(hg.score_function(q, cost, samples=8, baseline="leave_one_out"), Tensor)
    assert_type(hg.diagnose({"disarm": hg.disarm}, cost, q), hg.Diagnosis)
    assert_type(model.bridge.fidelity(), hg.Fidelity)
    bare: nn.Module = hg.strip(model)
    found: doctor.Breaks = doctor.breaks(bare, x)
    assert_type([each.cure for each in found], list[str])
    with hg.penalties() as bag:
        model(x, torch.rand(5)).sum().backward()
    assert_type(bag.total(), Tensor)
