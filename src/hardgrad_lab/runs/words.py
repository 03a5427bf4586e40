"""Numbers of runs in words: a mean with its spread, a distance, how many, how long."""

from __future__ import annotations

from hardgrad_lab.runs.compare import Mean, mean_of
from hardgrad_lab.runs.published import Metric
from hardgrad_lab.runs.records import Group

NO_FIGURE = "-"
NOT_RUN = "not run"


def mean(group: Group, metric: str) -> Mean | None:
    """Return the mean of a metric over the runs that have it; None where none has."""
    values = [record.metrics[metric] for record in group.records if metric in record.metrics]
    return mean_of(values) if values else None


def say_mean(value: Mean | None, form: str) -> str:
    """Return mean and spread as text, such as ``0.93 ± 0.01``."""
    if value is None:
        return NO_FIGURE
    text = format(value.value, form)
    return text if value.spread is None else f"{text} ± {format(value.spread, form)}"


def unit_of(metric: Metric) -> str:
    """Return the unit of a metric with a space before it; nothing for a bare number."""
    return f" {metric.title.partition(', ')[2]}".rstrip()


def say_apart(apart: float, metric: Metric, error: float | None = None) -> str:
    """Return a distance with its unit, and its error where it has one; of percentages in points."""
    percent = metric.form.endswith("%")
    scale, form = (100, f"{metric.form[:-1]}f") if percent else (1, metric.form)
    said = " ± ".join(format(scale * each, form) for each in (apart, error) if each is not None)
    return said + (" points" if percent else unit_of(metric))


def say_count(samples: int) -> str:
    """Return a number of samples in three digits, such as ``12.5 M``."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if samples >= 0.9995 * size:
            return f"{samples / size:.3g} {unit}"
    return str(samples)


def say_duration(seconds: float) -> str:
    """Return seconds, minutes or hours."""
    if seconds < 120:
        return f"{seconds:.{0 if seconds >= 10 else 1}f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
