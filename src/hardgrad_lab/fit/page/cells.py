"""The figures at the top of a fit's page, and its tables: what the terminal prints, too."""

from __future__ import annotations

from hardgrad_lab.fit.page.story import Story
from hardgrad_lab.fit.rivals.scores import ClassScore, Scored, SoundScore, as_db, as_esr

HEADINGS = ("", "RMSE", "R²", "parameters", "active", "updates", "s")
CLASS_HEADINGS = ("", "log loss", "right", *HEADINGS[3:])
SOUND_HEADINGS = ("", "ESR", "dB", *HEADINGS[3:])
KNOB_HEADINGS = ("knob", "ESR", "dB", "looks like")
RANGE_HEADINGS = ("range", "training rows", "test rows", "RMSE", "best rival")
NO_FIGURE = "-"


def facts(story: Story) -> list[tuple[str, str]]:
    """Return the figures at the top of the page."""
    fitted, chose, tested = story.rows
    rows, aside = story.words.rows, "set aside to test" if story.unseen else "the same to test"
    ranges = [(str(len(story.labels)), f"ranges of {story.words.key}")]
    if (sound := story.sound) is not None:
        found = [
            *zip(_figures_of(story.switch), ("ESR: error energy in the sound's", "the same in dB"), strict=True),
            (f"{sound.speed:,.0f}x", "real time, on one thread"),
            *(ranges if len(story.labels) > 1 or not story.device else []),
            (f"{(fitted + chose) / sound.rate:,.1f} s", "of sound fitted to"),
            (f"{tested / sound.rate:,.1f} s", aside),
        ]
    else:
        found = [
            *_measures(story.switch, rows),
            *ranges,
            (f"{fitted + chose:,}", f"{rows} fitted to"),
            (f"{tested:,}", f"{rows} {aside}" if story.unseen else f"the same {rows} to test"),
        ]
    return [*found, (f"{story.switch.parameters:,}", "parameters")]


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
            *_figures_of(score),
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


def _figures_of(score: Scored) -> tuple[str, str]:
    """Return the error of a model in the two measures of its table."""
    if isinstance(score, SoundScore):
        return as_esr(score.esr), as_db(score.esr)
    return score.said, _share(score)


def range_headings(story: Story) -> tuple[str, ...]:
    """Return what stands above ``range_cells``."""
    words = story.words
    rows = f" {words.rows}" if story.sound is None else ", s"
    return tuple(heading.replace(" rows", rows).replace("RMSE", words.measure) for heading in RANGE_HEADINGS)


def range_cells(story: Story) -> list[list[str]]:
    """Return the table of the ranges."""
    rival = story.rival
    others = [None] * len(story.labels) if rival is None else rival.ranges
    return [
        [label, _amount(trained, story), _amount(tested, story), _error(error, story), _error(other, story)]
        for label, trained, tested, error, other in zip(
            story.labels, story.visits, story.tested, story.switch.ranges, others, strict=True
        )
    ]


def knob_cells(story: Story) -> list[list[str]]:
    """Return the table of the knob's places; empty without a knob."""
    voices = () if story.sound is None else story.sound.voices
    return [
        [
            voice.name,
            as_esr(voice.esr),
            as_db(voice.esr),
            (voice.levels.shape.kind if voice.levels else "") or NO_FIGURE,
        ]
        for voice in voices
        if voice.name
    ]


def _amount(rows: int, story: Story) -> str:
    return f"{rows:,}" if story.sound is None else f"{rows / story.sound.rate:,.2f}"


def _error(error: float | None, story: Story) -> str:
    if error is None:
        return NO_FIGURE
    return f"{error:.4g}" if story.sound is None else as_esr(error)
