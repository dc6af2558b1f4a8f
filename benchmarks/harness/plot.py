"""The pictures in the documentation, one for each chapter."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from .chapters import CHAPTERS, Chapter
from .results import METRICS, Results, Row

COLORS = {
    "tricorn": "#b4341f",
    "uvicorn": "#5b7c99",
    "granian": "#8a6d3b",
    "gunicorn": "#6b8e5a",
    "hypercorn": "#8d7aa6",
    "canned": "#c9c9c9",
}
"""The servers that are drawn. Their variants are in the tables."""
ALIKE = {"granian-auto": "granian", "uvicorn-zttp": "uvicorn"}
"""Variants that are drawn where the server itself does not take part."""


def drawn(row: Row, metric: str) -> dict[str, float]:
    """The medians that are drawn, by server, in the table's order."""
    found = {ALIKE.get(server, server): row.median(server, metric) for server in row.samples}
    return {server: value for server in COLORS if (value := found.get(server)) is not None}


def bars(axes, row: Row, metric: str) -> None:
    """One scenario: a bar per server, the least at the top, its value written beside it."""
    ordered = sorted(((value, server) for server, value in drawn(row, metric).items()), reverse=True)
    names = [server for _, server in ordered]
    made = axes.barh(names, [value for value, _ in ordered], color=[COLORS[name] for name in names], height=0.7)
    axes.bar_label(made, fmt=f"{{:,.{METRICS[metric].digits}f}}", padding=3, fontsize=8)
    axes.set_title(f"{row.title.partition(',')[0]}\n{METRICS[metric].label}", fontsize=8, loc="left")
    axes.tick_params(axis="y", length=0, labelsize=8)
    axes.set_xticks([])
    axes.margins(x=0.2)
    axes.spines[["top", "right", "bottom"]].set_visible(False)


def lines(axes, rows: list[Row], metric: str) -> None:
    """A line per server over the number of workers, which stands at the end of the row's title."""
    counts = [int(row.title.split()[-2]) for row in rows]
    for server, shade in COLORS.items():
        points = [
            (count, drawn(row, metric)[server]) for count, row in zip(counts, rows, strict=True) if server in drawn(row, metric)
        ]
        if points:
            axes.plot(*zip(*points, strict=True), color=shade, marker="o", label=server)
    axes.set_xscale("log", base=2)
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.set_xlabel("workers", fontsize=8)
    axes.set_ylabel(METRICS[metric].label, fontsize=8)
    axes.set_ylim(bottom=0)
    axes.tick_params(labelsize=8)
    axes.legend(fontsize=8, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)


def draw(results: Results, folder: Path) -> dict[str, str]:
    """Writes a PNG for each chapter of which anything was measured; their names, by the chapter's."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    made = {}
    for chapter, panels in measured(results):
        if chapter.growing:
            figure, axes = pyplot.subplots(figsize=(6, 3.2))
            lines(axes, [row for row, _ in panels], panels[0][1])
        else:
            columns = min(3, len(panels))
            most = max(len(drawn(*panel)) for panel in panels)
            rows = -(-len(panels) // columns)
            figure, grid = pyplot.subplots(rows, columns, figsize=(3.6 * columns, (0.75 + 0.22 * most) * rows), squeeze=False)
            for axes, panel in zip(grid.flat, panels, strict=False):
                bars(axes, *panel)
            for axes in list(grid.flat)[len(panels) :]:
                axes.set_visible(False)
        made[chapter.name] = f"benchmarks-{chapter.name}.png"
        figure.tight_layout()
        figure.savefig(folder / made[chapter.name], dpi=110)
        pyplot.close(figure)
    return made


def measured(results: Results) -> Iterator[tuple[Chapter, list[tuple[Row, str]]]]:
    """Each chapter with its panels' rows and metrics, as far as they were measured."""
    for chapter in CHAPTERS:
        panels = [(results.rows[name], metric) for name, metric in chapter.panels if name in results.rows]
        panels = [(row, metric) for row, metric in panels if drawn(row, metric)]
        if panels:
            yield chapter, panels
