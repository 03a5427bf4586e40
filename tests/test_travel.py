"""Whatever the library returns or names can be copied, saved whole and sent to another process."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import pytest
import torch
import torch.multiprocessing as mp

from travel import THINGS, outlives, public, same, see_all

PUBLIC = dict(public())


def test_every_public_name_is_looked_at() -> None:
    assert len(PUBLIC) > 70
    missing = sorted(name for name, thing in PUBLIC.items() if outlives(thing) and name not in THINGS)
    assert missing == [], f"what outlives its call needs a line in THINGS of tests/travel.py: {', '.join(missing)}"
    unknown = sorted(name for name in THINGS if name.partition(" (")[0] not in PUBLIC)
    assert unknown == [], f"THINGS of tests/travel.py names what is not public: {', '.join(unknown)}"


@pytest.mark.parametrize("name", PUBLIC)
def test_a_name_pickles(name: str) -> None:
    assert pickle.loads(pickle.dumps(PUBLIC[name])) is PUBLIC[name]


def _saved(thing: Any) -> Any:
    file = io.BytesIO()
    torch.save(thing, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize("name", THINGS)
def test_what_it_makes_travels(name: str) -> None:
    thing = THINGS[name].make()
    for send in (copy.deepcopy, lambda t: pickle.loads(pickle.dumps(t)), _saved):
        arrived = send(thing)
        assert type(arrived) is type(thing)
        assert same(THINGS[name].see(arrived), THINGS[name].see(thing))


@pytest.fixture(scope="module")
def elsewhere() -> dict[str, tuple[Any, Any]]:
    """What each thing shows here, and what it shows in a spawned process."""
    things = {name: thing.make() for name, thing in THINGS.items()}
    pickled, shown = {}, {}
    for name, thing in things.items():
        try:
            pickled[name], shown[name] = pickle.dumps(thing), THINGS[name].see(thing)
        except Exception as error:  # the test of one process names it too
            shown[name] = error
    context = mp.get_context("spawn")
    answers = context.Queue()
    process = context.Process(target=see_all, args=(pickled, answers))
    process.start()
    found = answers.get(timeout=120)
    process.join(timeout=60)
    return {name: (shown[name], found.get(name)) for name in THINGS}


@pytest.mark.parametrize("name", THINGS)
def test_it_arrives_in_a_spawned_process(name: str, elsewhere: dict[str, tuple[Any, Any]]) -> None:
    here, there = elsewhere[name]
    assert isinstance(there, bytes), (here, there)
    assert same(pickle.loads(there), here)
