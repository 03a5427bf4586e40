"""ONNX and torch.export: the hard function alone leaves the house.

The problem: in training a bridge runs a hard function and a network that imitates it. What is deployed needs the first
only, and no trace of what trained it.

``hg.strip(model)`` returns a copy whose bridges are their hard functions: no approximator's weights, no autograd
Function, the same outputs bit for bit. A switch stays what it is: its exported graph runs each branch on the rows that
are its own, and a key that is NaN gives a NaN row in place of an error. Functions that draw are exported as draws of
the runtime. A ``BlackBox`` cannot be in a graph: export what is before and behind it.

The one rule: ``hg.strip(model).eval()`` first, then export, and compare with eager on rows of several batch sizes.
"""

import io
import warnings

import onnxruntime
import torch
from torch import Tensor, nn

import hardgrad as hg


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.before = nn.Linear(6, 6)
        self.sorted = hg.Bridge(hg.hard.sort, hg.approximators.mlp(6, 6, hidden=(32,)))
        self.signs = hg.straight_through(hg.hard.sign)
        self.choose = hg.Switch(hg.Ranges([-1.0, 0.0, 1.0]), nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 1)))

    def forward(self, x: Tensor, key: Tensor) -> Tensor:
        values = self.sorted(self.before(x))
        return self.choose(values * self.signs(values - 0.5), key=key)


torch.manual_seed(0)
model = Model()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
for _ in range(20):
    x, key = torch.randn(32, 6), torch.rand(32) * 2 - 1
    optimizer.zero_grad()
    nn.functional.mse_loss(model(x, key), x.max(1, keepdim=True).values).backward()
    optimizer.step()

deployed = hg.strip(model).eval()
assert not any("approximator" in name for name in deployed.state_dict())
example = torch.randn(8, 6), torch.rand(8) * 2 - 1
batch = torch.export.Dim("batch")
shapes = {"x": {0: batch}, "key": {0: batch}}

program = torch.export.export(deployed, example, dynamic_shapes=shapes)
buffer = io.BytesIO()
torch.export.save(program, buffer)
buffer.seek(0)
again = torch.export.load(buffer).module()

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the exporter's own, of torch's deprecated names
    onnx = torch.onnx.export(deployed, example, dynamo=True, dynamic_shapes=shapes, verbose=False)
buffer = io.BytesIO()
onnx.save(buffer)
session = onnxruntime.InferenceSession(buffer.getvalue(), providers=["CPUExecutionProvider"])
names = [given.name for given in session.get_inputs()]

for rows in (1, 8, 33):
    x, key = torch.randn(rows, 6), torch.rand(rows) * 2 - 1
    with torch.no_grad():
        expected = model.eval()(x, key)
        assert torch.equal(deployed(x, key), expected)
        assert torch.equal(again(x, key), expected)  # what torch.export saved and loaded
    (found,) = session.run(None, dict(zip(names, (x.numpy(), key.numpy()), strict=True)))
    torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-5, atol=1e-5)
print(f"torch.export and ONNX agree with eager on 1, 8 and 33 rows; {len(buffer.getvalue())} bytes of ONNX")
