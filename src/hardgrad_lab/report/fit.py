"""The page on one fit."""

from __future__ import annotations

import jinja2

from hardgrad_lab.report import fit_figures as figures
from hardgrad_lab.report.figures import inline_svg
from hardgrad_lab.report.fit_story import Story

HEADINGS = ("", "RMSE", "R²", "parameters", "active", "updates", "s")
RANGE_HEADINGS = ("range", "training rows", "test rows", "RMSE", "best rival")
NO_FIGURE = "-"
TRANSFER = "Every dot is a test row. The truth is grey; the prediction has the colour of the range that the row took."
LINE = "Grey dots are test rows; the line is what the switch makes of the key, each range in its colour."


def fit_page(story: Story) -> str:
    """Return the page, which refers to nothing outside itself."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("hardgrad_lab", "report"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    return environment.get_template("fit.html.jinja").render(
        title=f"{story.target} by {story.key}",
        story=story,
        facts=facts(story),
        warnings=story.warnings,
        measure="Against fair rivals",
        headings=HEADINGS,
        numeric=range(1, len(HEADINGS)),
        rows=score_cells(story),
        described=[(score.name, score.described) for score in story.scores],
        range_headings=RANGE_HEADINGS,
        range_rows=range_cells(story),
        colours=[figures.colour(i) for i in range(len(story.labels))],
        figures=_figures(story),
        runs=[_provenance(story)],
    )


def facts(story: Story) -> list[tuple[str, str]]:
    """Return the figures at the top of the page."""
    fitted, chose, tested = story.rows
    r2 = story.switch.r2
    return [
        (f"{story.switch.rmse:.4g}", "RMSE on test rows"),
        (NO_FIGURE if r2 is None else f"{r2:.4f}", "R²"),
        (str(len(story.labels)), f"ranges of {story.key}"),
        (f"{fitted + chose:,}", "rows fitted to"),
        (f"{tested:,}", "rows set aside to test" if story.unseen else "the same rows to test"),
        (f"{story.switch.parameters:,}", "parameters"),
    ]


def score_cells(story: Story) -> list[list[str]]:
    """Return the table of the switch and its rivals, the best first."""
    return [
        [
            score.name,
            f"{score.rmse:.4g}",
            NO_FIGURE if score.r2 is None else f"{score.r2:.4f}",
            f"{score.parameters:,}" if score.parameters else NO_FIGURE,
            f"{score.active:,}" if score.active else NO_FIGURE,
            f"{score.updates:,}" if score.updates else NO_FIGURE,
            f"{score.seconds:.1f}",
        ]
        for score in sorted(story.scores, key=lambda score: score.rmse)
    ]


def range_cells(story: Story) -> list[list[str]]:
    """Return the table of the ranges."""
    rival = story.rival
    others = [None] * len(story.labels) if rival is None else rival.ranges
    return [
        [
            label,
            f"{trained:,}",
            f"{tested:,}",
            NO_FIGURE if rmse is None else f"{rmse:.4g}",
            NO_FIGURE if other is None else f"{other:.4g}",
        ]
        for label, trained, tested, rmse, other in zip(
            story.labels, story.visits, story.tested, story.switch.ranges, others, strict=True
        )
    ]


def _figures(story: Story) -> list[dict[str, str]]:
    drawn = [("Transfer curve", LINE if story.line is not None else TRANSFER, figures.transfer(story))]
    if story.stretch is not None:
        caption = "Test rows in order of time, where the target moves most."
        drawn.append(("Truth and prediction over time", caption, figures.over_time(story, story.stretch)))
    rival = "" if story.rival is None else f" The marks are {story.rival.name}, the best rival."
    drawn.append(("Loss and visits by range", f"The switch's error on test rows.{rival}", figures.by_range(story)))
    drawn.append(
        ("Prediction against truth", "On the line the prediction is right. Test rows.", figures.agreement(story))
    )
    drawn.append(("Training", "Losses of targets brought to a deviation of one.", figures.training(story)))
    return [{"title": title, "caption": caption, "svg": inline_svg(f, title)} for title, caption, f in drawn]


def _provenance(story: Story) -> dict[str, str]:
    where = story.environment
    commit = str(where.get("commit", ""))[:10] + (" with changes" if where.get("dirty") else "")
    return {
        "name": f"{', '.join(story.files)}; rows {story.source}; seed {story.seed}",
        "started": str(where["started"]),
        "seconds": f"{story.seconds:,.0f}",
        "device": str(where.get("device", "")),
        "threads": str(where.get("threads", "")),
        "versions": ", ".join(f"{name} {version}" for name, version in where.get("versions", {}).items()),
        "commit": commit,
    }
