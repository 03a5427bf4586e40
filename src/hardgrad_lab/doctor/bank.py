"""The bank: real hard functions by name, in the order that the guide's tables have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hardgrad_lab.doctor import codes, five, orders, others, samples, solvers
from hardgrad_lab.doctor.case import Case

_MAKERS: dict[str, Callable[[Path | None], Case]] = {
    "argmax-routing": lambda _: five.routing(),
    "one-bit-quantise": five.one_bit,
    "sort": lambda _: five.sorting(),
    "top-k-mask": lambda _: five.top_k_mask(),
    "black-box": lambda _: five.black_box(),
    "bernoulli-latent": samples.latent_bits,
    "categorical-oscillator": lambda _: samples.oscillator(),
    "edit-distance": lambda _: samples.edit_distance(),
    "step": lambda _: others.step(),
    "sign-ternary": lambda _: others.ternary(),
    "round": lambda _: others.integer(),
    "quantize-4": lambda _: others.four_levels(),
    "binarize": lambda _: others.binarize(),
    "rank": lambda _: others.rank(),
    "permutation": lambda _: others.permutation(),
    "top-k": lambda _: others.top_k(),
    "sort-rows-cols": lambda _: others.rows_and_columns(),
    "nearest-code": lambda _: others.nearest_code(),
    "kmeans": lambda _: others.kmeans(),
    "picture-codes": codes.picture_codes,
    "settled-codes": lambda folder: codes.picture_codes(folder, moved=0.0),
    "residual-codes": codes.residual_codes,
    "learned-scale": lambda _: codes.learned_scale(),
    "learned-threshold": lambda _: codes.learned_threshold(),
    "median-filter": lambda _: orders.median_filter(),
    "trimmed-mean": lambda _: orders.trimmed_mean(),
    "quantile": lambda _: orders.quantile(),
    "ndcg": lambda _: orders.ndcg(),
    "average-precision": lambda _: orders.average_precision(),
    "kendall": lambda _: orders.kendall(),
    "feature-selection": lambda _: orders.chosen_features(),
    "k-subset": lambda _: orders.subset(),
    "neighbor-vote": lambda _: orders.neighbor_vote(),
    "grid-path": lambda _: solvers.grid_path(),
    "assignment": lambda _: solvers.assignment(),
    "knapsack": lambda _: solvers.knapsack(),
    "matching": lambda _: solvers.matching(),
}
NAMES = tuple(_MAKERS)


def find(name: str, folder: Path | None) -> Case:
    """Return one entry.

    Args:
        name: one of ``NAMES``.
        folder: of real data; see ``hardgrad_lab.doctor.images.pictures``.

    Raises:
        ValueError: if there is no such entry.
    """
    if name not in _MAKERS:
        raise ValueError(f"--only must name entries of the bank, got {name!r}; there are {', '.join(NAMES)}")
    return _MAKERS[name](folder)
