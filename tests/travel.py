"""Everything public that outlives the call that made it, and what it must go on doing wherever it is sent.

``THINGS`` has an entry for every public class, and for every public function that returns something callable; what
stands in brackets behind a name is how it was made.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
import types
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

import hardgrad as hg

ROOMS = {"approximators", "doctor", "hard", "losses", "montecarlo", "segments", "soft", "surrogate", "switch", "twins"}
# What a call returns that is a number, a tensor or a scope: nothing that is kept.
PASSING = {"Tensor", "float", "Iterator[Penalties]", "nn.Module", "dict[str, Candidate]"}


def public() -> Iterator[tuple[str, Any]]:
    """Every public class and function of the library, by the name it is found under first."""
    seen: set[int] = set()
    rooms: list[tuple[str, types.ModuleType]] = [("hg", hg)]
    while rooms:
        path, room = rooms.pop(0)
        for name in dir(room):  # which names what is loaded later, too
            thing = getattr(room, name)
            own = str(getattr(thing, "__module__", getattr(thing, "__name__", ""))).startswith("hardgrad")
            if name.startswith("_") or not own or id(thing) in seen:
                continue
            seen.add(id(thing))
            if isinstance(thing, types.ModuleType):
                if name in ROOMS and (hasattr(thing, "__path__") or name == "twins"):
                    rooms.append((f"{path}.{name}", thing))
            elif callable(thing):
                yield f"{path}.{name}", thing


def outlives(thing: Any) -> bool:
    """Whether it makes something that is kept: a class, or a function that returns neither tensor nor scope."""
    return inspect.isclass(thing) or str(inspect.signature(thing).return_annotation) not in PASSING


def batch(*shape: int) -> Tensor:
    return torch.linspace(-1.5, 1.5, torch.Size(shape).numel()).view(shape)


def keyed(rows: int = 6, features: int = 2) -> Tensor:
    return torch.cat([torch.linspace(0.05, 1.9, rows)[:, None], batch(rows, features)], 1)


def called(x: Tensor, thing: Any) -> Any:
    """What a call gives, and its gradient to x: the same wherever the thing is."""
    x = x.clone().requires_grad_()
    y = thing(x)
    if isinstance(y, Tensor) and y.requires_grad:
        return y.detach(), *torch.autograd.grad(y.sum(), x, allow_unused=True)
    return y.detach() if isinstance(y, Tensor) else y


def shown(thing: Any) -> str:
    return repr(thing)


def record(kind: type) -> Any:
    """A record of a dataclass whose fields are all given something that compares."""
    return kind(**{field.name: (1.0, 2.0) for field in dataclasses.fields(kind) if field.init})


@dataclasses.dataclass(frozen=True)
class Thing:
    """How to make it, and what to see of it."""

    make: Callable[[], Any]
    see: Callable[[Any], Any] = shown


def _row(b: Tensor) -> Tensor:
    return b.square().sum(-1)


def _bridge(**options: Any) -> hg.Bridge:
    return hg.Bridge(partial(hg.hard.sign, margin=0.5), hg.approximators.mlp(3, 3, hidden=(4,)), **options)


def _cheapest(cost: Tensor) -> Tensor:
    return hg.hard.one_hot_argmax(-cost)


def _served() -> nn.Module:
    return _stepped(hg.imle(_cheapest, samples=2, cache=3, generator=_generator()))


def _stairs(row: Any) -> Any:
    return (row * 8).round() / 8


def _broken() -> hg.doctor.Breaks:
    weight = nn.Parameter(torch.ones(3))
    return hg.doctor.breaks(lambda x: (x * weight).sign(), _X)


def _examined() -> hg.doctor.BoxReport:
    return hg.doctor.examine(hg.BlackBox(_stairs), _X)


def _watched() -> hg.Bridge:
    layer = _bridge()
    layer.watch = hg.doctor.Watch(layer)
    return layer


def _stepped(layer: nn.Module) -> nn.Module:
    layer(batch(4, 3).requires_grad_()).sum().backward()
    layer.zero_grad()
    return layer


def _coded(**options: Any) -> nn.Module:
    layer = hg.Codebook(4, 3, **{"start": "normal"} | options)
    layer(batch(4, 3).requires_grad_())[0].sum().backward()
    layer.zero_grad()
    return layer


def _chained() -> nn.Module:
    layer = hg.ResidualCodebook(hg.Codebook(4, 3), 3)
    layer(batch(4, 3).requires_grad_())[0].sum().backward()
    return layer


def _reply(layer: Any) -> Any:
    return called(_X, lambda x: copy.deepcopy(layer)(x)[0]), layer.state_dict()


def _gate() -> nn.Module:
    layer = hg.Gate(-3.0, -9.0, sample_rate=1e3)
    layer(batch(2, 5))[0].sum().backward()
    return layer


def _compressor() -> nn.Module:
    layer = hg.Compressor(-9.0, 3.0, sample_rate=1000)
    layer(batch(2, 5))[0].sum().backward()
    return layer


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def _ranges() -> hg.Ranges:
    return hg.Ranges([0.0, 1.0, 2.0])


def _switch(**options: Any) -> hg.Switch:
    return hg.Switch(_ranges(), nn.Linear(3, 2), key=0, **options)


def _mask(**options: Any) -> hg.LayerMask:
    layers = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    return hg.LayerMask(layers, _ranges(), torch.tensor([[True, False], [True, True]]), key=0, **options)


def _recurrent() -> hg.RecurrentSwitch:
    return hg.RecurrentSwitch(_ranges(), nn.GRU(3, 3, batch_first=True), state="per_branch", key=0)


def _sequence(thing: Any) -> Any:
    y, _ = thing(keyed(6)[None])
    return y.detach()


def _history(thing: Any) -> Any:
    return thing.loss, thing.visits, thing.steps


def _filled_history() -> Any:
    history = hg.switch.History(_ranges())
    history.add(torch.tensor([1.0, 3.0]), torch.tensor([0, 1]))
    history.mark(10)
    return history


def _controls(thing: nn.Module) -> Any:
    return dict(thing.state_dict())


def _indexed(x: Tensor, thing: Any) -> Any:
    return thing.index(x)


def _watch(thing: Any) -> str:
    thing.remove()
    return str(thing)


_X = batch(4, 3)
THINGS: dict[str, Thing] = {
    "hg.Bridge": Thing(lambda: _stepped(_bridge(differentiable_in_eval=True)), partial(called, _X)),
    "hg.Bridge (watched)": Thing(_watched, partial(called, _X)),
    "hg.straight_through": Thing(lambda: _stepped(hg.straight_through(hg.hard.step)), partial(called, _X)),
    "hg.surrogate.StraightThrough": Thing(
        lambda: hg.straight_through(hg.hard.sign, hg.surrogate.twins.tanh(2.0)), partial(called, _X)
    ),
    "hg.surrogate.twins.dead_zone": Thing(
        lambda: hg.surrogate.twins.dead_zone(hg.surrogate.twins.sigmoid(), 0.5), partial(called, _X)
    ),
    "hg.surrogate.twins.quantizer": Thing(
        lambda: hg.surrogate.twins.quantizer(4), lambda f: f(_X, torch.tensor(-1.0), torch.tensor(1.0))
    ),
    "hg.strip": Thing(lambda: hg.strip(nn.Sequential(nn.Linear(3, 3), _bridge())), lambda m: m(_X).detach()),
    **{
        f"hg.surrogate.twins.{name}": Thing(getattr(hg.surrogate.twins, name), partial(called, _X))
        for name in (
            *("arctan", "clipped", "negative_identity", "sigmoid", "tanh"),
            *("fast_sigmoid", "gaussian", "leaky", "rectangle", "triangle"),
        )
    },
    "hg.Fidelity": Thing(lambda: _stepped(_bridge()).fidelity()),
    "hg.Codebook": Thing(lambda: _coded(gradient="bridge", learn="gradient", heads=3), _reply),
    "hg.Codebook (moving)": Thing(lambda: _coded(gradient="rotation", start="kmeans"), _reply),
    "hg.Penalties": Thing(hg.Penalties, list),  # with its penalties it holds a graph, which no tensor takes along
    "hg.Gate": Thing(_gate, lambda layer: called(batch(2, 5), lambda x: layer(x)[0])),
    "hg.Ballistics": Thing(
        lambda: hg.Ballistics(1.0, 9.0, sample_rate=1e3), lambda layer: called(_X, lambda x: layer(x)[0])
    ),
    "hg.EnvelopeKey": Thing(lambda: hg.EnvelopeKey(sample_rate=8e3), lambda key: key(keyed())),
    "hg.KSubset": Thing(lambda: hg.KSubset(_X, 2), lambda q: (str(q), q.marginals, q.log_prob(q.mode))),
    "hg.soft.Network": Thing(
        lambda: hg.soft.Network("odd-even"), lambda by: (repr(by), hg.soft.rank(_X, 0.5, method=by))
    ),
    "hg.approximators.conv": Thing(lambda: hg.approximators.conv(2, 3), partial(called, batch(2, 2, 5, 5))),
    "hg.approximators.elementwise": Thing(hg.approximators.elementwise, partial(called, _X)),
    "hg.approximators.mlp": Thing(lambda: hg.approximators.mlp(3, 2), partial(called, _X)),
    "hg.approximators.sequence": Thing(lambda: hg.approximators.sequence(3, 2), partial(called, batch(2, 5, 3))),
    "hg.approximators.suggest": Thing(lambda: hg.approximators.suggest(hg.hard.sort, _X), partial(called, _X)),
    "hg.Ranges": Thing(_ranges, partial(_indexed, keyed()[:, 0])),
    "hg.LearnedRanges": Thing(lambda: hg.LearnedRanges([0.0, 1.0, 2.0]), partial(_indexed, keyed()[:, 0])),
    "hg.Grid": Thing(lambda: hg.Grid(_ranges(), hg.Ranges([-2.0, 0.0, 2.0])), partial(_indexed, keyed(features=1))),
    "hg.If": Thing(lambda: hg.If(_ranges(), ["low", "high"]), partial(_indexed, keyed(features=0))),
    "hg.Hysteresis": Thing(lambda: hg.Hysteresis(_ranges(), 0.1), lambda thing: thing(keyed()[None, :, 0])),
    "hg.Switch": Thing(_switch, partial(called, keyed())),
    "hg.Switch (bank)": Thing(lambda: _switch(bank=True), partial(called, keyed())),
    "hg.RecurrentSwitch": Thing(_recurrent, _sequence),
    "hg.CrossFade": Thing(lambda: hg.CrossFade(_recurrent(), 3), _sequence),
    "hg.LayerMask": Thing(_mask, partial(called, keyed())),
    "hg.LayerMask (generator)": Thing(lambda: _mask(dropout=0.5, generator=_generator()), partial(called, keyed())),
    "hg.RangeEmbedding": Thing(lambda: hg.RangeEmbedding(_ranges(), 3), partial(called, keyed()[:, 0])),
    "hg.FoundRanges": Thing(lambda: record(hg.FoundRanges), dataclasses.asdict),
    "hg.Diagnosis": Thing(lambda: record(hg.Diagnosis), dataclasses.asdict),
    "hg.search_ranges": Thing(
        lambda: hg.search_ranges(batch(60, 1), torch.linspace(0, 1, 60), batch(60).sign(), max_ranges=2)
    ),
    "hg.search_key": Thing(lambda: hg.search_key(batch(60, 1), batch(60, 2), batch(60).sign(), max_ranges=2)),
    "hg.diagnose": Thing(lambda: hg.diagnose(hg.straight_through(hg.hard.sign), hg.hard.sign, _X, draws=50), str),
    "hg.BlackBox": Thing(lambda: hg.BlackBox(_stairs, low=-2.0, high=2.0), lambda box: box(_X)),
    "hg.BoxError": Thing(lambda: hg.BoxError("BlackBox: fails", 3), lambda error: (str(error), error.row)),
    "hg.perturb": Thing(
        lambda: hg.perturb(_stairs, 0.25, generator=_generator()), lambda layer: called(_X, copy.deepcopy(layer))
    ),
    "hg.interpolated": Thing(lambda: _stepped(hg.interpolated(_cheapest, 2.0, rho=0.1, cache=3)), partial(called, _X)),
    "hg.perturbed": Thing(
        lambda: hg.perturbed(_cheapest, 0.5, samples=3, generator=_generator()),
        lambda layer: called(_X, copy.deepcopy(layer)),
    ),
    "hg.ResidualCodebook": Thing(_chained, _reply),
    "hg.levels": Thing(lambda: hg.levels([3, 4, 5]), lambda layer: called(_X, lambda x: layer(x)[0])),
    "hg.lookup_free": Thing(lambda: hg.lookup_free(3), lambda layer: called(_X, lambda x: layer(x)[0])),
    "hg.Compressor": Thing(_compressor, lambda layer: called(batch(2, 5), lambda x: layer(x)[0])),
    "hg.imle": Thing(_served, lambda layer: called(_X, copy.deepcopy(layer))),
    "hg.LearnedScale": Thing(lambda: _stepped(hg.LearnedScale(3)), partial(called, _X)),
    "hg.LearnedClip": Thing(lambda: hg.LearnedClip(2, start=1.0), partial(called, _X)),
    "hg.doctor.BoxReport": Thing(_examined, str),
    "hg.doctor.Break": Thing(lambda: next(iter(_broken()))),
    "hg.doctor.Breaks": Thing(_broken, hg.doctor.Breaks.to_json),
    "hg.doctor.Finding": Thing(lambda: hg.doctor.Finding("delay", "is late", 0, None, 3.0)),
    "hg.doctor.breaks": Thing(_broken, str),
    "hg.doctor.examine": Thing(_examined, hg.doctor.BoxReport.to_json),
    "hg.doctor.FunctionError": Thing(lambda: hg.doctor.FunctionError("diagnose: function raises")),
    "hg.doctor.Progress": Thing(lambda: hg.doctor.Progress("truth", 0.5, 3, 2.0)),
    "hg.doctor.Stopped": Thing(lambda: hg.doctor.Stopped(record(hg.Diagnosis), 1)),
    "hg.doctor.Row": Thing(lambda: record(hg.doctor.Row)),
    "hg.doctor.Sighting": Thing(lambda: record(hg.doctor.Sighting)),
    "hg.doctor.Truth": Thing(lambda: record(hg.doctor.Truth)),
    "hg.doctor.Watch": Thing(lambda: hg.doctor.Watch(_bridge()), _watch),
    "hg.doctor.Watch (generator)": Thing(lambda: hg.doctor.Watch(_bridge(), generator=_generator()), _watch),
    "hg.montecarlo.Annealed": Thing(lambda: hg.montecarlo.Annealed(1.0, 0.5, 10), _controls),
    "hg.montecarlo.MovingAverage": Thing(hg.montecarlo.MovingAverage, _controls),
    "hg.montecarlo.RebarControl": Thing(hg.montecarlo.RebarControl, _controls),
    "hg.montecarlo.RelaxControl": Thing(lambda: hg.montecarlo.RelaxControl(nn.Linear(3, 1)), _controls),
    "hg.montecarlo.each_sample": Thing(lambda: hg.montecarlo.each_sample(_row), lambda f: f(batch(2, 4, 3))),
    "hg.switch.Agreement": Thing(lambda: record(hg.switch.Agreement), dataclasses.asdict),
    "hg.switch.agreement": Thing(lambda: record(hg.switch.Agreement), dataclasses.asdict),
    "hg.segments.Gradient": Thing(
        lambda: hg.segments.Gradient(nn.Linear(1, 1), steps=2, batch=4),
        lambda policy: policy(batch(20, 1), torch.linspace(0, 1, 20), batch(20, 1), 2),
    ),
    "hg.switch.Health": Thing(lambda: hg.switch.inspect(_switch(), keyed())),
    "hg.switch.inspect": Thing(lambda: hg.switch.inspect(_switch(), keyed())),
    "hg.switch.History": Thing(_filled_history, _history),
    "hg.switch.Refined": Thing(lambda: record(hg.switch.Refined)),
    "hg.switch.refine": Thing(lambda: record(hg.switch.Refined)),
    "hg.switch.Relocated": Thing(lambda: record(hg.switch.Relocated)),
    "hg.switch.relocate": Thing(lambda: record(hg.switch.Relocated)),
    "hg.switch.PointRouter": Thing(lambda: hg.Ranges([0.0, 1.0, 2.0]), lambda ranges: (ranges.points, ranges.visits)),
    "hg.switch.Router": Thing(lambda: hg.switch.Router(3, 1), lambda router: (router.branches, router.visits)),
    "hg.segments.KeyScore": Thing(lambda: record(hg.segments.KeyScore)),
    "hg.segments.RangeScore": Thing(lambda: record(hg.segments.RangeScore)),
    "hg.segments.RankedKeys": Thing(lambda: record(hg.segments.RankedKeys), dataclasses.asdict),
    "hg.segments.Tried": Thing(lambda: record(hg.segments.Tried)),
}


def same(a: Any, b: Any) -> bool:
    """Equality that looks into tensors and containers, NaN equal to NaN."""
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and torch.equal(a.nan_to_num(77.0), b.nan_to_num(77.0))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def see_all(pickled: dict[str, bytes], answers: Any) -> None:
    """Run in a process of its own: what each thing shows there."""
    import pickle

    torch.set_num_threads(1)
    found: dict[str, Any] = {}
    for name, data in pickled.items():
        try:
            found[name] = pickle.dumps(THINGS[name].see(pickle.loads(data)))
        except Exception as error:  # the other process tells which
            found[name] = f"{type(error).__name__}: {error}"
    answers.put(found)
