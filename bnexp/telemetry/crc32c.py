"""The checksum of TensorBoard's records, fast enough for a record at every step."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

POLYNOMIAL = 0x82F63B78  # Castagnoli's, its bits reversed
CHUNK = 4096
SHORT = 16
ONES = 0xFFFFFFFF


def masked_crc32c(data: bytes) -> int:
    """Return the CRC-32C of `data`, turned right by 15 bits and raised by 0xa282ead8, as records store it."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & ONES


def crc32c(data: bytes) -> int:
    """Return the CRC-32C of `data`.

    A set bit adds to the checksum what depends only on how many bits follow, and exclusive or joins what all
    bits add. So a chunk is three calls over one array in memory's order; a loop over the bytes takes twenty
    times as long for the 4 kB of a step's scalars, and less only for the few bytes of a record's length.
    Source: RFC 3720, appendix B.4.
    """
    state = ONES
    if len(data) <= SHORT:
        table = _bytewise()
        for byte in data:
            state = table[(state ^ byte) & 0xFF] ^ state >> 8
        return state ^ ONES
    values = np.frombuffer(data, np.uint8)
    for start in range(0, len(values), CHUNK):
        state = _after(state, values[start : start + CHUNK])
    return state ^ ONES


def _after(state: int, chunk: NDArray[np.uint8]) -> int:
    """Return the state after `chunk`: the state before acts as if joined to the first 32 bits."""
    bits = _bits(chunk)
    joined = min(32, len(bits))
    bits[:joined] ^= _bits(np.frombuffer(state.to_bytes(4, "little"), np.uint8))[:joined]
    shares = _shares()
    return int(np.bitwise_xor.reduce(shares[len(shares) - len(bits) :] * bits)) ^ state >> joined


def _bits(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.unpackbits(values, bitorder="little")


@lru_cache
def _bytewise() -> list[int]:
    """Return what a byte adds that no other follows."""
    table = list(range(256))
    for _ in range(8):
        table = [value >> 1 ^ POLYNOMIAL if value & 1 else value >> 1 for value in table]
    return table


@lru_cache
def _shares() -> NDArray[np.uint32]:
    """Return what a set bit adds at each place of a chunk, uint32 (8 CHUNK,)."""
    bytewise = np.array(_bytewise(), dtype=np.uint32)
    rows = [bytewise[1 << np.arange(8)]]
    for _ in range(CHUNK - 1):
        rows.append(bytewise[rows[-1] & 0xFF] ^ rows[-1] >> 8)
    return np.concatenate(rows[::-1])
