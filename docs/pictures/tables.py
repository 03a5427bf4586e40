"""Tables of records in the pages of docs/: python docs/pictures/tables.py."""

from __future__ import annotations

import re
import statistics
from pathlib import Path

from hardgrad_lab.experiments import experiment
from hardgrad_lab.runs.published import Metric
from hardgrad_lab.runs.record import Record

ROOT = Path(__file__).parents[2]
LEAST = 8  # contestants of a task, or ranks say little
PAGES = {
    "orders": ("digits", "paths", "explain"),
    "low-bit": ("low_bit",),
    "spiking": ("spikes",),
    "codebooks": ("codebooks fashion-mnist", "codebooks cifar10"),
    "devices": ("devices",),
    "approximators": ("approximators", "approximators predictors"),
}


def table(name: str) -> str:
    """Return the table of "experiment", or "experiment task": mean over seeds, contestants by tasks, as Markdown."""
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
        cells = [of(run, metric) for run, (_, metric) in zip(runs, columns, strict=True)]
        lines.append(f"| {contestant} | {' | '.join(cells)} | {min((len(run) for run in runs if run), default=0)} |")
    return "\n".join(lines)


def predictors() -> str:
    """Return how well each measure of the study of approximators ranks its contestants, by task, as Markdown."""
    found = experiment("approximators")
    seen: dict[tuple[str, str], list[list[float]]] = {}
    for path in sorted((ROOT / "results" / found.name).glob("*.json")):
        record = Record.load(path)
        task, contestant, budget = found.named(record.config)
        if budget == "small":
            along = [statistics.fmean(point[m.name] for point in record.curve) for m in found.metrics[1:]]
            seen.setdefault((task, contestant), []).append([record.metrics["score"], *along])
    tasks = [task for task in found.tasks if sum(key[0] == task for key in seen) >= LEAST]
    if not tasks:
        return "No run is recorded yet."
    columns = {
        task: [[statistics.fmean(v) for v in zip(*runs, strict=True)] for (of, _), runs in seen.items() if of == task]
        for task in tasks
    }
    lines = [f"| | {' | '.join(tasks)} |", f"|---|{'--:|' * len(tasks)}"]
    for place, metric in enumerate(found.metrics[1:], 1):
        cells = [f"{correlation(rows, place):.2f}" for rows in columns.values()]
        lines.append(f"| {metric.title} | {' | '.join(cells)} |")
    return "\n".join([*lines, f"| contestants | {' | '.join(str(len(rows)) for rows in columns.values())} |"])


def correlation(rows: list[list[float]], place: int) -> float:
    """Return Spearman's rank correlation of a column with the first."""
    ranks = [
        [(sum(w < v for w in column) + sum(w <= v for w in column)) / 2 for v in column]
        for column in zip(*rows, strict=True)
    ]
    return statistics.correlation(ranks[0], ranks[place]) if len(set(ranks[place])) > 1 else float("nan")


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
