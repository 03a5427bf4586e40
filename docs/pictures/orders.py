"""Pictures and tables of orders.md, tables of low-bit.md, spiking.md, codebooks.md: python docs/pictures/orders.py."""

from __future__ import annotations

import re
import statistics
from pathlib import Path

import torch
from torch import Tensor

import hardgrad as hg
from hardgrad_lab.drawing.figures import COLOURS, DASHES, INK, Drawn, compact_svg, grid_figure, legend, new_figure
from hardgrad_lab.experiments import experiment
from hardgrad_lab.runs.published import Metric
from hardgrad_lab.runs.record import Record

ROOT = Path(__file__).parents[2]
CODEBOOKS = ("codebooks fashion-mnist", "codebooks cifar10")
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


def table(name: str) -> str:
    """Return the table of "experiment", or "experiment task": mean over seeds, contestants by tasks, as Markdown."""
    name, _, only = name.partition(" ")
    found, values = experiment(name), {}
    for path in sorted((ROOT / "results" / name).glob("*.json")):
        record = Record.load(path)
        if record.config == found.run(found.configure("small", *found.named(record.config)[:2], {}), 0).config:
            values.setdefault((record.config["task"], record.config["contestant"]), []).append(record.metrics)
    tasks = [task for task in found.tasks if only in ("", task) and any(task == key[0] for key in values)]
    if not tasks:
        return "No run is recorded yet."
    metrics = found.metrics if len(tasks) == 1 else found.metrics[:1]
    columns = [(task, metric) for task in tasks for metric in metrics]
    titles = [metric.title if len(tasks) == 1 else task for task, metric in columns]
    lines = [f"| | {' | '.join(titles)} | n |", f"|---|{'--:|' * len(columns)}--:|"]
    for contestant in found.contestants:
        runs = [values.get((task, contestant), []) for task, _ in columns]
        cells = [of(run, metric) for run, (_, metric) in zip(runs, columns, strict=True)]
        lines.append(f"| {contestant} | {' | '.join(cells)} | {min(map(len, runs))} |")
    return "\n".join(lines)


def of(runs: list[dict[str, float]], metric: Metric) -> str:
    """Return the mean of a metric, with the deviation of the seeds where there are several."""
    if not runs:
        return "-"
    each = [run[metric.name] for run in runs]
    return format(statistics.fmean(each), metric.form) + (
        f" ± {format(statistics.stdev(each), metric.form)}" if len(each) > 1 else ""
    )


if __name__ == "__main__":
    for name, draw in {"orders-slopes": slopes, "orders-temperatures": temperatures}.items():
        Path(__file__).with_name(f"{name}.svg").write_text(compact_svg(draw(), name), encoding="utf-8")
    pages = {
        "orders": ("digits", "paths", "explain"),
        "low-bit": ("low_bit",),
        "spiking": ("spikes",),
        "codebooks": CODEBOOKS,
    }
    for of_page, names in pages.items():
        page = ROOT / "docs" / f"{of_page}.md"
        text = page.read_text(encoding="utf-8")
        for name in names:
            block = f"<!-- {name} -->\n{table(name)}\n<!-- end -->"
            text = re.sub(rf"<!-- {name} -->.*?<!-- end -->", lambda _, block=block: block, text, flags=re.DOTALL)
        page.write_text(text, encoding="utf-8")
