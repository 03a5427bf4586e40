"""An installed package at work beside torch alone: python tests/package/smoke.py, in an environment of its own.

Each room is used once, with what it is right about asserted. ``.ci/package`` calls it; so may a user who doubts an
installation.
"""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Independent

import hardgrad as hg


def bridge() -> None:
    """Train through a sign, remove the bridge: the outputs stay, and no approximator is left."""
    torch.manual_seed(0)
    x = torch.randn(256, 4)
    target = torch.sign(x[:, :1] - x[:, 1:2])
    model = nn.Sequential(nn.Linear(4, 8), hg.Bridge(torch.sign, hg.approximators.mlp(8, 8)), nn.Linear(8, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2, losses
    bare = hg.strip(model).eval()
    assert torch.equal(bare(x), model.eval()(x))
    assert sum(p.numel() for p in bare.parameters()) == sum(
        p.numel() for p in (*model[0].parameters(), *model[2].parameters())
    )


def switch() -> None:
    """A branch that no row took stays bit for bit what it was."""
    torch.manual_seed(0)
    model = hg.Switch(hg.Ranges([-1.0, 0.0, 1.0]), nn.Linear(2, 1))
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    model(torch.randn(32, 2), key=torch.rand(32)).square().sum().backward()
    optimizer.step()
    moved = [name for name, value in model.named_parameters() if not torch.equal(value, before[name])]
    assert len(moved) == 2, moved  # weight and bias of one of the two


def draws() -> None:
    """The exact gradient of E[b0 + 2 b1] over two fair coins is (1, 2) / 4."""
    logits = torch.zeros(1, 2, requires_grad=True)
    hg.exact(Independent(Bernoulli(logits=logits), 1), lambda b: b @ torch.tensor([1.0, 2.0])).sum().backward()
    torch.testing.assert_close(logits.grad, torch.tensor([[0.25, 0.5]]))
    hg.disarm(Independent(Bernoulli(logits=logits), 1), lambda b: b.sum(-1)).sum().backward()


def rooms() -> None:
    """Orders, losses, codes, few bits, devices, solvers, searches: one line of each."""
    x = torch.tensor([[3.0, 1.0, 2.0]], requires_grad=True)
    torch.testing.assert_close(hg.hard.sort(x), torch.tensor([[1.0, 2.0, 3.0]]))
    hg.soft.rank(x, 0.5).square().sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0
    assert hg.losses.spearman(x, torch.tensor([[30.0, 10.0, 20.0]])).item() == 0
    assert hg.straight_through(torch.round)(torch.tensor([0.6])).item() == 1
    hg.Codebook(4, 3)(torch.randn(8, 3))
    hg.LearnedScale(2)(torch.randn(8))
    assert hg.KSubset(torch.zeros(5), 2).sample().sum() == 2
    found = hg.search_ranges(torch.linspace(-1, 1, 200)[:, None], torch.linspace(-1, 1, 200), steps(), max_ranges=2)
    assert abs(found.points[1]) < 0.02, found.points
    level, _ = hg.Ballistics(1.0, 10.0, sample_rate=1000)(torch.ones(1, 50))
    assert 0 < level[0, 0] < level[0, -1] <= 1
    print(hg.doctor.breaks(nn.Sequential(nn.Linear(2, 2), Rounded()), torch.randn(4, 2)))


def boxes() -> None:
    """A program as a layer; where there is no NumPy, a sentence that says so."""
    said = ""
    try:
        box = hg.BlackBox(lambda rows: rows * 2)
        torch.testing.assert_close(hg.perturb(box, 0.1)(torch.ones(2, 3)), torch.full((2, 3), 2.0))
    except ImportError as error:
        said = str(error)
    assert ("pip install numpy" in said) == (find_spec("numpy") is None), said


def steps() -> Tensor:
    """Return a function with one step, at zero."""
    return (torch.linspace(-1, 1, 200) > 0).float()[:, None]


class Rounded(nn.Module):
    """Where a gradient ends."""

    def forward(self, x: Tensor) -> Tensor:
        """Round."""
        return x.round()


def installed() -> None:
    """It is the installed package, it is typed, it needs torch alone, and its command says what else it needs."""
    at = Path(hg.__file__).parent
    assert "site-packages" in at.parts, at
    assert (at / "py.typed").is_file()
    assert (at.parent / "hardgrad_lab" / "py.typed").is_file()
    assert metadata.version("hardgrad") == hg.__version__
    needed = [line for line in metadata.requires("hardgrad") or [] if "extra ==" not in line]
    assert [line.split(">")[0] for line in needed] == ["torch"], needed
    if find_spec("cyclopts") is None:
        said = subprocess.run(
            [Path(sys.executable).parent / "hardgrad", "fit"], capture_output=True, text=True, check=False
        )
        assert said.returncode != 0
        assert "pip install" in said.stderr, said.stderr


if __name__ == "__main__":
    for check in (installed, bridge, switch, draws, rooms, boxes):
        check()
    print(f"hardgrad {hg.__version__} with torch {torch.__version__} on Python {sys.version.split()[0]}: all is well")
