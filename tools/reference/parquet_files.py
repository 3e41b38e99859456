"""prompts_*.parquet: one list of prompts in each codec that datasets have, with the columns that they have beside it.

All hold the same three rows: a dictionary-encoded text, a weight with a gap, a struct with bytes as the hub's image columns are,
a list, and plain bytes; prompts_plain is of two row groups and data pages of version 2, its column is called Caption.
"""

import pyarrow as pa
import pyarrow.parquet as pq

from common import FIXTURES

PROMPTS = ["a red apple", "a café in Zürich, “rain”", "a cat"]
CODECS = ["snappy", "gzip", "zstd", "brotli", "lz4"]


def table(name):
    return pa.table({
        name: pa.array(PROMPTS),
        "weight": pa.array([2.0, None, 1.0]),
        "image": pa.array([{"bytes": b"\x89PNG", "path": None}] * 3, pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        "tags": pa.array([["a", "b"], [], None], pa.list_(pa.string())),
        "jpg_0": pa.array([b"\xff\xd8"] * 3, pa.binary()),
    })


def write(file, name, **options):
    # The version of the writer is in the file; a pinned one gives the same bytes.
    pq.write_table(table(name), FIXTURES / f"prompts_{file}.parquet", store_schema=False, **options)


if __name__ == "__main__":
    for codec in CODECS:
        write(codec, "prompt", compression=codec)
    write("plain", "Caption", compression="none", use_dictionary=False, data_page_version="2.0", row_group_size=2)
    pq.write_table(pa.table({"prompt": pa.array(["a", None])}), FIXTURES / "prompts_gap.parquet", store_schema=False)
