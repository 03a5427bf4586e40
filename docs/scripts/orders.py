"""Pictures of docs/guides/orders.md: python docs/scripts/orders.py."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

import hardgrad as hg
from hardgrad_lab.drawing.figures import COLOURS, DASHES, INK, Drawn, compact_svg, grid_figure, legend, new_figure

METHODS = ("laplace", "softsort", "neuralsort", "permutahedron", "network")
OTHERS = torch.tensor([-2.0, -1.0, 0.5, 1.5, 2.5], dtype=torch.float64)
ROW = torch.tensor([0.3, -1.2, 2.0, 0.9, -0.4, 1.1], dtype=torch.float64)


def slopes() -> Drawn:
    """Draw the rank of one entry that moves past five others, and its slope, of every method at temperature 0.5."""
    x = torch.linspace(-3.5, 4, 601, dtype=torch.float64)
    figure, ((value,), (slope,)) = grid_figure(2, 1)
    value.plot(x, hg.hard.rank(with_others(x))[:, 0], color=INK, label="hard", linewidth=1)
    for method, colour, dash in zip(METHODS, COLOURS, DASHES * 2, strict=False):
        at = x.clone().requires_grad_()
        ranks = hg.soft.rank(with_others(at), 0.5, method=method, relative=False)[:, 0]
        (grad,) = torch.autograd.grad(ranks.sum(), at)
        value.plot(x, ranks.detach(), color=colour, ls=dash, label=method)
        slope.plot(x, grad, color=colour, ls=dash)
    value.set(ylabel="its rank among six")
    slope.set(ylabel="slope of that", xlabel="the entry that moves")
    for panel in (value, slope):
        for other in OTHERS.tolist():
            panel.axvline(other, color=INK, linewidth=0.4, ls=":")
    legend(figure, [value])
    return figure


def with_others(x: Tensor) -> Tensor:
    """Return rows of six: x, and five that stay."""
    return torch.cat([x[:, None], OTHERS.expand(len(x), -1)], 1)


def temperatures() -> Drawn:
    """Draw the soft sort of one row from warm to cold, one panel a method."""
    t = torch.logspace(1.5, -2, 141, dtype=torch.float64)
    figure, panels = new_figure(len(METHODS))
    for panel, method in zip(panels, METHODS, strict=True):
        rows = torch.stack([hg.soft.sort(ROW, one.item(), method=method) for one in t])
        for place, values in enumerate(rows.T):
            panel.plot(t, values, color=COLOURS[place])
            panel.plot(t[-1], ROW.sort().values[place], "o", ms=3, color=COLOURS[place])
        panel.set(title=method, xscale="log", xlim=(t[0], t[-1]), xlabel="temperature, falling")
    panels[0].set_ylabel("sorted values")
    return figure


if __name__ == "__main__":
    for name, draw in {"orders-slopes": slopes, "orders-temperatures": temperatures}.items():
        (Path(__file__).parents[1] / "guides" / "pictures" / f"{name}.svg").write_text(
            compact_svg(draw(), name), encoding="utf-8"
        )
