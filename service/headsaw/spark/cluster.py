"""Spark as a `driver.Cluster`: one partition for each task, by RDDs, which Spark 3.5 and 4 have alike."""

from collections.abc import Iterable, Iterator, Sequence

from py4j.protocol import Py4JError
from pyspark import SparkContext, TaskContext
from pyspark.broadcast import Broadcast

from headsaw.core.delegation import Trouble
from headsaw.spark.rounds import GivingUp
from headsaw.spark.tasks import perform
from headsaw.spark.work import Outcome, Task, Work

REASON_CHARACTERS_MAX = 500


class SparkCluster:
    """A running Spark application."""

    def __init__(self, context: SparkContext) -> None:
        self._context = context

    @property
    def cores(self) -> int:
        """Of all executors, as far as Spark knows them now."""
        return int(self._context.defaultParallelism)

    def run(self, work: Work, tasks: Sequence[Task]) -> list[Outcome]:
        """Outcomes of the task attempts that Spark counts."""
        if not tasks:
            return []
        shared = self._context.broadcast(work)
        try:
            partitions = self._context.parallelize(tasks, len(tasks))
            outcomes: list[Outcome] = partitions.mapPartitions(_Performing(shared)).collect()
        except Exception as error:
            raise GivingUp(self._trouble(), _told(error)) from error
        finally:
            shared.unpersist()
        if len(outcomes) != len(tasks):
            raise GivingUp(Trouble.DATA, f"{len(tasks)} tasks had {len(outcomes)} outcomes")
        return outcomes

    def _trouble(self) -> Trouble:
        """An application that was stopped isn't the data's doing."""
        try:
            stopped = bool(self._context._jsc.sc().isStopped())  # noqa: SLF001 - there is no other way to ask
        except (Py4JError, OSError):  # Java has ended
            return Trouble.OUTAGE
        return Trouble.OUTAGE if stopped else Trouble.DATA


class _Performing:
    """What an executor's Python process is sent: only names of this package's functions, and the work's handle."""

    def __init__(self, work: "Broadcast[Work]") -> None:
        self._work = work

    def __call__(self, tasks: Iterable[Task]) -> Iterator[Outcome]:
        """One outcome for each; a partition has one task."""
        attempt = TaskContext.get()
        number = attempt.taskAttemptId() + 1 if attempt is not None else 1
        return (perform(self._work.value, task, number) for task in tasks)


def _told(error: Exception) -> str:
    """Spark's own first line; tasks answer with their troubles, so it quotes no record."""
    java = getattr(error, "java_exception", None)
    text = str(java.getMessage()) if java is not None else f"{type(error).__name__}: {error}"
    return f"Spark: {text.strip().partition(chr(10))[0][:REASON_CHARACTERS_MAX]}"
