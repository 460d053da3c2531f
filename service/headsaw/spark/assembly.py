"""What tasks answered → the batch's report: counts of sources in parts added up, rejected ones left out whole."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from headsaw.convert import over_budget
from headsaw.core.commit import PendingUpload
from headsaw.core.conversion import FileCounts, Rejection
from headsaw.core.settings import DatasetSettings
from headsaw.core.splits import LineRun, Portion, Together
from headsaw.errors import ConversionFailed
from headsaw.spark.work import Converted


@dataclass(frozen=True, slots=True)
class Assembled:
    """All sources of the batch, each counted or rejected. `left_out`: uploads with lines of sources rejected late."""

    files: dict[int, FileCounts]
    rejections: tuple[Rejection, ...]
    kept: tuple[Converted, ...]
    left_out: tuple[PendingUpload, ...]


@dataclass(frozen=True, slots=True)
class InParts:
    """A source whose lines were found in ranges: how many, and those whose ranges can't be read at all."""

    lines: int
    rejection: Rejection | None = None


def assemble(
    sources: int,
    settings: DatasetSettings,
    in_parts: Mapping[int, InParts],
    converted: Sequence[tuple[Portion, Converted]],
) -> Assembled:
    """See the class. Raises ConversionFailed where lines were lost or counted twice."""
    rejected = {index: part.rejection for index, part in in_parts.items() if part.rejection is not None}
    for _, done in converted:
        for rejection in done.rejections:
            rejected.setdefault(rejection.index, rejection)
    files = _counts(in_parts, converted)
    for index, part in in_parts.items():
        if index not in rejected and (late := _judged(index, part, files[index], settings)):
            rejected[index] = late
    for index in rejected:
        files.pop(index, None)
    if sorted([*files, *rejected]) != list(range(sources)):
        raise ConversionFailed("not every source is either counted or rejected, once")
    kept = [done for portion, done in converted if not _left_out(portion, rejected)]
    left_out = [upload for portion, done in converted if _left_out(portion, rejected) for upload in done.uploads]
    return Assembled(
        dict(sorted(files.items())),
        tuple(rejected[index] for index in sorted(rejected)),
        tuple(kept),
        tuple(left_out),
    )


def _counts(in_parts: Mapping[int, InParts], converted: Sequence[tuple[Portion, Converted]]) -> dict[int, FileCounts]:
    files: dict[int, FileCounts] = {index: FileCounts() for index in in_parts}
    for portion, done in converted:
        for index, counts in done.files.items():
            if isinstance(portion, Together) and index in files:
                raise ConversionFailed(f"source {index} was counted twice")
            files[index] = files.get(index, FileCounts()) + counts
    return files


def _judged(index: int, part: InParts, counts: FileCounts, settings: DatasetSettings) -> Rejection | None:
    """Whether the source is over its error budget, all of its parts together."""
    if counts.lines != part.lines:
        raise ConversionFailed(f"{part.lines} lines were found in source {index}, {counts.lines} converted")
    return over_budget(index, counts, settings.max_bad_fraction)


def _left_out(portion: Portion, rejected: Mapping[int, Rejection]) -> bool:
    return isinstance(portion, LineRun) and portion.source in rejected
