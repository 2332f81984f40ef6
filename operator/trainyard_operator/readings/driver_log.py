"""Reads from the last lines of a driver's log how the driver ended. Pure."""

import re
from dataclasses import dataclass

TRACEBACK = "Traceback (most recent call last):"
_FRAME = re.compile(r'\s+File "(?P<file>.+)", line (?P<line>\d+)')
_INSTALLED = re.compile(r"site-packages|dist-packages|/lib/python\d|<frozen ")
_MEMORY = re.compile(
    r"Memory on the node \(IP: (?P<ip>[^,)]+).{0,400}?was (?P<used>[\d.]+)GB.{0,8}? / (?P<limit>[\d.]+)GB"
)
"""Ray's memory monitor, from 2.9 ("was 0.67GB / 0.68GB (0.96)") to 2.60 ("was 0.67GB used / 0.68GB limit (0.96)")."""


@dataclass(frozen=True)
class MemoryUse:
    """Memory of a node when Ray ended a process on it, in GB (Ray means 2^30 bytes); `ip` is the node's address."""

    address: str
    used: float
    limit: float


def memory_use(log: str) -> MemoryUse | None:
    """The last report of Ray's memory monitor; None if there is none."""
    found = list(_MEMORY.finditer(log.replace("\n", " ")))
    if not found:
        return None
    last = found[-1]
    return MemoryUse(last["ip"], float(last["used"]), float(last["limit"]))


def exception(log: str) -> str | None:
    """The exception at the end of the log's last Python traceback, with the traceback's last line in the user's code.

    For instance `ValueError: no (train.py:12)`. None without a traceback, or if its end is not in the log.
    """
    _, found, rest = log.rpartition(TRACEBACK)
    if not found:
        return None
    where, lines = "", rest.splitlines()[1:]
    for line in lines:
        if frame := _FRAME.match(line):
            installed = _INSTALLED.search(frame["file"])
            where = where if installed else f" ({frame['file'].rpartition('/')[2]}:{frame['line']})"
        elif line.strip() and not line.startswith((" ", "\t")):
            return line.strip() + where
    return None
