"""A bank beside its branches in every situation in which something could be missed: one table, one answer for both."""

from __future__ import annotations

import copy
import io
import threading
from collections import OrderedDict
from collections.abc import Callable

import pytest
import torch
import torch.nn.utils.prune
from torch import Tensor, nn

import hardgrad as hg
from hardgrad.switch.branches.bank.elementwise import RULES

generator = torch.Generator().manual_seed(1)
X = torch.randn(12, 3, generator=generator, dtype=torch.float64)
KEY = torch.rand(12, generator=generator, dtype=torch.float64) * 4
TO_THREE = KEY.clamp(max=2.9)  # range 3 is not visited
Answer = list["Tensor | int | None"]
SITUATIONS: list[Callable[[hg.Switch], Answer]] = []


def situation(run: Callable[[hg.Switch], Answer]) -> Callable[[hg.Switch], Answer]:
    SITUATIONS.append(run)
    return run


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 6), nn.LeakyReLU(0.1), nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 2))


def pair(ranges: int = 4) -> tuple[hg.Switch, hg.Switch]:
    torch.manual_seed(0)
    points = [float(i) for i in range(ranges + 1)]
    apart = hg.Switch(hg.Ranges(points), network()).double()
    return hg.Switch(hg.Ranges(points), [copy.deepcopy(b) for b in apart.branches], bank=True), apart


def learn(s: hg.Switch, x: Tensor = X, key: Tensor = KEY) -> Answer:
    y = s(x, key)
    y.square().sum().backward()
    return [y, *(p.grad for p in s.parameters())]


@situation
def one_bias_is_named(s: hg.Switch) -> Answer:
    s(X, KEY).sum().backward(inputs=[s.branch(1)[2].bias])
    return [p.grad for p in s.parameters()]


@situation
def one_branch_is_named_that_no_row_took(s: hg.Switch) -> Answer:
    s(X, TO_THREE).sum().backward(inputs=[*s.branch(3).parameters()])
    return [p.grad for p in s.parameters()]


@situation
def all_are_asked_for_and_one_branch_is_unused(s: hg.Switch) -> Answer:
    return [*torch.autograd.grad(s(X, TO_THREE).sum(), [*s.parameters()], allow_unused=True)]


@situation
def unused_ones_are_asked_for(s: hg.Switch) -> Answer:
    return [*torch.autograd.grad(s(X, TO_THREE).sum(), [*s.parameters()])]


@situation
def the_first_layer_changes_before_the_backward(s: hg.Switch) -> Answer:
    y = s(X, KEY).sum()
    with torch.no_grad():
        for branch in s.branches:
            branch[0].weight.mul_(2)  # neither it nor a bias is needed to go back
            branch[2].bias.mul_(2)
    y.backward()
    return [p.grad for p in s.parameters()]


@situation
def a_frozen_branch_changes_before_the_backward(s: hg.Switch) -> Answer:
    s.branch(1).requires_grad_(False)
    y = s(X, KEY).sum()
    with torch.no_grad():
        for p in s.branch(1).parameters():
            p.mul_(2)
    y.backward()
    return [p.grad for p in s.parameters()]


@situation
def biases_alone_train(s: hg.Switch) -> Answer:
    for name, p in s.named_parameters():
        p.requires_grad_(name.endswith("bias"))
    return learn(s)


@situation
def the_graph_is_gone_the_second_time(s: hg.Switch) -> Answer:
    y = s(X, KEY).sum()
    y.backward()
    y.backward()
    return []


@situation
def x_and_y_are_written_to(s: hg.Switch) -> Answer:
    start = X.clone().requires_grad_()
    x = start * 1
    y = s(x, KEY)
    x.zero_()
    y.mul_(3).sum().backward()
    return [start.grad, *(p.grad for p in s.parameters())]


@situation
def a_layer_has_another_forward(s: hg.Switch) -> Answer:
    layer = s.branch(1)[2]
    layer.__dict__["forward"] = lambda x: nn.functional.linear(x, layer.weight, layer.bias) * 2
    return learn(s)


@situation
def a_branch_has_another_forward(s: hg.Switch) -> Answer:
    forward = s.branch(1).forward
    s.branch(1).__dict__["forward"] = lambda x: forward(x) * 2
    return learn(s)


@situation
def a_layer_is_of_another_class(s: hg.Switch) -> Answer:
    class Twice(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    s.branch(1)[2].__class__ = Twice
    return learn(s)


@situation
def a_setting_changes(s: hg.Switch) -> Answer:
    s(X, KEY)
    s.branch(1)[1].negative_slope = -0.5
    return learn(s)


@situation
def a_weight_is_parametrized(s: hg.Switch) -> Answer:
    nn.utils.parametrize.register_parametrization(s.branch(1)[2], "weight", nn.Tanh())
    return learn(s)


@situation
def weights_are_normed(s: hg.Switch) -> Answer:
    for branch in s.branches:
        nn.utils.parametrizations.weight_norm(branch[2])
    return learn(s)


@situation
def a_weight_is_pruned(s: hg.Switch) -> Answer:
    torch.nn.utils.prune.l1_unstructured(s.branch(1)[2], "weight", amount=0.5)
    return learn(s)


@situation
def weights_are_views_of_one_flat_parameter(s: hg.Switch) -> Answer:
    layers = [layer for layer in s.modules() if isinstance(layer, nn.Linear)]
    flat = nn.Parameter(torch.cat([layer.weight.detach().flatten() for layer in layers]))
    parts = flat.split([layer.weight.numel() for layer in layers])
    for layer, part in zip(layers, parts, strict=True):
        shape = layer.weight.shape
        del layer.weight
        layer.__dict__["weight"] = part.view(shape)
    return [*learn(s), flat.grad]


@situation
def one_weight_is_in_two_branches(s: hg.Switch) -> Answer:
    s.branch(2)[0].weight = s.branch(1)[0].weight
    return learn(s)


@situation
def every_module_has_a_hook(s: hg.Switch) -> Answer:
    handle = nn.modules.module.register_module_forward_hook(
        lambda module, args, y: y * 2 if isinstance(module, nn.Tanh) else None
    )
    try:
        return learn(s)
    finally:
        handle.remove()


@situation
def a_hook_is_in_a_new_dictionary(s: hg.Switch) -> Answer:
    layer = s.branch(1)[2]
    layer._forward_hooks = OrderedDict()  # as some do to be rid of all hooks
    layer.register_forward_hook(lambda module, args, y: y * 2)
    return learn(s)


@situation
def hooks_on_parameters(s: hg.Switch) -> Answer:
    heard: list[int] = []
    weight = s.branch(1)[2].weight
    weight.register_hook(lambda grad: grad * 3)
    node = weight.view_as(weight).grad_fn.next_functions[0][0]
    node.register_hook(lambda *_: heard.append(1))
    torch.autograd.graph.register_multi_grad_hook(
        [*s.parameters()], lambda grads: heard.append(sum(grad is not None for grad in grads))
    )
    return [*learn(s), *heard]


@situation
def other_tensors_are_called_in_place_of_the_parameters(s: hg.Switch) -> Answer:
    scale = torch.ones((), dtype=torch.float64, requires_grad=True)
    y = torch.func.functional_call(s, {name: p * scale for name, p in s.named_parameters()}, (X, KEY))
    y.sum().backward()
    return [y, scale.grad, *(p.grad for p in s.parameters())]


@situation
def a_bias_is_gone(s: hg.Switch) -> Answer:
    s.branch(1)[2].bias = None
    return learn(s)


@situation
def all_biases_are_gone(s: hg.Switch) -> Answer:
    for branch in s.branches:
        branch[2].bias = None
    return learn(s)


@situation
def a_branch_has_another_width(s: hg.Switch) -> Answer:
    first, second = s.branch(1)[0], s.branch(1)[2]
    first.weight, first.bias = nn.Parameter(first.weight[:5].detach()), nn.Parameter(first.bias[:5].detach())
    second.weight = nn.Parameter(second.weight[:, :5].detach())
    return learn(s)


@situation
def complex_numbers(s: hg.Switch) -> Answer:
    s.to(torch.complex128)
    for branch in s.branches:
        branch[1] = nn.Identity()
    y = s(X * (1 + 1j), KEY)
    y.abs().sum().backward()
    return [y, *(p.grad for p in s.parameters())]


@situation
def parameters_from_inference_mode(s: hg.Switch) -> Answer:
    with torch.inference_mode():
        s = copy.deepcopy(s)
    return [s(X, KEY)]


@situation
def grads_of_other_layouts(s: hg.Switch) -> Answer:
    one, other = s.branch(1)[2].weight, s.branch(2)[2].weight
    one.grad = torch.ones(4, 6, dtype=torch.float64).to_sparse()
    other.grad = held = torch.ones(6, 4, dtype=torch.float64).T
    learn(s)
    return [one.grad, other.grad, int(other.grad is held)]


@situation
def a_shallow_copy(s: hg.Switch) -> Answer:
    learn(copy.copy(s))
    return [p.grad for p in s.parameters()]


@situation
def saved_and_loaded_whole(s: hg.Switch) -> Answer:
    file = io.BytesIO()
    torch.save(s, file)
    file.seek(0)
    return learn(torch.load(file, weights_only=False))


@situation
def backwards_in_threads(s: hg.Switch) -> Answer:
    losses = [s(X, KEY).sum() for _ in range(8)]
    threads = [threading.Thread(target=loss.backward) for loss in losses]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [p.grad for p in s.parameters()]


@situation
def saved_tensors_on_the_processor(s: hg.Switch) -> Answer:
    with torch.autograd.graph.save_on_cpu():
        y = s(X, KEY)
    y.sum().backward()
    return [p.grad for p in s.parameters()]


@situation
def a_row_that_is_nan(s: hg.Switch) -> Answer:
    return learn(s, X.index_fill(0, torch.tensor([0]), float("nan")))


def answer(run: Callable[[hg.Switch], Answer], s: hg.Switch) -> Answer | str:
    try:
        return run(s)
    except RuntimeError as error:
        return str(error)


@pytest.mark.filterwarnings("ignore:grad and param do not obey", "ignore:Complex modules are a new feature")
@pytest.mark.parametrize("run", SITUATIONS, ids=lambda run: run.__name__)
def test_a_bank_answers_as_its_branches_do(run: Callable[[hg.Switch], Answer]) -> None:
    one, other = (answer(run, s) for s in pair())
    assert isinstance(one, str) == isinstance(other, str), (one, other)
    if isinstance(one, str) or isinstance(other, str):
        assert one == other
        return
    for a, b in zip(one, other, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11, equal_nan=True)


def size(value: object) -> int:
    file = io.BytesIO()
    torch.save(value, file)
    return file.tell()


def test_what_a_branch_holds_is_its_own_memory() -> None:
    switch, alone = pair(100)
    key = torch.arange(100) + 0.5
    for s in (switch, alone):
        learn(s, torch.ones(100, 3, dtype=torch.float64), key)
    branch, other = switch.branch(7), alone.branch(7)
    assert size(branch.state_dict()) == size(other.state_dict())
    for p, q in zip(branch.parameters(), other.parameters(), strict=True):
        assert size(p.grad) == size(q.grad)
        assert p.grad.untyped_storage().nbytes() == p.grad.nbytes
    assert len({p.grad.untyped_storage().data_ptr() for p in switch.parameters()}) == 600


def test_shared_memory_stays_where_it_is() -> None:
    switch, _ = pair()
    switch.share_memory()
    before = [p.data_ptr() for p in switch.parameters()]
    learn(switch)
    assert all(p.is_shared() for p in switch.parameters())
    assert [p.data_ptr() for p in switch.parameters()] == before


@pytest.mark.parametrize("kind", RULES, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_an_elementwise_gradient_is_autograds(kind: type[nn.Module], dtype: torch.dtype) -> None:
    ties = [-6.0, -3.0, -1.0, -0.0, 0.0, 1.0, 3.0, 6.0, 20.0, 25.0, -80.0, 90.0, 1e6, -1e6]
    x = torch.tensor([*ties, *torch.linspace(-9, 9, 200).tolist()], dtype=dtype, requires_grad=True)
    layer, rule = kind(), RULES[kind]
    layer_settings = [getattr(layer, name) for name in rule.settings]
    grad = torch.linspace(-2, 3, len(x), dtype=dtype)
    y = layer(x)
    (right,) = torch.autograd.grad(y, x, grad)
    value = rule.value(x.detach(), *layer_settings)
    kept = {"input": x.detach(), "output": value, "nothing": None}[rule.keeps]
    assert torch.equal(value, y)
    torch.testing.assert_close(rule.to_input(grad.clone(), kept, *layer_settings), right)
