"""Market data: read by name, from a file or from a database, checked, and cut to a range of dates.

What belongs here: reading and checking. What does not: features, accounting, anything that trades.
"""

from trainyard.data.prices import PriceTable, load_prices

__all__ = ["PriceTable", "load_prices"]
