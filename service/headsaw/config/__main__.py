"""`python -m headsaw.config docs/configuration.md`: the document's tables tell what can be configured now."""

import sys
from pathlib import Path

from headsaw.config.reference import with_tables

for name in sys.argv[1:]:
    document = Path(name)
    document.write_text(with_tables(document.read_text(encoding="utf-8")), encoding="utf-8")
