"""Tables of closing prices and where they come from."""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

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


@dataclass(frozen=True)
class PriceTable:
    """Closing prices of one or more assets on common dates, oldest first.

    Attributes:
        dates: datetime64[s], shape (rows,), strictly increasing.
        assets: names of the columns of ``close``.
        close: float64, shape (rows, assets); finite and positive.
        source: what was read, free of credentials.
        sha256: checksum of the bytes that were read (of the table itself for a database query).
    """

    dates: np.ndarray
    assets: tuple[str, ...]
    close: np.ndarray
    source: str
    sha256: str

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
        return PriceTable(self.dates, tuple(assets), self.close[:, columns], self.source, self.sha256)

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
    """Read an ISO 8601 date or time (YAML may already have made it a date)."""
    refusal = InvalidConfiguration.of(field, f"{value!r} is not a date", "write it as YYYY-MM-DD")
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
    """Size and time of a local file, or which database a query goes to: what else than the request names the data."""
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
        frame, digest = _frame(content, ".csv.gz", source, field), hashlib.sha256(content).hexdigest()
    elif "path" in request:
        source = request["path"]
        content = _file_bytes(source, f"{field}.path" if len(request) > 1 else field)
        frame, digest = _frame(content, source, source, field), hashlib.sha256(content).hexdigest()
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


def _file_bytes(path: str, field: str) -> bytes:
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
            field, f"{path!r} cannot be opened: {error}", "use a local path, or a file, s3, gs, abfs or hdfs URI"
        ) from error
    except OSError as error:
        raise InvalidConfiguration.of(
            field,
            f"{path!r} cannot be read: {error.strerror or error}",
            "check the path as seen from the pods: the image, or a volume or URI that all of them reach",
        ) from error


def _frame(content: bytes, path: str, source: str, field: str) -> pd.DataFrame:
    import pandas as pd

    try:
        if path.endswith(".parquet"):
            frame = pd.read_parquet(io.BytesIO(content))
            return frame if _first_match(frame, _DATE_COLUMNS) else frame.reset_index()
        return pd.read_csv(io.BytesIO(content), compression="gzip" if path.endswith(".gz") else None)
    except (ValueError, OSError) as error:  # pandas' and pyarrow's parsing errors are ValueErrors
        raise InvalidConfiguration.of(
            field, f"{source!r} is not readable as a table: {error}", "check the file"
        ) from error


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
                return pd.DataFrame(result.fetchall(), columns=list(result.keys()))
        finally:
            engine.dispose()
    except (SQLAlchemyError, ImportError) as error:
        # Only the class and the driver's own words: the URL, which SQLAlchemy may quote, has a password.
        cause = getattr(error, "orig", None) or type(error).__name__
        raise InvalidConfiguration.of(f"{field}.query", f"failed: {cause}", "check the query and the URL") from None


def _first_match(frame: pd.DataFrame, names: Sequence[str]) -> str | None:
    by_lower = {str(column).strip().lower(): column for column in frame.columns}
    return next((by_lower[name] for name in names if name in by_lower), None)


def _named_or_found(
    frame: pd.DataFrame, request: Mapping[str, str], option: str, names: Sequence[str], field: str
) -> str | None:
    named = request.get(option)
    if named is None:
        return _first_match(frame, names)
    if named not in frame.columns:
        raise InvalidConfiguration.of(
            f"{field}.{option}",
            f"{named!r} is no column of the data, which has {', '.join(map(str, frame.columns))}",
            "name a column of the data",
        )
    return named


def _table(frame: pd.DataFrame, request: Mapping[str, str], source: str, digest: str, field: str) -> PriceTable:
    """Make a price table of a wide table, of one asset's bars, or of a long table (date, symbol, price)."""
    import pandas as pd

    date_column = _named_or_found(frame, request, "date_column", _DATE_COLUMNS, field)
    if date_column is None:
        raise InvalidConfiguration.of(
            field,
            f"no column of dates among {', '.join(map(str, frame.columns))}",
            f"name it {' or '.join(_DATE_COLUMNS)}, or set date_column",
        )
    try:
        dates = pd.to_datetime(frame[date_column], utc=True, format="ISO8601").dt.tz_localize(None)
    except (ValueError, TypeError) as error:
        raise InvalidConfiguration.of(
            field, f"column {date_column!r} has no dates: {error}", "write them as YYYY-MM-DD"
        ) from error

    symbol_column = _named_or_found(frame, request, "symbol_column", _SYMBOL_COLUMNS, field)
    price_column = _named_or_found(frame, request, "price_column", _PRICE_COLUMNS, field)
    indexed = frame.drop(columns=[date_column]).set_index(dates)
    if symbol_column is not None and price_column is not None:
        if indexed.set_index(symbol_column, append=True).index.has_duplicates:
            raise InvalidConfiguration.of(
                field, "a symbol has two rows for one date", "keep one row per symbol and date"
            )
        prices = indexed.pivot(columns=symbol_column, values=price_column)
    elif price_column is not None:
        name = Path(source.split("://")[-1]).name.split(".")[0] if source != "SQL query" else "asset"
        prices = indexed[[price_column]].rename(columns={price_column: name})
    else:
        prices = indexed.select_dtypes("number")
    prices = prices.sort_index()
    _check_prices(prices, field)
    return PriceTable(
        dates=prices.index.to_numpy().astype("datetime64[s]"),
        assets=tuple(str(column) for column in prices.columns),
        close=np.ascontiguousarray(prices.to_numpy(dtype=np.float64)),
        source=source,
        sha256=digest,
    )


def _check_prices(prices: pd.DataFrame, field: str) -> None:
    if prices.shape[1] == 0:
        raise InvalidConfiguration.of(field, "the data has no column of numbers", "give prices, one column per asset")
    if prices.shape[0] < 2:
        raise InvalidConfiguration.of(field, f"the data has {prices.shape[0]} rows", "give at least two rows")
    if prices.index.has_duplicates:
        day = prices.index[prices.index.duplicated()][0].date()
        raise InvalidConfiguration.of(
            field, f"two rows have the date {day}", "keep one row per date, or set symbol_column"
        )
    numbers = prices.apply(_to_numbers)
    bad = ~(np.isfinite(numbers.to_numpy()) & (numbers.to_numpy() > 0))
    if bad.any():
        row, column = (int(position[0]) for position in np.nonzero(bad))
        raise InvalidConfiguration.of(
            field,
            f"{int(bad.sum())} prices are missing or not positive, the first of {prices.columns[column]} on "
            f"{prices.index[row].date()}",
            "fill or drop them first: a made-up price would be traded on",
        )


def _to_numbers(column: pd.Series) -> pd.Series:
    import pandas as pd

    return pd.to_numeric(column, errors="coerce")
