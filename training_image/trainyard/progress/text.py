"""Numbers and tables in a form for people, in the terminal and in reports."""

import math
from typing import Any

from rich.table import Table


def duration(seconds: float) -> str:
    """`4.2 s`, `3 min 20 s`, `2 h 05 min`; a dash if the number is not finite."""
    if not math.isfinite(seconds):
        return "\N{EN DASH}"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def number(value: float | None) -> str:
    """A metric in few characters; a dash for None. A count has no decimals, a value below 1 has four.

    A parameter of a search may be a truth value, which is written as in the file that it came from.
    """
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return f"{value:,}"
    if value == 0 or 0.001 <= abs(value) < 1e6:
        return f"{value:.4f}" if abs(value) < 1 else f"{value:.2f}"
    return f"{value:.3g}"


def summary_table(rows: dict[str, Any], title: str) -> Table:
    """A table of two columns: names and values."""
    table = Table(title=title, title_justify="left", show_header=False, title_style="bold")
    for key, value in rows.items():
        table.add_row(key, number(value) if isinstance(value, int | float) else str(value))
    return table
