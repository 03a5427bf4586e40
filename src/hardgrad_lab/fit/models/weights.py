"""The weights of a model folder: their file's header is held against what the model needs before they are read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from hardgrad_lab.fit.models.description import ends
from hardgrad_lab.fit.training.network import Architecture, build_switch
from hardgrad_lab.runs.model_files import check_tensors, read_header, unfit


def check_weights(path: Path, said: Mapping[str, Any]) -> None:
    """Make sure that a file holds the weights of a model of named branches, without making room for any.

    Args:
        path: of the safetensors file.
        said: the checked description.

    Raises:
        FolderError: if it holds other tensors, in name, shape or type.
    """
    header = read_header(path)
    drawn = said["architecture"]
    parts = (len(drawn["points"]) - 1) * max(1, len(drawn["hidden"]))
    if parts > len(header):  # a list of a million ranges would take minutes to build
        raise unfit(path, f"{parts:,} layers there, {len(header):,} tensors here")
    made = Architecture(**{**drawn, "points": ends(drawn["points"]), "hidden": tuple(drawn["hidden"])})
    with torch.device("meta"):  # shapes without memory
        needed = build_switch(made).state_dict()
    check_tensors(path, header, needed)
