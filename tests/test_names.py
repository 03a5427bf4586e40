"""Names: one public path for each, no module that hides a function, one meaning of an argument in every estimator."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from collections import defaultdict
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Independent, OneHotCategorical

import hardgrad as hg
from rooms import ROOMS

PACKAGES = [hg, *(importlib.import_module(m.name) for m in pkgutil.walk_packages(hg.__path__, "hardgrad.") if m.ispkg)]
# Soft operators and twins are named for the hard functions that they stand beside.
APART = (hg.hard, hg.soft, hg.surrogate.twins)


def own(room: ModuleType) -> dict[str, Any]:
    """What a room offers: its public functions and classes, those of other libraries not counted."""
    return {
        name: value
        for name, value in ((name, getattr(room, name)) for name in dir(room))
        if not (name.startswith("_") or isinstance(value, ModuleType))
        and callable(value)
        and getattr(value, "__module__", "").startswith("hardgrad")
    }


def test_what_is_loaded_later_is_what_a_type_checker_sees() -> None:
    tree = ast.parse(inspect.getsource(hg))
    (typed,) = (node for node in tree.body if isinstance(node, ast.If))
    names = {
        alias.asname: f"{node.module}.{alias.name}"
        for node in typed.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert names == {name: where.replace(":", ".") for name, where in hg._LATER.items()}
    assert set(names) <= set(dir(hg))
    with pytest.raises(AttributeError, match="no attribute 'diagnoze'"):
        hg.diagnoze  # noqa: B018  # to look it up is the test


def test_each_name_has_one_public_path() -> None:
    paths: dict[int, list[str]] = defaultdict(list)
    for room in ROOMS:
        for name, value in own(room).items():
            if room is not hg.surrogate.twins or value.__module__ == room.__name__:
                paths[id(value)].append(f"{room.__name__}.{name}")
    assert [path for path in paths.values() if len(path) > 1] == []


def test_no_two_things_share_a_name() -> None:
    names = [name for room in ROOMS if room not in APART for name in own(room)]
    assert sorted(name for name in set(names) if names.count(name) > 1) == []


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_no_module_hides_a_function(package: ModuleType) -> None:
    """Importing ``package.name`` puts the module there, in place of a function of that name."""
    modules = {module.name for module in pkgutil.iter_modules(package.__path__)}
    exported = {name for name, value in vars(package).items() if not isinstance(value, ModuleType)}
    assert modules & exported == set()


def test_public_names_stay_what_they_are_when_every_module_is_imported() -> None:
    before = {room.__name__: own(room) for room in ROOMS}
    for module in pkgutil.walk_packages(hg.__path__, "hardgrad."):
        importlib.import_module(module.name)
    assert {room.__name__: own(room) for room in ROOMS} == before


# ------------------------------------------------------------------------------------------------ what arguments mean

MC = hg.montecarlo
ESTIMATORS: dict[Callable[..., Tensor], dict[str, Callable[[], Any]]] = {
    hg.score_function: {},
    hg.disarm: {},
    hg.arms: {},
    hg.carms: {},
    hg.each_unit: {},
    hg.unordered_set: {},
    hg.double_cv: {},
    hg.gumbel: {},
    hg.gumbel_rao: {},
    hg.gapped: {},
    hg.reinmax: {},
    hg.rebar: {},
    hg.relax: {"control": lambda: hg.approximators.mlp(3, 1)},
    MC.straight_through_estimator: {},
    MC.bridge_estimator: {"approximator": hg.approximators.elementwise},
}
BERNOULLI_ALONE, ONE_HOT_ALONE = (hg.disarm, hg.arms), (hg.carms,)  # the kinds of q that they take
every_estimator = pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda estimator: estimator.__name__)


def test_every_estimator_is_among_these() -> None:
    found = {value for room in (hg, MC) for value in own(room).values() if inspect.isfunction(value)}
    with_samples = {f for f in found if "samples" in inspect.signature(f).parameters}
    asked = with_samples - {hg.perturb, hg.fenchel_young}  # these know no q
    unlike = sorted(each.__name__ for each in asked ^ set(ESTIMATORS))
    assert unlike == [], "each estimator needs a line in ESTIMATORS of tests/test_names.py"


@every_estimator
def test_options_are_given_by_name(estimator: Callable[..., Tensor]) -> None:
    parameters = inspect.signature(estimator).parameters
    by_place = [name for name, p in parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert by_place[:2] == ["q", "f"]
    assert set(by_place[2:]) <= {"control", "approximator"}  # the module that it owns


@every_estimator
@pytest.mark.parametrize("samples", [2, 4, 6])
@pytest.mark.parametrize("kind", [Bernoulli, OneHotCategorical])
def test_samples_are_evaluations_of_f_for_a_row(estimator: Callable[..., Tensor], samples: int, kind: Any) -> None:
    """Relaxed samples, which some look at besides, are not counted: no entry of those is 0.

    Local expectation asks for each draw's neighbors too; of a set there is no more than there are outcomes.
    """
    if estimator in (BERNOULLI_ALONE if kind is OneHotCategorical else ONE_HOT_ALONE):
        return
    rows: list[int] = []

    def f(b: Tensor) -> Tensor:
        if bool((b == 0).any()):
            rows.append(b.shape[:-1].numel())
        return (b * torch.arange(3.0)).sum(-1).square()

    logits = torch.zeros(5, 3, requires_grad=True)
    q = OneHotCategorical(logits=logits) if kind is OneHotCategorical else Independent(Bernoulli(logits=logits), 1)
    made = {name: make() for name, make in ESTIMATORS[estimator].items()}
    assert estimator(q, f, samples=samples, **made).shape == (5,)
    neighbors = (2 if kind is OneHotCategorical else 3) if estimator is hg.each_unit else 0
    most = 3 if estimator is hg.unordered_set and kind is OneHotCategorical else samples
    assert rows == [min(samples, most) * (1 + neighbors) * 5]
