import numpy as np
import pandas as pd
import pytest


@pytest.fixture
def price_file(tmp_path):
    """Write prices as a wide CSV on consecutive business days; return its path."""

    def write(prices, start="2020-01-01", name="prices.csv"):
        prices = {key: np.asarray(values, dtype=float) for key, values in prices.items()}
        rows = len(next(iter(prices.values())))
        frame = pd.DataFrame(prices, index=pd.bdate_range(start, periods=rows, name="Date"))
        path = tmp_path / name
        frame.to_csv(path)
        return str(path)

    return write


@pytest.fixture
def random_walk():
    """Prices of a geometric random walk, shape (rows,)."""

    def make(rows=200, seed=0):
        steps = np.random.default_rng(seed).normal(0.0003, 0.02, rows)
        return 100 * np.exp(np.cumsum(steps))

    return make
