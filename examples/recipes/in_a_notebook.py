"""Notebooks: hard layers cell by cell, and a notebook that runs in a test.

The problem: in a notebook one looks at objects, runs cells twice, and writes functions that live in no file.

A diagnosis, a fidelity and a switch show themselves as the last line of a cell. Running the training cell again trains
on, since a bridge's approximator is part of the model; run the cell that builds the model to begin anew. Open
``hg.penalties()`` within one cell: a scope ends where its ``with`` ends. A hard function that a cell defines cannot be
imported by another process: ``hg.BlackBox(program, workers=2)`` needs it in a file beside the notebook.

The one rule: execute the notebook from top to bottom, as below, before you share it.
"""

import nbformat
from nbclient import NotebookClient

CELLS = [
    "import torch, hardgrad as hg\ntorch.manual_seed(0)",
    "def hard(x):  # written here, in no file\n    return (3 * x).round().clamp(-2, 2)",
    """bridge = hg.Bridge(hard, hg.approximators.elementwise())
model = torch.nn.Sequential(torch.nn.Linear(4, 8), bridge, torch.nn.Linear(8, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)""",
    """losses = []
for _ in range(150):
    x = torch.randn(64, 4)
    optimizer.zero_grad()
    loss = torch.nn.functional.mse_loss(model(x), x[:, :1])
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
losses[0], losses[-1]""",
    "bridge.fidelity()",
    "print(hg.doctor.breaks(model, torch.randn(8, 4)))",
    """deployed = hg.strip(model).eval()
x = torch.randn(8, 4)
torch.equal(deployed(x), model.eval()(x)), bridge.fidelity().relative_error < 0.5, losses[-1] < 0.5 * losses[0]""",
]


def built() -> nbformat.NotebookNode:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in CELLS])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3"}
    return notebook


def shown(cell: nbformat.NotebookNode) -> str:
    """What a cell shows: what it printed, and its last line."""
    return "".join(output.get("text") or output["data"]["text/plain"] for output in cell.outputs)


if __name__ == "__main__":
    notebook = built()
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()  # a cell that raises ends it
    *_, fidelity, breaks, last = (shown(cell) for cell in notebook.cells)
    assert fidelity.startswith("Fidelity("), fidelity
    assert "gradient" in breaks, breaks
    assert last == "(True, True, True)", last
    print(fidelity, breaks, sep="\n")
