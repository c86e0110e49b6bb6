#!/usr/bin/env bash
# pyarrow 26.0.1: the bytes of a Parquet cell, looked at without a copy, are signed.
#
# memoryview(pyarrow.Buffer) has the format "b", not "B". Comparing a slice of it with bytes is then
# False wherever a byte is above 127, although bytes(view), len(view) and re.search(view) agree with
# those bytes. Clips that Hugging Face data sets embed in Parquet are told apart by such magic
# numbers: Matroska and WebM begin with 1A 45 DF A3. A reader that compares the first four bytes of
# the cell finds no Matroska file, and view[2] is -33, not 223; "OggS" and "fLaC" are found.
# view.cast("B") gives the bytes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pyarrow==26.0.1
"$folder/venv/bin/python" - "$folder/clips.parquet" <<'PYTHON'
import sys

import pyarrow as pa
import pyarrow.parquet as pq

matroska = b"\x1a\x45\xdf\xa3" + b"\x00" * 28
pq.write_table(pa.table({"video": [{"bytes": matroska, "path": "a.mkv"}]}), sys.argv[1])
column = pq.ParquetFile(sys.argv[1]).read()["video"].chunk(0).field("bytes")
view = memoryview(column[0].as_buffer())
print(f"pyarrow {pa.__version__}: format of the view: {view.format!r}, third byte: {view[2]}")
print("view[:4] == magic:", view[:4] == matroska[:4])
print("bytes(view[:4]) == magic:", bytes(view[:4]) == matroska[:4])
print('view.cast("B")[:4] == magic:', view.cast("B")[:4] == matroska[:4])
as_described = view.format == "b" and view[:4] != matroska[:4] and view[2] == 0xDF - 256
sys.exit(0 if as_described and bytes(view) == matroska else 1)
PYTHON
