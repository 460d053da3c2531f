"""One published batch against reality: its sources counted again, its outputs read back, file by file.

The commit record only says which sources and objects belong together and which sources were rejected; every number is
counted anew. Two exceptions, for want of anything else: `filtered`, where the dataset has a `where`, and the lines of a
source that is gone.
"""

import asyncio
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from headsaw.core.commit import CommitRecord, PendingUpload
from headsaw.core.conversion import FileCounts, OutputKind
from headsaw.core.model import Batch
from headsaw.core.settings import DatasetSettings
from headsaw.errors import SourceUnreadable
from headsaw.operate.audit_report import Findings, Kind
from headsaw.operate.readback import ReadBack, read_back
from headsaw.operate.recount import Damaged, Gone, Recounted, recount
from headsaw.operate.site import each, iterated
from headsaw.ports import ObjectStore

READS_AT_ONCE = 16
DOWNLOADS_AT_ONCE = 4
RESTORE = "restore the object as it was published (bucket versioning, backup)"
COMPARE = "compare both by hand; keep the source, and let the file be converted again under another key"


@dataclass(frozen=True, slots=True)
class BatchAudit:
    """What one batch really holds. `not_recounted` sources are gone.

    `lacking`: its outputs (bucket/key) that aren't there, each with how many files lack lines for want of one of them.
    """

    counts: FileCounts
    not_recounted: int
    lacking: Mapping[str, int]


@dataclass(slots=True)
class _File:
    """Everything in the batch that has one name: usually one source, several where versions of one key are."""

    name: str
    sources: int = 0
    rejected: int = 0
    gone: int = 0
    lines: int = 0
    blank: int = 0
    filtered: int = 0
    recorded_rows: int = 0
    damaged: str = ""


@dataclass(slots=True)
class _Sums:
    """Both sides of the comparison, over the batch."""

    lines: int = 0
    rows: int = 0
    quarantined: int = 0
    blank: int = 0
    filtered: int = 0
    gone: int = 0
    whole: bool = True
    """Every output could be read; if not, that is the finding, and not each file that lacks lines."""
    short: int = 0
    """Files that lack lines because not every output could be read."""
    files: dict[str, _File] = field(default_factory=dict)


async def audit_batch(
    store: ObjectStore, batch: Batch, record: CommitRecord, settings: DatasetSettings, findings: Findings
) -> BatchAudit:
    """The batch was compared; what is wrong stands in `findings`. Objects that aren't there are somebody else's job."""
    sums = _Sums(files=await _recounted(store, record, settings))
    with tempfile.TemporaryDirectory(prefix="headsaw-audit-") as folder:
        paths = await _downloaded(store, record.uploads, Path(folder))
        tables = [path for path, upload in paths.items() if upload.kind is OutputKind.TABLE]
        quarantine = [path for path, upload in paths.items() if upload.kind is OutputKind.QUARANTINE]
        once = all(file.sources == 1 for file in sums.files.values())
        found = await asyncio.to_thread(read_back, tables, quarantine, once)
    gone = [upload for upload in record.uploads if upload not in paths.values()]
    sums.whole = not gone and not found.unreadable
    _compare(batch, found, sums, findings)
    for path, reason in found.unreadable.items():
        upload = paths[path]
        findings.add(
            Kind.MISCOUNTED,
            upload.kind.value,
            f"s3://{upload.bucket}/{upload.key}",
            f"its content can't be read: {reason}{lacking_sentence(sums.short)}",
            RESTORE,
        )
    _report_repeated(found, findings)
    counts = FileCounts(sums.lines, sums.rows, sums.quarantined, sums.blank, sums.filtered)
    return BatchAudit(counts, sums.gone, {f"{upload.bucket}/{upload.key}": sums.short for upload in gone})


def lacking_sentence(files: int) -> str:
    """What follows from an output that can't be read, to be added to its finding."""
    return f"; {files} of the batch's files lack lines for it" if files else ""


async def _recounted(store: ObjectStore, record: CommitRecord, settings: DatasetSettings) -> dict[str, _File]:
    """The sources by name, each counted again unless it was rejected."""
    files: dict[str, _File] = {}
    rejected = {source.index for source in record.rejected}

    async def count(index: int) -> None:
        source = record.sources[index]
        file = files.setdefault(source.name, _File(source.name))
        if index in rejected:
            file.rejected += 1
            return
        file.sources += 1
        recorded = record.files.get(index, FileCounts())
        file.filtered += recorded.filtered if settings.where is not None else 0
        file.recorded_rows += recorded.rows
        match await recount(store, source):
            case Recounted(lines, blank):
                file.lines += lines
                file.blank += blank
            case Gone():
                file.gone += 1
                file.lines += recorded.lines
                file.blank += recorded.blank
            case Damaged(detail):
                file.damaged = detail

    await each(iterated(range(len(record.sources))), READS_AT_ONCE, count)
    return files


async def _downloaded(store: ObjectStore, uploads: Sequence[PendingUpload], folder: Path) -> dict[Path, PendingUpload]:
    """The outputs that exist, as files."""
    paths: dict[Path, PendingUpload] = {}

    async def download(item: tuple[int, PendingUpload]) -> None:
        number, upload = item
        path = folder / str(number)
        try:
            async with store.read(upload.bucket, upload.key) as chunks:
                with path.open("wb") as file:
                    async for chunk in chunks:
                        await asyncio.to_thread(file.write, chunk)
        except SourceUnreadable:
            return
        paths[path] = upload

    await each(iterated(enumerate(uploads)), DOWNLOADS_AT_ONCE, download)
    return paths


def _compare(batch: Batch, found: ReadBack, sums: _Sums, findings: Findings) -> None:
    """Every name is conserved; where rows don't say where they come from, the batch as a whole is."""
    for file in sums.files.values():
        sums.lines += file.lines
        sums.blank += file.blank
        sums.filtered += file.filtered
        sums.gone += file.gone
        if file.damaged:
            why = f"it was converted, but can't be decompressed now: {file.damaged}"
            findings.add(Kind.MISCOUNTED, "file", file.name, why, "see whether the object was damaged since")
    sums.rows = found.rows
    sums.quarantined = found.quarantined_by_file.total()
    if found.rows_by_file is None:
        _compare_totals(batch, sums, findings)
        return
    for file in sums.files.values():
        _compare_file(file, found, sums, findings)
    for name in sorted((found.rows_by_file.keys() | found.quarantined_by_file.keys()) - sums.files.keys()):
        why = f"batch {batch.id} publishes lines of it, and doesn't hold it"
        findings.add(Kind.DUPLICATED, "file", name or "(no name)", why, "describe the batch, and compare its outputs")


def _compare_totals(batch: Batch, sums: _Sums, findings: Findings) -> None:
    found = sums.rows + sums.quarantined + sums.blank + sums.filtered
    if found < sums.lines and not sums.whole:
        sums.short = len(sums.files)
    elif found != sums.lines:
        why = _sentence(sums.lines, sums.rows, sums.quarantined, sums.blank, sums.filtered)
        findings.add(Kind.MISCOUNTED, "batch", batch.id, why, COMPARE)


def _compare_file(file: _File, found: ReadBack, sums: _Sums, findings: Findings) -> None:
    rows = found.rows_by_file[file.name] if found.rows_by_file is not None else 0
    quarantined = found.quarantined_by_file[file.name]
    if not file.sources:
        if rows or quarantined:
            why = f"it was rejected as a whole, but {rows} rows and {quarantined} quarantined lines of it are there"
            findings.add(Kind.MISCOUNTED, "file", file.name, why, "remove those rows, or the file's rejection is wrong")
        return
    if file.damaged:
        return
    there = rows + quarantined + file.blank + file.filtered
    if there < file.lines and not sums.whole:
        sums.short += 1
    elif there != file.lines:
        why = _sentence(file.lines, rows, quarantined, file.blank, file.filtered)
        note = " (its source is gone: lines as the commit record has them)" if file.gone else ""
        findings.add(Kind.MISCOUNTED, "file", file.name, why + note, COMPARE)
    elif file.sources == 1 and found.last_line.get(file.name, 0) > file.lines:
        why = f"a row claims to be line {found.last_line[file.name]} of it, but it has {file.lines} lines"
        findings.add(Kind.MISCOUNTED, "file", file.name, why, COMPARE)


def _sentence(lines: int, rows: int, quarantined: int, blank: int, filtered: int) -> str:
    parts = f"{rows} rows + {quarantined} quarantined + {blank} blank + {filtered} filtered"
    return f"{lines} lines in the source; found {parts} = {rows + quarantined + blank + filtered}"


def _report_repeated(found: ReadBack, findings: Findings) -> None:
    """One finding for each file with lines that are there more than once."""
    by_file: defaultdict[str, list[str]] = defaultdict(list)
    for repeated in found.repeated:
        by_file[repeated.file].append(f"line {repeated.line} ({repeated.times} times)")
    for name, lines in by_file.items():
        more = f" and {len(lines) - 3} more" if len(lines) > 3 else ""
        why = f"published more than once: {', '.join(lines[:3])}{more}"
        findings.add(Kind.DUPLICATED, "file", name, why, "compare the batch's outputs; one of them holds too much")
