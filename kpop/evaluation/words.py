"""The table in words, for a terminal."""

from kpop.evaluation.columns import CEILING, COLUMNS, GENERATED, ROWS, Column
from kpop.evaluation.statistics import Cell
from kpop.evaluation.table import Table

NAME_WIDTH, CELL_WIDTH = 18, 21
SCALE = (
    f"raw mean, (normalised: 0 as {CEILING}, 1 as the column's control *, with its 95 % interval in the last column)"
)


def table_lines(table: Table) -> list[str]:
    """One line a column of the table, so that a terminal holds it; then what is left out."""
    rows = [row for row in ROWS if row in table.cells]
    columns = [column for column in COLUMNS if any(column.name in table.cells[row] for row in rows)]
    head = "".join(f"{row:>{CELL_WIDTH}}" for row in rows)
    lines = [SCALE, f"{'':<{NAME_WIDTH}}{head}   95 % of {GENERATED}"]
    for column in columns:
        cells = "".join(
            f"{_cell(table.cells[row].get(column.name), row == column.control):>{CELL_WIDTH}}" for row in rows
        )
        lines.append(f"{column.title:<{NAME_WIDTH}}{cells}   {_interval(table, column)}")
    for row, (low, high) in table.copy_percentiles.items():
        lines.append(f"nearness to training songs, {row}: 5th percentile {low:.3f}, 95th {high:.3f}")
    return lines + table.left_out


def _cell(cell: Cell | None, is_control: bool) -> str:
    if cell is None:
        return "-"
    place = "" if cell.normalised is None else f" ({round(cell.normalised, 2) + 0.0:.2f})"
    return f"{cell.raw:.3f}{place}{'*' if is_control else ' '}"


def _interval(table: Table, column: Column) -> str:
    cell = table.cells[GENERATED].get(column.name)
    return "" if cell is None or cell.low is None else f"{cell.low:.2f} to {cell.high:.2f}"
