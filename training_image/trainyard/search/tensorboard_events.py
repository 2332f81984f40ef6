"""TensorBoard event files of scalars, without the packages that write them: those import torch, which takes seconds.

Format: each record is framed as length (uint64), masked CRC-32C of the length, payload, masked CRC-32C of the payload
(tensorflow/core/lib/io/record_writer.h); a payload is an `Event` message (tensorflow/core/util/event.proto).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_POLYNOMIAL = 0x82F63B78  # CRC-32C (Castagnoli), reflected


@dataclass(frozen=True)
class Scalars:
    """Values of one step; `time` in Unix seconds."""

    time: float
    step: int
    values: dict[str, float]


def write_scalars(path: Path, events: Iterable[Scalars]) -> None:
    """Write an event file; what was there is replaced."""
    events = list(events)
    first = _time(events[0].time if events else 0.0) + _field(3, _BYTES, b"brain.Event:2")
    path.write_bytes(b"".join(_record(payload) for payload in [first, *map(_event, events)]))


def _event(event: Scalars) -> bytes:
    values = b"".join(
        _field(1, _BYTES, _field(1, _BYTES, tag.encode()) + _field(2, _FIXED32, struct.pack("<f", value)))
        for tag, value in event.values.items()
    )
    return _time(event.time) + _field(2, _VARINT, _varint(event.step)) + _field(5, _BYTES, values)


def _time(seconds: float) -> bytes:
    return _field(1, _FIXED64, struct.pack("<d", seconds))


def _field(number: int, kind: int, content: bytes) -> bytes:
    length = _varint(len(content)) if kind == _BYTES else b""
    return _varint(number << 3 | kind) + length + content


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


def _record(payload: bytes) -> bytes:
    length = struct.pack("<Q", len(payload))
    return length + struct.pack("<I", _masked(length)) + payload + struct.pack("<I", _masked(payload))


def _table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (_POLYNOMIAL if byte & 1 else 0)
        table.append(byte)
    return table


_TABLE = _table()


def crc32c(data: bytes) -> int:
    """CRC-32C of `data`."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def _masked(data: bytes) -> int:
    crc = crc32c(data)
    return (crc >> 15 | crc << 17) + 0xA282EAD8 & 0xFFFFFFFF
