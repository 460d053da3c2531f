"""Where each file's lines went, and whether the file stands: the books behind G5."""

from dataclasses import dataclass

from headsaw.core.conversion import FileCounts, Rejection, RejectReason
from headsaw.core.settings import DatasetSettings


@dataclass(slots=True)
class Account:
    """One file's lines so far; `blocks` counts the blocks that had any of them."""

    source: int
    rows: int = 0
    quarantined: int = 0
    blank: int = 0
    filtered: int = 0
    bytes: int = 0
    blocks: int = 0
    unknown_rows: int = 0
    """Rows with keys that the table schema lacks."""

    @property
    def counts(self) -> FileCounts:
        """As the report has them."""
        lines = self.rows + self.quarantined + self.blank + self.filtered
        return FileCounts(lines, self.rows, self.quarantined, self.blank, self.filtered)

    def verdict(self, settings: DatasetSettings, *, ended: bool) -> Rejection | None:
        """Why the file as a whole is rejected, as far as it was read."""
        if self.unknown_rows and settings.table_schema.mode == "strict":
            detail = f"{self.unknown_rows} lines have keys that the table schema lacks"
            return Rejection(self.source, RejectReason.STRICT_SCHEMA, detail)
        return over_budget(self.source, self.counts, settings.max_bad_fraction) if ended else None


def over_budget(source: int, counts: FileCounts, bad_fraction_max: float) -> Rejection | None:
    """Why a file with these lines in all is rejected, if it is over its error budget."""
    content = counts.rows + counts.filtered + counts.quarantined
    if counts.quarantined <= bad_fraction_max * content:
        return None
    detail = f"{counts.quarantined} of {content} lines are bad, over max_bad_fraction {bad_fraction_max}"
    return Rejection(source, RejectReason.ERROR_BUDGET, detail)
