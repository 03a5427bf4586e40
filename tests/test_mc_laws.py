"""Every Monte Carlo law over every estimator; what passed becomes docs/evidence/pass-matrix.md."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mc_cases import ESTIMATORS, Estimator
from mc_laws import LAWS, applies

PAIRS = [(law, estimator) for law in LAWS for estimator in ESTIMATORS if applies(law, estimator)]


@pytest.mark.parametrize(("law", "estimator"), PAIRS, ids=str)
@pytest.mark.filterwarnings("ignore::Warning:torch.*")
def test_law(law: str, estimator: Estimator, record_property: Callable[[str, object], None]) -> None:
    record_property("law", f"Monte Carlo|{estimator.name}|{law}")
    LAWS[law](estimator)
