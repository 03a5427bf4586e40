"""`doctor.breaks`: the bank is found and left alone, the user's things stay as they were, and mistakes are named."""

from __future__ import annotations

import copy
import json
import pickle
import random
import re
import warnings
from dataclasses import FrozenInstanceError, dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

import hardgrad as hg
from hardgrad.doctor.flow import words
from hardgrad.doctor.flow.followed import FollowedFloat, FollowedInt
from test_breaks_bank import BROKEN, answer

X = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))


def line_of(text: str) -> int:
    """The line of this file that ends in a comment."""
    with open(__file__) as file:
        return next(number for number, line in enumerate(file, 1) if line.rstrip().endswith(f"# {text}"))


class Two(nn.Module):
    """Two layers and what is between them."""

    def __init__(self, between: Any) -> None:
        super().__init__()
        self.first, self.second, self.between = nn.Linear(4, 4), nn.Linear(4, 1), between

    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = self.between(self.first(x))
        return self.second(h)


def test_every_mark_of_the_bank_is_found() -> None:
    missed = [f"{case}: {mark}" for case in BROKEN for mark in case.marks if not answer(case).at(mark)]
    assert missed == []


def test_every_cure_names_what_hardgrad_has() -> None:
    text = " ".join(v for v in vars(words).values() if isinstance(v, str))
    text += " ".join(b.cure for case in BROKEN for b in answer(case).breaks)
    names = set(re.findall(r"\bhg\.([\w.]*\w)", text))
    assert {"graft", "Switch", "score_function", "hard.sign", "surrogate.twins.tanh"} <= names
    for name in names:
        value: Any = hg
        for part in name.split("."):
            value = getattr(value, part)


# ---- rules, one by one


def test_a_term_that_lost_a_leaf_is_not_mended_by_another_term() -> None:
    def loss(y: Tensor) -> Tensor:
        penalty = (y > 0).float().mean()  # counted
        return y.square().mean() + 0.1 * penalty

    (found,) = hg.doctor.breaks(nn.Linear(4, 1), X, loss=loss)
    assert (found.kind, found.line, found.lost) == ("flat", line_of("counted"), ("weight", "bias"))


def test_within_a_term_a_leaf_comes_back() -> None:
    found = hg.doctor.breaks(Two(lambda h: h + (h.round() - h).detach()), X)
    assert len(found) == 0
    assert {h.call: h.why for h in found.harmless}["round"].startswith("what it loses is differentiable beside it")


def test_a_detach_is_a_break_only_where_nothing_else_gives_a_gradient() -> None:
    model = nn.ModuleDict({"a": nn.Linear(4, 4), "b": nn.Linear(4, 1)})

    def both(x: Tensor) -> Tensor:
        h = model["a"](x)
        return F.mse_loss(model["b"](h.detach()), x[:, :1]) + share * h.square().mean()

    share = 1.0
    with hg.doctor.breaks(model) as sound:
        both(X).backward()
    share = 0.0
    with hg.doctor.breaks(model) as broken:
        both(X).backward()
    assert len(sound) == 0
    assert [(b.kind, b.call, b.lost) for b in broken] == [("cut", "detach", ("a.weight", "a.bias"))]
    assert broken.parameters == {"a.weight": "zero", "a.bias": "zero"}


def test_a_copy_that_follows_is_no_break_and_a_stranger_is_one() -> None:
    def model(other: nn.Module) -> nn.Module:
        class Pair(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.net, self.side = nn.Linear(4, 4), other

            def forward(self, x: Tensor) -> Tensor:
                with torch.no_grad():
                    goal = self.side(x)
                return F.mse_loss(self.net(x), goal)

        return Pair()

    own = nn.Linear(4, 4)
    follower = model(own)
    follower.net = copy.deepcopy(own)
    with torch.no_grad():
        follower.net.weight += 0.01 * torch.ones(4, 4)
    assert len(hg.doctor.breaks(follower, X)) == 0
    assert [b.lost for b in hg.doctor.breaks(model(nn.Linear(4, 4)), X)] == [("side.weight", "side.bias")]


class Reversed(torch.autograd.Function):
    """The identity, whose gradient is turned around and scaled."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float) -> Tensor:
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return -ctx.scale * grad, None


def test_a_reversed_gradient_may_start_at_zero_beside_another() -> None:
    model = nn.ModuleDict({"a": nn.Linear(4, 4), "b": nn.Linear(4, 1), "domain": nn.Linear(4, 1)})

    def found(task: bool) -> list[tuple[str, str, tuple[str, ...]]]:
        with hg.doctor.breaks(model) as answer:
            h = model["a"](X)
            domain = model["domain"](Reversed.apply(h, 0.0)).square().mean()
            (domain + model["b"](h if task else h.detach()).square().mean()).backward()
        return [(b.kind, b.call, b.lost) for b in answer]

    assert found(True) == []
    assert ("flat", "Reversed", ("a.weight", "a.bias")) in found(False)


def test_a_number_is_followed_through_python_and_back() -> None:
    def loss(y: Tensor) -> Tensor:
        size = y.abs().mean().item()  # taken
        return F.mse_loss(y, X[:, :1]) + 2.0 * (size + 1.0)

    (found,) = hg.doctor.breaks(nn.Linear(4, 1), X, loss=loss)
    assert (found.line, found.call) == (line_of("taken"), "item")
    number, whole = FollowedFloat(1.5), FollowedInt(2)
    number.values, whole.values = ("a",), ("b",)
    assert getattr(number * 2 + whole, "values", ()) == ("a", "b")
    assert (2 * number, -whole, 3 // whole) == (3.0, -2, 1)
    assert type(pickle.loads(pickle.dumps(number))) is float
    assert json.dumps([number, whole]) == "[1.5, 2]"


def test_a_number_that_weighs_a_term_is_no_break() -> None:
    heat, net = nn.Parameter(torch.zeros(())), nn.Linear(4, 1)
    model = nn.Module()
    model.net, model.heat = net, heat
    with hg.doctor.breaks(model) as found:
        weight = heat.exp().item()
        (weight * net(X).square().mean() - heat * 0.5).backward()
    assert len(found) == 0
    assert "item" in {h.call for h in found.harmless}


def test_a_program_is_a_break_where_nothing_else_gives_a_gradient() -> None:
    model = nn.ModuleDict({"a": nn.Linear(4, 4), "b": nn.Linear(4, 1)})

    def step(both: bool) -> list[tuple[str, int, tuple[str, ...]]]:
        with hg.doctor.breaks(model) as found:
            h = model["a"](X)
            back = torch.from_numpy(np.sort(h.detach().numpy()))  # sent
            (F.mse_loss(model["b"](back), X[:, :1]) + (h.square().mean() if both else 0.0)).backward()
        return [(b.call, b.line, b.lost) for b in found]

    assert step(True) == []  # a term that Python took apart cannot be seen: it may as well be a picture for a log
    assert step(False) == [("numpy", line_of("sent"), ("a.weight", "a.bias"))]


def test_the_score_function_excuses_a_draw_and_a_penalty_does_not() -> None:
    class Draws(nn.Module):
        def __init__(self, scored: bool) -> None:
            super().__init__()
            self.enc, self.dec, self.scored = nn.Linear(4, 3), nn.Linear(3, 4), scored

        def forward(self, x: Tensor) -> Tensor:
            q = torch.distributions.Bernoulli(logits=self.enc(x))
            b = q.sample()  # drawn
            cost = F.mse_loss(self.dec(b), x, reduction="none").sum(-1)
            other = (cost.detach() * q.log_prob(b).sum(-1)) if self.scored else q.logits.square().sum(-1)
            return cost.mean() + other.mean()

    assert len(hg.doctor.breaks(Draws(True), X)) == 0
    (found,) = hg.doctor.breaks(Draws(False), X)
    assert (found.kind, found.call, found.line) == ("cut", "bernoulli", line_of("drawn"))
    assert found.lost == ("enc.weight", "enc.bias")
    assert "hg.score_function" in found.cure


def test_a_nearest_code_without_its_copy_is_found_under_no_grad_too() -> None:
    class Coder(nn.Module):
        codes: Tensor

        def __init__(self, copies: bool) -> None:
            super().__init__()
            self.enc, self.dec, self.copies = nn.Linear(4, 3), nn.Linear(3, 4), copies
            self.register_buffer("codes", torch.randn(5, 3))

        def forward(self, x: Tensor) -> Tensor:
            z = self.enc(x)
            with torch.no_grad():
                index = torch.cdist(z, self.codes).argmin(-1)  # nearest
            code = self.codes[index]
            commitment = F.mse_loss(z, code)
            return F.mse_loss(self.dec(z + (code - z).detach() if self.copies else code), x) + commitment

    assert len(hg.doctor.breaks(Coder(True), X)) == 0
    (found,) = hg.doctor.breaks(Coder(False), X)
    assert (found.kind, found.line, found.lost) == ("cut", line_of("nearest"), ("enc.weight", "enc.bias"))
    assert "hg.graft" in found.cure


def test_what_flows_in_and_what_arrives_is_said() -> None:
    (flat,) = hg.doctor.breaks(Two(torch.sign), X)
    assert (flat.shape, flat.comes, flat.arrives, flat.module) == ((8, 4), 1.0, 0.0, "Two")
    rows = torch.ones(8, 1)
    rows[:2] = 0
    (part,) = hg.doctor.breaks(Two(lambda h: h.sign()), X, loss=lambda y: (y * rows).square().sum())
    assert part.comes == 0.75


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_checkpoint_runs_twice_and_counts_once(reentrant: bool) -> None:
    inner = nn.Sequential(nn.Linear(4, 4), nn.Tanh())
    sound = Two(lambda h: checkpoint(sound.inner, h, use_reentrant=reentrant))
    sound.inner = inner
    assert len(hg.doctor.breaks(sound, X)) == 0
    found = hg.doctor.breaks(Two(lambda h: checkpoint(torch.sign, h, use_reentrant=reentrant)), X)
    assert [b.lost for b in found] == [("first.weight", "first.bias")]


def test_code_that_torch_compile_made_runs_eagerly() -> None:
    model = torch.compile(Two(torch.round))
    (found,) = hg.doctor.breaks(model, X)
    assert (found.kind, found.call) == ("flat", "round")


def test_a_hard_layer_in_evaluation_is_a_break_and_in_training_none() -> None:
    model = Two(hg.straight_through(hg.hard.sign))
    assert len(hg.doctor.breaks(model, X)) == 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (found,) = hg.doctor.breaks(model.eval(), X)
    assert found.kind == "flat"
    assert ".train()" in found.cure


# ---- inputs, outputs, losses


@dataclass
class Output:
    y: Tensor
    index: Tensor


def test_outputs_of_any_form_are_differentiated() -> None:
    net = nn.Linear(4, 2)
    forms: list[Any] = [
        lambda x: {"y": net(x).round(), "accuracy": (net(x) > 0).float().mean()},
        lambda x: (net(x).round(), [net(x).argmax(-1)]),
        lambda x: Output(net(x).round(), net(x).argmax(-1)),
        lambda x: net(x).round().sum(),
    ]
    for form in forms:
        assert [(b.kind, b.call) for b in hg.doctor.breaks(form, X)] == [("flat", "round")]
    about = hg.doctor.breaks(lambda x: {"loss": net(x).mean(), "y": net(x).round()}, X)
    assert (len(about), about.about) == (0, "the output's own loss")


def test_a_function_of_tensors_alone_is_asked_about_its_floating_inputs() -> None:
    (found,) = hg.doctor.breaks(lambda x, index: x.floor()[index], X, torch.tensor([0, 2]))
    assert found.lost == ("input 0",)


def test_a_model_whose_output_is_cut_off_altogether_is_reported() -> None:
    (found,) = hg.doctor.breaks(
        nn.Sequential(nn.Linear(4, 3), nn.Flatten()), X, loss=lambda y: y.argmax(-1).float().sum()
    )
    assert (found.kind, found.call) == ("cut", "argmax")
    assert found.lost == ("0.weight", "0.bias")


def test_inputs_and_layers_of_rarer_kinds_are_taken() -> None:
    lazy = nn.Sequential(nn.LazyLinear(3), nn.LazyBatchNorm1d())
    assert len(hg.doctor.breaks(lazy, X)) == 0
    assert len(hg.doctor.breaks(nn.Linear(4, 1), torch.zeros(1, 4).expand(8, 4))) == 0
    table = hg.doctor.breaks(nn.Embedding(5, 3, sparse=True), torch.tensor([1, 2]))
    assert (len(table), [h.call for h in table.harmless]) == (0, ["embedding"])
    linear = nn.Linear(4, 2)
    (found,) = hg.doctor.breaks(lambda x: linear(x) > 0, X)
    assert (found.call, found.lost) == ("gt", ("Linear.weight", "Linear.bias"))
    history = linear(X)
    assert len(hg.doctor.breaks(nn.Linear(2, 1), history)) == 0
    assert linear.weight.grad is None
    history.sum().backward()  # its graph is whole


# ---- nothing is changed


def test_the_users_things_stay_as_they_were() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 1))
    model(X).sum().backward()
    before = copy.deepcopy(model.state_dict()), [p.grad.clone() for p in model.parameters() if p.grad is not None]
    states = torch.get_rng_state(), random.getstate(), np.random.get_state(legacy=True)
    hg.doctor.breaks(model, X)
    assert all(torch.equal(before[0][name], value) for name, value in model.state_dict().items())
    assert all(torch.equal(a, p.grad) for a, p in zip(before[1], model.parameters(), strict=True) if p.grad is not None)
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1] == random.getstate()
    assert str(states[2]) == str(np.random.get_state(legacy=True))


def test_a_model_that_cannot_be_copied_is_put_back() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    model.kept = model[0](X) * 2  # no leaf, which deepcopy refuses
    with pytest.raises(RuntimeError):
        copy.deepcopy(model)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    assert len(hg.doctor.breaks(model, X)) == 0
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_a_step_that_is_watched_gives_what_it_gives_alone() -> None:
    def step(model: nn.Module) -> None:
        optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
        for _ in range(2):
            optimizer.zero_grad()
            F.mse_loss(model(X), X[:, :1]).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()

    alone = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 1))
    watched = copy.deepcopy(alone)
    places = torch.autograd.Function.__dict__["apply"], nn.Parameter.__new__
    torch.manual_seed(1)
    step(alone)
    state = torch.get_rng_state()
    torch.manual_seed(1)
    with hg.doctor.breaks(watched) as found:
        step(watched)
    assert len(found) == 0
    assert torch.equal(state, torch.get_rng_state())
    assert all(
        torch.equal(a, b) for a, b in zip(alone.state_dict().values(), watched.state_dict().values(), strict=True)
    )
    assert places == (torch.autograd.Function.__dict__["apply"], nn.Parameter.__new__)
    assert not any(p._backward_hooks for p in watched.parameters())


# ---- the answer


def test_the_answer_can_be_read_by_people_and_programs() -> None:
    found = hg.doctor.breaks(Two(torch.sign), X)
    assert bool(found)
    assert found[0] is next(iter(found))
    assert max(map(len, str(found).splitlines())) < 100
    assert "exactly zero: first.weight, first.bias" in str(found)
    read = json.loads(found.to_json())
    assert read["breaks"][0]["cure"].startswith("hg.straight_through(hg.hard.sign, hg.surrogate.twins.tanh());")
    assert read["parameters"] == {"first.weight": "zero", "first.bias": "zero"}
    with pytest.raises(FrozenInstanceError):
        found[0].line = 1  # type: ignore[misc]


# ---- mistakes


def test_mistakes_are_named() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(3, 1))
    with pytest.raises(ValueError, match=r"breaks: loss must return one number, got a tensor of shape \(8, 4\)"):
        hg.doctor.breaks(net[0], X, loss=lambda y: y)
    with pytest.raises(
        hg.doctor.FunctionError, match=r"breaks: the model raises in its module '1' \(Linear\): Runtime"
    ):
        hg.doctor.breaks(net, X)
    with pytest.raises(ValueError, match="breaks: nothing here needs a gradient"):
        hg.doctor.breaks(nn.Flatten(), torch.arange(8).reshape(4, 2))
    with pytest.raises(ValueError, match="breaks: the model must return a tensor, got str"):
        hg.doctor.breaks(lambda x: "no", X)
    with pytest.raises(ValueError, match="breaks: inputs must have values, got a tensor on the meta device"):
        hg.doctor.breaks(net[0], X.to("meta"))
    with pytest.raises(TypeError, match="breaks: model must be a function"):
        hg.doctor.breaks(3, X)
    with pytest.raises(ValueError, match="breaks: no backward ran inside the with block"), hg.doctor.breaks(net[0]):
        net[0](X)
    with hg.doctor.breaks(net[0]) as found:
        net[0](X).sum().backward()
        with pytest.raises(RuntimeError, match="breaks: the step is not over"):
            len(found)


def test_a_step_that_torch_refuses_gets_the_report_as_a_note() -> None:
    net = nn.Linear(4, 1)
    with pytest.raises(RuntimeError, match="does not require grad") as raised, hg.doctor.breaks(net):
        (net(X) > 0).float().mean().backward()
    assert "hg.straight_through(hg.hard.step" in raised.value.__notes__[0]


def test_a_detach_on_purpose_hides_no_break_beside_it() -> None:
    weight = nn.Parameter(torch.ones(3))

    def distance_of_the_sign_from_its_target(x: Tensor) -> Tensor:
        h = x * weight
        return (torch.sign(h) - h.detach()).square().sum()

    (found,) = hg.doctor.breaks(distance_of_the_sign_from_its_target, torch.randn(4, 3))
    assert (found.kind, found.call) == ("flat", "sign")
