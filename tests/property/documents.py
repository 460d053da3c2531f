"""Random documents, as many as are asked for: `python -m tests.property.documents COUNT [SEED]`.

They are those of test_native_differential.py, whose properties run until so many lines were compared. Equal seeds make
equal documents.
"""

import secrets
import sys

from hypothesis import seed
from tests.property.differential import COMPARED

from headsaw.convert import native

ROUNDS_MAX = 100_000


def main() -> None:
    """Both parsers agree on so many documents; otherwise Hypothesis shows the smallest that it finds."""
    if not native.available():
        raise SystemExit("the native parser isn't built: `make native` builds it")
    from tests.property import test_native_differential as module

    count = int(sys.argv[1])
    first = int(sys.argv[2]) if len(sys.argv) > 2 else secrets.randbelow(2**32)
    sys.stdout.write(f"seed {first}\n")
    properties = [value for value in vars(module).values() if getattr(value, "is_hypothesis_test", False)]
    for round_ in range(ROUNDS_MAX):
        for number, check in enumerate(properties):
            seed(f"{first}-{round_}-{number}")(check)()
        if COMPARED.documents >= count:
            break
    sys.stdout.write(f"{COMPARED.documents} documents in {COMPARED.blocks} blocks: both parsers agree\n")


if __name__ == "__main__":
    main()
