"""What every part of the worker shares: ports, limits, chance, where facts are told, and what it has observed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random

from headsaw.core.facts import Fact
from headsaw.core.ids import new_id
from headsaw.core.model import SettingsHash, WorkerId
from headsaw.core.settings import DatasetSettings, S3Prefix
from headsaw.errors import ProtocolViolation
from headsaw.ports import Clock, Converter, Ledger, ObjectStore, Publisher, Queue, SparkJobs
from headsaw.worker.observations import Observations

SETTINGS_CACHED_MAX = 256


@dataclass(frozen=True, slots=True)
class Limits:
    """The worker's numbers; seconds, counts. `visibility_seconds` outlasts every dataset's max_age."""

    lease_seconds: float = 60.0
    drain_seconds: float = 50.0
    visibility_seconds: float = 420.0
    poll_seconds: float = 20.0
    foreign_seconds: float = 3600.0
    conversions: int = 2
    pollers: int = 4
    attempts_max: int = 3
    spark_poll_seconds: float = 30.0
    spark_run_seconds_max: float = 86_400.0

    @property
    def backlog(self) -> int:
        """Batches that are claimed and not started before polling pauses: one waiting for each running."""
        return self.conversions

    @property
    def waiting_max(self) -> int:
        """Batches that may wait all the same, since pollers stop late and datasets flush together; more are released.

        Released batches are found by other workers' sweeps, up to half a lease later: a short wait is better.
        """
        return 4 * self.conversions + 4


@dataclass(frozen=True, slots=True)
class World:
    """The ports, as one argument."""

    queues: tuple[Queue, ...]
    dlq: Queue
    ledger: Ledger
    store: ObjectStore
    converter: Converter
    publisher: Publisher
    clock: Clock
    engines: Mapping[str, SparkJobs] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the installation keeps what a Spark run must find without the worker's configuration."""

    control: S3Prefix
    quarantine: S3Prefix
    ledger_table: str = "headsaw-ledger"
    ledger_retention_seconds: float = 90 * 86400.0
    region: str | None = None


class Context:
    """Made once for each worker process by the composition root."""

    def __init__(
        self,
        worker: WorkerId,
        world: World,
        limits: Limits,
        place: Place,
        tell: Callable[[Fact], None],
        random: Random,
    ) -> None:
        self.worker = worker
        self.world = world
        self.limits = limits
        self.place = place
        self.tell = tell
        self.random = random
        self.observed = Observations(world.clock, random, tell, limits.conversions, world.engines)
        self._settings: dict[SettingsHash, DatasetSettings] = {}

    @property
    def control(self) -> S3Prefix:
        """Commit records, spool objects and what Spark runs read and write live here."""
        return self.place.control

    def new_id(self) -> str:
        """Unique among all workers, sortable by time."""
        return new_id(self.world.clock.now(), self.random.getrandbits(80))

    def lease_until(self) -> float:
        """When a lease that is granted now ends."""
        return self.world.clock.now() + self.limits.lease_seconds

    async def settings_of(self, settings_hash: SettingsHash) -> DatasetSettings:
        """The snapshot that a batch pins, whatever this worker's own configuration says."""
        known = self._settings.get(settings_hash)
        if known is None:
            known = await self.world.ledger.settings(settings_hash)
            if known is None:
                raise ProtocolViolation(f"the ledger has no settings snapshot {settings_hash}")
            if len(self._settings) >= SETTINGS_CACHED_MAX:
                self._settings.clear()
            self._settings[settings_hash] = known
        return known
