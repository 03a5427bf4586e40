"""The pictures of docs/guides/switch.md and points.md: python docs/scripts/switch.py, a minute of one core."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import hardgrad as hg
from hardgrad_lab.drawing.figures import COLOURS, DASHES, FAINT, INK, Drawn, compact_svg, legend, sized_figure

GUIDES = Path(__file__).parents[1] / "guides"
BREAKS = (-0.2, 0.5)


def page_names() -> dict[str, Any]:
    """Run what points.md does, so that pictures and text cannot differ."""
    blocks = re.findall(r"```python\n(.*?)```", (GUIDES / "points.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    names: dict[str, Any] = {}
    exec(blocks[0], names)
    exec(next(block for block in blocks if "def learn" in block).split("\nnear = ")[0], names)
    return names


def wanted(x: Tensor) -> Tensor:
    """Return three pieces with jumps between them."""
    return torch.where(x < -0.3, -x, torch.where(x < 0.4, x**2, x + 1))


def pieces() -> Drawn:
    """Draw a switch and one network of as many weights, after as many steps, on a map of three pieces."""
    torch.manual_seed(0)
    x = torch.rand(512, 1) * 2 - 1
    switch = hg.Switch(hg.Ranges([-1.0, -0.3, 0.4, 1.0]), network(8), key=0, normalize=[0])
    one = network(25)  # 76 weights, the switch has 75
    for model in (switch, one):
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
        for _ in range(600):
            optimizer.zero_grad()
            nn.functional.mse_loss(model(x), wanted(x)).backward()
            optimizer.step()
    figure, (panel,) = sized_figure(6.4, 3.2)
    at = torch.linspace(-1, 1, 801).unsqueeze(1)
    panel.plot(x[::3, 0], wanted(x)[::3, 0], ".", ms=3, color=FAINT, label="rows")
    with torch.no_grad():
        index = switch.ranges.index(at[:, 0])
        for i in range(3):
            mine = index == i
            panel.plot(
                at[mine, 0], switch(at)[mine, 0], color=COLOURS[0], label="switch, 75 weights" if i == 0 else None
            )
        panel.plot(at[:, 0], one(at)[:, 0], color=COLOURS[1], ls="--", label="one network, 76 weights")
    for point in (-0.3, 0.4):
        panel.axvline(point, color=INK, linewidth=0.5, ls=":")
    panel.set(xlabel="x, also the key", ylabel="output")
    legend(figure, [panel])
    return figure


def network(width: int) -> nn.Module:
    """Return a perceptron from a number to a number."""
    return nn.Sequential(nn.Linear(1, width), nn.Tanh(), nn.Linear(width, 1))


def found(names: dict[str, Any]) -> Drawn:
    """Draw what the search found in the page's rows, and how the number of ranges was chosen."""
    result, level, gain = names["found"], names["level"], names["gain"]
    figure, (rows, path) = sized_figure(7.2, 3.0, 2)
    index = result.ranges().index(level)
    for i in range(len(result)):
        mine = (index == i).nonzero()[::8, 0]
        rows.plot(level[mine], gain[mine], ".", ms=2, color=COLOURS[i])
    for point in result.points[1:-1]:
        rows.axvline(point, color=INK, linewidth=0.8)
    rows.set(xlabel="key", ylabel="target")
    tried = result.criterion_path
    path.plot([one.ranges for one in tried], [one.score for one in tried], "o-", color=COLOURS[0])
    path.plot(len(result), result.score, "o", ms=11, mfc="none", color=COLOURS[1])
    path.set(yscale="log", xlabel="ranges", ylabel="held-out loss")
    return figure


def learned(names: dict[str, Any]) -> Drawn:
    """Draw how the two points move from three starts."""
    learn, perceptron, line = (names[name] for name in ("learn", "perceptron", "line"))
    runs = {
        "the lent gradient, near": learn([-1, -0.3, 0.6, 1], perceptron),
        "the lent gradient, far": learn([-1, -0.6, 0.8, 1], perceptron),
        "refine, far": learn([-1, -0.6, 0.8, 1], perceptron, place=True),
        "refine and relocate, both beyond": learn([-1, 0.6, 0.8, 1], line, place=True, move=True),
    }
    figure, (panel,) = sized_figure(6.4, 3.4)
    for truth in BREAKS:
        panel.axhline(truth, color=INK, linewidth=0.6, ls=":")
    for (name, path), colour, dash in zip(runs.items(), COLOURS, DASHES, strict=False):
        for i in range(2):
            panel.plot([step[i] for step in path], color=colour, ls=dash, label=name if i == 0 else None)
    panel.set(xlabel="training step", ylabel="the two points")
    legend(figure, [panel])
    return figure


def main() -> None:
    """Draw all."""
    names = page_names()
    figures = {"switch-pieces": pieces(), "points-found": found(names), "points-learned": learned(names)}
    for name, figure in figures.items():
        (GUIDES / "pictures" / f"{name}.svg").write_text(compact_svg(figure, name), encoding="utf-8")


if __name__ == "__main__":
    main()
