"""How well a linear classifier tells classes from codes: multinomial logistic regression, to convergence.

.. math::
    \\min_{W, b} \\; \\tfrac12 \\lVert W \\rVert^2 + C \\sum_i -\\log \\operatorname{softmax}(W x_i + b)_{y_i}

The objective is strictly convex, so its minimum depends on the codes alone: no seed, no learning rate. It is found by
L-BFGS over all rows at once. The same as scikit-learn's LogisticRegression, which takes C = 1 where nothing is said.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CHUNK = 2**16  # rows at a time: the logits of a million rows and a thousand classes are 5 GB
ITERATIONS = 300
TOLERANCE = 1e-5  # of the mean loss's gradient, in the largest entry; tests hold what comes of it to scikit-learn's


class Linear(nn.Module):
    """A linear classifier that has learnt.

    Args:
        features: of a code.
        classes: to tell.
    """

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(classes, features))
        self.bias = nn.Parameter(torch.zeros(classes))

    def forward(self, codes: Tensor) -> Tensor:
        """Return logits (n, classes) of codes (n, features)."""
        return F.linear(codes.to(self.weight.dtype), self.weight, self.bias)

    @torch.no_grad()
    def accuracy(self, codes: Tensor, labels: Tensor) -> float:
        """Return the share of codes (n, features) whose likeliest class is their label (n,)."""
        right = [(self(x).argmax(1) == y).sum() for x, y in zip(codes.split(CHUNK), labels.split(CHUNK), strict=True)]
        return float(torch.stack(right).sum().item() / len(labels))


def fit(codes: Tensor, labels: Tensor, classes: int, *, decay: float = 1.0) -> Linear:
    """Return the classifier that the training codes give.

    Args:
        codes: (n, features); may be of bytes, they are made floating a chunk at a time.
        labels: (n,), int64, from 0.
        classes: how many there are.
        decay: C above; the larger, the less the weights are held back.

    Returns:
        The classifier, on the codes' device.

    Raises:
        ValueError: if there is no row, or a label is out of range.
    """
    if len(codes) == 0 or len(codes) != len(labels):
        raise ValueError(f"codes and labels must have as many rows, one at least, got {len(codes)} and {len(labels)}")
    if not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise ValueError(f"labels must be from 0 to {classes - 1}, got {int(labels.min())} to {int(labels.max())}")
    model = Linear(codes.shape[1], classes).to(codes.device)
    optimizer = torch.optim.LBFGS(
        model.parameters(),
        max_iter=ITERATIONS,
        tolerance_grad=TOLERANCE,
        tolerance_change=1e-9,
        history_size=20,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        model.zero_grad(set_to_none=True)
        # Divided by the rows and by C: a scale that L-BFGS's first step likes, at the same minimum.
        total = model.weight.square().sum() / (2 * decay * len(codes))
        total.backward()
        value = total.detach()
        for x, y in zip(codes.split(CHUNK), labels.split(CHUNK), strict=True):
            loss = F.cross_entropy(model(x), y, reduction="sum") / len(codes)
            loss.backward()
            value = value + loss.detach()
        return value

    with torch.enable_grad():
        optimizer.step(closure)  # type: ignore[no-untyped-call, unused-ignore] # torch gives it no types
    return model.requires_grad_(False)


def separability(
    train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], classes: int, *, decay: float = 1.0
) -> float:
    """Return the accuracy, 0 to 1, on test codes and labels of the classifier that the training ones give."""
    return fit(*train, classes, decay=decay).accuracy(*test)
