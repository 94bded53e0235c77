"""One legend for all the panels of a figure, below them."""

from __future__ import annotations

from collections.abc import Iterator

from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from analysis import style

TRAINING_MAXIMUM = "training maximum"  # label of the line there


def draw_legend(figure: Figure, bottom: float) -> float:
    """In the first layout that fits the width, `bottom` inches above the lower edge. Returns its height in inches."""
    handles = _legend_handles(figure)
    if not handles:
        return 0.0
    width = figure.get_size_inches()[0]
    for ordered, columns in _legend_layouts(handles):
        legend = figure.legend(
            handles=ordered, ncols=columns, loc="lower center", columnspacing=1.5, handletextpad=0.6, borderaxespad=0,
            bbox_to_anchor=(width / 2, bottom), bbox_transform=figure.dpi_scale_trans,
        )
        legend.set_in_layout(False)
        size = legend.get_window_extent().transformed(figure.dpi_scale_trans.inverted())
        if size.width <= width - 2 * style.MARGIN or columns == 1:
            break
        legend.remove()
    return size.height


def _legend_layouts(handles: list[Artist]) -> Iterator[tuple[list[Artist], int]]:
    """To try one after the other. Where models have several curves: a column for each model, then so many models a row
    as fit; else ever more rows."""
    models: dict[str, list[Artist]] = {}
    for handle in handles:
        models.setdefault(handle.get_label().split(", ")[0], []).append(handle)
    tallest = max(map(len, models.values()))
    if tallest > 1:
        blank = Line2D([], [], linestyle="", label=" ")
        handles_of_models = [handle for group in models.values() for handle in (group + [blank] * tallest)[:tallest]]
        yield handles_of_models, len(models)
        for per_row in range(len(models) - 1, 0, -1):
            yield _by_rows(handles_of_models, per_row * tallest), per_row * tallest
    for rows in range(1, len(handles) + 1):
        columns = -(-len(handles) // rows)
        yield _by_rows(handles, columns), columns


def _by_rows(handles: list[Artist], columns: int) -> list[Artist]:
    """Reordered so that matplotlib, which fills a legend column by column, shows them row by row."""
    return [handle for column in range(columns) for handle in handles[column::columns]]


def _legend_handles(figure: Figure) -> list[Artist]:
    """Each label once, models in the order in which they were drawn, then what the background means."""
    found: dict[str, Artist] = {}
    background: list[Artist] = []
    for axes in figure.axes:
        for line in axes.get_lines():
            if line.get_label() == TRAINING_MAXIMUM:
                background = [Patch(facecolor=style.TRAINED, edgecolor="#C9CED4", label="trained lengths")]
            elif line.get_label() not in found or not found[line.get_label()].get_marker():
                found[line.get_label()] = _handle_of(line)
    return list(found.values()) + background


def _handle_of(line: Line2D) -> Line2D:
    handle = Line2D([], [])
    handle.update_from(line)
    handle.set_label(line.get_label())
    return handle
