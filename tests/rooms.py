"""The modules whose names are public, for the tests that hold names and pages against them."""

from __future__ import annotations

import hardgrad as hg

ROOMS = (
    hg,
    hg.approximators,
    hg.doctor,
    hg.hard,
    hg.losses,
    hg.montecarlo,
    hg.segments,
    hg.soft,
    hg.surrogate,
    hg.surrogate.twins,
    hg.switch,
)
