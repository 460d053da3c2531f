"""A fuzz target that compares the native parser with the reference on any block under any table schema.

Run `python -m tests.conformance.fuzz_differential [CORPUS_DIR...] -max_total_time=SECONDS` with an interpreter that has
atheris and `headsaw_native`. Inputs have the form of native/fuzz, so both targets share corpora.
"""

import sys

import atheris

with atheris.instrument_imports(include=["headsaw.convert", "headsaw.core", "json"]):
    from tests.property.differential import compare_case

from headsaw.convert import native

if __name__ == "__main__":
    if not native.available():
        raise SystemExit("the native parser isn't installed here")
    atheris.Setup(sys.argv, compare_case)
    atheris.Fuzz()
