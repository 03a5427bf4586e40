"""The page on one fit."""

from __future__ import annotations

from hardgrad_lab.drawing.figures import Drawn, Inline, inline
from hardgrad_lab.drawing.render import render
from hardgrad_lab.fit.page import class_figures as of_classes
from hardgrad_lab.fit.page import figures
from hardgrad_lab.fit.page import sound_figures as sounds
from hardgrad_lab.fit.page.sound import players
from hardgrad_lab.fit.page.story import Story
from hardgrad_lab.fit.page.words import as_db, as_esr, esr_of
from hardgrad_lab.fit.rivals.scores import ClassScore, Scored

HEADINGS = ("", "RMSE", "R²", "parameters", "active", "updates", "s")
CLASS_HEADINGS = ("", "log loss", "right", *HEADINGS[3:])
SOUND_HEADINGS = ("", "ESR", "dB", *HEADINGS[3:])
RANGE_HEADINGS = ("range", "training rows", "test rows", "RMSE", "best rival")
NO_FIGURE = "-"
TRANSFER = (
    "Every dot is a test {row}. The truth is grey; the prediction has the colour of the range that the {row} took."
)
LINE = "Grey dots are test {row}s; the line is what the switch makes of the key, each range in its colour."
AGREEMENT = (
    "First: on the line the prediction is right. Second: what it errs by, against the key; a pattern there is "
    "something that the model has not learnt. Test {row}s."
)
CLASSES = "Every mark is a test {row}, beside its true class; a cross is one that the switch takes for another class."
CONFUSION = "How many test {row}s of each class are taken for which; on the diagonal they are named right."
FAR = "The sound that is played above, and what the model errs by on the same scale. Dashed: where stretches meet."
NEAR = "Where the box's output moves most. Dotted: what went in. Grey: the box. In colour: the model, range by range."
SPECTRUM = "Mean over the held-out stretches. Where the error comes near the box, the model does not follow it."


def fit_page(story: Story) -> str:
    """Return the page, which refers to nothing outside itself."""
    clips, heard = ([], "") if story.sound is None else players(story.sound, unseen=story.unseen)
    return render(
        "fit.html.jinja",
        title=f"{story.target} by {story.key}",
        story=story,
        words=story.words,
        facts=facts(story),
        warnings=story.warnings,
        measure="Against fair rivals",
        headings=score_headings(story),
        numeric=range(1, len(HEADINGS)),
        rows=score_cells(story),
        described=[(score.name, score.described) for score in story.scores],
        range_headings=range_headings(story),
        range_rows=range_cells(story),
        figures=_figures(story),
        clips=clips,
        heard=heard,
        runs=[_provenance(story)],
    )


def facts(story: Story) -> list[tuple[str, str]]:
    """Return the figures at the top of the page."""
    fitted, chose, tested = story.rows
    rows = story.words.rows
    sound = _loudness(story, story.switch)
    found = [] if sound is None else [(sound[0], "ESR: error energy in the sound's"), (sound[1], "the same in dB")]
    return [
        *found,
        *_measures(story.switch, rows)[1 if sound else 0 :],
        (str(len(story.labels)), f"ranges of {story.words.key}"),
        (f"{fitted + chose:,}", f"{rows} fitted to"),
        (f"{tested:,}", f"{rows} set aside to test" if story.unseen else f"the same {rows} to test"),
        (f"{story.switch.parameters:,}", "parameters"),
    ]


def score_headings(story: Story) -> tuple[str, ...]:
    """Return what stands above ``score_cells``."""
    if story.classes:
        return CLASS_HEADINGS
    return HEADINGS if story.sound is None else SOUND_HEADINGS


def score_cells(story: Story) -> list[list[str]]:
    """Return the table of the switch and its rivals, the best first."""
    return [
        [
            score.name,
            *(_loudness(story, score) or (f"{score.error:.4g}", _share(score))),
            f"{score.parameters:,}" if score.parameters else NO_FIGURE,
            f"{score.active:,}" if score.active else NO_FIGURE,
            f"{score.updates:,}" if score.updates else NO_FIGURE,
            f"{score.seconds:.1f}",
        ]
        for score in sorted(story.scores, key=lambda score: score.error)
    ]


def _measures(score: Scored, rows: str) -> list[tuple[str, str]]:
    if isinstance(score, ClassScore):
        return [(_share(score), f"of test {rows} named right"), (f"{score.log_loss:.4g}", "log loss")]
    return [(f"{score.rmse:.4g}", f"RMSE on test {rows}"), (_share(score), "R²")]


def _share(score: Scored) -> str:
    if isinstance(score, ClassScore):
        return f"{score.accuracy:.2%}"
    return NO_FIGURE if score.r2 is None else f"{score.r2:.4f}"


def _loudness(story: Story, score: Scored) -> tuple[str, str] | None:
    """Return the error of a model in the energy of the sound, in per cent and decibels; None for a table."""
    if story.sound is None or isinstance(score, ClassScore):
        return None
    esr = esr_of(score.rmse, story.sound.power)
    return as_esr(esr), as_db(esr)


def range_headings(story: Story) -> tuple[str, ...]:
    """Return what stands above ``range_cells``."""
    words = story.words
    return tuple(heading.replace("rows", words.rows).replace("RMSE", words.measure) for heading in RANGE_HEADINGS)


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


def _figures(story: Story) -> list[Inline]:
    drawn = _shapes(story)
    rival = "" if story.rival is None else f" The marks are {story.rival.name}, the best rival."
    drawn.append(("Loss and visits by range", f"The switch's error on test {{row}}s.{rival}", figures.by_range(story)))
    if story.classes:
        drawn.append(("Which class is taken for which", CONFUSION, of_classes.confusion(story)))
    else:
        drawn.append(("Prediction against truth", AGREEMENT, figures.agreement(story)))
    if len(story.scores) > 1:
        drawn.append(("The rivals", "", figures.rivals(story)))
    caption = "" if story.classes else "Losses of targets brought to a deviation of one."
    drawn.append(("Training", caption, figures.training(story)))
    row = story.words.rows.removesuffix("s")
    return [inline(figure, title, caption.format(row=row)) for title, caption, figure in drawn]


def _shapes(story: Story) -> list[tuple[str, str, Drawn]]:
    if story.classes:
        return [("Classes by key", CLASSES, of_classes.by_key(story))]
    transfer = ("Transfer curve", LINE if story.line is not None else TRANSFER, figures.transfer(story))
    return [transfer, *_over_time(story)]


def _over_time(story: Story) -> list[tuple[str, str, Drawn]]:
    if (sound := story.sound) is not None:
        return [
            ("All of it, and the error", FAR, sounds.wave(sound)),
            ("Truth and prediction over time", NEAR, sounds.near(sound)),
            ("Level over frequency", SPECTRUM, sounds.spectrum(sound)),
        ]
    if story.stretch is None:
        return []
    caption = "Test {row}s in order of time, where the target moves most."
    return [("Truth and prediction over time", caption, figures.over_time(story, story.stretch))]


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
