"""What the classifiers learn by: one optimizer of the network, or Muon and Adam, and Adam for an approximator."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hardgrad_lab.experiments.bridges.classify.config import Classification
from hardgrad_lab.experiments.bridges.classify.fast import Filters
from hardgrad_lab.experiments.bridges.classify.networks import Classifier
from hardgrad_lab.experiments.bridges.optimizers import muon_of


def make_optimizers(config: Classification, model: Classifier) -> list[torch.optim.Optimizer]:
    """Return one optimizer of the network, and Adam for an approximator, whose gradient gamma scales."""
    lent = list(model.layer.parameters())
    own = [parameter for parameter in model.parameters() if all(parameter is not each for each in lent)]
    network: torch.optim.Optimizer
    if config.optimizer == "muon":
        return _with_muon(config, [each.rows for each in model.modules() if isinstance(each, Filters)], own, lent)
    if config.optimizer == "sgd":
        network = torch.optim.SGD(own, lr=config.lr, momentum=0.9, nesterov=True, weight_decay=config.weight_decay)
    else:
        network = torch.optim.AdamW(own, lr=config.lr, weight_decay=config.weight_decay)
    return [network, torch.optim.Adam(lent, lr=config.bridge_lr)] if lent else [network]


def _with_muon(
    config: Classification, filters: list[nn.Parameter], own: list[nn.Parameter], lent: list[nn.Parameter]
) -> list[torch.optim.Optimizer]:
    rest = [each for each in own if all(each is not other for other in filters)]
    (muon,) = muon_of(filters, config.lr, momentum=0.6)
    muon.register_step_post_hook(lambda *_: rescale([each for each in filters if each.grad is not None]))
    groups = [{"params": rest, "lr": config.lr}, {"params": lent, "lr": config.bridge_lr}]
    return [muon, torch.optim.Adam([group for group in groups if group["params"]], fused=True)]


@torch.no_grad()
def rescale(filters: Sequence[Tensor]) -> None:
    """Give each matrix as much norm as it has rows: behind a normalization its size is but a learning rate."""
    for each in filters:
        each.mul_(len(each) ** 0.5 / each.norm())
