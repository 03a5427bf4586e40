"""Tables of records in the pages of docs/: python docs/scripts/tables.py."""

from __future__ import annotations

import re
import statistics
from pathlib import Path

from hardgrad_lab.experiments import experiment
from hardgrad_lab.runs.published import Metric
from hardgrad_lab.runs.record import Record

ROOT = Path(__file__).parents[2]
LEAST = 5  # contestants of a task, or ranks say little
PAGES = {
    "guides/orders": ("digits", "paths", "explain"),
    "guides/low-bit": ("low_bit",),
    "guides/spiking": ("spikes",),
    "guides/codebooks": ("codebooks fashion-mnist", "codebooks cifar10"),
    "guides/devices": ("devices",),
    "evidence/approximators": ("approximators", "approximators predictors"),
}


def table(name: str) -> str:
    """Return the table of "experiment", or "experiment task", as Markdown: mean over seeds, of whoever ran."""
    name, _, only = name.partition(" ")
    if only == "predictors":
        return predictors()
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
        if not any(runs):
            continue
        cells = [of(run, metric) for run, (_, metric) in zip(runs, columns, strict=True)]
        lines.append(f"| {contestant} | {' | '.join(cells)} | {min((len(run) for run in runs if run), default=0)} |")
    return "\n".join(lines)


def predictors() -> str:
    """Return how well each measure of the study of approximators ranks its contestants, as Markdown.

    Of each task, and of all tasks by Muon and by Adam, in which a contestant counts by its place in its own task.
    """
    found = experiment("approximators")
    seen: dict[str, dict[str, list[list[float]]]] = {task: {} for task in found.tasks}
    for path in sorted((ROOT / "results" / found.name).glob("*.json")):
        record = Record.load(path)
        task, contestant, budget = found.named(record.config)
        if budget == "small":
            along = [statistics.fmean(point[m.name] for point in record.curve) for m in found.metrics[1:]]
            seen[task].setdefault(contestant, []).append([record.metrics["score"], *along])
    rows = {
        task: [[statistics.fmean(v) for v in zip(*r, strict=True)] for r in of.values()] for task, of in seen.items()
    }
    columns = {
        f"all by {name.title()}": [r for t, r in rows.items() if r and t.endswith(name)] for name in ("muon", "adam")
    }
    columns |= {task: [each] for task, each in rows.items() if len(each) >= LEAST}
    columns = {name: each for name, each in columns.items() if each}
    lines = [f"| | {' | '.join(columns)} |", f"|---|{'--:|' * len(columns)}"]
    for place, metric in enumerate(found.metrics[1:], 1):
        lines.append(f"| {metric.title} | {' | '.join(correlation(each, place) for each in columns.values())} |")
    return "\n".join([*lines, f"| n | {' | '.join(str(sum(map(len, each))) for each in columns.values())} |"])


def correlation(tasks: list[list[list[float]]], place: int) -> str:
    """Return Spearman's rank correlation of a column with the first, of ranks within each task."""
    ranks: tuple[list[float], list[float]] = ([], [])
    for rows in tasks:
        for into, column in zip(ranks, ([r[0] for r in rows], [r[place] for r in rows]), strict=True):
            into += [(sum(w < v for w in column) + sum(w <= v for w in column)) / len(column) for v in column]
    return f"{statistics.correlation(*ranks):.2f}" if all(len(set(each)) > 1 for each in ranks) else "-"


def of(runs: list[dict[str, float]], metric: Metric) -> str:
    """Return the mean of a metric, with the deviation of the seeds where there are several."""
    if not runs:
        return "-"
    each = [run[metric.name] for run in runs]
    return format(statistics.fmean(each), metric.form) + (
        f" ± {format(statistics.stdev(each), metric.form)}" if len(each) > 1 else ""
    )


if __name__ == "__main__":
    for of_page, names in PAGES.items():
        page = ROOT / "docs" / f"{of_page}.md"
        text = page.read_text(encoding="utf-8")
        for name in names:
            block = f"<!-- {name} -->\n{table(name)}\n<!-- end -->"
            text = re.sub(rf"<!-- {name} -->.*?<!-- end -->", lambda _, block=block: block, text, flags=re.DOTALL)
        page.write_text(text, encoding="utf-8")
