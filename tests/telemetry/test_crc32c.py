"""The checksum of records against published values and TensorBoard's own loop."""

import numpy as np
import pytest
from tensorboard.compat.tensorflow_stub import pywrap_tensorflow

from bnexp.telemetry.crc32c import CHUNK, SHORT, crc32c, masked_crc32c

PUBLISHED = {  # RFC 3720, appendix B.4, and the check value of the polynomial
    bytes(32): 0x8A9136AA,
    b"\xff" * 32: 0x62A8AB43,
    bytes(range(32)): 0x46DD794E,
    bytes(range(31, -1, -1)): 0x113FDB5C,
    b"123456789": 0xE3069283,
    b"": 0,
}


@pytest.mark.parametrize(("data", "checksum"), PUBLISHED.items(), ids=[data[:4].hex() for data in PUBLISHED])
def test_published_checksums_come_out(data, checksum):
    assert crc32c(data) == checksum


@pytest.mark.parametrize("edge", [0, SHORT, CHUNK, 3 * CHUNK])
def test_it_is_tensorboard_s_checksum_for_every_length_around_a_limit(edge):
    rng = np.random.default_rng(0)
    for length in range(max(0, edge - 6), edge + 7):
        data = rng.bytes(length)
        assert masked_crc32c(data) == pywrap_tensorflow.masked_crc32c(data), length
