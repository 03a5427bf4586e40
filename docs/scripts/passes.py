"""The picture of docs/guides/bridge.md: python docs/scripts/passes.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hardgrad_lab.drawing.figures import COLOURS, INK, Drawn, compact_svg, legend, sized_figure

Place = tuple[float, float]

BEFORE, HARD, AFTER, IMITATOR = (0.11, 0.72), (0.5, 0.72), (0.89, 0.72), (0.5, 0.18)
BOXES = {
    BEFORE: "layers\nbefore",
    HARD: "hard function h",
    AFTER: "layers after,\nloss L",
    IMITATOR: "approximator a\nwith weights φ",
}
FORWARD, BACKWARD, PENALTY = COLOURS[0], COLOURS[1], COLOURS[2]


def passes() -> Drawn:
    """Draw what goes forward, what goes backward, and what trains the approximator."""
    figure, (panel,) = sized_figure(7.2, 3.1)
    panel.set(xlim=(0, 1), ylim=(0.03, 0.9))
    panel.axis("off")
    for (x, y), words in BOXES.items():
        box = {"boxstyle": "round,pad=0.55", "facecolor": "white", "edgecolor": INK}
        panel.text(x, y, words, ha="center", va="center", bbox=box, zorder=3)
    arrow(panel, (0.19, 0.72), (0.37, 0.72), FORWARD, "-")
    arrow(panel, (0.63, 0.72), (0.79, 0.72), FORWARD, "-")
    arrow(panel, (0.89, 0.58), (0.63, 0.18), BACKWARD, "--")
    arrow(panel, (0.37, 0.18), (0.11, 0.58), BACKWARD, "--")
    arrow(panel, (0.5, 0.6), (0.5, 0.33), PENALTY, ":")
    for place, words in (
        ((0.28, 0.79), "x"),
        ((0.71, 0.79), "y = h(x)"),
        ((0.87, 0.3), "gradient at y"),
        ((0.13, 0.3), "the same, times\nthe Jacobian of a"),
    ):
        panel.text(*place, words, ha="center", va="center")
    panel.text(0.515, 0.465, "penalty |a(x) \u2212 h(x)|²\ntrains φ, and only φ", ha="left", va="center")
    ways = {
        "forward, exact": (FORWARD, "-"),
        "backward, lent": (BACKWARD, "--"),
        "what the approximator learns": (PENALTY, ":"),
    }
    for name, (colour, dash) in ways.items():
        panel.plot([], [], color=colour, ls=dash, label=name)
    legend(figure, [panel])
    return figure


def arrow(panel: Any, start: Place, end: Place, colour: str, dash: str) -> None:
    """Draw one arrow."""
    look = {"arrowstyle": "-|>", "color": colour, "linestyle": dash, "linewidth": 1.6, "shrinkA": 0, "shrinkB": 0}
    panel.annotate("", end, start, arrowprops=look)


if __name__ == "__main__":
    path = Path(__file__).parents[1] / "guides" / "pictures" / "bridge-passes.svg"
    path.write_text(compact_svg(passes(), "bridge-passes"), encoding="utf-8")
