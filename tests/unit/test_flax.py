"""Flax's checkpoint files: what is read, and that damaged or foreign ones end in one sentence."""

import pickle
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from flax_files import array_payload, extension, header, packed, train_state, write_checkpoint

from sightsound.weights.flax import MAX_DEPTH, checkpoint_file, read_train_state

REAL = Path(__file__).parents[1] / "parity" / "cases" / "mbt" / "checkpoint_5"
PARAMS = {
    "cls": np.arange(3, dtype=np.float32)[None, None],
    "Transformer/encoderblock_0/LayerNorm_0/bias": np.arange(4, dtype=np.float32),
    "Transformer/encoderblock_0/LayerNorm_0/scale": np.ones((2, 3), np.float32),
}
ARRAY = packed(np.zeros(2, np.float32))


def write(folder: Path, content: bytes) -> Path:
    path = folder / "checkpoint_3"
    path.write_bytes(content)
    return path


def state_of(target: bytes) -> bytes:
    """A file whose parameters are the msgpack object `target`."""
    return packed({"optimizer": {}})[:-1] + header("table", 1) + packed("target") + target


def complaint(folder: Path, content: bytes) -> str:
    """The error of a file with this content; it names the file and says what to give."""
    path = write(folder, content)
    with pytest.raises(ValueError) as caught:
        read_train_state(path)
    text = str(caught.value)
    assert text.startswith(f"{str(path)!r} is not a whole checkpoint of Flax: ")
    assert text.endswith("; give the file checkpoint_N as it was written")
    return text


# ---------------------------------------------------------------------------- what is read


def test_parameters_and_step(tmp_path):
    state = read_train_state(write_checkpoint(tmp_path / "checkpoint_7", PARAMS))
    assert state.step == 7 and state.path == tmp_path / "checkpoint_7"
    assert list(state.params) == list(PARAMS)
    for name, array in PARAMS.items():
        np.testing.assert_array_equal(state.params[name], array)
    assert state.left_out == ["accum_train_time", "model_state", "optimizer/state", "rng"]


def test_real_file():
    state = read_train_state(REAL)
    assert state.step == 5 and len(state.params) == 109
    assert {array.dtype.name for array in state.params.values()} == {"float32"}
    assert state.params["bottleneck"].shape == (1, 5, 32)


def test_arrays_may_be_written_to(tmp_path):
    array = read_train_state(write_checkpoint(tmp_path / "checkpoint_7", PARAMS)).params["cls"]
    assert array.flags.writeable and array.flags.aligned and array.flags.c_contiguous


@pytest.mark.parametrize("dtype", "float16 float32 float64 int8 int64 uint8 uint32 bool".split())
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3, 4)])
def test_types_and_shapes(tmp_path, dtype, shape):
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
    read = read_train_state(write(tmp_path, packed({"params": {"a": array}}))).params["a"]
    assert read.dtype == array.dtype and read.shape == shape
    np.testing.assert_array_equal(read, array)


def test_bfloat16_becomes_float32(tmp_path):
    values = torch.tensor([1.0, -0.15625, 3e38, 1e-30])
    content = values.bfloat16().view(torch.uint16).numpy().tobytes()
    table = header("table", 2) + packed("a")
    table += extension(1, array_payload((2, 2), "bfloat16", content))
    table += packed("b") + extension(1, array_payload((), "bfloat16", content[:2]))
    read = read_train_state(write(tmp_path, state_of(table))).params
    expected = values.bfloat16().float().numpy().reshape(2, 2)
    assert read["a"].dtype == np.float32 and read["b"].shape == () and read["b"] == 1
    np.testing.assert_array_equal(read["a"], expected)


def test_every_way_to_write_a_length(tmp_path):
    """Short and long forms of tables, texts, lists and extensions mean the same."""
    payload = array_payload((2,), "uint8", b"ab")
    forms = [extension(1, payload), b"\xd8\x01" + payload]  # the latter: 16 bytes exactly
    forms.append(b"\xc7" + struct.pack(">BB", len(payload), 1) + payload)
    forms.append(b"\xc8" + struct.pack(">HB", len(payload), 1) + payload)
    forms.append(extension(1, b"\x93\x91\x02" + packed("uint8") + b"\xc4\x02ab"))
    wide = header("list", 3, wide=True) + b"\xdc\x00\x01\xcc\x02" + b"\xd9\x05uint8"
    forms.append(extension(1, wide + b"\xc5\x00\x02ab"))
    forms.append(extension(1, wide + header("bytes", 2) + b"ab"))
    for array in forms:
        target = header("table", 1, wide=True) + b"\xda\x00\x01a" + array
        read = read_train_state(write(tmp_path, state_of(target)))
        np.testing.assert_array_equal(read.params["a"], np.frombuffer(b"ab", np.uint8))


def test_momentum_is_never_in_memory(tmp_path):
    """A file of 16 MB of parameters and as much momentum: little more than the former is used."""
    params = {str(index): np.zeros(20_000, np.float32) for index in range(200)}
    path = write_checkpoint(tmp_path / "checkpoint_1", params)
    size = sum(array.nbytes for array in params.values())
    assert path.stat().st_size > 2 * size
    tracemalloc.start()
    read_train_state(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.2 * size


def test_before_linen(tmp_path):
    state = train_state(PARAMS)
    state["optimizer"]["target"] = {"model_state": {}, "params": state["optimizer"]["target"]}
    read = read_train_state(write(tmp_path, packed(state)))
    assert list(read.params) == list(PARAMS)
    assert "optimizer/target/model_state" in read.left_out


def test_parameters_beside_the_optimiser(tmp_path):
    state = {"global_step": 3, "opt_state": {"0": {}}, "params": {"a": PARAMS["cls"]}}
    read = read_train_state(write(tmp_path, packed(state)))
    assert list(read.params) == ["a"] and read.step == 3 and read.left_out == ["opt_state"]


def test_large_arrays_come_in_pieces(tmp_path):
    whole = np.arange(12, dtype=np.float32).reshape(3, 4)
    flat = whole.reshape(-1)
    cut = {"0": flat[:5], "1": flat[5:10], "2": flat[10:]}
    pieces = {"__msgpack_chunked_array__": True, "shape": {"0": 3, "1": 4}, "chunks": cut}
    read = read_train_state(write(tmp_path, packed({"params": {"a": pieces}})))
    np.testing.assert_array_equal(read.params["a"], whole)
    for broken in ({"shape": {"0": 3, "1": 5}}, {"chunks": {"0": flat}, "shape": {}}, {"shape": 3}):
        text = complaint(tmp_path, packed({"params": {"a": pieces | broken}}))
        assert "the pieces of a large array do not fit together" in text
    del pieces["chunks"]["1"]
    assert "do not fit together" in complaint(tmp_path, packed({"params": {"a": pieces}}))


def test_folder_means_its_last_checkpoint(tmp_path):
    for step in (9, 100, 20):
        write_checkpoint(tmp_path / f"checkpoint_{step}", PARAMS, step=step)
    (tmp_path / "checkpoint_tmp").touch()
    state = read_train_state(tmp_path)
    assert state.step == 100 and state.path.name == "checkpoint_100"
    assert checkpoint_file(tmp_path / "checkpoint_9").name == "checkpoint_9"


def test_nothing_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="no checkpoint file at .*checkpoint_4.*of them"):
        read_train_state(tmp_path / "checkpoint_4")
    with pytest.raises(FileNotFoundError, match="no checkpoint file at .*nothing_there0'; give a"):
        read_train_state(tmp_path)
    (tmp_path / "checkpoint_8").mkdir()
    with pytest.raises(FileNotFoundError, match="no checkpoint file at .*checkpoint_8"):
        read_train_state(tmp_path)


# ---------------------------------------------------------------------------- damaged files


def test_cut_anywhere(tmp_path):
    content = packed(train_state(PARAMS))
    for length in range(0, len(content), 3):
        assert "it ends too early" in complaint(tmp_path, content[:length])


def test_real_file_cut_at_many_places(tmp_path):
    content = REAL.read_bytes()
    for length in np.random.default_rng(0).integers(0, len(content), 40):
        assert "it ends too early" in complaint(tmp_path, content[:length])


@pytest.mark.parametrize("bit", range(8))
def test_flipped_bits(tmp_path, bit):
    """Either one sentence, or another file that is read; never a crash, never a hang."""
    content = packed(train_state(PARAMS))
    refused = 0
    for position in range(bit % 3, len(content), 3):
        damaged = bytearray(content)
        damaged[position] ^= 1 << bit
        path = write(tmp_path, bytes(damaged))
        try:
            read_train_state(path)
        except ValueError as error:
            refused += 1
            assert "is not a whole checkpoint of Flax: " in str(error)
    assert refused > len(content) / 20


def test_more_after_the_end(tmp_path):
    text = complaint(tmp_path, packed(train_state(PARAMS)) + b"more")
    assert "4 bytes follow after its end" in text


# ---------------------------------------------------------------------------- claims


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"\xdf\xff\xff\xff\xff", "it ends too early"),  # a table of 2^32 - 1 entries
        (packed({"optimizer": 0})[:-1] + b"\xdf\xff\xff\xff\xff", "it ends too early"),
        (packed({"rng": 0})[:-1] + b"\xdd\xff\xff\xff\xff", "it ends too early"),  # skipped
        (packed({"rng": 0})[:-1] + b"\xc6\xff\xff\xff\xff", "it ends too early"),
        (packed({"params": {"a": 0}})[:-1] + b"\xdd\xff\xff\xff\xff", "4294967295 exceeds"),
        (packed({"params": {"a": 0}})[:-1] + b"\xdf\xff\xff\xff\xff", "4294967295 exceeds"),
        (packed({"params": {"a": 0}})[:-1] + b"\xc6\xff\xff\xff\xff", "it ends too early"),
        (packed({"params": {"a": 0}})[:-1] + b"\xc9\xff\xff\xff\xff\x01", "exceeds max_ext_len"),
        (packed({"params": {"a": 0}})[:-1] + b"\xc9\x7f\xff\xff\xff\x01", "it ends too early"),
        (
            packed({"params": {"a": 0}})[:-1]
            + extension(1, packed([[2], "uint8", b"ab"])[:-7] + b"\xc6\xff\xff\xff\xff"),
            "Unpack failed: incomplete input",
        ),
        (b"\x81\xdb\xff\xff\xff\xff", "it ends too early"),
    ],
)
def test_claims_beyond_the_file(tmp_path, content, sentence):
    tracemalloc.start()
    assert sentence in complaint(tmp_path, content)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


@pytest.mark.parametrize("shape", [(2**30,) * 4, (2**30, 2), (2**40, 0), (2**64 - 1,)])
def test_array_of_many_gigabytes(tmp_path, shape):
    payload = header("list", 3) + header("list", len(shape))
    payload += b"".join(b"\xcf" + struct.pack(">Q", size) for size in shape)
    content = state_of(
        header("table", 1)
        + packed("a")
        + extension(1, payload + packed("float32") + packed(b"1234"))
    )
    tracemalloc.start()
    text = complaint(tmp_path, content)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()
    assert "an array is not [shape, type, bytes]" in text or "does not hold its bytes" in text


def array_of(payload: bytes) -> bytes:
    return state_of(header("table", 1) + packed("a") + extension(1, payload))


@pytest.mark.parametrize(
    ("payload", "sentence"),
    [
        (array_payload((2,), "uint8", b"abc"), "an array of shape [2] and type uint8 does not"),
        (array_payload((2,), "uint8", b"ab") + b"\x00", "an array is followed by more"),
        (array_payload((2,), "object", b"ab"), "the type of an array is 'object', not one of bool"),
        (array_payload((2,), "<u1", b"ab"), "the type of an array is '<u1'"),
        (array_payload((-2,), "uint8", b"ab"), "an array is not [shape, type, bytes]"),
        (packed([[2.0], "uint8", b"ab"]), "an array is not [shape, type, bytes]"),
        (packed([[True, 2], "uint8", b"ab"]), "an array is not [shape, type, bytes]"),
        (packed([["2"], "uint8", b"ab"]), "an array is not [shape, type, bytes]"),
        (packed([[1] * 17, "uint8", b"a"]), "17 exceeds max_array_len(16)"),
        (packed(["uint8", [2], b"ab"]), "an array is not [shape, type, bytes]"),
        (packed([[2], b"uint8", b"ab"]), "an array is not [shape, type, bytes]"),
        (packed([[2], "uint8", "ab"]), "an array is not [shape, type, bytes]"),
        (packed([[2], "uint8"]), "an array is not [shape, type, bytes]"),
        (packed({"a": 1}), "an array is not [shape, type, bytes]"),
        (packed(3), "an array is not [shape, type, bytes]"),
        (array_payload((2**31, 0), "uint8", b""), "an array is not [shape, type, bytes]"),
        (array_payload((2**30,) * 3 + (0,), "uint8", b""), "cannot reshape array"),
    ],
)
def test_array_that_is_none(tmp_path, payload, sentence):
    assert sentence in complaint(tmp_path, array_of(payload))


def test_other_extensions(tmp_path):
    for kind in (0, 2, 3, 254):
        target = (
            header("table", 1) + packed("a") + extension(kind, array_payload((), "uint8", b"a"))
        )
        signed = kind if kind < 128 else kind - 256
        assert f"extension type {signed} is not that of arrays, 1" in complaint(
            tmp_path, state_of(target)
        )
    time = header("table", 1) + packed("a") + b"\xd6\xff\x00\x00\x00\x05"
    assert "'optimizer/target/a' is not an array" in complaint(tmp_path, state_of(time))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (packed([1, 2]), "the file is not a table"),
        (packed({"optimizer": 3}), "optimizer is not a table"),
        (packed({"optimizer": {"target": 3}}), "optimizer/target is not a table of parameters"),
        (packed({"params": {"a": {"b": 3}}}), "'params/a/b' is not an array"),
        (packed({"params": {"a": None}}), "'params/a' is not an array"),
        (packed({"params": {"a": "text"}}), "'params/a' is not an array"),
        (packed({"params": {"a": [1]}}), "'params/a' is not an array"),
        (packed({"params": {"a": b"text"}}), "'params/a' is not an array"),
        (
            packed({"rng": 1, "x": {}}),
            "it holds no parameters (optimizer/target, params) but 'rng', 'x'",
        ),
        (packed({}), "it holds no parameters (optimizer/target, params) but nothing"),
        (packed({"optimizer": {"target": {}}}), "it holds no parameters"),
        (packed({"params": {"a": np.ones(1)}, "step": "5"}), "its step is not a whole number"),
        (packed({"params": {"a": np.ones(1)}, "step": -5}), "its step is not a whole number"),
        (packed({"params": {"a": np.ones(1)}, "step": 5.5}), "its step is not a whole number"),
        (packed({"params": {"a": np.ones(1)}, "step": True}), "its step is not a whole number"),
        (
            packed({"params": {"a": np.ones(1)}, "step": np.zeros(2, np.int32)}),
            "its step is not a whole number",
        ),
        (b"\x82" + packed("rng") + b"\x01" + packed("rng") + b"\x01", "the name 'rng' comes twice"),
        (b"\x81" + packed("params") + b"\x82" + 2 * (packed("a") + ARRAY), "name 'a' comes twice"),
        (
            b"\x81"
            + packed("params")
            + b"\x82"
            + packed("a/b")
            + ARRAY
            + packed("a")
            + b"\x81"
            + packed("b")
            + ARRAY,
            "the name 'a/b' comes twice",
        ),
        (
            b"\x82"
            + packed("params")
            + packed({"a": np.zeros(1)})
            + state_of(packed({"a": np.zeros(1)}))[1:],
            "it holds parameters twice",
        ),
        (b"\x81\x05\x05", "a name is not a text"),
        (b"\x81\xc4\x01a\x05", "a name is not a text"),
        (b"\x81" + packed("params") + b"\x81\xc4\x01a" + ARRAY, "a name is not a text"),
        (b"\x81" + packed("params") + b"\x81\x05" + ARRAY, "int is not allowed for map key"),
        (b"\x81\xa2\xff\xfe\x05", "a name is not UTF-8"),
        (packed({"x" * 1025: 1}), "1025 exceeds max_str_len(1024)"),
        (packed({"params": {"x" * 1025: ARRAY}}), "1025 exceeds max_str_len(1024)"),
        (packed({"params": dict.fromkeys(map(str, range(4097)))}), "4097 exceeds max_map_len"),
        (b"\xc1", "the file is not a table"),
        (b"\x81\xa3rng\xc1", "what begins there is no msgpack"),
    ],
)
def test_structure(tmp_path, content, sentence):
    assert sentence in complaint(tmp_path, content)


def test_deep_nesting(tmp_path):
    deep = lambda depth: b"".join([b"\x81\xa1a"] * depth) + ARRAY  # noqa: E731
    assert read_train_state(write(tmp_path, state_of(deep(MAX_DEPTH)))).params
    assert "nested more than 32 deep" in complaint(tmp_path, state_of(deep(MAX_DEPTH + 1)))
    assert "its tables are nested too deep" in complaint(tmp_path, state_of(deep(100_000)))
    lists = state_of(b"\x91" * 100_000 + b"\x01")
    assert "its tables are nested too deep" in complaint(tmp_path, lists)
    skipped = packed({"rng": 0})[:-1] + b"\x91" * 100_000 + b"\x01"
    assert "its tables are nested too deep" in complaint(tmp_path, skipped)


def test_long_lists_in_what_is_skipped(tmp_path):
    many = packed({"rng": 0, "params": 0})[:5] + packed([0] * 300_000)
    state = read_train_state(write(tmp_path, many + packed("params") + packed({"a": np.ones(1)})))
    assert list(state.params) == ["a"] and state.left_out == ["rng"]


# ---------------------------------------------------------------------------- foreign files


def test_foreign_files(tmp_path):
    path = tmp_path / "checkpoint_3"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "text")
    assert "it is a zip archive, such as NumPy" in complaint(tmp_path, path.read_bytes())
    torch.save({"a": torch.zeros(2)}, path)
    assert "and PyTorch write" in complaint(tmp_path, path.read_bytes())
    torch.save({"a": torch.zeros(2)}, path, _use_new_zipfile_serialization=False)
    assert "a Python pickle, which is never opened" in complaint(tmp_path, path.read_bytes())
    for protocol in (2, 3, 4, 5):
        content = pickle.dumps({"optimizer": 1}, protocol=protocol)
        assert "a Python pickle, which is never opened" in complaint(tmp_path, content)
    assert "it is compressed by gzip" in complaint(tmp_path, b"\x1f\x8b\x08\x00more")
    assert "it is an HDF5 file" in complaint(tmp_path, b"\x89HDF\r\n\x1a\n")
    assert "the file is not a table" in complaint(tmp_path, b"some text\n")
    assert "the file is not a table" in complaint(tmp_path, b'{"model": 1}')
    assert "it ends too early, at byte 0 of 0" in complaint(tmp_path, b"")


def test_noise(tmp_path):
    rng = np.random.default_rng(0)
    for size in (1, 10, 1000, 100_000):
        for _ in range(20):
            complaint(tmp_path, rng.bytes(size))
