"""The guarantees of DESIGN section 2, watched where effects happen: at the table, the buckets and the queues.

`Watch` hears of every effect in the order in which they happen, from whomever they come, and writes down what is
broken at that very moment; `verdict` looks at the whole world in the end. It knows nothing of the worker's code, only
what the ledger's items, commit records and messages mean.
"""

import builtins
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.simulation.story import Story

from headsaw.adapters.ledger_items import file_key, read_chunk
from headsaw.adapters.memory.object_store import Created, MemoryObjectStore
from headsaw.adapters.memory.table import MemoryTable
from headsaw.adapters.table import Key, Value
from headsaw.core.commit import TOKEN_METADATA, CommitRecord, PendingUpload, digest
from headsaw.core.facts import BatchUnpublishable, Fact, OutageMet
from headsaw.core.lifecycle import _TABLE as ARROWS
from headsaw.core.model import BatchState, FileIdentity, RecordRange
from headsaw.core.naming import dlq_id
from headsaw.core.notification import ORIGINAL_MESSAGE_ID, Landed, Records, message_identity, parse_notification
from headsaw.ports import Outgoing, SparkJob

S = BatchState
LEGAL = {(before.value, after.value) for (before, _), after in ARROWS.items()}
DISPOSING = frozenset({"PUBLISHING", "FAILING", "DONE", "FAILED"})


@dataclass(frozen=True, slots=True)
class Breach:
    """A guarantee was broken."""

    guarantee: str
    what: str
    about: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.guarantee}: {self.what} ({', '.join(self.about)})"


@dataclass(frozen=True, slots=True)
class Letter:
    """A message that reached the DLQ."""

    at: int
    body: str
    attributes: Mapping[str, str]

    @property
    def reason(self) -> str:
        return self.attributes.get("reason", "")


@dataclass(frozen=True, slots=True)
class Expected:
    """What one landed version of a file, or one record message, must come to."""

    name: str
    dataset: str
    rows: tuple[str, ...] = ()
    bad: tuple[str, ...] = ()
    given_up: str = ""
    """The reason with which it must be given up, if it must."""


@dataclass
class Watch:
    """See the module. Identities are the ledger's."""

    story: Story
    expected: dict[FileIdentity, Expected] = field(default_factory=dict)
    may_be_rejected: dict[FileIdentity, str] = field(default_factory=dict)
    """Versions that were overwritten or removed: the reason for which they may be rejected."""
    removed_datasets: set[str] = field(default_factory=set)
    vanished: set[str] = field(default_factory=set)
    """Upload ids that the bucket lost."""
    breaches: list[Breach] = field(default_factory=list)
    actor: str = ""
    step: int = 0
    records: dict[str, CommitRecord] = field(default_factory=dict)
    commits: Counter[str] = field(default_factory=Counter)
    states: dict[str, str] = field(default_factory=dict)
    unfinished: set[str] = field(default_factory=set)
    letters: list[Letter] = field(default_factory=list)
    told: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Ids of letters, by batch."""
    published: Counter[str] = field(default_factory=Counter)
    """How often each output's key appeared."""
    alarmed: set[str] = field(default_factory=set)
    """Batches of which an operator was told."""
    refused: set[str] = field(default_factory=set)
    """Ids of messages that are in the DLQ themselves."""
    jobs: dict[str, SparkJob] = field(default_factory=dict)
    """What each Spark run was started for, by the name under which its driver acts."""
    delegated: set[str] = field(default_factory=set)
    """Roots of batches that were handed to Spark."""
    intents: set[tuple[str, int]] = field(default_factory=set)
    """Batches and attempts for which a start was recorded."""
    registered: dict[tuple[str, int], str] = field(default_factory=dict)
    """Who registered for each attempt."""
    made_by: dict[str, str] = field(default_factory=dict)
    """Who made each upload, by its id."""
    settled_at: dict[FileIdentity, float] = field(default_factory=dict)
    _marked: dict[str, int] = field(default_factory=dict)
    _roots: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def attach(self, table: MemoryTable, store: MemoryObjectStore) -> None:
        """From now on these are looked at."""
        self.table, self.store = table, store

    def broken(self, guarantee: str, what: str, *about: object) -> None:
        self.breaches.append(Breach(guarantee, what, tuple(map(str, about))))
        self.story.add(self.actor, "*BROKEN", f"{guarantee}: {what}: {about}")

    def teller(self, who: str) -> Callable[[Fact], None]:
        """Where a worker of that name tells its facts."""

        def tell(fact: Fact) -> None:
            self.story.add(who, type(fact).__name__, fact)
            if isinstance(fact, BatchUnpublishable):
                self.alarmed.add(fact.batch.id)
            if isinstance(fact, OutageMet) and hasattr(builtins, fact.kind):
                self.broken("G6", f"a mistake, not an outage: {fact.kind}: {fact.detail}", who)

        return tell

    # --- the ledger

    def wrote(self, key: Key, old: Mapping[str, Value] | None, new: Mapping[str, Value]) -> None:
        """An item was written by `actor`."""
        self.step += 1
        if key.sk == "batch":
            self._batch_written(key.pk.removeprefix("batch#"), old, new)
        elif key.pk.startswith("file#"):
            self._file_written(key, old, new)

    def _file_written(self, key: Key, old: Mapping[str, Value] | None, new: Mapping[str, Value]) -> None:
        name = f"{key.pk}/{key.sk}"
        if "mark" in new:
            self._marked.setdefault(name, self.step) if old and "mark" in old else self._marked.update(
                {name: self.step}
            )
            states = {self.states[batch] for batch in self._roots[str(new["batch"])]}
            if not states & DISPOSING:
                self.broken("G3", "a file was given up before its batch's commit point", name, new["batch"])
            return
        if old is not None and "mark" not in old and old["batch"] != new["batch"]:
            self.broken("G2", "a file of one batch was claimed for another", name, old["batch"], new["batch"])
        self._marked.pop(name, None)

    def claimed_together(self, batches: Sequence[str]) -> None:
        """A write that claims files is over: their batches must be there."""
        for batch in batches:
            if batch not in self.states:
                self.broken("G2", "a file is claimed for a batch that isn't in the ledger", batch)

    def _batch_written(self, batch: str, old: Mapping[str, Value] | None, new: Mapping[str, Value]) -> None:
        state = str(new["state"])
        self.states[batch] = state
        self._roots[str(new["root"])].add(batch)
        (self.unfinished.discard if S(state).terminal else self.unfinished.add)(batch)
        if old is None:
            return
        if (str(old["state"]), state) not in LEGAL:
            self.broken("G3", f"{old['state']} became {state}", batch)
        if self.actor in self.jobs:
            self._registered(batch, old, new)
        else:
            self._check_fence(batch, old, new)
        if new["attempt"] != old["attempt"] and "driver" in new:
            self.broken("G6", "a registration outlived its attempt", batch)
        if state == "DELEGATED":
            self.delegated.add(str(new["root"]))
            self.intents.add((batch, int(str(new["attempt"]))))
        if state != old["state"] and state == "PUBLISHING":
            self._committed(batch, new)
        if state != old["state"] and state == "DONE":
            self._done(batch)
        if state != old["state"] and state == "FAILED":
            self._failed(batch, new)

    def _check_fence(self, batch: str, old: Mapping[str, Value], new: Mapping[str, Value]) -> None:
        """Only the holder writes, and whoever takes the batch over gets a new epoch."""
        if new["lease_epoch"] == old["lease_epoch"]:
            if old.get("lease_owner") != self.actor:
                self.broken("G3", f"{self.actor} changed a batch of {old.get('lease_owner')}", batch)
        elif new["lease_epoch"] != int(str(old["lease_epoch"])) + 1 or new.get("lease_owner") != self.actor:
            self.broken("G3", f"{self.actor} changed the epoch of a batch that it didn't take", batch)

    def _registered(self, batch: str, old: Mapping[str, Value], new: Mapping[str, Value]) -> None:
        """A driver writes nothing but its registration: for its own attempt, and only if nobody was first."""
        job, attempt = self.jobs[self.actor], int(str(new["attempt"]))
        changed = {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}
        if not changed <= {"driver", "driver_run"}:
            self.broken("G3", f"a driver changed {sorted(changed)}", batch, self.actor)
        if (job.batch, job.attempt) != (batch, attempt) or new["state"] != "DELEGATED":
            self.broken("G3", "a driver registered for an attempt that isn't its own", batch, self.actor)
        if old.get("driver") not in (None, new["driver"]):
            self.broken("G3", "two drivers registered for one attempt", batch, self.actor)
        self.registered[batch, attempt] = self.actor

    def asked_to_start(self, job: SparkJob) -> None:
        """An engine is asked for a run."""
        if (job.batch, job.attempt) not in self.intents:
            self.broken("G6", "a run was started that the ledger knows nothing of", job.batch, job.attempt)

    def _committed(self, batch: str, new: Mapping[str, Value]) -> None:
        self.commits[batch] += 1
        if self.commits[batch] > 1:
            self.broken("G3", "a batch was committed twice", batch)
        body = self._body(str(new["commit_key"]))
        if body is None or digest(body) != new["commit_sha256"]:
            self.broken("G3", "the commit record isn't the one that was accepted", batch)
            return
        record = self.records[batch] = CommitRecord.from_json(body)
        if (record.attempt, record.lease_epoch) != (new["attempt"], new["lease_epoch"]):
            self.broken("G3", "a commit record of another attempt or lease was accepted", batch)
        pending = self.store._uploads
        for upload in record.uploads:
            if upload.upload_id not in pending and upload.upload_id not in self.vanished:
                self.broken("G4", "an upload was not pending at the commit point", batch, upload.key)
            if (batch, record.attempt) in self.intents and self._maker(upload) != self.registered.get(
                (batch, record.attempt)
            ):
                self.broken("G3", "what a driver made that isn't registered was committed", batch, upload.key)
        self._check_conservation(record)

    def _maker(self, upload: PendingUpload) -> str:
        return self.made_by.get(upload.upload_id, "nobody")

    def _check_conservation(self, record: CommitRecord) -> None:
        for index, counts in record.files.items():
            expected = self.expected[record.sources[index].identity]
            if (counts.rows, counts.quarantined) != (len(expected.rows), len(expected.bad)) or not counts.conserved:
                self.broken("G5", f"{counts} for {expected}", record.batch, expected.name)

    def _done(self, batch: str) -> None:
        record = self.records.get(batch)
        if record is None:
            self.broken("G3", "a batch is DONE without a commit", batch)
            return
        for upload in record.uploads:
            held = self.store._buckets[upload.bucket].latest(upload.key)
            if held is None or held.metadata.get(TOKEN_METADATA) != upload.token:
                self.broken("G4", "a batch is DONE, and an output isn't visible", batch, upload.key)
        for rejected in record.rejected:
            told = dlq_id(record.batch, rejected.index) in self.told[batch]
            if not told and self._owner(record.sources[rejected.index].identity) in self._roots_of(batch):
                self.broken("G1", "a batch is DONE, and a rejected file isn't in the DLQ", batch, rejected)
        for index in record.files:
            self.settled_at.setdefault(record.sources[index].identity, self.story.now())

    def _owner(self, file: FileIdentity) -> str:
        """The root that has a file: not the one that rejected it, if a redelivery was claimed since."""
        return str(self.table._items[file_key(file)]["batch"])

    def _roots_of(self, batch: str) -> set[str]:
        return {root for root, members in self._roots.items() if batch in members}

    def _failed(self, batch: str, new: Mapping[str, Value]) -> None:
        root, position = str(new["root"]), int(str(new["start"]))
        source = self._source(root, position)
        if not self.told[batch] and self._owner(source) == root:
            self.broken("G1", "a batch is FAILED, and its file isn't in the DLQ", batch, source)

    def _source(self, root: str, position: int) -> FileIdentity:
        chunks = sorted(key.sk for key in self.table._items if key.pk == f"batch#{root}" and key.sk != "batch")
        sources = [s for chunk in chunks for s in read_chunk(self.table._items[Key(f"batch#{root}", chunk)])]
        return sources[position].identity

    def _body(self, key: str) -> bytes | None:
        version = self.store._buckets["control"].latest(key)
        return version.body if version is not None else None

    def hurt(self) -> set[str]:
        """Committed batches that can't be published: one of their uploads vanished before it was completed."""
        if not self.vanished:
            return set()
        return {
            batch
            for batch, record in self.records.items()
            if self.states[batch] == "PUBLISHING" and any(u.upload_id in self.vanished for u in record.uploads)
        }

    def handed_to_spark(self) -> set[FileIdentity]:
        """Files whose batch, or one that it was split into, waited for a Spark run."""
        items = ((file, self.table._items.get(file_key(file))) for file in self.expected)
        return {file for file, item in items if item is not None and item["batch"] in self.delegated}

    def poisoned(self) -> set[FileIdentity]:
        """Files that were claimed together with one that makes every conversion fail."""
        roots = {
            file: self.table._items[key]["batch"]
            for file in self.expected
            if (key := file_key(file)) in self.table._items
        }
        culprits = {root for file, root in roots.items() if self.expected[file].given_up == "ConversionFailed"}
        return {file for file, root in roots.items() if root in culprits}

    def reasons(self) -> dict[FileIdentity, list[str]]:
        """Why each source was given up, as often as it was."""
        found: dict[FileIdentity, list[str]] = defaultdict(list)
        for letter in self.letters:
            for file in _named_in(letter.attributes.get(ORIGINAL_MESSAGE_ID, ""), letter.body, letter.attributes):
                found[file].append(letter.reason)
        return found

    # --- the buckets

    def appeared(self, created: Created) -> None:
        """An object became visible."""
        if created.event != "ObjectCreated:CompleteMultipartUpload":
            return
        batch = created.key.rpartition("/")[2].partition("-")[0]
        record = self.records.get(batch)
        held = self.store._buckets[created.bucket].latest(created.key)
        token = held.metadata.get(TOKEN_METADATA) if held is not None else None
        if record is None or (created.key, token) not in {(upload.key, upload.token) for upload in record.uploads}:
            self.broken("G4", "an output was visible before the commit point", batch, created.key)
        self.published[created.key] += 1
        if self.published[created.key] > 1:
            self.broken("G4", "an output appeared twice", batch, created.key)

    # --- the queues

    def deleted(self, message: Any, sent_step: int) -> None:
        """A message left the source queue for good."""
        if message.id in self.refused:
            return
        for file in _named(message):
            key = file_key(file)
            item = self.table._items.get(key)
            name = f"{key.pk}/{key.sk}"
            if item is None:
                self.broken("G1", "a message was deleted before its file was settled", name, message.id)
            elif "mark" in item and self._marked[name] <= sent_step:
                self.broken("G1", "a message that brings back a file was dropped as a duplicate", name, message.id)

    def dead_lettered(self, message: Outgoing) -> None:
        """The DLQ took a message."""
        self.step += 1
        letter = Letter(self.step, message.body, dict(message.attributes))
        self.letters.append(letter)
        batch = letter.attributes.get("batch")
        if batch is not None and message.id.startswith(f"{batch}-"):
            self.told[batch].add(message.id)
            if self.states.get(batch) not in DISPOSING:
                self.broken("G3", f"a dead letter of a batch that is {self.states.get(batch)}", batch, letter.reason)
        else:  # of a message; a redriven one still has the attributes of its first letter
            self.refused.add(message.id)
        for file in _named_in(message.id, message.body, message.attributes):
            self.settled_at.setdefault(file, self.story.now())


def _named(message: Any) -> list[FileIdentity]:
    return _named_in(message.id, message.body, message.attributes)


def _named_in(message_id: str, body: str, attributes: Mapping[str, str]) -> list[FileIdentity]:
    """The sources that a message speaks of."""
    match parse_notification(body, attributes, None):
        case Landed(files, _):
            return [file.identity for file in files]
        case Records():
            return [RecordRange(message_identity(message_id, attributes), "", "", 0, 0).identity]
        case _:
            return []
