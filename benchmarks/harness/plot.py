"""The picture in the documentation: CPU time per request, scenario by scenario."""

from __future__ import annotations

from pathlib import Path

from .results import Results, Row

COLORS = {"tricorn": "#b4341f", "canned": "#c9c9c9"}
OTHERS = "#5b7c99"


def color(server: str) -> str:
    return next((shade for name, shade in COLORS.items() if server.startswith(name)), OTHERS)


def panel(axes, row: Row) -> None:
    """One scenario: a bar per server, the least costly at the top, its value written beside it."""
    costs = {server: row.median(server, "cpu_us") for server in row.samples}
    ordered = sorted(((cost, server) for server, cost in costs.items() if cost is not None), reverse=True)
    names = [server for _, server in ordered]
    bars = axes.barh(names, [cost for cost, _ in ordered], color=[color(name) for name in names], height=0.7)
    axes.bar_label(bars, fmt="{:.1f}", padding=3, fontsize=8)
    axes.set_title(row.title, fontsize=9, loc="left")
    axes.tick_params(axis="y", length=0, labelsize=8)
    axes.set_xticks([])
    axes.margins(x=0.15)
    axes.spines[["top", "right", "bottom"]].set_visible(False)


def draw(results: Results, path: Path) -> bool:
    """Writes the PNG ``path``; False if the run measured no CPU time per request."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = [row for row in results.rows.values() if row.metrics[0] == "cpu_us" and row.samples]
    if not rows:
        return False
    columns = min(2, len(rows))
    lines = -(-len(rows) // columns)
    height = 0.9 + 0.24 * max(len(row.samples) for row in rows)
    figure, grid = pyplot.subplots(lines, columns, figsize=(5.5 * columns, height * lines), squeeze=False)
    panels = list(grid.flat)
    for axes, row in zip(panels, rows, strict=False):
        panel(axes, row)
    for axes in panels[len(rows) :]:
        axes.set_visible(False)
    figure.suptitle("CPU time per request of all processes of the server, in µs (less is better)", fontsize=11)
    figure.tight_layout(rect=(0, 0, 1, 0.98))
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return True
