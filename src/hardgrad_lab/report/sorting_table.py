"""The rows of table II: ours beside the published numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hardgrad_lab.drawing import page
from hardgrad_lab.experiments.bridges.sorting import PUBLISHED, SYSTEMS, OptionError, Sorting, configure
from hardgrad_lab.runs.records import Group

FALLS_SHORT = "▼"
LEGEND = "▼ our mean is below the published one. * from section IV-A, not table II."
NO_FIGURE = "-"
NUMERIC = (0, 3, 4, 5, 6, 7)  # columns of figures
HEADINGS = ("T", "system", "setting", "published %", "ours %", "n", "samples", "time", "")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table; all accuracies in percent.

    Args:
        length: T.
        system: which network.
        setting: the preset, and what differs from it.
        published: as the paper prints it, or a dash.
        ours: mean and spread, or the single figure.
        n: how many runs.
        samples: training samples of a run.
        seconds: mean wall-clock seconds of a run.
        mark: says so where ours falls short of the published mean.
    """

    length: int
    system: str
    setting: str
    published: str
    ours: str
    n: int
    samples: int
    seconds: float
    mark: str

    def cells(self) -> list[str]:
        """Return the row as text, in the order of ``HEADINGS``."""
        return [
            str(self.length),
            self.system,
            self.setting,
            self.published,
            self.ours,
            str(self.n),
            _count(self.samples),
            _duration(self.seconds),
            self.mark,
        ]


def rows(groups: Sequence[Group]) -> list[Row]:
    """Return the table's rows, in the paper's order of lengths and systems."""
    return [_row(group) for group in ordered(groups)]


def ordered(groups: Sequence[Group]) -> list[Group]:
    """Return the groups in the order of the table's rows."""
    systems = list(SYSTEMS)
    return sorted(
        groups,
        key=lambda group: (group.config["length"], systems.index(group.config["system"]), describe_setting(group)),
    )


def describe_setting(group: Group) -> str:
    """Return the preset's name and every value that differs from it, such as ``fast, lr 0.002``."""
    config = group.config
    try:
        preset: Sorting | None = configure(config["setting"], config["system"], config["length"], {})
    except OptionError:
        preset = None
    # The number of samples has a column of its own.
    differing = [
        _say(name, value)
        for name, value in config.items()
        if name != "samples" and preset is not None and getattr(preset, name, None) != value
    ]
    return ", ".join([str(config["setting"]), *differing])


def _say(name: str, value: object) -> str:
    """Return a value in as few words as are clear: a choice speaks for itself."""
    words = name.replace("_", " ")
    if isinstance(value, bool):
        return words if value else f"not {words}"
    if isinstance(value, float):
        return f"{words} {value:g}"
    return value if isinstance(value, str) else f"{words} {value}"


def falls_short(group: Group) -> bool:
    """Return whether our mean, at the one decimal most published numbers have, is below the published mean."""
    published = PUBLISHED.get((group.config["system"], group.config["length"]))
    return published is not None and round(100 * group.mean("accuracy"), 1) < round(published.accuracy, 1)


def _row(group: Group) -> Row:
    config = group.config
    return Row(
        length=config["length"],
        system=config["system"],
        setting=describe_setting(group),
        published=published_text(config["system"], config["length"]),
        ours=_ours(group),
        n=group.n,
        samples=max(record.samples for record in group.records),
        seconds=sum(record.seconds for record in group.records) / group.n,
        mark=FALLS_SHORT if falls_short(group) else "",
    )


def published_text(system: str, length: int) -> str:
    """Return the published number as printed, starred if it is not in the table."""
    published = PUBLISHED.get((system, length))
    if published is None:
        return NO_FIGURE
    text = f"{published.accuracy:g}"
    if published.spread is not None:
        text += f" ± {published.spread:g}"
    return text if published.source == "table II" else f"{text}*"


def _ours(group: Group) -> str:
    text, spread = f"{100 * group.mean('accuracy'):.2f}", group.spread("accuracy")
    return text if spread is None else f"{text} ± {100 * spread:.2f}"


def _count(samples: int) -> str:
    return f"{samples / 1e9:.2f} G" if samples >= 1e9 else f"{samples / 1e6:.3g} M"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:,.0f} min"


def as_markdown(table: Sequence[Row]) -> str:
    """Return the table in Markdown."""
    return page.as_markdown(HEADINGS, NUMERIC, [row.cells() for row in table], LEGEND)
