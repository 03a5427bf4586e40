"""The gallery's pictures: one look for all of them, each saved for a light page and for a dark one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch
from cycler import cycler
from matplotlib.artist import Artist
from matplotlib.colors import is_color_like, to_hex, to_rgb, to_rgba_array
from matplotlib.figure import Figure

from hardgrad_lab.drawing.palette import COLOURS, DARK

STYLE = {
    "axes.facecolor": "none",
    "axes.prop_cycle": cycler("color", COLOURS),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "figure.figsize": (8, 4),
    "font.size": 10,
    "image.cmap": "cividis",
    "legend.fontsize": 9,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "savefig.dpi": 150,
    "savefig.facecolor": "white",
}
ORDER = (
    "thresholds/staircase",
    "thresholds/uphill",
    "thresholds/learned_step",
    "thresholds/spikes",
    "orders/ranks",
    "orders/soft_sort",
    "orders/spearman",
    "orders/top_k_mask",
    "orders/routing",
    "orders/codebook",
    "orders/shortest_path",
    "draws/coins",
    "draws/temperature",
    "draws/subsets",
    "switches/price_bands",
    "switches/learned_points",
    "switches/chatter",
    "devices/compressor",
    "devices/gate",
    "checks/black_box",
    "checks/breaks",
    "checks/which_gradient",
    "checks/watch",
    "checks/strip",
)
GREYS = {
    "0": "0.9",
    "0.3": "0.65",
    "0.4": "0.6",
    "0.7": "0.35",
    "0.75": "0.35",
}  # what stands back, stands back in both
TO_DARK = dict(zip(COLOURS, DARK, strict=True)) | {to_hex(light): dark for light, dark in GREYS.items()}
COLOR_OF = ("color", "facecolor", "edgecolor", "markerfacecolor", "markeredgecolor")


class Order:
    """The order of a folder's examples; one that ``ORDER`` lacks is an error."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder).name

    def __call__(self, file: str) -> int:
        return ORDER.index(f"{self.folder}/{Path(file).stem}")


def order(folder: str) -> int:
    """Return the place of a folder."""
    return [Path(name).parent.name for name in ORDER].index(Path(folder).name)


def reset(gallery_conf: dict[str, Any], file: str) -> None:
    """Give each example the same look and the same seed, whatever ran before it."""
    plt.rcdefaults()
    plt.rcParams.update(STYLE)
    torch.manual_seed(0)


def scrape(block: Any, block_vars: dict[str, Any], gallery_conf: dict[str, Any]) -> str:
    """Save all open figures twice and return the text that shows the one that fits the page."""
    pieces = []
    for number in plt.get_fignums():
        figure = plt.figure(number)
        titles = [axes.get_title(place) for axes in figure.axes for place in ("left", "center", "right")]
        alt = "; ".join(title.replace("\n", " ") for title in titles if title)
        light = Path(next(block_vars["image_path_iterator"]))
        figure.savefig(light)
        darken(figure)
        dark = light.with_name(f"{light.stem}_dark.png")
        figure.savefig(dark, facecolor="none")
        for path, page in ((light, "light"), (dark, "dark")):
            source = path.relative_to(gallery_conf["src_dir"]).as_posix()
            pieces.append(f".. image:: /{source}\n   :alt: {alt}\n   :class: sphx-glr-single-img only-{page}\n\n")
    plt.close("all")
    return "".join(pieces)


def darken(figure: Figure) -> None:
    """Give a figure the colors of a dark page."""
    figure.draw_without_rendering()  # ticks exist only now
    for artist in figure.findobj():
        if getattr(artist, "get_array", lambda: None)() is None:  # else a color map has its colors
            for name in COLOR_OF:
                darken_one(artist, name)


def darken_one(artist: Artist, name: str) -> None:
    """Replace one color of an artist, or each of several, and keep how far one sees through it."""
    colors = getattr(artist, f"get_{name}", lambda: "none")()
    if isinstance(colors, str) and colors in ("none", "auto"):
        return
    new = [(*to_rgb(TO_DARK.get(to_hex(rgba), rgba)), rgba[3]) for rgba in to_rgba_array(colors)]
    if new:
        getattr(artist, f"set_{name}")(new[0] if is_color_like(colors) else new)
