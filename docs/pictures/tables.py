"""Tables of records in the pages of docs/: python docs/pictures/tables.py."""

from __future__ import annotations

import re
import statistics
from pathlib import Path

from hardgrad_lab.experiments import experiment
from hardgrad_lab.runs.published import Metric
from hardgrad_lab.runs.record import Record

ROOT = Path(__file__).parents[2]
PAGES = {
    "orders": ("digits", "paths", "explain"),
    "low-bit": ("low_bit",),
    "spiking": ("spikes",),
    "codebooks": ("codebooks fashion-mnist", "codebooks cifar10"),
    "devices": ("devices",),
}


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
        lines.append(f"| {contestant} | {' | '.join(cells)} | {min((len(run) for run in runs if run), default=0)} |")
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
    for of_page, names in PAGES.items():
        page = ROOT / "docs" / f"{of_page}.md"
        text = page.read_text(encoding="utf-8")
        for name in names:
            block = f"<!-- {name} -->\n{table(name)}\n<!-- end -->"
            text = re.sub(rf"<!-- {name} -->.*?<!-- end -->", lambda _, block=block: block, text, flags=re.DOTALL)
        page.write_text(text, encoding="utf-8")
