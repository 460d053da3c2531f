"""A fuzz target over the whole conversion: any bytes are rows, blanks and quarantined lines, or a rejected file.

Run `python -m tests.conformance.fuzz [CORPUS_DIR...] -max_total_time=SECONDS` with an interpreter that has atheris.
What it checks is what tests/property checks; a finding is an exception, and libFuzzer keeps the input.
"""

import base64
import sys

import atheris

with atheris.instrument_imports(include=["headsaw.convert", "headsaw.core", "json"]):
    from tests.conformance.reading import bare, collect, loads
    from tests.unit.convert.harness import Book, Bytes, run


def target(data: bytes) -> None:
    """Converts the bytes twice, the second time with the schema of the first, and checks the accounts and values."""
    book = Book()
    for _ in range(2):
        done = run(Bytes(data, piece=97), book=book, line={"max_bytes": 4096, "max_depth": 32})
        if done.report.rejections:
            if done.outputs.visible:
                raise AssertionError("a rejected file left outputs")
            return
        lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
        for item in done.outputs.quarantined():
            kept = item["text"].encode() if "text" in item else base64.b64decode(item.get("base64", ""))
            if "length" not in item and _plain(data) and kept != lines[item["line"] - 1]:
                raise AssertionError("a quarantined line isn't the source's")
        if not _plain(data):
            continue
        records: dict[tuple[str, int], object] = {}
        for row in done.outputs.rows():
            collect(row, done.report.schema, records)
        for (_, line), record in records.items():
            if record != bare(loads(lines[line - 1].decode())):
                raise AssertionError("a row isn't its line")


def _plain(data: bytes) -> bool:
    return not data.startswith((b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zXZ")) and data[1:4] != b"\x2a\x4d\x18"


if __name__ == "__main__":
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()
