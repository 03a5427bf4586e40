"""Pictures and printed outputs of docs/start, docs/choose.md and docs/guides/doctor.md: python docs/scripts/start.py.

The blocks of a page are run, top to bottom, as the tests run them. What a block prints is written below it, between
``<!-- printed -->`` and ``<!-- end -->``, and the pictures show the numbers that the blocks made.
"""

from __future__ import annotations

import contextlib
import io
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes

from hardgrad_lab.drawing.figures import COLOURS, DASHES, FAINT, Drawn, compact_svg, grid_figure, legend, sized_figure

DOCS = Path(__file__).parents[1]
DOTS = 80  # gradients of each candidate in a picture
WIDTH = 4.4  # inches: letters of ten points stay readable where a telephone makes it narrower
BLOCK = re.compile(r"^```python\n(.*?)^```\n(\n<!-- printed -->\n)?(?(2)(?:.*?)<!-- end -->)", re.DOTALL | re.MULTILINE)


def run(page: Path) -> dict[str, Any]:
    """Run the blocks of a page, write what they print below them, and return their names."""
    names: dict[str, Any] = {"__name__": "page"}

    def one(block: re.Match[str]) -> str:
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            exec(compile(block[1], str(page), "exec"), names)
        if not block[2]:
            return block[0]
        return f"```python\n{block[1]}```\n{block[2]}```text\n{said.getvalue().rstrip()}\n```\n<!-- end -->"

    text = page.read_text(encoding="utf-8")
    page.write_text(BLOCK.sub(one, text), encoding="utf-8")
    return names


def lines(curves: dict[str, list[float]], what: str) -> Drawn:
    """Draw some curves over the steps of a training, from 0 on."""
    figure, panel = curves_of(curves, what)
    panel.set_ylim(0, None)
    legend(figure, [panel])
    return figure


def curves_of(curves: dict[str, list[float]], what: str) -> tuple[Drawn, Axes]:
    """Return a figure and its panel of some curves over the steps of a training."""
    figure, (panel,) = sized_figure(WIDTH, 2.6)
    for (name, values), colour, dash in zip(curves.items(), COLOURS, DASHES, strict=False):
        panel.plot(range(1, len(values) + 1), values, color=colour, ls=dash, label=name)
    panel.set(xlabel="step", ylabel=what)
    return figure, panel


def bridge_loss(page: dict[str, Any]) -> Drawn:
    """Draw the loss with and without the bridge."""
    return lines({"the bare function": page["without"], "with a bridge": page["with_bridge"]}, "loss")


def bridge_slope(page: dict[str, Any]) -> Drawn:
    """Draw one output of the filter and its approximator, as the middle of three numbers moves, and both slopes."""
    t = torch.linspace(-3, 3, 1201)
    row = torch.tensor([-3.0, 0.0, 3.0, 0.0, 0.0, 0.0, 0.0, 0.0]).repeat(len(t), 1)
    row[:, 1] = t
    row.requires_grad_()
    smooth = page["layer"].approximator(row)[:, 0]
    (slope,) = torch.autograd.grad(smooth.sum(), row)
    figure, ((value,), (lent,)) = grid_figure(2, 1)
    hard = page["median_filter"](row.detach())[:, 0]
    hard[1:][hard.diff() != 0] = torch.nan  # no upright lines: it jumps
    value.plot(t, hard, color=COLOURS[0], label="hard: what runs")
    value.plot(t, smooth.detach(), color=COLOURS[1], ls=DASHES[1], label="approximator: what lends")
    value.set(ylabel="output")
    lent.axhline(0, color=COLOURS[0])
    lent.plot(t, slope[:, 1], color=COLOURS[1], ls=DASHES[1])
    lent.set(ylabel="slope", xlabel="t, the middle one of three numbers")
    legend(figure, [value])
    return figure


def switch_loss(page: dict[str, Any]) -> Drawn:
    """Draw the loss of the switch and of one network."""
    return lines({"one network": page["as_input"], "switch": page["switched"]}, "loss")


def switch_step(page: dict[str, Any]) -> Drawn:
    """Draw how far the step moved each branch."""
    figure, (panel,) = sized_figure(WIDTH, 1.9)
    names = [f"level in {page['model'].ranges.label(i)}" for i in range(3)]
    most = max(page["moved"])
    panel.barh(names, page["moved"], color=COLOURS[0], height=0.5)
    panel.invert_yaxis()
    for place, value in enumerate(page["moved"]):
        panel.text(value + most / 50, place, f"{value:.4f}" if value else "exactly 0", va="center")
    panel.set(xlabel="most that a weight moved in one step", xlim=(0, 1.45 * most))
    panel.locator_params(axis="x", nbins=4)
    return figure


def draws_cost(page: dict[str, Any]) -> Drawn:
    """Draw the average cost while the odds are learned."""
    return lines({"score function, eight values": page["eight"], "Gumbel-Softmax": page["soft"]}, "average cost")


def draws_gradients(page: dict[str, Any]) -> Drawn:
    """Draw many gradients of one logit by each candidate, their mean and the truth."""
    figure, (panel,) = sized_figure(WIDTH, 3.0)
    torch.manual_seed(0)
    logits = page["logits"]
    true = 16 * page["truth"][0, 0]  # the mean over 16 equal rows is divided by 16
    panel.axvline(true, color=FAINT, label="truth")
    for place, candidate in enumerate(page["candidates"].values()):
        drawn = []
        for _ in range(DOTS):
            (grad,) = torch.autograd.grad(candidate(page["q"], page["cost"]).mean(), logits)
            drawn.append(grad[:, 0].sum())
        values = torch.stack(drawn)
        up = place + 0.5 * (torch.rand(len(values)) - 0.5)
        panel.plot(values, up, ".", ms=3, color=COLOURS[place])
        panel.plot([values.mean()] * 2, [place - 0.4, place + 0.4], color=COLOURS[place], lw=3)
    panel.set(yticks=range(len(page["candidates"])), yticklabels=list(page["candidates"]))
    panel.invert_yaxis()
    panel.set(xlabel="gradient of one coin's logit")
    legend(figure, [panel])
    return figure


def doctor_cheapest(page: dict[str, Any]) -> Drawn:
    """Draw the price that is paid while the choice is trained, by each gradient, and the best possible."""
    figure, panel = curves_of(page["curves"], "price paid")
    panel.axhline(page["price"].amin(1).mean(), color=FAINT, lw=1, label="the best possible")
    legend(figure, [panel])
    return figure


PICTURES: dict[str, dict[str, Callable[[dict[str, Any]], Drawn]]] = {
    "start/bridge": {"bridge-loss": bridge_loss, "bridge-slope": bridge_slope},
    "start/switch": {"switch-loss": switch_loss, "switch-step": switch_step},
    "start/draws": {"draws-cost": draws_cost, "draws-gradients": draws_gradients},
    "guides/doctor": {"doctor-cheapest": doctor_cheapest},
}


if __name__ == "__main__":
    for of_page, pictures in PICTURES.items():
        if sys.argv[1:] and of_page not in sys.argv[1:]:
            continue
        made = run(DOCS / f"{of_page}.md")
        folder = (DOCS / of_page).parent / "pictures"
        folder.mkdir(exist_ok=True)
        for name, draw in pictures.items():
            (folder / f"{name}.svg").write_text(compact_svg(draw(made), name), encoding="utf-8")
