"""The evaluation as a page to look at: one HTML file that needs nothing else."""

from pathlib import Path

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from kpop.audio.stft import FLOOR_DB
from kpop.constants import FRAMES_PER_S
from kpop.evaluation.columns import CEILING, COLUMNS, GENERATED, ROWS, Column
from kpop.evaluation.hearing import OCTAVES_HZ
from kpop.evaluation.statistics import Cell
from kpop.evaluation.steadiness import PIECE_S
from kpop.evaluation.table import Table
from kpop.evaluation.targets import Target

N_PICTURES = 3
PICTURE_COLUMNS = 200
PICTURE_S = 24.0
PLOTS_A_LINE = 3
PLOT_HEIGHT_PX = 260
COLOURS = {GENERATED: "#e0428c", CEILING: "#3b1d5c"}
OTHER_COLOUR = "#b9aec4"


def write_page(
    path: Path, title: str, table: Table, targets: list[Target], levels_db: dict[str, list[np.ndarray]]
) -> None:
    """levels_db: row -> mel spectrograms (n_frames, n_mels) of its songs, of which a few are shown."""
    figures = [
        table_figure(table),
        bars_figure(table),
        octaves_figure(table),
        courses_figure(table),
        pictures_figure(levels_db),
    ]
    items = "".join(f"<li>{target}</li>" for target in targets) + "".join(
        f"<li>{words}</li>" for words in table.left_out
    )
    parts = [figure.to_html(full_html=False, include_plotlyjs=n == 0) for n, figure in enumerate(figures)]
    head = f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title></head>'
    style = '<body style="font-family:sans-serif;max-width:1300px;margin:auto">'
    path.write_text(f"{head}{style}<h1>{title}</h1><ul>{items}</ul>{''.join(parts)}</body></html>", encoding="utf-8")


def table_figure(table: Table) -> go.Figure:
    """Raw means, and below each the normalised value with its interval."""
    rows, columns = _rows(table), _columns(table)
    cells = [[_words(table.cells[row].get(column.name)) for column in columns] for row in rows]
    names = [f"{column.title}<br>{f'1: {column.control}' if column.control else ''}" for column in columns]
    figure = go.Figure(go.Table(header={"values": ["", *rows]}, cells={"values": [names, *cells], "height": 42}))
    return figure.update_layout(height=100 + 46 * len(columns), margin={"l": 0, "r": 0, "t": 10, "b": 0})


def bars_figure(table: Table) -> go.Figure:
    """One plot a column: bars of raw means, or of normalised values with their intervals where there is a control."""
    rows, columns = _rows(table), _columns(table)
    n_lines = -(-len(columns) // PLOTS_A_LINE)
    figure = make_subplots(n_lines, PLOTS_A_LINE, subplot_titles=[_scale(column) for column in columns])
    for index, column in enumerate(columns):
        shown = [row for row in rows if column.name in table.cells[row]]
        cells = [table.cells[row][column.name] for row in shown]
        figure.add_trace(_bars(shown, cells), index // PLOTS_A_LINE + 1, index % PLOTS_A_LINE + 1)
    return figure.update_layout(height=PLOT_HEIGHT_PX * n_lines, showlegend=False)


def octaves_figure(table: Table) -> go.Figure:
    """Octave balance of each row's mean song."""
    names = [f"{hz} Hz" for hz in OCTAVES_HZ]
    lines = [_line(row, names, table.octaves_db[row]) for row in _rows(table) if row in table.octaves_db]
    return go.Figure(lines).update_layout(title="Octave bands, dB", height=2 * PLOT_HEIGHT_PX)


def courses_figure(table: Table) -> go.Figure:
    """Level, entropy and pulse of the long songs by ten seconds, mean over songs."""
    tracks = {"level_lufs": "level, LUFS", "entropy": "spectral entropy", "pulse": "pulse clarity"}
    figure = make_subplots(1, len(tracks), subplot_titles=list(tracks.values()))
    for row, songs in table.courses.items():
        for place, name in enumerate(tracks, 1):
            length = min(len(getattr(song, name)) for song in songs)
            mean = np.mean([np.maximum(getattr(song, name)[:length], FLOOR_DB) for song in songs], axis=0)
            figure.add_trace(_line(row, np.arange(length) * PIECE_S, mean, place == 1), 1, place)
    return figure.update_layout(title="Steadiness", height=PLOT_HEIGHT_PX + 80).update_xaxes(ticksuffix=" s")


def pictures_figure(levels_db: dict[str, list[np.ndarray]]) -> go.Figure:
    """The first seconds of a few generated songs beside as many unheard ones."""
    shown = {row: levels_db[row][:N_PICTURES] for row in (GENERATED, CEILING)}
    n_lines = max(len(songs) for songs in shown.values())
    figure = make_subplots(n_lines, 2, column_titles=list(shown))
    for place, songs in enumerate(shown.values(), 1):
        for line, level_db in enumerate(songs, 1):
            picture = picture_of(level_db)
            figure.add_trace(go.Heatmap(z=picture.T, colorscale="Magma", showscale=False), line, place)
    return figure.update_layout(height=PLOT_HEIGHT_PX * n_lines)


def picture_of(level_db: np.ndarray) -> np.ndarray:
    """(n_columns, n_mels) uint8, 0 at -80 dB to 255 at 0 dB, of at most PICTURE_COLUMNS columns: PICTURE_S from the
    start on, each cell the loudest of its frames."""

    level_db = level_db[: round(PICTURE_S * FRAMES_PER_S)]
    n_columns = min(PICTURE_COLUMNS, len(level_db))
    loudest = np.maximum.reduceat(level_db, np.arange(n_columns) * len(level_db) // n_columns, axis=0)
    return np.rint(np.clip(1 - loudest / FLOOR_DB, 0, 1) * 255).astype(np.uint8)


def _bars(rows: list[str], cells: list[Cell]) -> go.Bar:
    colours = [COLOURS.get(row, OTHER_COLOUR) for row in rows]
    if any(cell.normalised is None for cell in cells):
        return go.Bar(x=rows, y=[cell.raw for cell in cells], marker_color=colours)
    values = [cell.normalised for cell in cells]
    above = [max(cell.high - cell.normalised, 0) for cell in cells]
    below = [max(cell.normalised - cell.low, 0) for cell in cells]
    error = {"type": "data", "symmetric": False, "array": above, "arrayminus": below}
    return go.Bar(x=rows, y=values, error_y=error, marker_color=colours)


def _line(row: str, x, y: np.ndarray, in_legend: bool = True) -> go.Scatter:
    return go.Scatter(
        x=list(x),
        y=np.round(y, 3).tolist(),
        name=row,
        legendgroup=row,
        showlegend=in_legend,
        line={"color": COLOURS.get(row)},
    )


def _scale(column: Column) -> str:
    return f"{column.title} (1: {column.control})" if column.control else f"{column.title} (raw)"


def _rows(table: Table) -> list[str]:
    return [row for row in ROWS if row in table.cells]


def _columns(table: Table) -> list[Column]:
    return [column for column in COLUMNS if any(column.name in cells for cells in table.cells.values())]


def _words(cell: Cell | None) -> str:
    if cell is None:
        return "–"
    words = f"{cell.raw:.3f}"
    return words if cell.normalised is None else f"{words}<br>{cell.normalised:.2f} [{cell.low:.2f}, {cell.high:.2f}]"
