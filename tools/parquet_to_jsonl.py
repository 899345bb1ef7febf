#!/usr/bin/env python3
"""Turns Parquet files into JSON lines, which `diffllama train` reads.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install pyarrow
    /tmp/venv/bin/python tools/parquet_to_jsonl.py IN.parquet... OUT.jsonl [--columns A,B]

Holds one batch of rows in memory. Bytes that are no text become base64, times ISO 8601."""

import argparse
import base64
import datetime
import json
import os
import sys


def as_json(value):
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, (datetime.date, datetime.time, datetime.datetime)):
        return value.isoformat()
    return str(value)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("inputs", nargs="+", metavar="IN.parquet")
    parser.add_argument("output", metavar="OUT.jsonl")
    parser.add_argument("--columns", help="names with commas between; all when absent")
    options = parser.parse_args()
    import pyarrow.parquet as parquet

    columns = options.columns.split(",") if options.columns else None
    rows = 0
    temporary = options.output + ".tmp"
    with open(temporary, "w", encoding="utf-8", newline="\n") as output:
        for name in options.inputs:
            file = parquet.ParquetFile(name)
            missing = sorted(set(columns or []) - set(file.schema_arrow.names))
            if missing:
                sys.exit(f"{name}: expected the columns {missing}, got {file.schema_arrow.names}")
            for batch in file.iter_batches(columns=columns):
                for row in batch.to_pylist():
                    output.write(json.dumps(row, ensure_ascii=False, default=as_json) + "\n")
                    rows += 1
    os.replace(temporary, options.output)
    print(f"{options.output}: {rows} rows", file=sys.stderr)


if __name__ == "__main__":
    main()
