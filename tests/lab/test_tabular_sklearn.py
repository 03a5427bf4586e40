"""What scikit-learn asks of every estimator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sklearn.utils.estimator_checks import parametrize_with_checks

from hardgrad_lab import SwitchClassifier, SwitchRegressor

QUICK: dict[str, Any] = {"search": 2, "hidden": (16,), "epochs": 20, "batch_size": 32, "lr": 0.03}


@parametrize_with_checks([SwitchRegressor(**QUICK), SwitchClassifier(**QUICK)])
def test_scikit_learn_is_content(estimator: Any, check: Callable[[Any], None]) -> None:
    check(estimator)
