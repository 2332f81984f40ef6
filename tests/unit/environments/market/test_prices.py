"""Reading price tables: every way to name data, and what bad data gets."""

import gzip
import sqlite3

import numpy as np
import pandas as pd
import pytest

from trainyard.environments.market.prices import load_prices
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


class TestBadData:
    @pytest.mark.parametrize(
        ("content", "words"),
        [
            ("Date,A\n2020-01-02,1\n2020-01-03,\n", "prices are missing or not positive, the first of A on 2020-01-03"),
            ("Date,A\n2020-01-02,1\n2020-01-03,-4\n", "not positive"),
            ("Date,A\n2020-01-02,1\n2020-01-02,2\n", "two rows have the date 2020-01-02"),
            ("Date,A\n2020-01-02,1\n", "1 rows"),
            ("A,B\n1,2\n3,4\n", "no column of dates among A, B"),
            ("Date,A\nsoon,1\nlater,2\n", "has no dates"),
            ("Date,A\n2020-01-02,x\n2020-01-03,y\n", "no column of numbers"),
            ("", "not readable as a table"),
        ],
    )
    def test_a_table_that_is_no_price_table_is_refused_in_words(self, file, content, words):
        with pytest.raises(InvalidConfiguration) as error:
            load_prices(file(content))
        assert words in str(error.value)
        assert "spec.environment.config.data" in str(error.value)

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
