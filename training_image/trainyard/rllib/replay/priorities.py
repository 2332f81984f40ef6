"""Priorities of the buffer's rows, and sampling in proportion to them.

Schaul, Quan, Antonoglou, Silver: Prioritized experience replay, ICLR 2016, appendix B.2.1: a tree whose inner nodes
hold the sums of their children. Nodes have 64 children here instead of two: a whole batch goes down (or up) a level
in a few numpy calls, and three levels hold 262,144 rows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FAN_OUT = 64

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]


def _whole_nodes(rows: int) -> int:
    return max(1, -(-rows // FAN_OUT)) * FAN_OUT


class PriorityTree:
    """Sums and minima over rows; a row without a priority counts as 0 in the sums and is never drawn."""

    def __init__(self, rows: int = FAN_OUT) -> None:
        self._allocate(rows)

    def _allocate(self, rows: int) -> None:
        # From the root's children down to the rows, in whole nodes.
        sizes = [_whole_nodes(rows)]
        while sizes[0] > FAN_OUT:
            sizes.insert(0, _whole_nodes(sizes[0] // FAN_OUT))
        self._sums: list[Floats] = [np.zeros(size) for size in sizes]
        self._minima: list[Floats] = [np.full(size, np.inf) for size in sizes]

    def __len__(self) -> int:
        """Rows for which there is room."""
        return len(self._sums[-1])

    @property
    def total(self) -> float:
        return float(self._sums[0].sum())

    @property
    def minimum(self) -> float:
        """The smallest priority; infinite when there is none."""
        return float(self._minima[0].min())

    def of(self, rows: Rows) -> Floats:
        return self._sums[-1][rows]

    def grow(self, rows: int) -> None:
        """Make room for `rows` rows; priorities stay."""
        old = self._sums[-1]
        known = np.flatnonzero(np.isfinite(self._minima[-1]))
        self._allocate(rows)
        self.set(known, old[known])

    def set(self, rows: Rows, priorities: Floats) -> None:
        """Give rows their priorities; of a row that occurs twice the last one counts."""
        self._sums[-1][rows] = priorities
        self._minima[-1][rows] = priorities
        self._update_parents(rows)

    def remove(self, rows: Rows) -> None:
        self._sums[-1][rows] = 0.0
        self._minima[-1][rows] = np.inf
        self._update_parents(rows)

    def _update_parents(self, rows: Rows) -> None:
        nodes = rows
        for level in range(len(self._sums) - 1, 0, -1):
            nodes = np.unique(nodes // FAN_OUT)
            # Summed anew from the children, so that rounding errors do not pile up over millions of updates.
            self._sums[level - 1][nodes] = self._sums[level].reshape(-1, FAN_OUT)[nodes].sum(axis=1)
            self._minima[level - 1][nodes] = self._minima[level].reshape(-1, FAN_OUT)[nodes].min(axis=1)

    def find(self, masses: Floats) -> Rows:
        """The rows at which the running sum of priorities first exceeds each of `masses`, which are below `total`."""
        rows = np.zeros(len(masses), np.int64)
        for sums in self._sums:
            running = np.cumsum(sums.reshape(-1, FAN_OUT)[rows], axis=1)
            # Rounding must not lead past the last child that has a priority.
            masses = np.minimum(masses, np.nextafter(running[:, -1], 0.0))
            child = (running <= masses[:, None]).sum(axis=1)
            before = np.take_along_axis(running, np.maximum(child - 1, 0)[:, None], axis=1)[:, 0]
            masses = masses - np.where(child > 0, before, 0.0)
            rows = rows * FAN_OUT + child
        return rows
