"""Tables of closing prices and where they come from.

Nothing is guessed silently: either a file is understood, and `PriceTable.described` says how, or it is refused with
row, column, value and remedy.
"""

from __future__ import annotations

import csv
import datetime
import difflib
import gzip
import hashlib
import importlib.util
import io
import json
import os
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import numpy as np

from trainyard.errors import InvalidConfiguration

if TYPE_CHECKING:
    import pandas as pd

DATA_FIELD = "spec.environment.config.data"

# A range may start or end on days without trading: 1 January is never a trading day.
CALENDAR_TOLERANCE = np.timedelta64(7, "D")

_DATE_COLUMNS = ("date", "datetime", "timestamp", "time")
_PRICE_COLUMNS = ("adj close", "adj_close", "adjclose", "adjusted_close", "close", "price")
_SYMBOL_COLUMNS = ("symbol", "ticker", "asset")
_FILE_SUFFIXES = (".csv", ".csv.gz", ".parquet")
_DELIMITERS = (",", ";", "\t")

# A day, perhaps with a time, perhaps with an offset from UTC; a month or a year alone has no day to trade on.
_DATE = (
    r"^(\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?)?|\d{8})"
    r" ?(Z|[+-](?:0\d|1[0-4])(?::?[0-5]\d)?)?$"
)
# Where a range begins or ends.
_BORDER = re.compile(r"\d{4}(-\d{2}(-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?)?)?)?", re.ASCII)
# Of which float() takes only decimal numbers: no nan, inf, underscores or digits of other scripts.
_DECIMAL = frozenset("0123456789+-.eE")
# Columns of one asset's bars beside the close. Open, high and low alone may be tickers (LOW is one).
_BAR_COLUMNS = ({"open", "high", "low"}, {"volume"})
# Pandas' names for the row numbers of a table that was saved with them.
_ROW_INDEX = re.compile(r"|unnamed: \d+|index|level_0")

# A close this many times the one before, or that one this many times it, may be a split that nobody adjusted for (the
# mildest usual one is 2 for 1, and prices move in that night, too).
JUMP = 1.8


@dataclass(frozen=True)
class PriceTable:
    """Closing prices of one or more assets on common dates, oldest first.

    Attributes:
        dates: datetime64[s], shape (rows,), strictly increasing.
        assets: names of the columns of ``close``.
        close: float64, shape (rows, assets); finite and positive.
        source: what was read, free of credentials.
        sha256: checksum of the bytes that were read (of the table itself for a database query).
        reading: how the source was understood, in words, each a part of :attr:`described`.
    """

    dates: np.ndarray
    assets: tuple[str, ...]
    close: np.ndarray
    source: str
    sha256: str
    reading: tuple[str, ...] = ()

    @property
    def described(self) -> str:
        """One line: source, assets, rows, dates, time between bars, zone, and whatever was left out."""
        names = ", ".join(self.assets[:5]) + (", ..." if len(self.assets) > 5 else "")
        parts = (
            f"{len(self.assets)} asset{'s' * (len(self.assets) > 1)} ({names})",
            f"{len(self.dates)} rows from {_day(self.first)} to {_day(self.last)}",
            f"mostly {_duration(float(np.median(np.diff(self.dates).astype(np.int64))))} apart",
            *self.reading,
        )
        return f"{self.source}: {', '.join(parts)}"

    def jumps(self, first: int = 0, last: int | None = None) -> list[str]:
        """Say where a close is :data:`JUMP` times the one before, or that one it, between two rows (both included).

        Such a jump is real, or a split that the prices are not adjusted for; only the user knows.
        """
        close = self.close[first : None if last is None else last + 1]
        change = close[1:] / close[:-1]
        return [
            f"{self.assets[asset]} goes from {close[row, asset]:.6g} to {close[row + 1, asset]:.6g} on "
            f"{_moment(self.dates[first + row + 1])}"
            for row, asset in np.argwhere(np.maximum(change, 1 / change) >= JUMP)
        ]

    @property
    def first(self) -> np.datetime64:
        return self.dates[0]

    @property
    def last(self) -> np.datetime64:
        return self.dates[-1]

    def select(self, assets: Sequence[str], field: str = "spec.environment.config.assets") -> PriceTable:
        """Return the table with these assets only, in this order."""
        columns = []
        for asset in assets:
            if asset not in self.assets:
                raise InvalidConfiguration.of(
                    field,
                    f"{asset!r} is not in the data, which has {', '.join(self.assets)}",
                    _suggestion(str(asset), self.assets) or "name assets of the data",
                )
            columns.append(self.assets.index(asset))
        return replace(self, assets=tuple(assets), close=self.close[:, columns])

    def rows_between(self, start: Any, end: Any, prefix: str = "spec.environment.config") -> tuple[int, int]:
        """Return the first and the last row (both included) of a range of dates.

        Args:
            start: first date, ISO 8601, or None for the first of the data.
            end: last date, included, or None for the last of the data.
            prefix: path of the object that has the fields ``start`` and ``end``.

        Raises:
            InvalidConfiguration: the range is empty, reversed, or reaches outside the data by more than
                :data:`CALENDAR_TOLERANCE`.
        """
        first = self.first if start is None else parse_date(start, f"{prefix}.start")
        last = self.last if end is None else end_of(parse_date(end, f"{prefix}.end"), end)
        extent = f"the data ({self.source}) covers {_day(self.first)} to {_day(self.last)}"
        remedy = f"choose dates from {_day(self.first)} to {_day(self.last)}, or other data"
        if first < self.first - CALENDAR_TOLERANCE or first > self.last:
            raise InvalidConfiguration.of(f"{prefix}.start", f"{start} is outside the data: {extent}", remedy)
        if _day(last) > _day(self.last + CALENDAR_TOLERANCE):
            raise InvalidConfiguration.of(f"{prefix}.end", f"{end} is outside the data: {extent}", remedy)
        if first > last:
            raise InvalidConfiguration.of(
                f"{prefix}.end", f"{end} is before start {start}", "give the earlier date as start"
            )
        begin = int(np.searchsorted(self.dates, first, side="left"))
        stop = int(np.searchsorted(self.dates, last, side="right")) - 1
        if stop - begin < 1:
            raise InvalidConfiguration.of(
                f"{prefix}.start", f"{_day(first)} to {_day(last)} has fewer than two rows of data", remedy
            )
        return begin, stop


def load_prices(data: Any, field: str = DATA_FIELD) -> PriceTable:
    """Read a price table.

    Args:
        data: the name of a packaged data set (``sp500``); or the path or URI of a ``.csv``, ``.csv.gz`` or
            ``.parquet`` file; or an object: ``path`` with optional ``date_column``, ``price_column``,
            ``symbol_column``, or ``query`` with ``url_environment_variable`` (the variable that holds the
            SQLAlchemy URL, so that no password is written into a specification).
        field: path of the field for error messages.

    Raises:
        InvalidConfiguration: unknown name, unreadable source, or a table that is no price table.
    """
    request = _request(data, field)
    return _load(json.dumps(request, sort_keys=True), _version(request), field)


def parse_date(value: Any, field: str) -> np.datetime64:
    """Read an ISO 8601 date or time without a zone, which is the data's own; a year or a month will do."""
    remedy = "write it as YYYY-MM-DD or YYYY-MM-DDTHH:MM, without a zone: that of the data counts"
    refusal = InvalidConfiguration.of(field, f"{value!r} is not a date", remedy)
    if not _BORDER.fullmatch(str(value)):
        raise refusal
    try:
        parsed = np.datetime64(str(value), "s")
    except ValueError as error:
        raise refusal from error
    if np.isnat(parsed):
        raise refusal
    return parsed


def end_of(parsed: np.datetime64, written: Any) -> np.datetime64:
    """Return the last second that a written date means: a bare day, month or year counts to its end."""
    text = str(written)
    if ":" in text:
        return parsed
    unit = {4: "Y", 7: "M"}.get(len(text), "D")
    return (parsed.astype(f"datetime64[{unit}]") + 1).astype("datetime64[s]") - np.timedelta64(1, "s")


def _day(moment: np.datetime64) -> str:
    return str(moment.astype("datetime64[D]"))


def _moment(moment: np.datetime64) -> str:
    """The day, and the time where there is one."""
    return str(moment).removesuffix("T00:00:00")


def _duration(seconds: float) -> str:
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= length:
            return f"{seconds / length:.3g} {unit}{'s' * (seconds != length)}"
    return f"{seconds:g} s"


def _suggestion(name: str, known: Iterable[str]) -> str | None:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {near[0]!r}" if near else None


def _request(data: Any, field: str) -> dict[str, str]:
    """Bring the three ways to name data into one object of strings."""
    if isinstance(data, str) and data:
        if data in PACKAGED:
            return {"packaged": data}
        if data.endswith(_FILE_SUFFIXES):
            return {"path": data}
        raise InvalidConfiguration.of(
            field,
            f"{data!r} is neither a packaged data set ({', '.join(sorted(PACKAGED))}) nor a "
            f"{', '.join(_FILE_SUFFIXES)} file",
            _suggestion(data, PACKAGED) or "name a packaged data set, or a file or URI with one of these endings",
        )
    if not isinstance(data, Mapping):
        raise InvalidConfiguration.of(
            field, f"{data!r} is neither a name nor an object", "give a name, a path, or an object with path or query"
        )
    known = {"path": {"date_column", "price_column", "symbol_column"}}
    known["query"] = known["path"] | {"url_environment_variable"}
    kinds = [kind for kind in known if kind in data]
    if len(kinds) != 1:
        raise InvalidConfiguration.of(field, f"has {sorted(data)}", "give exactly one of path and query")
    allowed = known[kinds[0]] | {kinds[0]}
    for key, value in data.items():
        if key not in allowed:
            remedy = _suggestion(str(key), allowed) or f"known here: {', '.join(sorted(allowed))}"
            raise InvalidConfiguration.of(f"{field}.{key}", "is not known", remedy)
        if not isinstance(value, str):
            raise InvalidConfiguration.of(f"{field}.{key}", f"{value!r} is not a string", "give a string")
    return {str(key): str(value) for key, value in data.items()}


def _version(request: Mapping[str, str]) -> tuple[int, int]:
    """What identifies the data besides the request: size and time of a local file, or the database of a query."""
    if "query" in request:
        return (hash(os.environ.get(request.get("url_environment_variable", ""))), 0)
    path = request.get("path")
    if path is None or "://" in path or not os.path.exists(path):
        return (0, 0)
    status = os.stat(path)
    return (status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=8)
def _load(request_json: str, version: tuple[int, int], field: str) -> PriceTable:
    """Read once per process: every environment of an env runner shares one table."""
    request = json.loads(request_json)
    if "packaged" in request:
        content, source = _packaged_bytes(request["packaged"], field), request["packaged"]
        frame, digest = _frame(content, ".csv.gz", request, field), hashlib.sha256(content).hexdigest()
    elif "path" in request:
        path = request["path"]
        source = re.sub("//[^/@]*@", "//", path)  # without credentials
        content = _file_bytes(path, source, f"{field}.path" if len(request) > 1 else field)
        frame, digest = _frame(content, path, request, field), hashlib.sha256(content).hexdigest()
    else:
        source = "SQL query"
        frame = _query(request, field)
        digest = hashlib.sha256(frame.to_csv(index=False).encode()).hexdigest()
    return _table(frame, request, source, digest, field)


def _skfolio_folder(field: str) -> Path:
    # find_spec of a top-level name imports nothing: skfolio itself brings scikit-learn and cvxpy, which no
    # env runner needs for reading one file.
    spec = importlib.util.find_spec("skfolio")
    if spec is None or not spec.submodule_search_locations:
        raise InvalidConfiguration.of(
            field, "the packaged data set is part of skfolio, which is missing", "install trainyard[train]"
        )
    return Path(spec.submodule_search_locations[0])


# Name -> file inside the wheel of skfolio (BSD-3-Clause; daily adjusted closes, 1990-01-02 to 2022-12-28).
PACKAGED: dict[str, str] = {"sp500": "datasets/data/sp500_dataset.csv.gz"}


def _packaged_bytes(name: str, field: str) -> bytes:
    return (_skfolio_folder(field) / PACKAGED[name]).read_bytes()


def _file_bytes(path: str, source: str, field: str) -> bytes:
    from pyarrow import ArrowInvalid
    from pyarrow.fs import FileSystem

    try:
        if "://" not in path:
            return Path(path).read_bytes()
        filesystem, inner = FileSystem.from_uri(path)
        with filesystem.open_input_file(inner) as stream:
            return bytes(stream.read())
    except ArrowInvalid as error:
        raise InvalidConfiguration.of(
            field,
            f"{source!r} cannot be opened: {str(error).replace(path, source)}",
            "use a local path, or a file, s3, gs, abfs or hdfs URI",
        ) from error
    except OSError as error:
        raise InvalidConfiguration.of(
            field,
            f"{source!r} cannot be read: {str(error.strerror or error).replace(path, source)}",
            "check the path as seen from the pods: the image, or a volume or URI that all of them reach",
        ) from error


def _frame(content: bytes, path: str, request: Mapping[str, str], field: str) -> pd.DataFrame:
    """The file's columns; the index is what a person calls its rows: lines of a CSV file, or rows from 1."""
    import pandas as pd

    try:
        if path.endswith(".parquet"):
            frame = pd.read_parquet(io.BytesIO(content))
            named = [name for name in frame.index.names if name is not None]
            if isinstance(frame.index, pd.DatetimeIndex):
                frame = frame.rename_axis("date" if not named else named[0]).reset_index()
            elif named:
                frame = frame.reset_index()
            return _numbered(frame)
        text = (gzip.decompress(content) if path.endswith(".gz") else content).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidConfiguration.of(
            field, f"byte {error.start + 1} of the file is not UTF-8", "save it as CSV with the encoding UTF-8"
        ) from error
    except (ValueError, OSError, EOFError, zlib.error) as error:  # pyarrow's parsing errors are ValueErrors
        raise InvalidConfiguration.of(
            field, f"the file is not readable as a table: {error}", "check the file and the ending of its name"
        ) from error
    return _csv(text, request.get("date_column"), field)


def _numbered(frame: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    frame.columns = pd.Index([str(column).strip() for column in frame.columns], dtype=object)
    frame.index = pd.RangeIndex(1, len(frame) + 1, name="row")
    return frame


def _csv(text: str, date_column: str | None, field: str) -> pd.DataFrame:
    """Every cell as text, so that nothing is taken for something else on the way; the index has the line numbers."""
    import pandas as pd

    # The first delimiter by which the header has a column of dates.
    header_line = next((line for line in text.splitlines() if line.strip()), "")
    known = _DATE_COLUMNS if date_column is None else (date_column.lower(),)
    delimiter = next(
        (
            d
            for d in _DELIMITERS
            if {c.strip().lower() for c in next(csv.reader([header_line], delimiter=d), [])} & {*known}
        ),
        ",",
    )
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    lines, rows = [], []
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                lines.append(reader.line_num)
                rows.append([cell.strip() for cell in row])
    except csv.Error as error:
        raise InvalidConfiguration.of(
            field, f"line {reader.line_num} is not readable as CSV: {error}", "correct its quotation marks"
        ) from error
    if not rows:
        raise InvalidConfiguration.of(field, "the file is empty", "give a header and one row for each date")
    header = rows[0]
    for line, row in zip(lines, rows, strict=True):
        if len(row) != len(header):
            raise InvalidConfiguration.of(
                field,
                f"line {line} has {len(row)} values and the header {len(header)} columns",
                "give every line one value for each column, and quote a value that holds the separator",
            )
    index = pd.Index(lines[1:], name="line")
    frame = pd.DataFrame(rows[1:], columns=pd.Index(header, dtype=object), index=index, dtype=object)
    if delimiter != ",":
        frame.attrs["separator"] = repr(delimiter)
    return frame


def _query(request: Mapping[str, str], field: str) -> pd.DataFrame:
    import pandas as pd
    from sqlalchemy import create_engine, text
    from sqlalchemy.exc import SQLAlchemyError

    variable = request.get("url_environment_variable")
    if not variable or not os.environ.get(variable):
        raise InvalidConfiguration.of(
            f"{field}.url_environment_variable",
            f"{variable} is not set" if variable else "is missing",
            "name the environment variable that holds the SQLAlchemy URL, and set it from a secret",
        )
    try:
        engine = create_engine(os.environ[variable])
        try:
            with engine.connect() as connection:
                result = connection.execute(text(request["query"]))
                return _numbered(pd.DataFrame(result.fetchall(), columns=list(result.keys()), dtype=object))
        finally:
            engine.dispose()
    except (SQLAlchemyError, ImportError) as error:
        # Only the class and the driver's own words: the URL, which SQLAlchemy may quote, has a password.
        cause = getattr(error, "orig", None) or type(error).__name__
        raise InvalidConfiguration.of(f"{field}.query", f"failed: {cause}", "check the query and the URL") from None


def _refuse(frame: pd.DataFrame, position: int, column: str, problem: str, remedy: str, field: str) -> NoReturn:
    """Refuse one value; `problem` goes on after it."""
    value = frame[column].iloc[position]
    shown = f"{str(value)[:40]!r} " if not _is_missing(value) else ""
    place = f"{frame.index.name} {frame.index[position]}, column {column!r}"
    raise InvalidConfiguration.of(field, f"{place}: {shown}{problem}", remedy)


def _is_missing(value: Any) -> bool:
    import pandas as pd

    return value == "" if isinstance(value, str) else bool(pd.api.types.is_scalar(value) and pd.isna(value))


def _column(
    frame: pd.DataFrame, request: Mapping[str, str], option: str, names: Sequence[str], field: str
) -> str | None:
    """The column that the request names, else the first that is called like one of `names`, in any case."""
    named = request.get(option)
    if named is not None and named not in frame.columns:
        raise InvalidConfiguration.of(
            f"{field}.{option}",
            f"{named!r} is no column of the data, which has {', '.join(frame.columns)}",
            "name a column of the data",
        )
    if named is not None:
        return named
    for name in names:
        found = [column for column in frame.columns if column.lower() == name]
        if len(found) > 1:
            raise InvalidConfiguration.of(
                field, f"has the columns {' and '.join(found)}", f"set {option} to one of them"
            )
        if found:
            return str(found[0])
    return None


def _table(frame: pd.DataFrame, request: Mapping[str, str], source: str, digest: str, field: str) -> PriceTable:
    """Make a price table of a wide table, of one asset's bars, or of a long table (date, symbol, price)."""
    reading = [f"separated by {frame.attrs['separator']}"] if "separator" in frame.attrs else []
    frame, left_out = _without_row_index(frame, field)
    date_column = _column(frame, request, "date_column", _DATE_COLUMNS, field)
    if date_column is None:
        raise InvalidConfiguration.of(
            field,
            f"no column of dates among {', '.join(frame.columns)}",
            f"name it {' or '.join(_DATE_COLUMNS)}, or set date_column",
        )
    if len(frame) < 2:
        raise InvalidConfiguration.of(field, f"the data has {len(frame)} rows", "give at least two rows")
    dates = _dates(frame, date_column, field)
    reading.append(f"dates {f'in the zone {dates.zone}' if dates.zone else 'without a zone'}")
    if (np.diff(dates.own) < np.timedelta64(0)).any():
        reading.append("put in the order of their dates")

    symbol_column = _column(frame, request, "symbol_column", _SYMBOL_COLUMNS, field)
    price_column = _column(frame, request, "price_column", _PRICE_COLUMNS, field)
    others = [column for column in frame.columns if column not in (date_column, symbol_column, price_column)]
    if price_column is None:
        _check_wide(others, symbol_column, field)
        used, prices = others, _wide(frame, others, dates.own, field)
    else:
        used, left_out = [price_column], left_out + others
        reading.append(f"prices from the column {price_column!r}")
        prices = (
            _wide(frame, used, dates.own, field)
            if symbol_column is None
            else _long(frame, symbol_column, price_column, dates.own, field)
        )
        if symbol_column is None:
            name = Path(source.split("://")[-1]).name.split(".")[0] if source != "SQL query" else "asset"
            prices.columns = [name]
    if left_out:
        reading.append(f"left out: {', '.join(left_out)}")
    return PriceTable(
        dates=prices.index.to_numpy().astype("datetime64[s]"),
        assets=tuple(str(column) for column in prices.columns),
        close=np.ascontiguousarray(prices.to_numpy(dtype=np.float64)),
        source=source,
        sha256=digest,
        reading=tuple(reading),
    )


def _without_row_index(frame: pd.DataFrame, field: str) -> tuple[pd.DataFrame, list[str]]:
    """Leave out columns that only count the rows, and say so; any other column needs a name of its own."""
    left_out = []
    for position in reversed(range(frame.shape[1])):
        name, values = frame.columns[position], frame.iloc[:, position]
        if not _ROW_INDEX.fullmatch(name.lower()):
            continue
        texts = values.map(str).tolist()
        counts = any(texts == [str(start + row) for row in range(len(texts))] for start in (0, 1))
        if counts or not any(texts):
            left_out.append(
                f"the row numbers in column {position + 1}" if counts else f"the empty column {position + 1}"
            )
            frame = frame.iloc[:, [other for other in range(frame.shape[1]) if other != position]]
    for position, name in enumerate(frame.columns):
        if not name:
            raise InvalidConfiguration.of(
                field, f"column {position + 1} has no name", "name it: date, or the asset whose prices it has"
            )
    if frame.columns.has_duplicates:
        name = frame.columns[frame.columns.duplicated()][0]
        raise InvalidConfiguration.of(field, f"two columns are called {name!r}", "give each a name of its own")
    return frame, left_out


class _Dates(NamedTuple):
    """own: calendar date and time of each row in its own zone, datetime64[s]. zone: in words, "" without any."""

    own: np.ndarray
    zone: str


def _dates(frame: pd.DataFrame, column: str, field: str) -> _Dates:
    import pandas as pd

    remedy = "write it as YYYY-MM-DD or YYYY-MM-DDTHH:MM:SS, with or without an offset from UTC"
    values = frame[column]
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        if values.isna().any():
            _refuse(frame, int(np.argmax(values.isna())), column, "is empty", "give the date or drop the row", field)
        zone = values.dt.tz
        own = values.dt.tz_localize(None).to_numpy().astype("datetime64[s]")
        instants = own if zone is None else values.dt.tz_convert(None).to_numpy().astype("datetime64[s]")
        _check_order(frame, column, own, instants, field)
        return _Dates(own, "" if zone is None else str(zone))
    texts = values.map(_date_text)
    parts = texts.str.extract(_DATE)
    parsed = pd.to_datetime(parts[0], format="ISO8601", errors="coerce")
    if parsed.isna().any():
        position = int(np.argmax(parsed.isna()))
        if not texts.iloc[position]:
            _refuse(frame, position, column, "is empty", "give the date or drop the row", field)
        _refuse(frame, position, column, "is not a date in the form of ISO 8601", remedy, field)
    zones = parts[1].fillna("")
    if len({zone == "" for zone in zones.unique()}) > 1:
        position = int(np.argmax((zones == "") != (zones.iloc[0] == "")))
        problem = f"is {'without a zone' if zones.iloc[0] else 'in a zone'}, unlike the rows before it"
        _refuse(frame, position, column, problem, "write all dates with a zone, or none", field)
    own = parsed.to_numpy().astype("datetime64[s]")
    _check_order(frame, column, own, own - zones.map(_offset).to_numpy().astype("timedelta64[s]"), field)
    shown = sorted(zones.unique())
    return _Dates(own, ", ".join(shown[:3]) + (", ..." if len(shown) > 3 else ""))


def _date_text(value: Any) -> str:
    if _is_missing(value):
        return ""
    return value.isoformat() if isinstance(value, datetime.date) else str(value).strip()


def _offset(zone: str) -> int:
    """Seconds by which a zone is ahead of UTC."""
    if zone in ("", "Z"):
        return 0
    digits = zone[1:].replace(":", "")
    return int(f"{zone[0]}1") * (int(digits[:2]) * 3600 + int(digits[2:] or 0) * 60)


def _check_order(frame: pd.DataFrame, column: str, own: np.ndarray, instants: np.ndarray, field: str) -> None:
    """Refuse zones in which a later date is an earlier time: the hour that occurs twice in autumn, several markets."""
    order = np.lexsort((instants, own))
    ahead, later = np.diff(own[order]), np.diff(instants[order])
    zero = np.timedelta64(0)
    wrong = ((ahead == zero) & (later != zero)) | ((ahead > zero) & (later <= zero))
    if wrong.any():
        before, position = order[np.argmax(wrong) : np.argmax(wrong) + 2]
        other = f"{frame.index.name} {frame.index[before]} ({frame[column].iloc[before]})"
        problem = f"and {other} stand in another order, or apart, when the zones count"
        _refuse(frame, int(position), column, problem, "write all in one zone, or days alone for daily bars", field)


def _numbers(frame: pd.DataFrame, column: str, field: str) -> np.ndarray:
    """The column as float64; every value has to be a price."""
    values = frame[column]
    if values.dtype.kind in "iuf" and isinstance(values.dtype, np.dtype):
        numbers = values.to_numpy(dtype=np.float64)
    else:
        numbers = np.array(_decimals(values.tolist()), dtype=np.float64)
    bad = ~(np.isfinite(numbers) & (numbers > 0))
    if not bad.any():
        return numbers
    position, more = int(np.argmax(bad)), f" ({bad.sum()} such values in the column)" if bad.sum() > 1 else ""
    value = values.iloc[position]
    if _is_missing(value):
        problem, remedy = "is empty", "fill it or drop the row first: a made-up price would be traded on"
    elif np.isfinite(numbers[position]):
        problem, remedy = "is not positive", "correct it, or drop the row or the column"
    else:
        problem = "is not a number"
        remedy = "write prices as 1020.50, without separators of thousands; leave out what is no price"
    _refuse(frame, position, column, problem + more, remedy, field)


def _decimals(values: list[Any]) -> list[float]:
    """NaN for what is no number. A column of good texts is read at once, which is faster."""
    if set(map(type, values)) == {str} and set("".join(values)) <= _DECIMAL:
        try:
            return [*map(float, values)]
        except ValueError:
            pass  # one of them is no number, and is found below
    return [_decimal(value) for value in values]


def _decimal(value: Any) -> float:
    if isinstance(value, str):
        try:
            return float(value) if set(value.strip()) <= _DECIMAL else np.nan
        except ValueError:
            return np.nan
    if isinstance(value, int | float | Decimal | np.number) and not isinstance(value, bool):
        return float(value)
    return np.nan


def _check_wide(columns: Sequence[str], symbol_column: str | None, field: str) -> None:
    names = {column.lower() for column in columns}
    if symbol_column is not None:
        raise InvalidConfiguration.of(
            field,
            f"has a column of symbols ({symbol_column}) and none of prices among {', '.join(columns)}",
            f"name it {' or '.join(_PRICE_COLUMNS[-2:])}, or set price_column",
        )
    if bars := next((sorted(bar) for bar in _BAR_COLUMNS if bar <= names), None):
        raise InvalidConfiguration.of(
            field,
            f"has bars' columns ({', '.join(bars)}) and no close among {', '.join(columns)}",
            f"name the price {' or '.join(_PRICE_COLUMNS[-2:])} or set price_column; with a column per asset, leave "
            "out what is no price",
        )
    if not columns:
        raise InvalidConfiguration.of(field, "the data has no column beside the dates", "give a column per asset")


def _wide(frame: pd.DataFrame, columns: Sequence[str], dates: np.ndarray, field: str) -> pd.DataFrame:
    import pandas as pd

    prices = pd.DataFrame({column: _numbers(frame, column, field) for column in columns}, index=dates)
    if prices.index.has_duplicates:
        day = prices.index[prices.index.duplicated()][0].to_datetime64()
        raise InvalidConfiguration.of(
            field,
            f"{_rows(frame, dates == day)} have the same date, {_moment(day.astype('datetime64[s]'))}",
            "keep one row per date (times count in whole seconds), or set symbol_column",
        )
    return prices.sort_index()


def _long(frame: pd.DataFrame, symbol: str, price: str, dates: np.ndarray, field: str) -> pd.DataFrame:
    import pandas as pd

    missing = frame[symbol].map(_is_missing).to_numpy(dtype=bool)
    if missing.any():
        _refuse(frame, int(np.argmax(missing)), symbol, "is empty", "give the asset's name or drop the row", field)
    rows = pd.DataFrame(
        {"date": dates, "symbol": frame[symbol].map(str).to_numpy(), "price": _numbers(frame, price, field)}
    )
    if (again := rows.duplicated(["date", "symbol"])).any():
        first = rows[again].iloc[0]
        same = (rows["date"] == first["date"]) & (rows["symbol"] == first["symbol"])
        day = _moment(first["date"].to_datetime64().astype("datetime64[s]"))
        raise InvalidConfiguration.of(
            field,
            f"{_rows(frame, same.to_numpy())} are both {first['symbol']} on {day}",
            "keep one row per symbol and date",
        )
    prices = rows.pivot(index="date", columns="symbol", values="price").sort_index()
    holes = np.argwhere(prices.isna().to_numpy())
    if len(holes):
        row, column = holes[0]
        day = _moment(prices.index[row].to_datetime64().astype("datetime64[s]"))
        raise InvalidConfiguration.of(
            field,
            f"{prices.columns[column]} has no row on {day}, when others have one ({len(holes)} such prices)",
            "give its price, or drop the date or the asset: a made-up price would be traded on",
        )
    return prices


def _rows(frame: pd.DataFrame, chosen: np.ndarray) -> str:
    """`lines 2 and 5`."""
    first, second = frame.index[chosen][:2]
    return f"{frame.index.name}s {first} and {second}"
