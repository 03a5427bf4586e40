"""What all figures share: size, letters, ink, a legend below, and a narrow form of each for a telephone."""

from __future__ import annotations

import pickle
import textwrap
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.spines import Spine
from matplotlib.text import Text

from hardgrad_lab.drawing.palette import INK
from hardgrad_lab.drawing.ticks import write_out

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

NARROW = 3.7  # inches: a telephone's page
LEAST = 9.5  # points: the smallest letters, so that no page shows any below 10 px
LETTER, LINE = 0.069, 0.6  # inches in a legend: a letter of that size, the line beside a name
TALL = (2.0, 3.0)  # inches: the least and most of a narrow panel
STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 10,
    "svg.fonttype": "none",
    "svg.hashsalt": "hardgrad",
    "axes.edgecolor": INK,
    "axes.titlecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlesize": 11,
    "text.color": INK,
    "text.parse_math": False,  # a user's column may be called $x
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.useoffset": False,
    "hatch.linewidth": 0.7,
}


class Drawn(Figure):
    """A figure that knows its panels, in the order to read them in, and what its legend is of.

    Args:
        size: width and height in inches.
    """

    def __init__(self, size: tuple[float, float] = (6.4, 4.8), **given: Any) -> None:
        super().__init__(figsize=size, layout="constrained", **given)
        self.panels: list[Axes] = []
        self.named: list[Axes] = []
        self.bare = size[1]  # inches high without the legend


def new_figure(panels: int) -> tuple[Drawn, list[Axes]]:
    """Return a figure with so many panels side by side, at most three in a row, that share what is upright."""
    columns = min(panels, 3)
    lines = -(-panels // columns)
    with mpl.rc_context(STYLE):
        figure = Drawn((4.2 * columns + 0.4, 3.4 * lines))
        axes = figure.subplots(lines, columns, squeeze=False, sharey=True)
    for empty in axes.flat[panels:]:
        empty.remove()
    figure.panels = list(axes.flat[:panels])
    return figure, list(figure.panels)


def grid_figure(lines: int, columns: int) -> tuple[Drawn, list[list[Axes]]]:
    """Return a figure of lines of panels; those of a line share what is upright, those of a column what is level."""
    with mpl.rc_context(STYLE):
        figure = Drawn((3.4 * columns + 0.4, 2.6 * lines + 0.3))
        axes = figure.subplots(lines, columns, squeeze=False, sharex="col", sharey="row")
    figure.panels = list(axes.T.flat)  # what stands in a column belongs together
    return figure, [list(line) for line in axes]


def sized_figure(width: float, height: float, panels: int = 1) -> tuple[Drawn, list[Axes]]:
    """Return a figure of a size in inches, with so many panels side by side that share nothing."""
    with mpl.rc_context(STYLE):
        figure = Drawn((width, height))
        axes = figure.subplots(1, panels, squeeze=False)
    figure.panels = list(axes.flat)
    return figure, list(axes.flat)


def legend(figure: Drawn, axes: list[Axes], *, wrap: int = 0) -> None:
    """Put one legend for all panels below them, where it hides no line.

    Names longer than the figure is wide, or than ``wrap`` letters, go on several lines.
    """
    fit = int((figure.get_figwidth() - LINE) / LETTER)
    found: dict[str, Artist] = {}
    for panel in axes:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            found.setdefault(textwrap.fill(label, min(wrap or fit, fit)), handle)
    figure.named = list(axes)
    if not found:
        return
    with mpl.rc_context(STYLE):
        lines = [line for label in found for line in label.splitlines()]
        widest = LINE + LETTER * max(map(len, lines))
        columns = max(1, min(len(found), int(figure.get_figwidth() / widest)))
        rows = -(-len(lines) // columns)
        figure.set_figheight(figure.bare + 0.21 * rows + 0.1)
        figure.legend(
            list(found.values()), list(found), loc="outside lower center", ncols=columns, frameon=False, fontsize=LEAST
        )


def dress(figure: Figure) -> None:
    """See to what holds of every figure: text in the page's ink and never tiny, no mathematics in names, plain numbers.

    What was drawn after the figure was made has matplotlib's own colours and formats; this is where they end.
    """
    for axes in figure.axes:
        write_out(axes.xaxis)
        write_out(axes.yaxis)
        axes.tick_params(which="both", color=INK)
    for spine in figure.findobj(Spine):
        assert isinstance(spine, Spine)
        if to_hex(spine.get_edgecolor()) == "#000000":
            spine.set_edgecolor(INK)
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        text.set_parse_math(False)
        text.set_fontsize(max(float(text.get_fontsize()), LEAST))
        if to_hex(text.get_color()) == "#000000":
            text.set_color(INK)


def narrowed(figure: Drawn) -> Drawn:
    """Return a copy for a narrow page: the panels below each other, each with all its numbers."""
    copy: Drawn = pickle.loads(pickle.dumps(figure))
    for old in copy.legends[:]:
        old.remove()
    lines = len({panel.get_position(original=True).y0 for panel in copy.panels})
    heights = [_height(panel, copy.bare / lines, copy.get_figwidth()) for panel in copy.panels]
    copy.bare = sum(heights)
    copy.set_size_inches(NARROW, copy.bare)
    copy.set_layout_engine("constrained", h_pad=0.09)
    places = copy.add_gridspec(len(heights), 1, height_ratios=heights)
    with mpl.rc_context(STYLE):
        for number, panel in enumerate(copy.panels):
            panel.set_subplotspec(places[number])
            panel.tick_params(labelleft=True, labelbottom=True)
            _label_alone(panel, heights[number])
    if copy.named:
        legend(copy, copy.named, wrap=40)
    return copy


def _label_alone(panel: Axes, height: float) -> None:
    """Give a panel the labels that it shared with its neighbours, on lines that its edges do not cut."""
    rows, columns = panel.get_shared_y_axes().get_siblings(panel), panel.get_shared_x_axes().get_siblings(panel)
    if not panel.get_ylabel():
        panel.set_ylabel(next((each.get_ylabel() for each in rows if each.get_ylabel()), ""))
    if not panel.get_xlabel():
        panel.set_xlabel(next((each.get_xlabel() for each in columns if each.get_xlabel()), ""))
    names = max((len(each.get_text()) for each in panel.get_yticklabels()), default=0)
    panel.set_xlabel(textwrap.fill(panel.get_xlabel(), 44 - min(names, 26)))
    panel.set_ylabel(textwrap.fill(panel.get_ylabel(), int(10 * height)))


def _height(panel: Axes, whole: float, width: float) -> float:
    """Return the inches that a panel needs below the others: pictures with a shape keep it, lists their lines."""
    if panel.images and panel.get_aspect() != "auto":
        return max(whole * NARROW / width, 0.28 * len(panel.get_yticks()) + 0.3)
    if len(panel.get_yticklabels()) > 8 and panel.get_yscale() == "linear":
        return whole
    return min(max(whole, TALL[0]), TALL[1])
