"""The table schema during one conversion: what is accepted, what was seen beyond it, and agreeing on more."""

from headsaw.core.conversion import SchemaBook
from headsaw.core.inference import NODES_MAX, Rules, Seen, grow
from headsaw.core.table_schema import TableSchema

PROPOSALS_MAX = 100
"""Races lost in a row before the values in question are rescued instead."""


class Growth:
    """Holds the accepted schema, with which every row is typed."""

    def __init__(self, book: SchemaBook, rules: Rules) -> None:
        self._book = book
        self._rules = rules
        self._seen = Seen()
        self.accepted: TableSchema = book.head()

    def wanted(self, unknown: Seen) -> bool:
        """The schema would grow by what was seen."""
        return grow(self.accepted, unknown, self._rules) is not self.accepted

    def collect(self, unknown: Seen) -> None:
        """What was seen counts at the next agreement, unless too much was seen already; it is rescued in any case."""
        if self._seen.nodes < NODES_MAX:
            self._seen.merge(unknown)

    def agree(self) -> TableSchema:
        """The accepted schema has columns for all that was collected, as far as the rules allow; it may have more.

        Raises what the schema book raises.
        """
        for _ in range(PROPOSALS_MAX):
            proposal = grow(self.accepted, self._seen, self._rules)
            if proposal is self.accepted:
                break
            self.accepted = self._book.propose(proposal)
            if self.accepted == proposal:
                break
        self._seen = Seen()
        return self.accepted
