"""The columns of a dataset's files: what of a table schema's rows is written, in which order and with which types."""

from functools import lru_cache

import pyarrow as pa

from headsaw.convert.arrow_types import table_fields
from headsaw.convert.expressions import Expressions
from headsaw.core.table_schema import BATCH, RESCUED, SOURCE_FILE, SOURCE_LINE, TableSchema

HIDDEN = (pa.field(SOURCE_FILE, pa.int32()), pa.field(SOURCE_LINE, pa.int64()))
"""Every batch's last columns, whether or not lineage is written: the source's index and the line."""


class Layout:
    """`select` and lineage applied to table schemas. The columns depend on the schema alone, so files agree."""

    def __init__(self, expressions: Expressions, *, lineage: bool) -> None:
        self.expressions = expressions
        self._lineage = lineage
        self._data_fields = lru_cache(maxsize=64)(self._selected)

    def batch_schema(self, schema: TableSchema) -> pa.Schema:
        """Rows on their way to a file: the data columns, `_rescued_data`, and HIDDEN."""
        return pa.schema([*self._data_fields(schema), *HIDDEN])

    def file_schema(self, schema: TableSchema) -> pa.Schema:
        """A file's columns, lineage last."""
        fields = list(self._data_fields(schema))
        if self._lineage:
            names = pa.dictionary(pa.int32(), pa.string())
            fields += [pa.field(SOURCE_FILE, names), pa.field(SOURCE_LINE, pa.int64()), pa.field(BATCH, names)]
        return pa.schema(fields)

    def select(self, rows: pa.RecordBatch, computed: pa.Table | None, schema: TableSchema) -> pa.RecordBatch:
        """The rows' selected and computed columns; HIDDEN ones are kept."""
        if computed is None and self.expressions.star and not self.expressions.excluded:
            return rows
        target = self.batch_schema(schema)
        columns = [
            computed.column(item.name).combine_chunks()
            if computed is not None and item.name in computed.column_names
            else rows.column(item.name)
            for item in target
        ]
        return pa.RecordBatch.from_arrays(columns, schema=target)

    def _selected(self, schema: TableSchema) -> tuple[pa.Field, ...]:
        fields = table_fields(schema)
        shown = self.expressions
        if not shown.computed and shown.star and not shown.excluded:
            return fields
        new = {item.name: item for item in shown.output_types(fields)} if shown.computed else {}
        kept = [new.pop(item.name, item) for item in fields[:-1] if shown.star and item.name not in shown.excluded]
        return (*kept, *new.values(), pa.field(RESCUED, pa.string()))
