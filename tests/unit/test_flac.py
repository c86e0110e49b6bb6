"""FLAC in blocks: exact, readable by others, each block on its own."""

import io

import av
import numpy as np
import pytest

from sightsound.media.flac import (
    BLOCK_SAMPLES,
    HEADER_BYTES,
    as_16_bits,
    as_float,
    decode_blocks,
    encode_flac,
)


def noise(count):
    return (np.random.default_rng(count).standard_normal(count) * 9000).astype(np.int16)


@pytest.mark.parametrize("count", [1, 15, BLOCK_SAMPLES, BLOCK_SAMPLES + 1, 30000])
def test_samples_come_back_exactly(count):
    samples = noise(count)
    header, blocks = encode_flac(samples, 16000)
    assert len(header) == HEADER_BYTES
    assert len(blocks) == -(-count // BLOCK_SAMPLES)
    np.testing.assert_array_equal(decode_blocks(header, blocks), samples)


def test_blocks_can_be_decoded_without_those_before():
    samples = noise(5 * BLOCK_SAMPLES)
    header, blocks = encode_flac(samples, 16000)
    part = decode_blocks(header, blocks[2:4])
    np.testing.assert_array_equal(part, samples[2 * BLOCK_SAMPLES : 4 * BLOCK_SAMPLES])


def test_the_whole_is_a_file_that_others_read():
    samples = noise(10000)
    header, blocks = encode_flac(samples, 16000)
    with av.open(io.BytesIO(header + b"".join(blocks))) as container:
        assert container.streams.audio[0].codec_context.sample_rate == 16000
        decoded = [frame.to_ndarray()[0] for frame in container.decode(audio=0)]
    np.testing.assert_array_equal(np.concatenate(decoded), samples)


def test_the_same_samples_give_the_same_bytes():
    assert encode_flac(noise(9000), 16000) == encode_flac(noise(9000), 16000)


def test_16_bits_round_and_clip():
    samples = np.array([0.0, 1 / 32768, 0.6 / 32768, -0.4 / 32768, 1.0, -1.0, 0.5], np.float32)
    assert as_16_bits(samples).tolist() == [0, 1, 1, 0, 32767, -32768, 16384]
    values = np.arange(-32768, 32768).astype(np.int16)
    np.testing.assert_array_equal(as_16_bits(as_float(values)), values)
