"""A dataset's settings: the part of the configuration that a batch pins, as immutable validated values.

Only rules that one dataset can check about itself live here; what spans datasets is `headsaw.config`'s.
"""

import hashlib
import re
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    PlainSerializer,
    WithJsonSchema,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from headsaw.core.model import DatasetName, SettingsHash

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES: dict[str, int] = {"b": 1} | {
    unit: base**power
    for power, letter in enumerate("kmgt", start=1)
    for unit, base in ((f"{letter}b", 1000), (f"{letter}ib", 1024))
}
_DURATION = r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?"
_BUCKET = r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"
_SIZE = r"(\d+(?:\.\d+)?)\s*([KkMmGgTt]?[Ii]?[Bb])?"


def refusal(message: str, remedy: str) -> PydanticCustomError:
    """A validation error that carries its remedy to the report of all problems."""
    return PydanticCustomError("headsaw", "{message}", {"message": message, "remedy": remedy})


def parse_duration(value: object) -> float:
    """Seconds from `300`, `"300s"`, `"5m"`, `"1h"`, `"30d"` or `"250ms"`; raises ValueError for anything else."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf"):
        return float(value)
    if isinstance(value, str) and (match := re.fullmatch(_DURATION, value.strip(), re.ASCII)):
        return float(match[1]) * _SECONDS[match[2] or "s"]
    raise refusal(f"{value!r} is no duration", "write it as 300s, 5m, 1h or 30d")


def format_duration(seconds: float) -> str:
    """The shortest way to write it: `5m`, `90s`, `30d`, `250ms`; exact to a microsecond."""
    milliseconds = round(seconds * 1000, 3)
    if 0 < milliseconds < 1000 and milliseconds % 1 == 0:
        return f"{milliseconds:.0f}ms"
    for unit in "dhm":
        if seconds >= _SECONDS[unit] and seconds % _SECONDS[unit] == 0:
            return f"{seconds / _SECONDS[unit]:.0f}{unit}"
    return f"{seconds:.6f}".rstrip("0").rstrip(".") + "s"


def parse_size(value: object) -> int:
    """Bytes from `1048576`, `"256MiB"`, `"1.5GB"`; raises ValueError, with examples, for anything else."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and (match := re.fullmatch(_SIZE, value.strip(), re.ASCII)):
        return round(float(match[1]) * _BYTES[(match[2] or "b").lower()])
    raise refusal(f"{value!r} is no size", "write it as 65536, 64KiB, 256MiB or 2GiB")


def format_size(size: float) -> str:
    """The shortest exact way to write it: `256MiB`, `5MB`, `1234B`."""
    units = (("TiB", 1024**4), ("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024), ("MB", 1000**2), ("KB", 1000))
    for unit, factor in units:
        if size >= factor and size % factor == 0:
            return f"{size / factor:.0f}{unit}"
    return f"{size:.0f}B"


def _not_blank(value: str) -> str:
    """The text, which holds more than white space."""
    if not value.strip():
        raise refusal("it is empty", "write something, or leave the key out")
    return value


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    WithJsonSchema(
        {"type": ["string", "number"], "pattern": rf"^\s*{_DURATION}\s*$", "examples": ["300s", "5m", "1h", "30d"]}
    ),
]
"""Seconds; written as `300s`, `5m`, `1h`, `30d`."""

Size = Annotated[
    ByteSize,
    BeforeValidator(parse_size),
    PlainSerializer(int, return_type=int),
    WithJsonSchema(
        {"type": ["string", "integer"], "pattern": rf"^\s*{_SIZE}\s*$", "examples": ["64KiB", "256MiB", "2GiB"]}
    ),
]
"""Bytes; written as `256MiB`."""

Text = Annotated[str, AfterValidator(_not_blank)]
"""Text that isn't blank."""


class Settings(BaseModel):
    """Base: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class S3Prefix(Settings):
    """`s3://bucket/prefix`; the prefix may be empty and is used as written."""

    bucket: str = Field(pattern=rf"^{_BUCKET}$")
    prefix: str

    @model_validator(mode="before")
    @classmethod
    def _parse(cls, value: object) -> object:
        if isinstance(value, S3Prefix) or (isinstance(value, dict) and value.keys() == cls.model_fields.keys()):
            return value
        match = re.fullmatch(r"s3://([^/]+)(?:/(.*))?", value) if isinstance(value, str) else None
        if match is None or re.fullmatch(_BUCKET, match[1], re.ASCII) is None:
            raise refusal(f"{value!r} is no S3 prefix", "write it as s3://bucket/prefix/")
        return {"bucket": match[1], "prefix": match[2] or ""}

    @model_serializer
    def __str__(self) -> str:
        """The URI as configured."""
        return f"s3://{self.bucket}/{self.prefix}"

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: CoreSchema, _handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """To whoever writes YAML it is one string."""
        return {"type": "string", "pattern": rf"^s3://{_BUCKET}(/.*)?$"}

    def contains(self, other: Self) -> bool:
        """Every key under `other` is also under this prefix."""
        return self.bucket == other.bucket and other.prefix.startswith(self.prefix)

    def key(self, name: str) -> str:
        """The key of `name` under this prefix."""
        return f"{self.prefix}{'' if not self.prefix or self.prefix.endswith('/') else '/'}{name}"


class BatchLimits(Settings):
    """When a buffer flushes: whichever is reached first."""

    max_files: int = Field(1000, ge=1, le=100_000, description="Files in a batch.")
    max_bytes: Size = Field(ByteSize(256 * 1024**2), ge=1, description="Stored (compressed) bytes in a batch.")
    max_age: Duration = Field(
        300.0, gt=0, le=6 * 3600, description="How long the oldest notification of a batch may wait for others."
    )


class Window(Settings):
    """Event times outside [ingestion - past, ingestion + future] go to the default partition."""

    past: Duration = Field(
        3650 * 86400.0, le=36500 * 86400.0, description="How old an event may be when it is ingested."
    )
    future: Duration = Field(
        86400.0, le=36500 * 86400.0, description="How far an event may lie in the future when it is ingested."
    )


class Partition(Settings):
    """One level of the partition directory: exactly one of a field, a key regex group, or ingestion time."""

    field: str | None = Field(
        None,
        min_length=1,
        description="The field whose value names the directory; with a `granularity` it is read as a time.",
    )
    key_regex: str | None = Field(
        None,
        min_length=1,
        description="A regular expression searched in the object key; what its one group matches names the directory.",
    )
    ingestion: bool = Field(False, description="`true`: the time at which the batch was formed names the directory.")
    granularity: Literal["hour", "day", "month"] | None = Field(
        None, description="How a time is cut, in UTC: `day` makes `ts_day=2026-11-23`."
    )
    window: Window | None = Field(None, description="Which event times are believed; needs a `granularity`.")
    name: str | None = Field(
        None,
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="The directory's name before `=`. Default: the field and the granularity (`ts_day`), the field and "
        "`value` (`country_value`), `ingested_day`, or the name of the regular expression's group, else `key_part`.",
    )

    @field_validator("key_regex")
    @classmethod
    def _one_group(cls, value: str | None) -> str | None:
        try:
            groups = 1 if value is None else re.compile(value).groups
        except re.error as error:
            raise refusal(f"{value!r} is no regular expression: {error}", "correct it") from error
        if groups != 1:
            raise refusal(
                f"it has {groups} groups, but one names the partition's value",
                r"put parentheses around that part, as in dt=(\d+), and write other groups as (?:...)",
            )
        return value

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        kinds = [self.field is not None, self.key_regex is not None, self.ingestion]
        if sum(kinds) != 1:
            raise refusal(
                "it names no kind of partition, or several", "give exactly one of field, key_regex, ingestion: true"
            )
        if self.ingestion and self.granularity is None:
            raise refusal("ingestion time needs a granularity", "add granularity: hour, day or month")
        if self.key_regex is not None and self.granularity is not None:
            raise refusal("a part of the key isn't cut into times", "drop the granularity")
        if self.window is not None and (self.field is None or self.granularity is None):
            raise refusal("a window limits event times", "add a field and a granularity, or drop the window")
        return self

    @property
    def directory(self) -> str:
        """The directory's name before `=`, never equal to the column it comes from."""
        if self.name is not None:
            return self.name
        if self.key_regex is not None:
            return next(iter(re.compile(self.key_regex).groupindex), "key_part")
        base = "ingested" if self.ingestion else re.sub(r"[^A-Za-z0-9_]", "_", self.field or "")
        return f"{base}_{self.granularity or 'value'}"


class SchemaSettings(Settings):
    """How the table schema grows, and how an inferred column is typed."""

    mode: Literal["evolve", "rescue", "strict"] = Field(
        "evolve",
        description="What a key without a column does: add one, go to `_rescued_data`, or reject the file.",
    )
    numbers: Literal["int64", "float64", "decimal"] = Field(
        "int64",
        description="How an inferred number column is typed: `int64` until a fraction is seen in the first version.",
    )
    timestamps: Literal["hints", "infer"] = Field(
        "hints",
        description="Whether strings that look like times become timestamps: only where hinted, or by inference.",
    )
    hints: dict[str, str] = Field(
        default_factory=dict,
        description='Types fixed up front, by path, such as `{price: "decimal(12,2)", "items[].sku": string}`.',
    )
    max_columns: int = Field(1000, ge=1, le=10_000, description="Keys beyond it are rescued.")


class ParquetSettings(Settings):
    """How Parquet files are written."""

    file_bytes: Size = Field(ByteSize(256 * 1024**2), ge=1024**2, description="The size at which a new file is begun.")
    row_group_bytes: Size = Field(ByteSize(64 * 1024**2), ge=1024**2, description="The Arrow size of a row group.")
    compression: Literal["zstd", "snappy", "none"] = Field("zstd", description="The codec of the pages.")
    compression_level: int = Field(1, ge=1, le=22, description="The level, where the codec has levels.")
    sort_by: tuple[Text, ...] = Field((), description="Columns by which rows are sorted within a row group.")
    bloom_filters: tuple[Text, ...] = Field((), description="Columns that get a Bloom filter.")


Engine = Literal["none", "local", "glue", "emr-serverless", "emr"]
"""Where a batch's Spark job runs."""


class SparkSettings(Settings):
    """Which engine takes a batch that is too large or too slow for a worker, and how bulk batches are gathered."""

    engine: Engine = Field("none", description="Where Spark runs: one of the engines below the file's own `spark`.")
    min_bytes: Size = Field(
        ByteSize(2 * 1024**3),
        ge=1,
        description="The estimated NDJSON (stored bytes times the expansion seen of late) from which on Spark takes a "
        "batch.",
    )
    inline_max: Duration = Field(
        900.0,
        gt=0,
        le=86400.0,
        description="Spark takes a batch that a worker would need longer for, and a backlog that a worker would need "
        "longer for is gathered in bulk.",
    )
    bulk_bytes: Size = Field(
        ByteSize(64 * 1024**3),
        ge=1,
        description="In a backlog, how much estimated NDJSON is gathered for one Spark batch.",
    )
    bulk_files: int = Field(
        10_000, ge=1, le=25_000, description="In a backlog, how many files are gathered for one Spark batch."
    )


class LineLimits(Settings):
    """What one line may be: longer or deeper ones go to quarantine."""

    max_bytes: Size = Field(ByteSize(16 * 1024**2), ge=1, le=1024**3, description="The longest line.")
    max_depth: int = Field(256, ge=1, le=1000, description="The deepest nesting of arrays and objects.")


class DatasetSettings(Settings):
    """One configured stream, as a batch pins it."""

    name: DatasetName = Field(
        pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$",
        description="Names the dataset everywhere: lower-case letters, digits, `-` and `_`, at most 63.",
    )
    source: S3Prefix = Field(description="Where its objects land. Prefixes of datasets never overlap.")
    destination: S3Prefix = Field(description="Where its Parquet is published; nothing else is ever written there.")
    include: tuple[Text, ...] = Field(
        (),
        description="Globs over what follows the source prefix in the key, such as `*.ndjson.gz`; `*` matches `/` too. "
        "If there are any, one must match.",
    )
    exclude: tuple[Text, ...] = Field((), description="Globs like those of `include`; none may match.")
    source_account: str | None = Field(
        None, pattern=r"^\d{12}$", description="The AWS account expected to own the source bucket, in quotes."
    )
    destination_account: str | None = Field(
        None, pattern=r"^\d{12}$", description="The AWS account expected to own the destination bucket, in quotes."
    )
    identity: Literal["etag", "key"] = Field(
        "etag",
        description="What makes two notifications speak of the same file: bucket, key and eTag; or `key` for landings "
        "where no key is ever written twice.",
    )
    partition_by: tuple[Partition, ...] = Field(
        (), description="The levels of the partition directories, outermost first."
    )
    table_schema: SchemaSettings = Field(
        SchemaSettings(), alias="schema", description="How the table schema grows, and how columns are typed."
    )
    batch: BatchLimits = Field(
        BatchLimits(), description="When a batch is closed: at whichever limit is reached first."
    )
    parquet: ParquetSettings = Field(ParquetSettings(), description="How Parquet files are written.")
    line: LineLimits = Field(LineLimits(), description="What one line may be; others go to quarantine.")
    lineage: bool = Field(
        True, description="Whether rows name where they come from: `_source_file`, `_source_line` and `_batch`."
    )
    max_bad_fraction: float = Field(
        1.0, ge=0, le=1, description="The error budget: a file with a larger share of bad lines is rejected."
    )
    where: Text | None = Field(None, description="A row-wise SQL condition; rows that don't meet it are filtered out.")
    select: tuple[Text, ...] = Field((), description="Row-wise SQL expressions, such as `* exclude (ip)`.")
    spark: SparkSettings = Field(SparkSettings(), description="Which engine takes large batches.")

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    def snapshot(self) -> bytes:
        """The canonical JSON that is stored by its hash and read back by `from_snapshot`."""
        return self.model_dump_json(by_alias=True).encode()

    @classmethod
    def from_snapshot(cls, body: bytes) -> Self:
        """The settings that `snapshot` wrote."""
        return cls.model_validate_json(body)

    @property
    def hash(self) -> SettingsHash:
        """Names the snapshot: the first 32 hex digits of its SHA-256."""
        return SettingsHash(hashlib.sha256(self.snapshot()).hexdigest()[:32])
