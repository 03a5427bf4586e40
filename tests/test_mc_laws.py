"""Every Monte Carlo law over every estimator; what passed becomes docs/evidence/pass-matrix.md."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

import hardgrad as hg
from mc_bank import VARIABLES
from mc_cases import ESTIMATORS, Estimator
from mc_laws import LAWS, applies
from mode_subjects import SUBJECTS, Estimate

PAIRS = [(law, estimator) for law in LAWS for estimator in ESTIMATORS if applies(law, estimator)]


@pytest.mark.parametrize(("law", "estimator"), PAIRS, ids=str)
@pytest.mark.filterwarnings("ignore::Warning:torch.*")
def test_law(law: str, estimator: Estimator, record_property: Callable[[str, object], None]) -> None:
    record_property("law", f"Monte Carlo|{estimator.name}|{law}")
    LAWS[law](estimator)


def _function(call: Any) -> Any:
    return getattr(call, "func", call)


def test_every_public_estimator_is_held_against_the_laws_and_tried_in_modes() -> None:
    """What is public and begins with q and f; a name that is missing here would be held against nothing."""
    names = [(name, value) for room in (hg, hg.montecarlo) for name, value in vars(room).items()]
    public = {
        name: value
        for name, value in names
        if inspect.isfunction(value) and [*inspect.signature(value).parameters][:2] == ["q", "f"]
    }
    assert len(public) > 10
    examples = {kind: next(v for v in VARIABLES if v.kind == kind) for kind in {v.kind for v in VARIABLES}}
    qs = {kind: variable.distribution(variable.rows(1)) for kind, variable in examples.items()}
    held = {_function(each.make(qs[each.kinds[0]])) for each in ESTIMATORS}
    missing = sorted(name for name, value in public.items() if value not in held)
    assert missing == [], f"each needs a line in ESTIMATORS of tests/mc_cases.py: {', '.join(missing)}"
    layers = [subject.layer() for subject in SUBJECTS if subject.family == "Monte Carlo"]
    tried = {_function(layer.estimator) for layer in layers if isinstance(layer, Estimate)}
    missing = sorted(name for name, value in public.items() if value not in tried)
    assert missing == [], f"each needs a line in SUBJECTS of tests/mode_subjects.py: {', '.join(missing)}"
