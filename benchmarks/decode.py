"""`python -m benchmarks.decode`: how fast gzip libraries inflate the web log, in MB of NDJSON per CPU-second."""

import argparse
import importlib
import time
import zlib
from collections.abc import Callable
from pathlib import Path

from benchmarks.corpora import CORPORA, prepare

ROUNDS = 3
_PIECE_BYTES = 256 << 10


def _pieces(module: str) -> Callable[[bytes, int], int]:
    """Inflates piece by piece, as a stream is."""
    library = importlib.import_module(module)

    def inflate(data: bytes, size: int) -> int:
        stream = library.decompressobj(16 + zlib.MAX_WBITS)
        return sum(len(stream.decompress(data[at : at + _PIECE_BYTES])) for at in range(0, len(data), _PIECE_BYTES))

    return inflate


def _at_once(module: str) -> Callable[[bytes, int], int]:
    """Inflates all at once: the library has no streams."""
    library = importlib.import_module(module)
    return lambda data, size: len(library.gzip_decompress(data, size))


LIBRARIES: dict[str, tuple[str, Callable[[str], Callable[[bytes, int], int]]]] = {
    "isal": ("isal.isal_zlib", _pieces),
    "zlib-ng": ("zlib_ng.zlib_ng", _pieces),
    "zlib": ("zlib", _pieces),
    "libdeflate (whole file at once)": ("deflate", _at_once),
}


def main() -> None:
    """Print the table; a library that isn't installed is left out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size-mb", type=float, default=128)
    flat = prepare(CORPORA[0], int(parser.parse_args().size_mb * 1e6))
    data = Path(flat.gzip).read_bytes()
    for name, (module, make) in LIBRARIES.items():
        try:
            inflate = make(module)
        except ImportError:
            print(f"{name:32} isn't installed")
            continue
        print(f"{name:32} {max(_speed(inflate, data, flat.ndjson_bytes) for _ in range(ROUNDS)):7,.0f} MB/CPU-s")


def _speed(inflate: Callable[[bytes, int], int], data: bytes, size: int) -> float:
    started = time.process_time()
    if inflate(data, size) != size:
        raise ValueError("another size came out")
    return size / 1e6 / (time.process_time() - started)


if __name__ == "__main__":
    main()
