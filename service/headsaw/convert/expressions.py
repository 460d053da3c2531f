"""`where` and `select`: SQL expressions that Polars evaluates on each block of rows, one row at a time.

Only what is known to look at one row alone is allowed; aggregates, windows, subqueries, joins, limits and functions
that change the number of rows are configuration errors. Where an expression fails, the rows that made it fail are told
from the others, with the message.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import polars as pl
import pyarrow as pa

from headsaw.convert.arrow_types import arrow_type
from headsaw.core.settings import DatasetSettings
from headsaw.core.table_types import DataType, parse_type
from headsaw.errors import ConfigError, Problem

_NODES = frozenset({"Column", "Literal", "BinaryExpr", "Ternary", "Cast", "Alias", "Function"})
_GROUPS = frozenset({"StringExpr", "TemporalExpr", "StructExpr", "ListExpr", "ArrayExpr", "Pow", "Trigonometry", "Sql"})
_BOOLEAN = frozenset(
    {"Not", "IsNull", "IsNotNull", "IsFinite", "IsInfinite", "IsNan", "IsNotNan", "IsBetween", "IsIn", "IsClose"}
)
_FUNCTIONS = frozenset(
    {"Coalesce", "Abs", "MaxHorizontal", "MinHorizontal", "SumHorizontal", "MeanHorizontal", "Negate", "Ceil", "Floor"}
    | {"Sign", "Exp", "Log", "Log1p", "Round", "RoundSF", "Truncate", "FillNull", "Atan2", "Clip"}
)
_STAR = re.compile(r"\s*\*(?:\s+exclude\s+(?:\((?P<many>[^()]*)\)|(?P<one>[^\s()]+)))?\s*", re.IGNORECASE)
_KEEP, _EVERY = "\x00keep", "\x00every"
_REMEDY = "write an expression of the row's own columns"


@dataclass(slots=True)
class Evaluated:
    """A block's rows after `where`: which are kept, what was computed for them, and which made an expression fail."""

    kept: list[int] = field(default_factory=list)
    computed: pa.Table | None = None
    filtered: list[int] = field(default_factory=list)
    failed: list[tuple[int, str]] = field(default_factory=list)


class Expressions:
    """A dataset's `where` and `select`; raises ConfigError for what isn't row-wise."""

    def __init__(self, settings: DatasetSettings) -> None:
        problems: list[Problem] = []
        self.where = _parsed(settings.where, "where", problems) if settings.where else None
        self.star = not settings.select
        self.excluded: frozenset[str] = frozenset()
        computed: dict[str, pl.Expr] = {}
        for number, item in enumerate(settings.select):
            star = _STAR.fullmatch(item)
            if star is not None:
                self.star = True
                self.excluded |= _excluded(star)
                continue
            expression = _parsed(item, f"select[{number}]", problems)
            if expression is not None:
                computed[expression.meta.output_name()] = expression
        if problems:
            raise ConfigError(problems)
        self.computed = computed
        self._hinted = {path: parse_type(text) for path, text in settings.table_schema.hints.items()}

    @property
    def needed(self) -> bool:
        """There is anything to evaluate."""
        return self.where is not None or bool(self.computed)

    def output_types(self, columns: Sequence[pa.Field]) -> list[pa.Field]:
        """The computed columns over rows of these columns; raises polars' errors where a column is missing."""
        empty = self._frame(pa.Table.from_batches([], pa.schema(columns)))
        table = empty.select(**self.computed).to_arrow(compat_level=pl.CompatLevel.oldest())
        return [pa.field(item.name, _plain_type(item.type)) for item in table.schema]

    def evaluate(self, rows: pa.RecordBatch) -> Evaluated:
        """The rows sorted into kept, filtered and failed, with the computed columns of the kept ones."""
        frame = self._frame(pa.Table.from_batches([rows]))
        done = Evaluated()
        try:
            self._results(frame.clear())
        except pl.exceptions.PolarsError as error:  # no row is to blame: a column is missing, or of another type
            done.failed += [(row, _first_line(error)) for row in range(len(frame))]
            return done
        parts = []
        for start, part, message in self._parts(frame, 0):
            if part is None:
                done.failed.append((start, message))
                continue
            for row, keep in enumerate(part.get_column(_KEEP), start):
                (done.kept if keep else done.filtered).append(row)
            parts.append(part.filter(pl.col(_KEEP)).drop(_KEEP).to_arrow(compat_level=pl.CompatLevel.oldest()))
        done.computed = _plain_table(pa.concat_tables(parts)) if self.computed and parts else None
        return done

    def _parts(self, frame: pl.DataFrame, start: int) -> Iterator[tuple[int, pl.DataFrame | None, str]]:
        """The frame's results by first row; halved around rows that fail, down to single ones with their message."""
        try:
            result = self._results(frame)
        except pl.exceptions.PolarsError as error:
            if len(frame) <= 1:
                yield start, None, _first_line(error)
                return
            half = len(frame) // 2
            yield from self._parts(frame.slice(0, half), start)
            yield from self._parts(frame.slice(half), start + half)
            return
        yield start, result, ""

    def _results(self, frame: pl.DataFrame) -> pl.DataFrame:
        keep = pl.lit(value=True) if self.where is None else self.where.cast(pl.Boolean).fill_null(value=False)
        every = pl.repeat(value=True, n=len(frame))  # gives literals their length
        return frame.select(every.alias(_EVERY), keep.alias(_KEEP), **self.computed).drop(_EVERY)

    def _frame(self, rows: pa.Table) -> pl.DataFrame:
        """The columns that the expressions use; hinted ones that no row has yet are null."""
        expressions = [*self.computed.values(), *([] if self.where is None else [self.where])]
        roots = {name for expression in expressions for name in expression.meta.root_names()}
        columns = {name: rows.column(name) for name in rows.column_names if name in roots}
        for path, type_ in self._hinted.items():
            if path in roots and path not in columns:
                columns[path] = _nulls(rows.num_rows, type_)
        if not columns:
            columns = {"": pa.nulls(rows.num_rows, pa.bool_())}
        return pl.DataFrame(pa.table(columns))


def check_expressions(settings: DatasetSettings) -> list[Problem]:
    """What is wrong with the dataset's `where` and `select`."""
    try:
        Expressions(settings)
    except ConfigError as error:
        return list(error.problems)
    return []


def _parsed(text: str, path: str, problems: list[Problem]) -> pl.Expr | None:
    try:
        expression = pl.sql_expr(text)
        tree = json.loads(expression.meta.serialize(format="json"))
    except (pl.exceptions.PolarsError, ValueError) as error:
        problems.append(Problem(path, f"{text!r} is no SQL expression: {_first_line(error)}", _REMEDY))
        return None
    culprit = _not_row_wise(tree)
    if culprit:
        problems.append(Problem(path, f"{text!r} isn't row-wise: {culprit} is not allowed", _REMEDY))
        return None
    return expression


def _not_row_wise(node: object) -> str:
    """The first part of an expression that may look beyond one row; empty if there is none."""
    if isinstance(node, list):
        return next(filter(None, map(_not_row_wise, node)), "")
    if isinstance(node, str):
        return node if node == "Len" else ""
    if not isinstance(node, dict):
        return ""
    for kind, inner in node.items():
        culprit = _kind_not_row_wise(kind, inner)
        if culprit:
            return culprit
    return ""


def _kind_not_row_wise(kind: str, inner: object) -> str:
    match kind:
        case "Column" | "Literal" | "dtype" | "op" | "options":
            return ""
        case "Function" if isinstance(inner, dict):
            return _function_not_row_wise(inner["function"]) or _not_row_wise(inner["input"])
        case _ if kind in _NODES or not kind[:1].isupper():
            return _not_row_wise(inner)
        case _:
            return kind


def _function_not_row_wise(function: object) -> str:
    if isinstance(function, str):
        return "" if function in _FUNCTIONS else function
    if not isinstance(function, dict):
        return "a function"
    [(group, detail)] = function.items()
    name = detail if isinstance(detail, str) else next(iter(detail), group) if isinstance(detail, dict) else group
    if group == "Boolean":
        return "" if name in _BOOLEAN else name
    if name == "ConcatVertical" or (name == "Strptime" and '"format": null' in json.dumps(detail)):
        return f"{name} without a format" if name == "Strptime" else name
    return "" if group in _GROUPS or group in _FUNCTIONS else group


def _excluded(star: re.Match[str]) -> frozenset[str]:
    names = (star["many"] or star["one"] or "").split(",")
    return frozenset(name.strip().strip('"') for name in names if name.strip())


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0]


def _nulls(rows: int, type_: DataType) -> pa.Array:
    return pa.nulls(rows, arrow_type(type_))


def _plain_table(table: pa.Table) -> pa.Table:
    return table.cast(pa.schema([pa.field(item.name, _plain_type(item.type)) for item in table.schema]))


def _plain_type(type_: pa.DataType) -> pa.DataType:
    """The type as every reader has it: signed 64-bit integers, doubles, plain strings and lists, UTC microseconds."""
    if pa.types.is_uint64(type_):
        return pa.decimal128(20, 0)
    if pa.types.is_integer(type_):
        return pa.int64()
    if pa.types.is_floating(type_):
        return pa.float64()
    if pa.types.is_large_string(type_) or pa.types.is_dictionary(type_) or pa.types.is_null(type_):
        return pa.string()
    if pa.types.is_timestamp(type_):
        return pa.timestamp("us", "UTC" if type_.tz else None)
    if pa.types.is_large_list(type_) or pa.types.is_list(type_):
        return pa.list_(pa.field("element", _plain_type(type_.value_type)))
    if pa.types.is_struct(type_):
        return pa.struct([pa.field(item.name, _plain_type(item.type)) for item in type_])
    return type_
