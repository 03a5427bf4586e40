"""The lab of hardgrad: runs published experiments, fits tables, keeps records, and writes reports.

Importing this package imports neither torch nor matplotlib, so that ``hardgrad --help`` answers at once.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hardgrad_lab.tabular.estimator import SwitchClassifier as SwitchClassifier
    from hardgrad_lab.tabular.estimator import SwitchRegressor as SwitchRegressor
    from hardgrad_lab.tabular.folder import load_model as load_model
    from hardgrad_lab.tabular.folder import save_model as save_model

_LIVES_IN = {
    "SwitchClassifier": "hardgrad_lab.tabular.estimator",
    "SwitchRegressor": "hardgrad_lab.tabular.estimator",
    "load_model": "hardgrad_lab.tabular.folder",
    "save_model": "hardgrad_lab.tabular.folder",
}


def __getattr__(name: str) -> Any:
    if name not in _LIVES_IN:
        raise AttributeError(f"module 'hardgrad_lab' has no attribute {name!r}")
    return getattr(import_module(_LIVES_IN[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_LIVES_IN])
