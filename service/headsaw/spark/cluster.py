"""Spark as a `driver.Cluster`: one partition for each task, by RDDs, which Spark 3.5 and 4 have alike."""

from collections.abc import Iterable, Iterator, Sequence

from py4j.protocol import Py4JError
from pyspark import SparkContext, TaskContext
from pyspark.broadcast import Broadcast

from headsaw.core.delegation import Trouble
from headsaw.spark.rounds import GivingUp
from headsaw.spark.tasks import perform
from headsaw.spark.words import reason_of, trouble_of
from headsaw.spark.work import Outcome, Task, Work


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
        try:
            outcomes = self._performed(work, tasks)
        except Exception as error:
            said = _said(error)
            raise GivingUp(trouble_of(said, stopped=self._stopped()), reason_of(said)) from error
        if len(outcomes) != len(tasks):
            raise GivingUp(Trouble.DATA, f"{len(tasks)} tasks had {len(outcomes)} outcomes")
        return outcomes

    def _performed(self, work: Work, tasks: Sequence[Task]) -> list[Outcome]:
        shared = self._context.broadcast(work)
        partitions = self._context.parallelize(tasks, len(tasks))
        outcomes: list[Outcome] = partitions.mapPartitions(_Performing(shared)).collect()
        shared.unpersist()
        return outcomes

    def _stopped(self) -> bool:
        """The application, or Java as a whole, has ended."""
        try:
            return bool(self._context._jsc.sc().isStopped())  # noqa: SLF001 - there is no other way to ask
        except (AttributeError, Py4JError, OSError):  # pyspark's own `stop`, Java's end
            return True


class _Performing:
    """What an executor's Python process is sent: only names of this package's functions, and the work's handle."""

    def __init__(self, work: "Broadcast[Work]") -> None:
        self._work = work

    def __call__(self, tasks: Iterable[Task]) -> Iterator[Outcome]:
        """One outcome for each; a partition has one task."""
        attempt = TaskContext.get()
        number = attempt.taskAttemptId() + 1 if attempt is not None else 1
        return (perform(self._work.value, task, number) for task in tasks)


def _said(error: Exception) -> str:
    """All that Spark says."""
    java = getattr(error, "java_exception", None)
    try:
        return str(error if java is None else java.getMessage())
    except (Py4JError, OSError):
        return type(error).__name__
