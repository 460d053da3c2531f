"""The end of a seed: the guarantees over the whole world, counted line by line."""

from collections import Counter

from tests.simulation.cluster import ENGINE
from tests.simulation.watch import Breach, Expected, Watch

from headsaw.adapters.ledger_items import file_key, read_chunk
from headsaw.core.conversion import OutputKind
from headsaw.core.model import FileIdentity
from headsaw.worker.settling import NOBODY

DIED = "died or lost touch"
OF_RUNS = (f"{ENGINE}: ", "no result ", "scripted failure")
"""How reasons begin that are a Spark run's misfortune."""
POISON = "poison"
"""What the toy converter says of a file that makes conversions fail."""


def verdict(watch: Watch, settled: bool) -> list[Breach]:
    """What is broken, in the order of the guarantees that a reader would ask about."""
    if not settled:
        return [_unsettled(watch)]
    found = [
        *_every_file_ends(watch),
        *_memberships(watch),
        *_visible(watch, "lake", OutputKind.TABLE),
        *_visible(watch, "control", OutputKind.QUARANTINE),
    ]
    untold = sorted(watch.hurt() - watch.alarmed)
    return [*found, *(Breach("G6", "a batch lacks an upload, and nobody was told", (batch,)) for batch in untold)]


def _unsettled(watch: Watch) -> Breach:
    states = {batch: watch.states[batch] for batch in sorted(watch.unfinished - watch.hurt())}
    waiting = sorted(watch.expected[file].name for file in watch.expected.keys() - watch.settled_at.keys())
    about = [*states, *waiting][:8]
    return Breach("G6", f"faults stopped, and it doesn't end: {states}, waiting {waiting[:8]}", tuple(about))


def published_in(watch: Watch) -> dict[FileIdentity, list[str]]:
    """The committed batches that counted each source."""
    found: dict[FileIdentity, list[str]] = {}
    for batch, record in watch.records.items():
        for index in record.files:
            found.setdefault(record.sources[index].identity, []).append(batch)
    return found


def _every_file_ends(watch: Watch) -> list[Breach]:
    """Published once, or given up with a reason that is true."""
    found: list[Breach] = []
    published = published_in(watch)
    reasons = watch.reasons()
    waiting = {
        r.sources[x.index].identity for batch in watch.hurt() for r in [watch.records[batch]] for x in r.rejected
    }
    for file, expected in watch.expected.items():
        batches = published.get(file, [])
        item = watch.table._items.get(file_key(file))
        if len(batches) > 1:
            found.append(Breach("G2", "a file was published by two batches", (expected.name, *batches)))
        elif not batches and not reasons.get(file) and file not in waiting:
            found.append(Breach("G1", "a notified file is neither published nor in the DLQ", (expected.name,)))
        elif batches and expected.given_up:
            found.append(Breach("G5", "a file that nobody can read was published", (expected.name,)))
        elif batches and item is not None and "mark" in item:
            found.append(Breach("G2", "a published file may be claimed again", (expected.name,)))
        elif wrong := [reason for reason in reasons.get(file, ()) if not _true(watch, file, expected, reason)]:
            found.append(Breach("G6", f"a file was given up without cause: {wrong}", (expected.name,)))
    return found


def _true(watch: Watch, file: FileIdentity, expected: Expected, reason: str) -> bool:
    """Whether a dead letter's reason is the file's own, or a misfortune that did happen."""
    if expected.dataset in watch.removed_datasets and reason == NOBODY:
        return True
    if DIED in reason or (
        reason.startswith(OF_RUNS) and watch.table._items[file_key(file)]["batch"] in watch.delegated
    ):
        return True
    told_by_a_driver = POISON if expected.given_up == "ConversionFailed" else ""
    words = (expected.given_up, told_by_a_driver, watch.may_be_rejected.get(file, ""))
    return any(reason.startswith(word) for word in words if word)


def _memberships(watch: Watch) -> list[Breach]:
    """Each claimed file is listed in the chunks of the batch that its item names, and each listed one has an item."""
    found: list[Breach] = []
    listed: dict[str, set[str]] = {}
    for key, item in watch.table._items.items():
        if key.sk.startswith("chunk#"):
            names = {f"{file_key(s.identity).pk}/{file_key(s.identity).sk}" for s in read_chunk(item)}
            listed.setdefault(key.pk.removeprefix("batch#"), set()).update(names)
    for key, item in watch.table._items.items():
        if key.pk.startswith("file#") and f"{key.pk}/{key.sk}" not in listed.get(str(item["batch"]), ()):
            found.append(Breach("G2", "a file's batch doesn't know it", (key.pk, str(item["batch"]))))
    return found


def _visible(watch: Watch, bucket: str, kind: OutputKind) -> list[Breach]:
    """Readers see each line of the published files once, and nothing else; of batches that were hurt, perhaps less."""
    seen: Counter[str] = Counter()
    for prefix in ("quarantine/",) if kind is OutputKind.QUARANTINE else ("",):
        for body in watch.store.visible(bucket, prefix).values():
            seen.update(body.decode().splitlines())
    due: Counter[str] = Counter()
    partial: set[str] = set()
    for file, batches in published_in(watch).items():
        lines = watch.expected[file].rows if kind is OutputKind.TABLE else watch.expected[file].bad
        due.update(lines)
        if set(batches) & watch.hurt():
            partial.update(lines)
    extra = seen - due
    missing = {line for line in due - seen if line not in partial}
    found = [Breach("G4", f"{kind} lines are visible that shouldn't be", tuple(sorted(extra))[:5])] if extra else []
    return found + ([Breach("G1", f"{kind} lines are missing", tuple(sorted(missing))[:5])] if missing else [])
