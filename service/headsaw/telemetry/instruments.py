"""Every metric that exists: its name, type, labels, meaning and buckets. What moves it is `metrics`' business.

docs/observability.md lists the same; a test compares them.
"""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

# The names that deployments, alerts and dashboards rely on.
MESSAGES_RECEIVED = "headsaw_messages_received_total"
MESSAGES = "headsaw_messages_total"
MESSAGE_AGE = "headsaw_message_age_seconds"
QUEUE_MESSAGES = "headsaw_queue_messages"
FILES = "headsaw_files_total"
FILES_BUFFERED = "headsaw_files_buffered"
BATCHES = "headsaw_batches_total"
BATCHES_UNFINISHED = "headsaw_batches_unfinished"
BATCHES_HELD = "headsaw_batches_held"
BATCHES_ROUTED = "headsaw_batches_routed_total"
BATCH_AGE = "headsaw_batch_age_seconds"
LINES = "headsaw_lines_total"
RESCUED_VALUES = "headsaw_rescued_values_total"
REJECTED_FILES = "headsaw_rejected_files_total"
BYTES_IN = "headsaw_bytes_in_total"
BYTES_OUT = "headsaw_bytes_out_total"
CONVERSION = "headsaw_conversion_seconds"
CONVERSION_CPU = "headsaw_conversion_cpu_seconds_total"
LEASES_LOST = "headsaw_leases_lost_total"
ENGINE_HEALTH = "headsaw_engine_health"
OUTAGES = "headsaw_outages_total"
API_CALLS = "headsaw_api_calls_total"
WRITE_UNITS = "headsaw_ledger_write_units_total"
LOG_LINES_LOST = "headsaw_log_lines_lost_total"
WORKER_INFO = "headsaw_worker_info"

CONVERSION_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
AGE_BUCKETS = (1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 86400)


class Instruments(Collector):
    """A fresh set of metrics in a registry of its own, readable by attribute, all at zero."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._make_intake()
        self._make_batches()
        self._make_conversion()
        self._make_surroundings()

    def _make_intake(self) -> None:
        self.messages_received = self._counter(MESSAGES_RECEIVED, "Messages that polls brought")
        self.messages = self._counter(MESSAGES, "Messages that left the worker's hands", "fate")
        self.message_age = self._gauge(MESSAGE_AGE, "Age of the oldest message of the last poll; 0 if it brought none")
        self.queue_messages = self._gauge(QUEUE_MESSAGES, "Messages in the queues, as SQS estimates", "state")
        self.files = self._counter(FILES, "Notified files, by what became of the notification", "dataset", "outcome")
        self.files_buffered = self._gauge(FILES_BUFFERED, "Files that this worker has received and not yet claimed")

    def _make_batches(self) -> None:
        self.batches = self._counter(BATCHES, "Batches, by what this worker did with them", "dataset", "outcome")
        self.batches_routed = self._counter(
            BATCHES_ROUTED, "Batches, by where this worker decided to have them converted", "dataset", "engine"
        )
        self.batches_unfinished = self._gauge(BATCHES_UNFINISHED, "Unfinished batches in the ledger, of all workers")
        self.batches_held = self._gauge(BATCHES_HELD, "Batches whose lease this worker holds")
        self.batch_age = self._histogram(BATCH_AGE, "Time from a batch's claim until it was done", AGE_BUCKETS)
        self.leases_lost = self._counter(LEASES_LOST, "Leases that ended while this worker relied on them", "during")

    def _make_conversion(self) -> None:
        self.lines = self._counter(LINES, "Lines of finished batches, by where they went", "dataset", "fate")
        self.rescued_values = self._counter(
            RESCUED_VALUES, "Values of finished batches that didn't fit the table schema"
        )
        self.rejected_files = self._counter(REJECTED_FILES, "Files of finished batches that can't be read as NDJSON")
        self.bytes_in = self._counter(BYTES_IN, "Decompressed NDJSON bytes of finished batches")
        self.bytes_out = self._counter(BYTES_OUT, "Bytes that finished batches published")
        self.conversion = self._histogram(CONVERSION, "Duration of one conversion of a batch", CONVERSION_BUCKETS)
        self.conversion_cpu = self._counter(CONVERSION_CPU, "CPU time of conversions")

    def _make_surroundings(self) -> None:
        self.engine_health = self._gauge(
            ENGINE_HEALTH, "1 for the state of this worker's circuit breaker for the engine, else 0", "engine", "health"
        )
        self.outages = self._counter(OUTAGES, "Calls that failed through no fault of the data", "where", "kind")
        self.api_calls = self._counter(API_CALLS, "Requests to AWS, retries included", "service", "operation")
        self.write_units = self._counter(WRITE_UNITS, "Write units that the ledger's table and index consumed")
        self.log_lines_lost = self._counter(LOG_LINES_LOST, "Log lines that could not be written")
        self.worker = self._gauge(WORKER_INFO, "Always 1; the version that runs is its label", "version")

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(name, meaning, labels, registry=self.registry)

    def _gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        return Gauge(name, meaning, labels, registry=self.registry)

    def _histogram(self, name: str, meaning: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(name, meaning, registry=self.registry, buckets=buckets)

    def collect(self) -> Iterator[Metric]:
        """Everything but the `_created` series, which double a scrape and tell nothing that deployments need."""
        for metric in self.registry.collect():
            metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
            yield metric

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """Body and content type of a scrape, in the format that its Accept header asks for."""
        encode, content_type = choose_encoder(accept)
        return encode(self), content_type
