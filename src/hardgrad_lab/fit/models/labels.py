"""What ranges are called: by their bounds, or where each is a category of the key, by that."""

from __future__ import annotations

from collections.abc import Sequence

import hardgrad as hg


def labels_of(ranges: hg.switch.PointRouter, categories: Sequence[str]) -> list[str]:
    """Return the name of each range.

    Args:
        ranges: of the key.
        categories: that the key's numbers stand for, one a range; none for a key of numbers.
    """
    return list(categories) if categories else [ranges.label(i) for i in range(len(ranges))]
