"""The lab of hardgrad: runs published experiments, fits tables, keeps records, and writes reports.

Importing this package imports neither torch nor matplotlib, so that ``hardgrad --help`` answers at once.
"""

from __future__ import annotations

TYPE_CHECKING = False  # importing typing would be most of the time until the command answers a Ctrl-C
if TYPE_CHECKING:
    from typing import Any

    from hardgrad_lab.fit.estimator import SwitchClassifier as SwitchClassifier
    from hardgrad_lab.fit.estimator import SwitchRegressor as SwitchRegressor
    from hardgrad_lab.fit.folder import load_model as load_model
    from hardgrad_lab.fit.folder import save_model as save_model

_LIVES_IN = {
    "SwitchClassifier": "hardgrad_lab.fit.estimator",
    "SwitchRegressor": "hardgrad_lab.fit.estimator",
    "load_model": "hardgrad_lab.fit.folder",
    "save_model": "hardgrad_lab.fit.folder",
}


def __getattr__(name: str) -> Any:
    if name not in _LIVES_IN:
        raise AttributeError(f"module 'hardgrad_lab' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LIVES_IN[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_LIVES_IN])
