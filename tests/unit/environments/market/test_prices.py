"""Reading price tables: every way to name data, and what bad data gets."""

import datetime
import gzip
import sqlite3
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from trainyard.environments.market.prices import load_prices, parse_date
from trainyard.errors import InvalidConfiguration

WIDE = "Date,A,B\n2020-01-03,2,20\n2020-01-02,1,10\n2020-01-06,3,30\n"


@pytest.fixture
def file(tmp_path):
    def write(content, name="prices.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write


class TestSources:
    def test_the_packaged_data_set_is_the_twenty_stocks_of_skfolio(self):
        table = load_prices("sp500")
        assert table.close.shape == (8313, 20)
        assert (str(table.first)[:10], str(table.last)[:10]) == ("1990-01-02", "2022-12-28")
        assert len(table.sha256) == 64

    def test_a_wide_csv_is_sorted_by_date(self, file):
        table = load_prices(file(WIDE))
        assert table.assets == ("A", "B")
        assert table.close.tolist() == [[1, 10], [2, 20], [3, 30]]

    def test_gzip_parquet_and_a_file_uri_read_like_the_csv(self, file, tmp_path):
        parquet = tmp_path / "prices.parquet"
        days = pd.DatetimeIndex(["2020-01-02", "2020-01-03", "2020-01-06"], name="Date")
        pd.DataFrame({"A": [1.0, 2.0, 3.0], "B": [10.0, 20.0, 30.0]}, index=days).to_parquet(parquet)
        plain = file(WIDE)
        for source in (file(gzip.compress(WIDE.encode()), "prices.csv.gz"), str(parquet), f"file://{plain}"):
            assert np.array_equal(load_prices(source).close, load_prices(plain).close), source

    def test_bars_of_one_asset_use_the_adjusted_close_and_the_name_of_the_file(self, file):
        bars = "Date,Open,High,Low,Close,Adj Close,Volume\n2020-01-02,1,1,1,5,4,9\n2020-01-03,1,1,1,6,5,9\n"
        table = load_prices(file(bars, "MSFT.csv"))
        assert table.assets == ("MSFT",)
        assert table.close[:, 0].tolist() == [4, 5]

    def test_a_long_table_is_pivoted_by_its_symbol(self, file):
        rows = "date,symbol,close\n2020-01-02,B,10\n2020-01-02,A,1\n2020-01-03,A,2\n2020-01-03,B,20\n"
        table = load_prices(file(rows))
        assert table.assets == ("A", "B")
        assert table.close.tolist() == [[1, 10], [2, 20]]

    def test_columns_may_be_named(self, file):
        path = file("day,last,volume\n2020-01-02,7,1\n2020-01-03,8,1\n")
        table = load_prices({"path": path, "date_column": "day", "price_column": "last"})
        assert table.close[:, 0].tolist() == [7, 8]

    def test_a_query_reads_its_url_from_the_environment(self, tmp_path, monkeypatch):
        database = tmp_path / "prices.sqlite"
        with sqlite3.connect(database) as connection:
            connection.execute("create table bars (date text, a real)")
            connection.executemany("insert into bars values (?, ?)", [("2020-01-02", 1.0), ("2020-01-03", 2.0)])
        monkeypatch.setenv("PRICES_URL", f"sqlite:///{database}")
        query = {"query": "select * from bars", "url_environment_variable": "PRICES_URL"}
        assert load_prices(query).close[:, 0].tolist() == [1, 2]

    def test_a_changed_file_is_read_again(self, file):
        first = load_prices(file(WIDE)).close[0, 0]
        second = load_prices(file(WIDE.replace("2020-01-02,1,10", "2020-01-02,11,10"))).close[0, 0]
        assert (first, second) == (1, 11)


# A CSV file, the dates and prices that it has, and parts of the line that says how it was understood.
UNDERSTOOD = [
    pytest.param(
        "Date,A,B\n2020-01-02,1,10\n2020-01-03,2,20\n",
        {"A": [1, 2], "B": [10, 20]},
        ["prices.csv: 2 assets (A, B), 2 rows from 2020-01-02 to 2020-01-03, mostly 1 day apart, dates without a zone"],
        id="wide",
    ),
    pytest.param("\ufeffDate,A\n2020-01-02,1\n2020-01-03,2\n", {"A": [1, 2]}, ["1 asset (A)"], id="Excel's mark"),
    pytest.param("Date;A\n2020-01-02;1\n2020-01-03;2\n", {"A": [1, 2]}, ["separated by ';'"], id="semicolons"),
    pytest.param("Date\tA\n2020-01-02\t1\n2020-01-03\t2\n", {"A": [1, 2]}, [r"separated by '\t'"], id="tabs"),
    pytest.param("Date,A\r\n2020-01-02,1\r\n\r\n2020-01-03,2\r\n", {"A": [1, 2]}, ["2 rows"], id="blank lines"),
    pytest.param(" Date , A\n2020-01-02, 1\n2020-01-03 ,2\n", {"A": [1, 2]}, ["(A)"], id="blanks around values"),
    pytest.param("Date,A\n20200102,1\n20200103,2\n", {"A": [1, 2]}, ["2020-01-02 to 2020-01-03"], id="no hyphens"),
    pytest.param("Date,A\n2020-01-03,2\n2020-01-02,1\n", {"A": [1, 2]}, ["put in the order of"], id="latest first"),
    pytest.param(
        "Date,A\n2020-01-01T00:00:00+01:00,1\n2020-01-02T00:00:00+01:00,2\n",
        {"A": [1, 2]},
        ["2020-01-01 to 2020-01-02", "dates in the zone +01:00"],
        id="midnight east of Greenwich",
    ),
    pytest.param(
        "Date,A\n2020-03-28 00:00+01:00,1\n2020-03-29 00:00+01:00,2\n2020-03-30 00:00+02:00,3\n",
        {"A": [1, 2, 3]},
        ["2020-03-28 to 2020-03-30", "in the zone +01:00, +02:00", "mostly 1 day apart"],
        id="midnights into summer time",
    ),
    pytest.param(
        "Time,A\n2020-01-02T09:30:00Z,1\n2020-01-02T10:30:00Z,2\n",
        {"A": [1, 2]},
        ["1 hour apart", "zone Z"],
        id="hours",
    ),
    pytest.param(
        ",Date,A\n0,2020-01-02,1\n1,2020-01-03,2\n",
        {"A": [1, 2]},
        ["1 asset (A)", "left out: the row numbers in column 1"],
        id="saved row numbers",
    ),
    pytest.param(
        "Unnamed: 0,Date,A\n1,2020-01-02,1\n2,2020-01-03,2\n",
        {"A": [1, 2]},
        ["the row numbers in column 1"],
        id="twice",
    ),
    pytest.param(
        "Date,A,\n2020-01-02,1,\n2020-01-03,2,\n", {"A": [1, 2]}, ["the empty column 3"], id="comma at the end"
    ),
    pytest.param(
        "Date,index\n2020-01-02,3200\n2020-01-03,3250\n", {"index": [3200, 3250]}, ["(index)"], id="an index's prices"
    ),
    pytest.param(
        "Date,Open,High,Low,Close,Adj Close,Volume\n2020-01-02,1,1,1,5,4,9\n2020-01-03,1,1,1,6,5,-\n",
        {"prices": [4, 5]},
        ["from the column 'Adj Close'", "left out: Open, High, Low, Close, Volume"],
        id="bars",
    ),
    pytest.param(
        "Date,LOW,HD\n2020-01-02,119,219\n2020-01-03,118,218\n", {"LOW": [119, 118], "HD": [219, 218]}, [], id="Lowe's"
    ),
    pytest.param(
        "date,symbol,close,volume\n2020-01-02,B,10,1\n2020-01-02,A,1,1\n2020-01-03,A,2,1\n2020-01-03,B,20,1\n",
        {"A": [1, 2], "B": [10, 20]},
        ["prices from the column 'close'", "left out: volume"],
        id="long",
    ),
]

# A CSV file, and parts of its refusal: row, column, value and what to do.
REFUSED = [
    (
        'Date,A,B\n2020-01-02,1,2\n2020-01-03,1,"1,020.50"\n',
        ["line 3, column 'B': '1,020.50' is not a number", "1020.50"],
    ),
    ("Date;A\n2020-01-02;1\n2020-01-03;2,5\n", ["line 3, column 'A': '2,5' is not a number; write prices as 1020.50"]),
    ("Date,A,B\n2020-01-02,1,2\n2020-01-03,-,2\n", ["line 3, column 'A': '-' is not a number"]),
    ("Date,A\n2020-01-02,1\n\n2020-01-03,\n", ["line 4, column 'A': is empty; fill it or drop the row"]),
    ("Date,A\n2020-01-02,1\n2020-01-03,NaN\n", ["line 3, column 'A': 'NaN' is not a number"]),
    ("Date,A\n2020-01-02,1\n2020-01-03,inf\n", ["line 3, column 'A': 'inf' is not a number"]),
    ("Date,A\n2020-01-02,1\n2020-01-03,1e400\n", ["line 3, column 'A': '1e400' is not a number"]),
    ("Date,A\n2020-01-02,1\n2020-01-03,-4\n2020-01-06,0\n", ["column 'A': '-4' is not positive (2 such values in the"]),
    ("Date,A\n2020-01-02,1\n2020-01-03,0\n", ["line 3, column 'A': '0' is not positive"]),
    (
        "Date,A,exchange\n2020-01-02,1,X\n2020-01-03,1,X\n",
        ["line 2, column 'exchange': 'X' is", "leave out what is no"],
    ),
    ("Date,A\n2020-01-02,1\n,2\n", ["line 3, column 'Date': is empty; give the date or drop the row"]),
    ("Date,A\n2020-01-02,1\n01/03/2020,2\n", ["line 3, column 'Date': '01/03/2020' is not a date", "YYYY-MM-DD"]),
    ("Date,A\n1577923200,1\n1578009600,2\n", ["line 2, column 'Date': '1577923200' is not a date in the form of"]),
    ("Date,A\n2020-02-30,1\n2020-03-01,2\n", ["line 2, column 'Date': '2020-02-30' is not a date"]),
    ("Date,A\n2020-01,1\n2020-02,2\n", ["line 2, column 'Date': '2020-01' is not a date"]),
    (
        "Date,A\n2020-01-02T00:00+01:00,1\n2020-01-03,2\n",
        ["line 3", "is without a zone", "all dates with a zone, or none"],
    ),
    (
        "Date,A\n2020-10-25T02:30:00+02:00,1\n2020-10-25T02:30:00+01:00,2\n",
        ["line 3, column 'Date': '2020-10-25T02:30:00+01:00' and line 2", "write all in one zone"],
    ),
    (
        "Date,A\n2020-10-25T02:45:00+02:00,1\n2020-10-25T02:15:00+01:00,2\n",
        ["line 2, column 'Date'", "line 3 (2020-10-25T02:15:00+01:00)", "write all in one zone"],
    ),
    (
        "date,symbol,close\n2020-01-02T09:00+00:00,L,1\n2020-01-02T09:00+01:00,P,2\n",
        ["line 2, column 'date'", "line 3", "write all in one zone"],
    ),
    ("Date,A\n2020-01-02,1\n2020-01-03,2\n2020-01-02,3\n", ["lines 2 and 4 have the same date, 2020-01-02; keep one"]),
    (
        "date,symbol,close\n2020-01-02,A,1\n2020-01-02,A,1\n",
        ["lines 2 and 3 are both A on 2020-01-02; keep one row per"],
    ),
    (
        "date,symbol,close\n2020-01-02,A,1\n2020-01-02,B,1\n2020-01-03,A,1\n",
        ["B has no row on 2020-01-03, when others"],
    ),
    (
        "date,symbol,close\n2020-01-02,A,1\n2020-01-03,,1\n",
        ["line 3, column 'symbol': is empty; give the asset's name"],
    ),
    (
        "date,symbol,last\n2020-01-02,A,1\n2020-01-03,A,2\n",
        ["column of symbols (symbol) and none of prices among last"],
    ),
    ("Date,Open,High,Low\n2020-01-02,1,1,1\n2020-01-03,2,2,2\n", ["high, low, open", "no close", "set price_column"]),
    ("Date,A,Volume\n2020-01-02,1,100\n2020-01-03,2,100\n", ["volume", "leave out what is no price"]),
    (",Date,A\n5,2020-01-02,1\n7,2020-01-03,2\n", ["column 1 has no name; name it"]),
    ("Date,A,A\n2020-01-02,1,1\n2020-01-03,2,2\n", ["two columns are called 'A'; give each"]),
    ("Date,date,A\n2020-01-02,2020-01-02,1\n2020-01-03,2020-01-03,2\n", ["the columns Date and date; set date_column"]),
    ("Date,A\n2020-01-02,1,2\n2020-01-03,2\n", ["line 2 has 3 values and the header 2 columns; give every line"]),
    ("Date,A\n2020-01-02\n2020-01-03,2\n", ["line 2 has 1 values and the header 2 columns"]),
    ('Date,A\n2020-01-02,"1\n2020-01-03,2\n', ["not readable as CSV", "quotation marks"]),
    ("Date,A\n2020-01-02,1\n", ["1 rows; give at least two"]),
    ("Date,A\n", ["0 rows; give at least two"]),
    ("Date\n2020-01-02\n2020-01-03\n", ["no column beside the dates"]),
    ("A,B\n1,2\n3,4\n", ["no column of dates among A, B; name it date"]),
    ("", ["the file is empty"]),
    (" \n\n", ["the file is empty"]),
    ("Date,A\n".encode("utf-16"), ["byte 1 of the file is not UTF-8; save it as CSV with the encoding UTF-8"]),
]


class TestUnderstanding:
    @pytest.mark.parametrize(("content", "prices", "words"), UNDERSTOOD)
    def test_a_file_is_understood_and_says_how(self, file, content, prices, words):
        table = load_prices(file(content))
        assert dict(zip(table.assets, table.close.T.tolist(), strict=True)) == prices
        assert [part for part in words if part not in table.described] == []

    @pytest.mark.parametrize(("content", "words"), REFUSED, ids=[" ".join(words)[:60] for _, words in REFUSED])
    def test_a_file_is_refused_with_row_column_value_and_remedy(self, file, content, words):
        with pytest.raises(InvalidConfiguration) as error:
            load_prices(file(content))
        (fault,) = error.value.faults
        assert [part for part in words if part not in str(fault)] == []
        assert fault.field == "spec.environment.config.data"
        assert fault.remedy

    def test_every_price_of_the_text_is_the_nearest_double(self, file):
        texts = ["0.1", "1020.50", "123456.789012345678", ".5", "2.", "1e-3", "+7"]
        days = pd.bdate_range("2020-01-01", periods=len(texts))
        rows = "".join(f"{day.date()},{text}\n" for day, text in zip(days, texts, strict=True))
        assert load_prices(file("Date,A\n" + rows)).close[:, 0].tolist() == [float(text) for text in texts]

    def test_a_bar_of_a_zone_stays_on_its_own_day_so_that_training_ends_before_the_test(self, file):
        days = pd.date_range("2019-12-30", "2020-01-02").strftime("%Y-%m-%d")
        rows = "".join(f"{day}T00:00:00+01:00,{price}\n" for price, day in enumerate(days, 1))
        table = load_prices(file("Date,A\n" + rows))
        _, last = table.rows_between(None, "2019-12-31")
        assert table.close[: last + 1, 0].tolist() == [1, 2]

    def test_credentials_in_a_uri_are_neither_in_the_table_nor_in_an_error(self):
        with pytest.raises(InvalidConfiguration) as error:
            load_prices("ftp://reader:hunter2@example.invalid/prices.csv")
        assert "hunter2" not in str(error.value)


class TestParquet:
    @pytest.fixture
    def read(self, tmp_path):
        def write_and_read(frame, **options):
            frame.to_parquet(tmp_path / "prices.parquet", **options)
            return load_prices(str(tmp_path / "prices.parquet"))

        return write_and_read

    @pytest.mark.parametrize("name", [None, "when"])
    def test_an_index_of_dates_is_the_dates(self, read, name):
        days = pd.DatetimeIndex(["2020-01-02", "2020-01-03"], name=name)
        frame = pd.DataFrame({"A": [1.0, 2.0]}, index=days)
        if name is None:
            assert read(frame).close.tolist() == [[1], [2]]
        else:
            with pytest.raises(InvalidConfiguration, match="no column of dates among when, A"):
                read(frame)

    def test_an_index_of_dates_and_symbols_is_both(self, read):
        index = pd.MultiIndex.from_product(
            [pd.to_datetime(["2020-01-02", "2020-01-03"]), ["A", "B"]], names=["date", "symbol"]
        )
        table = read(pd.DataFrame({"close": [1.0, 10.0, 2.0, 20.0]}, index=index))
        assert table.assets == ("A", "B")
        assert table.close.tolist() == [[1, 10], [2, 20]]

    @pytest.mark.parametrize("zone", ["Europe/Paris", "America/New_York", "UTC"])
    def test_a_bar_keeps_the_date_of_its_own_zone(self, read, zone):
        days = pd.date_range("2020-03-28", periods=3, tz=zone)
        table = read(pd.DataFrame({"date": days, "A": [1.0, 2.0, 3.0]}))
        assert [str(day)[:10] for day in table.dates] == ["2020-03-28", "2020-03-29", "2020-03-30"]
        assert f"dates in the zone {zone}" in table.described

    @pytest.mark.parametrize(
        "prices",
        [
            pd.Series([1, 2], dtype="int32"),
            pd.Series([1, 2], dtype="Float64"),
            pd.Series([Decimal("1"), Decimal("2")]),
            pd.Series(["1", "2.0"]),
        ],
        ids=["int32", "nullable", "decimal", "text"],
    )
    def test_numbers_of_every_type_are_prices(self, read, prices):
        days = [datetime.date(2020, 1, 2), datetime.date(2020, 1, 3)]
        assert read(pd.DataFrame({"date": days, "A": prices})).close[:, 0].tolist() == [1, 2]

    @pytest.mark.parametrize(
        ("columns", "words"),
        [
            ({"A": pd.Series([1, None], dtype="Float64")}, "row 2, column 'A': is empty"),
            ({"A": [1.0, np.inf]}, "row 2, column 'A': 'inf' is not a number"),
            ({"A": [True, True]}, "row 1, column 'A': 'True' is not a number"),
            ({"A": ["1", None]}, "row 2, column 'A': is empty"),
            ({"date": pd.to_datetime(["2020-01-02", None]), "A": [1.0, 2.0]}, "row 2, column 'date': is empty"),
            ({"date": ["2020-01-02", None], "A": [1.0, 2.0]}, "row 2, column 'date': is empty"),
            ({"date": [1577923200, 1578009600], "A": [1.0, 2.0]}, "row 1, column 'date': '1577923200' is not a date"),
            ({"symbol": ["A", None], "close": [1.0, 2.0]}, "row 2, column 'symbol': is empty"),
        ],
    )
    def test_a_value_that_is_none_is_refused_with_its_row(self, read, columns, words):
        with pytest.raises(InvalidConfiguration) as error:
            read(pd.DataFrame({"date": pd.to_datetime(["2020-01-02", "2020-01-03"])} | columns))
        assert words in str(error.value)

    def test_a_file_of_another_kind_is_refused(self, file):
        with pytest.raises(InvalidConfiguration, match="not readable as a table"):
            load_prices(file("Date,A\n", "prices.parquet"))
        with pytest.raises(InvalidConfiguration, match="not readable as a table"):
            load_prices(file("Date,A\n", "prices.csv.gz"))


class TestQueries:
    @pytest.fixture
    def query(self, tmp_path, monkeypatch):
        def write_and_read(rows):
            path = tmp_path / "prices.sqlite"
            with sqlite3.connect(path) as connection:
                connection.execute("create table bars (date text, a)")
                connection.executemany("insert into bars values (?, ?)", rows)
            monkeypatch.setenv("PRICES_URL", f"sqlite:///{path}")
            return load_prices({"query": "select * from bars", "url_environment_variable": "PRICES_URL"})

        return write_and_read

    def test_the_answer_says_how_it_was_understood(self, query):
        assert "SQL query: 1 asset (a), 2 rows" in query([("2020-01-02", 1.0), ("2020-01-03", 2.0)]).described

    @pytest.mark.parametrize(
        ("rows", "words"),
        [
            ([("2020-01-02", 1), ("2020-01-03", None)], "row 2, column 'a': is empty"),
            ([("2020-01-02", 1), (None, 2)], "row 2, column 'date': is empty"),
            ([("2020-01-02", 1), ("2020-01-03", "1,5")], "row 2, column 'a': '1,5' is not a number"),
            ([], "0 rows"),
        ],
    )
    def test_a_row_that_is_no_price_is_refused(self, query, rows, words):
        with pytest.raises(InvalidConfiguration) as error:
            query(rows)
        assert words in str(error.value)


class TestJumps:
    @pytest.mark.parametrize(
        ("prices", "told"),
        [
            ([100, 50, 51], ["A goes from 100 to 50 on 2020-01-03"]),
            ([100, 34, 33], ["A goes from 100 to 34 on 2020-01-03"]),
            ([10, 10, 100], ["A goes from 10 to 100 on 2020-01-06"]),
            ([100, 52, 26], ["A goes from 100 to 52 on 2020-01-03", "A goes from 52 to 26 on 2020-01-06"]),
            ([100, 70, 100], []),
        ],
    )
    def test_what_may_be_an_unadjusted_split_is_told_with_asset_and_date(self, file, prices, told):
        days = ("2020-01-02", "2020-01-03", "2020-01-06")
        rows = "".join(f"{day},{price},7\n" for day, price in zip(days, prices, strict=True))
        assert load_prices(file("Date,A,B\n" + rows)).jumps() == told

    def test_only_the_rows_that_are_used_count(self, file):
        table = load_prices(file("Date,A\n2020-01-02,4\n2020-01-03,2\n2020-01-06,2\n2020-01-07,1\n"))
        assert [table.jumps(1, 2), table.jumps(0, 1), table.jumps(2)] == [
            [],
            ["A goes from 4 to 2 on 2020-01-03"],
            ["A goes from 2 to 1 on 2020-01-07"],
        ]


class TestBadData:
    def test_a_missing_file_says_where_it_was_looked_for(self, tmp_path):
        with pytest.raises(InvalidConfiguration, match=r"No such file.*as seen from the pods"):
            load_prices(str(tmp_path / "none.csv"))

    def test_an_unknown_scheme_names_the_known_ones(self):
        with pytest.raises(InvalidConfiguration, match="s3, gs"):
            load_prices("ftp://example.invalid/prices.csv")

    def test_a_failing_connection_does_not_show_the_password(self, monkeypatch):
        monkeypatch.setenv("PRICES_URL", "postgresql+psycopg://reader:hunter2@127.0.0.1:1/prices")
        with pytest.raises(InvalidConfiguration) as error:
            load_prices({"query": "select * from bars", "url_environment_variable": "PRICES_URL"})
        assert "spec.environment.config.data.query: failed" in str(error.value)
        assert "hunter2" not in str(error.value)

    def test_an_unset_variable_is_named(self):
        with pytest.raises(InvalidConfiguration, match="NOT_SET_ANYWHERE is not set"):
            load_prices({"query": "select 1", "url_environment_variable": "NOT_SET_ANYWHERE"})

    @pytest.mark.parametrize("data", [7, {}, {"path": "x.csv", "query": "select 1"}, {"path": "x.csv", "colum": "a"}])
    def test_an_object_of_another_shape_is_refused(self, data):
        with pytest.raises(InvalidConfiguration):
            load_prices(data)


class TestRanges:
    @pytest.fixture
    def january(self, file):
        """Business days from 2 January (a Thursday) to 31 January 2020."""
        days = pd.bdate_range("2020-01-02", "2020-01-31")
        return load_prices(file("Date,A\n" + "".join(f"{day.date()},{index + 1}\n" for index, day in enumerate(days))))

    def test_both_ends_are_included(self, january):
        first, last = january.rows_between("2020-01-06", "2020-01-10")
        assert [str(january.dates[row])[:10] for row in (first, last)] == ["2020-01-06", "2020-01-10"]

    def test_no_dates_mean_the_whole_data(self, january):
        assert january.rows_between(None, None) == (0, len(january.dates) - 1)

    def test_a_month_means_its_last_day_when_it_is_the_end(self, january):
        assert january.rows_between("2020-01", "2020-01") == (0, len(january.dates) - 1)

    @pytest.mark.parametrize(("start", "end"), [("2020-01-01", "2020-01-31"), ("2020-01-02", "2020-02-02")])
    def test_holidays_and_weekends_at_the_ends_are_not_outside(self, january, start, end):
        assert january.rows_between(start, end) == (0, len(january.dates) - 1)

    @pytest.mark.parametrize(
        ("start", "end", "field"),
        [("2019-12-01", "2020-01-31", "start"), ("2020-01-02", "2020-03-01", "end"), ("2021-01-01", None, "start")],
    )
    def test_a_range_outside_the_data_is_refused_with_its_first_and_last_date(self, january, start, end, field):
        with pytest.raises(InvalidConfiguration) as error:
            january.rows_between(start, end)
        assert f"config.{field}" in str(error.value)
        assert "2020-01-02 to 2020-01-31" in str(error.value)

    @pytest.mark.parametrize(
        "date", ["2020-01-06T00:00:00+01:00", "2020-01-06T00:00Z", "today", "2020-02-30", "6.1.2020", ""]
    )
    def test_a_border_in_a_zone_of_its_own_or_in_another_form_is_refused(self, january, date):
        with pytest.raises(InvalidConfiguration, match="is not a date; write it as YYYY-MM-DD"):
            january.rows_between(date, None)

    @pytest.mark.parametrize(
        ("date", "read"),
        [
            ("2020", "2020-01-01T00:00:00"),
            (2020, "2020-01-01T00:00:00"),
            ("2020-03", "2020-03-01T00:00:00"),
            ("2020-01-02", "2020-01-02T00:00:00"),
            ("2020-01-02T16:00", "2020-01-02T16:00:00"),
            ("2020-01-02 16:00:00.5", "2020-01-02T16:00:00"),
        ],
    )
    def test_a_border_may_be_a_year_a_month_a_day_or_a_time(self, date, read):
        assert str(parse_date(date, "start")) == read
