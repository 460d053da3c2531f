"""What an operator does with a dataset's table schema: see it, see how it grew, add columns before data has them."""

from collections.abc import Sequence

from headsaw.core.settings import DatasetSettings
from headsaw.core.table_schema import RESERVED, NotAnExtension, TableSchema
from headsaw.core.table_types import Field
from headsaw.errors import UsageError
from headsaw.ports import Ledger

TRIES_MAX = 10


async def extend(ledger: Ledger, settings: DatasetSettings, columns: Sequence[Field]) -> TableSchema:
    """The head has these columns too, as a new version; the head as it was if it has them already.

    Raises UsageError where a column exists with another type, or can't be one: columns are only ever added.
    """
    for _ in range(TRIES_MAX):
        head = await ledger.schema_head(settings.name)
        grown = merged(settings, head, columns)
        if grown == head or await ledger.add_schema(settings.name, grown):
            return grown
    raise UsageError(f"the schema of {settings.name} grew {TRIES_MAX} times meanwhile; try again")


def merged(settings: DatasetSettings, head: TableSchema, columns: Sequence[Field]) -> TableSchema:
    """The version after `head` with the columns that it lacks, or `head` itself if it lacks none."""
    by_name = {column.name: column for column in head.columns}
    for column in columns:
        _check_name(column.name, list(by_name))
        known = by_name.setdefault(column.name, column)
        if known.type != column.type and not _extends(known, column):
            raise UsageError(
                f"column {column.name!r} is {known.type}: a published column never changes its type; add the "
                f"{column.type} under another name"
            )
        by_name[column.name] = column
    if tuple(by_name.values()) == head.columns:
        return head
    grown = head.next(tuple(by_name.values()))
    most = settings.table_schema.max_columns
    if grown.leaves > most:
        raise UsageError(f"{grown.leaves} columns, over the dataset's schema.max_columns of {most}")
    return grown


def _check_name(name: str, known: Sequence[str]) -> None:
    if name in RESERVED:
        raise UsageError(f"column {name!r} is one of headsaw's own: {', '.join(RESERVED)}")
    for other in known:
        if other != name and other.casefold() == name.casefold():
            raise UsageError(f"column {name!r} differs from {other!r} by case only: most readers can't tell them apart")


def _extends(known: Field, column: Field) -> bool:
    """The column is the known one with more members."""
    try:
        TableSchema(1, (known,)).next((column,))
    except NotAnExtension:
        return False
    return True
