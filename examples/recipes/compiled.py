"""torch.compile: hard layers inside one graph, in training and in evaluation.

The problem: a compiled graph cannot read which branches of a switch are visited. It runs all of them, each on its own
rows, maybe none, and gives an unvisited branch a gradient of zeros. With zeros, momentum and weight decay still move
it, where eager code leaves it alone.

With bridges nothing changes: the hard function and both gradients are in the graph, ``fullgraph=True`` included.
``model.train()`` and ``model.eval()`` are two graphs, each compiled once. Open ``hg.penalties(model)`` outside the
compiled code; inside, it is not allowed. ``fidelity()`` knows the error, not the gradient's norm.

The one rule: with a switch, call ``drop_unvisited_grads()`` between ``backward()`` and ``step()``.
"""

import torch
from torch import Tensor, nn

import hardgrad as hg

BACKEND = "aot_eager"  # the whole graph without code generation, in seconds; "inductor" is torch's default, and faster


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.before = nn.Linear(4, 8)
        self.signs = hg.Bridge(hg.hard.sign, hg.approximators.mlp(8, 8, hidden=(16,)))
        self.choose = hg.Switch(hg.Ranges([0.0, 0.5, 1.0, 2.0]), nn.Linear(8, 1))

    def forward(self, x: Tensor, key: Tensor) -> Tensor:
        return self.choose(self.signs(self.before(x)), key=key)


def rows(step: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(step)
    x, key = torch.randn(64, 4, generator=generator), torch.rand(64, generator=generator)
    return x, key, torch.where(key < 0.5, x[:, 0].sign(), -x[:, 1].sign()).unsqueeze(1)


def step_of(run: nn.Module, model: Model, optimizer: torch.optim.Optimizer, step: int) -> Tensor:
    x, key, target = rows(step)
    optimizer.zero_grad()
    with hg.penalties(model) as bag:
        task = nn.functional.mse_loss(run(x, key), target)
        (task + bag.total()).backward()
    assert [name for name, _ in bag] == ["signs"]
    model.choose.drop_unvisited_grads()
    optimizer.step()
    return task


def new() -> tuple[Model, torch.optim.Optimizer]:
    model = Model()
    return model, torch.optim.AdamW(model.parameters(), lr=1e-2)


model, optimizer = new()
compiled = torch.compile(model, fullgraph=True, backend=BACKEND)
eager, its_optimizer = new()
for step in range(2):
    step_of(compiled, model, optimizer, step)
    step_of(eager, eager, its_optimizer, step)
for a, b in zip(model.parameters(), eager.parameters(), strict=True):
    torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)

x, key, target = rows(1000)
with torch.no_grad():
    compiled.eval()(x, key)  # the second graph
with torch.compiler.set_stance("fail_on_recompile"):  # and there is no third, however often the mode changes
    for step in range(2, 150):
        compiled.train()
        step_of(compiled, model, optimizer, step)
        if step % 50 == 0:
            with torch.no_grad():
                held_out = nn.functional.mse_loss(compiled.eval()(x, key), target)

first = Model().choose.branch(2)
for a, b in zip(model.choose.branch(2).parameters(), first.parameters(), strict=True):
    assert torch.equal(a, b)  # nobody visited it: AdamW's weight decay did not move it
assert model.signs.fidelity().relative_error < 0.7, model.signs.fidelity()
assert held_out < 0.6, held_out  # the target's variance is 1
deployed = hg.strip(compiled).eval()  # compiled or not
torch.testing.assert_close(deployed(x, key), model.eval()(x, key))
print(f"held out {held_out:.3f};", model.signs.fidelity())
