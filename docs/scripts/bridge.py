"""The picture of README.md: python docs/scripts/bridge.py, under a minute on one core.

A hard function of one number is a stair up and down. Three networks with it in their middle learn what a network of the
same kind computes: one with autograd's own gradient, which is zero through the function; one with a straight-through
gradient, which takes the function for the identity; one with a bridge. The first two panels show the function, the
approximator that the last one ended with, and the gradient that each of them passes back.
"""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import Tensor, nn

import hardgrad as hg
from hardgrad_lab.drawing.figures import COLOURS, FAINT, FAINT_TEXT, INK, Drawn, compact_svg, legend, sized_figure
from hardgrad_lab.drawing.layout import narrowed
from hardgrad_lab.drawing.palette import DARK, DARK_PAGE

FOLDER = Path(__file__).parents[1] / "_static"
STEPS, SEEDS, ROWS = 400, 3, 512
EVERY = 5  # steps, of the points of a drawn curve: the file stays small
NAMES = {"none": "autograd alone", "straight-through": "straight-through", "bridge": "a bridge"}
LEGEND = NAMES | {"none": "the function, and autograd alone", "bridge": "a bridge, its approximator"}
LOOKS = {
    "none": {"color": INK, "ls": "-"},
    "straight-through": {"color": COLOURS[0], "ls": "-."},
    "bridge": {"color": COLOURS[1], "ls": "--"},
}
# The colours of a dark page, of those that stand in the file: text, what stands back, and the lines.
AT_NIGHT = {"#1c2126": "#e6e6e3", "#ffffff": DARK_PAGE, FAINT: "#8a929a", FAINT_TEXT: "#a6adb4"}
AT_NIGHT |= dict(zip(COLOURS, DARK, strict=True))


def stairs(x: Tensor) -> Tensor:
    """Return a hard function of each number: stairs up and down, flat wherever they have a derivative."""
    return (3 * x.sin()).round() / 3


def layer(kind: str) -> nn.Module:
    """Return the stairs as a layer that gets one gradient or another."""
    if kind == "bridge":
        return hg.Bridge(stairs, hg.approximators.elementwise())
    return hg.straight_through(stairs, soft=(lambda x: x * 0.0) if kind == "none" else None)


def train(kind: str, seed: int) -> tuple[nn.Sequential, list[float]]:
    """Return a network that was trained, and its loss before each step and after the last; the variance is one."""
    torch.manual_seed(seed)
    x = torch.randn(ROWS, 4)
    wanted = nn.Linear(8, 1)(stairs(2 * nn.Linear(4, 8)(x))).detach()
    wanted = (wanted - wanted.mean()) / wanted.std()
    model = nn.Sequential(nn.Linear(4, 16), layer(kind), nn.Linear(16, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(STEPS + 1):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), wanted)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return model, losses


def draw() -> tuple[Drawn, dict[str, float]]:
    """Return the picture, and the mean loss that each gradient ended with."""
    runs = {kind: [train(kind, seed) for seed in range(SEEDS)] for kind in LOOKS}
    bridge = runs["bridge"][0][0][1]
    at = torch.linspace(-4, 4, 401, requires_grad=True)
    imitated = bridge.approximator(at[:, None])[:, 0]
    (lent,) = torch.autograd.grad(bridge(at[:, None]).sum(), at)
    (exact,) = torch.autograd.grad((stairs(at) + 0 * at).sum(), at)
    figure, (forward, backward, training) = sized_figure(10.4, 3.0, 3)
    x = at.detach()
    forward.plot(x, stairs(x), color=INK, linewidth=1.6)
    forward.plot(x, imitated.detach(), **LOOKS["bridge"])
    forward.set(title="Forward: the hard function, exactly", xlabel="in", ylabel="out", ylim=(-1.3, 1.3))
    backward.plot(x, exact, **LOOKS["none"], linewidth=1.6)
    backward.plot(x, torch.ones_like(x), **LOOKS["straight-through"])
    backward.plot(x, lent.detach(), **LOOKS["bridge"])
    backward.set(title="Backward: the slope that is passed on", xlabel="in", ylabel="slope")
    for kind, look in LOOKS.items():
        for seed, (_, losses) in enumerate(runs[kind]):
            training.plot(
                range(0, STEPS + 1, EVERY), losses[::EVERY], **look, linewidth=1.2, label="" if seed else LEGEND[kind]
            )
    training.set(
        title="Training: loss over variance", xlabel="step", yscale="log", yticks=[0.01, 0.1, 1.0], ylim=(0.01, 2.0)
    )
    training.minorticks_off()
    legend(figure, [training])
    return figure, {kind: sum(losses[-1] for _, losses in each) / SEEDS for kind, each in runs.items()}


def for_both_pages(svg: str, said: str) -> str:
    """Return an SVG file that says what it shows, and has other colours where the reader's page is dark."""
    rules = "".join(
        f'[style*="{what}: {day}"]{{{what}:{night}!important}}'
        for day, night in AT_NIGHT.items()
        for what in ("fill", "stroke")
        if f"{what}: {day}" in svg
    )
    svg = re.sub(r"\d+\.\d{3,}", lambda found: f"{float(found[0]):.1f}", svg)
    svg = re.sub(r"font-family: [^;]+", "font-family: sans-serif", svg)
    # Text without a colour of its own has that of the whole picture.
    style = f"<style>svg{{fill:#1c2126}}@media(prefers-color-scheme:dark){{svg{{fill:#e6e6e3}}{rules}}}</style>"
    return re.sub(r"(<svg[^>]*>)", lambda found: f"{found[1]}<desc>{said}</desc>{style}", svg, count=1)


def say(losses: dict[str, float]) -> str:
    """Return what the picture shows of training, in a sentence."""
    each = ", ".join(f"{losses[kind]:.2f} with {name}" for kind, name in NAMES.items())
    return f"Loss over variance after {STEPS} steps, mean of {SEEDS} seeds: {each}."


if __name__ == "__main__":
    torch.set_num_threads(1)
    figure, losses = draw()
    for name, drawn in {"bridge": figure, "bridge-narrow": narrowed(figure)}.items():
        (FOLDER / f"{name}.svg").write_text(for_both_pages(compact_svg(drawn, name), say(losses)), encoding="utf-8")
    print(say(losses))
