"""Figures 7 and 10: likeness and separability over the bits and along the runs, and what comes out of codes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import imread

from hardgrad_lab.drawing.figures import COLOURS, DASHES, legend, sized_figure
from hardgrad_lab.drawing.section import Drawing
from hardgrad_lab.experiments.bridges.along import BAND, largest_budget, lines
from hardgrad_lab.experiments.bridges.latents import CHANNELS, COMMON, DATASETS, LATENTS
from hardgrad_lab.runs.kept import kept_files
from hardgrad_lab.runs.records import Group
from hardgrad_lab.runs.setting import setting

MEASURES = {"ms_ssim": "MS-SSIM", "separability": "linear separability"}


def draw(groups: Sequence[Group], results: Path) -> list[Drawing]:
    """Return the figures of each data set that was run: over the bits, along the runs, and the pictures."""
    drawings = []
    for dataset in DATASETS:
        mine = [group for group in groups if group.config["dataset"] == dataset]
        tasks = [task for task in LATENTS.tasks if any(group.config["task"] == task for group in mine)]
        by_task = {task: [group for group in mine if group.config["task"] == task] for task in tasks}
        if mine:
            drawings.append(_over_bits(dataset, by_task))
        for task, runs in by_task.items():
            drawings.append(_along(task, runs))
            drawings += _pictures(task, runs, results)
    return drawings


def bpp(group: Group) -> float:
    """Return the bits per pixel and channel that a group's codes were asked to have."""
    config = group.config
    return float(config["bits"] / (config["side"] ** 2 * CHANNELS[config["dataset"]]))


def _over_bits(dataset: str, by_task: dict[str, list[Group]]) -> Drawing:
    runs = [group for groups in by_task.values() for group in groups]
    budget, shown = largest_budget(LATENTS, runs)
    free = [group for group in runs if _is_free(group) and group not in shown and _paid(group) == budget]
    figure, panels = sized_figure(9.5, 3.8, 2)
    for panel, (measure, title) in zip(panels, MEASURES.items(), strict=True):
        for place, name in enumerate(LATENTS.contestants):
            _line(panel, shown, name, measure, place, label=name)
            _line(panel, free, name, measure, place, label=f"{name}, kl 0")
        asked = sorted({bpp(group) for group in shown})
        panel.set_xscale("log")
        panel.set_xticks(asked, [f"{each:.2g}" for each in asked])
        panel.minorticks_off()
        panel.set_xlabel("bits per pixel and channel")
        panel.set_ylabel(title)
    legend(figure, panels)
    source = "Table IV" if dataset == "imagenet" else "Figure 7"
    caption = f"Budget {budget}, test rows, mean and one standard deviation over seeds."
    if free:
        caption += " Hollow: without the divergence from the uniform code, which dab contestants do not pay either."
    return Drawing(
        name=f"latents-{dataset}",
        title=f"{source}, {dataset}: likeness and separability over the size of the code",
        caption=caption,
        figure=figure,
    )


def _is_free(group: Group) -> bool:
    """Return whether a variational autoencoder does not pay for its code."""
    return group.config["kl"] == 0 and str(group.config["contestant"]).startswith("gumbel")


def _paid(group: Group) -> str:
    """Return the setting of a group if its codes were paid for as usual."""
    return setting(LATENTS, replace(group, config={**group.config, "kl": COMMON["kl"]}))


def _line(panel: Axes, groups: Sequence[Group], contestant: str, measure: str, place: int, *, label: str) -> None:
    mine = sorted((group for group in groups if group.config["contestant"] == contestant), key=bpp)
    if mine:
        panel.errorbar(
            [bpp(group) for group in mine],
            [group.mean(measure) for group in mine],
            [group.spread(measure) or 0.0 for group in mine],
            color=COLOURS[place],
            linestyle=DASHES[place],
            marker="o",
            markerfacecolor="none" if label != contestant else COLOURS[place],
            markersize=5,
            capsize=3,
            label=label,
        )


def _along(task: str, groups: Sequence[Group]) -> Drawing:
    budget, shown = largest_budget(LATENTS, groups)
    rows = shown[0].config["curve_rows"]
    figure, panels = sized_figure(9.5, 3.8, 2)
    for panel, (measure, title) in zip(panels, MEASURES.items(), strict=True):
        lines(panel, LATENTS, shown, f"curve_{measure}")
        panel.locator_params(axis="x", nbins=5)
        panel.set_ylabel(title)
    legend(figure, panels)
    source = "Figure 10" if task.startswith("imagenet") else "As figure 10"
    return Drawing(
        name=f"latents-{task}-curves",
        title=f"{source}, {task}: along the run",
        caption=f"Budget {budget}, mean over seeds. {BAND} Points are of {rows:,} test rows, the classifier learns "
        "from as many training rows; the table's are of more.",
        figure=figure,
    )


def _pictures(task: str, groups: Sequence[Group], results: Path) -> list[Drawing]:
    budget, shown = largest_budget(LATENTS, groups)
    order = list(LATENTS.contestants)
    shown = sorted(shown, key=lambda group: order.index(group.config["contestant"]))
    found = [(group, kept_files(results, group, "pictures")) for group in shown]
    found = [(group, files) for group, files in found if files]
    if not found:
        return []
    halves = [np.split(imread(files[min(files)]), 2) for _, files in found]  # originals above, the same for all
    pixels = np.concatenate([halves[0][0], *(below for _, below in halves)])
    labels = ["test pictures", *(f"{group.config['contestant']}, {group.mean('ms_ssim'):.3f}" for group, _ in found)]
    figure, (panel,) = sized_figure(8.0, 0.6 * len(labels) + 0.2)
    panel.imshow(pixels, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    panel.set_yticks([(place + 0.5) * len(halves[0][0]) for place in range(len(labels))], labels)
    panel.set_anchor("W")  # else the layout misjudges the room that the names need
    panel.set_xticks([])
    panel.tick_params(length=0)
    panel.spines[:].set_visible(False)
    bits = bpp(found[0][0])
    digits = max(2, 1 - math.floor(math.log10(bits)))
    return [
        Drawing(
            name=f"latents-{task}-pictures",
            title=f"Figure 7, right, {task}: test pictures, and what comes out of their codes",
            caption=f"Budget {budget}, lowest seed, {bits:.{digits}f} bits per pixel and channel. The numbers are mean "
            "MS-SSIM over all test rows and seeds.",
            figure=figure,
        )
    ]
