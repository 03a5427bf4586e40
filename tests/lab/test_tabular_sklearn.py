"""What scikit-learn asks of every estimator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sklearn.utils.estimator_checks import check_sample_weight_equivalence_on_dense_data, parametrize_with_checks

from hardgrad_lab import SwitchClassifier, SwitchRegressor

QUICK: dict[str, Any] = {"search": 2, "hidden": (16,), "epochs": 20, "batch_size": 32, "lr": 0.03}


# Batches of rows are drawn: a row of weight 2 is not two rows in their order. Of lines, which are solved, it is true.
DRAWN = {"check_sample_weight_equivalence_on_dense_data": "rows are drawn in batches"}


@pytest.mark.filterwarnings("ignore:no points were searched")  # of 15 rows there is nothing to find
@parametrize_with_checks(
    [SwitchRegressor(**QUICK), SwitchClassifier(**QUICK)], expected_failed_checks=lambda estimator: DRAWN
)
def test_scikit_learn_is_content(estimator: Any, check: Callable[[Any], None]) -> None:
    check(estimator)


@pytest.mark.filterwarnings("ignore::UserWarning")  # of the check's 15 rows, too few for a line of 11 weights
def test_of_lines_a_weight_is_exactly_so_many_rows() -> None:
    lines = SwitchRegressor([0.0, 0.6, 1.0], branch="linear")
    check_sample_weight_equivalence_on_dense_data("SwitchRegressor", lines)
