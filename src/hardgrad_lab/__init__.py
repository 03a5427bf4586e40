"""The lab of hardgrad: runs published experiments, fits tables, keeps records, and writes reports.

Importing this package imports neither torch nor matplotlib, so that ``hardgrad --help`` answers at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hardgrad_lab.tabular.estimator import SwitchClassifier as SwitchClassifier
    from hardgrad_lab.tabular.estimator import SwitchRegressor as SwitchRegressor

_ESTIMATORS = ("SwitchClassifier", "SwitchRegressor")


def __getattr__(name: str) -> Any:
    if name not in _ESTIMATORS:
        raise AttributeError(f"module 'hardgrad_lab' has no attribute {name!r}")
    from hardgrad_lab.tabular import estimator

    return getattr(estimator, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_ESTIMATORS])
