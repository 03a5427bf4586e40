"""The page on one fit."""

from __future__ import annotations

from hardgrad_lab.drawing.figures import Drawn, Inline, inline
from hardgrad_lab.drawing.render import render
from hardgrad_lab.fit.page import class_figures as of_classes
from hardgrad_lab.fit.page import figures, spectra
from hardgrad_lab.fit.page import level_figures as of_levels
from hardgrad_lab.fit.page import sound_figures as sounds
from hardgrad_lab.fit.page.cells import (
    HEADINGS,
    KNOB_HEADINGS,
    facts,
    knob_cells,
    range_cells,
    range_headings,
    score_cells,
    score_headings,
)
from hardgrad_lab.fit.page.levels import FRAME_S
from hardgrad_lab.fit.page.listen import players
from hardgrad_lab.fit.page.story import Story

TRANSFER = (
    "Every dot is a test {row}. The truth is grey; the prediction has the colour of the range that the {row} took."
)
LINE = "Grey dots are test {row}s; the line is what the switch makes of the key, each range in its colour."
AGREEMENT = (
    "First: on the line the prediction is right. Second: what it errs by, against the key; a pattern there is "
    "something that the model has not learned. Test {row}s."
)
CLASSES = "Every mark is a test {row}, beside its true class; a cross is one that the switch takes for another class."
CONFUSION = "How many test {row}s of each class are taken for which; on the diagonal they are named right."
FAR = "The sound that is played above, and what the model errs by on the same scale. Dashed: where stretches meet."
NEAR = "Where the box's output moves most. Dotted: what went in, as loud. Grey: the box. In colour: the model."
SPECTRUM = "Mean over the held-out stretches. Where the error comes near the box, the model does not follow it."
PICTURES = (
    "What is played above, one after another, all on one scale. What is bright in the error is what the model misses."
)
OVER_TIME = "Left: levels. Right: by how much the box and the model change the level of what goes in."
STATIC = (
    "Every dot is {ms:.0f} ms. On the dashed line the output is as loud as the input; a compressor bends away from it, "
    "a gate drops. Where rising and falling levels have different curves, what came before matters."
)
LEARNED = "The loss that it learns by, and the error-to-signal ratio on held-out time, whose best weights were kept."


def fit_page(story: Story) -> str:
    """Return the page, which refers to nothing outside itself."""
    return render(
        "fit.html.jinja",
        title=story.title,
        story=story,
        words=story.words,
        facts=facts(story),
        warnings=story.warnings,
        measure="Against fair rivals",
        headings=score_headings(story),
        numeric=range(1, len(HEADINGS)),
        rows=score_cells(story),
        described=[(score.name, score.described) for score in story.scores],
        knob_headings=KNOB_HEADINGS,
        knob_rows=knob_cells(story),
        range_headings=range_headings(story),
        range_rows=range_cells(story),
        figures=_figures(story),
        heard=[] if story.sound is None else players(story.sound, unseen=story.unseen),
        runs=[_provenance(story)],
    )


def _figures(story: Story) -> list[Inline]:
    drawn = _shapes(story)
    rival = "" if story.rival is None else f" The marks are {story.rival.name}, the best rival."
    if not story.device or len(story.labels) > 1:
        caption = f"The {story.switch.name}'s error on test {{row}}s.{rival}"
        drawn.append(("Loss and visits by range", caption, figures.by_range(story)))
    if story.sound is None and not story.classes:
        drawn.append(("Prediction against truth", AGREEMENT, figures.agreement(story)))
    if story.classes:
        drawn.append(("Which class is taken for which", CONFUSION, of_classes.confusion(story)))
    if len(story.scores) > 1:
        drawn.append(("The rivals", "", figures.rivals(story)))
    caption = "" if story.classes else LEARNED if story.device else "Losses of targets brought to a deviation of one."
    if len(story.curve) > 1:  # what is solved, or takes one epoch, has a point and no curve
        drawn.append(("Training", caption, figures.training(story)))
    row = story.words.rows.removesuffix("s")
    return [inline(figure, title, caption.format(row=row, ms=1000 * FRAME_S)) for title, caption, figure in drawn]


def _shapes(story: Story) -> list[tuple[str, str, Drawn]]:
    if story.classes:
        return [("Classes by key", CLASSES, of_classes.by_key(story))]
    transfer = ("Transfer curve", LINE if story.line is not None else TRANSFER, figures.transfer(story))
    return [transfer, *_over_time(story)]


def _over_time(story: Story) -> list[tuple[str, str, Drawn]]:
    if (sound := story.sound) is not None:
        curve = of_levels.static(sound)
        return [
            ("All of it, and the error", FAR, sounds.wave(sound)),
            ("Truth and prediction over time", NEAR, sounds.near(sound)),
            ("Levels and gain over time", OVER_TIME, of_levels.over_time(sound)),
            *([] if curve is None else [("Level in, level out", f"{STATIC} {story.device}".rstrip(), curve)]),
            ("Spectrograms", PICTURES, spectra.spectrograms(sound)),
            ("Level over frequency", SPECTRUM, spectra.spectrum(sound)),
        ]
    if story.stretch is None:
        return []
    caption = "Test {row}s in order of time, where the target moves most."
    return [("Truth and prediction over time", caption, figures.over_time(story, story.stretch))]


def _provenance(story: Story) -> dict[str, str]:
    where = story.environment
    commit = str(where.get("commit", ""))[:10] + (" with changes" if where.get("dirty") else "")
    return {
        "name": f"{', '.join(story.files)}; {story.words.rows} {story.source}; seed {story.seed}",
        "started": str(where["started"]),
        "seconds": f"{story.seconds:,.0f}",
        "device": str(where.get("device", "")),
        "threads": str(where.get("threads", "")),
        "versions": ", ".join(f"{name} {version}" for name, version in where.get("versions", {}).items()),
        "commit": commit,
    }
