"""A FAILED batch starts afresh, if its file is still its own."""

from headsaw.config import ServiceSettings
from headsaw.core.lifecycle import Retry, advance
from headsaw.core.model import Batch, BatchId, BatchState, FileMark
from headsaw.errors import HeadsawError
from headsaw.operate.describe import NotFound
from headsaw.operate.site import Ports
from headsaw.ports import Accepted


class NotRetried(HeadsawError):  # noqa: N818 - what happened
    """The batch can't start afresh; the message says why, and what to do."""


_INSTEAD = {
    BatchState.OPEN: "it is being claimed",
    BatchState.READY: "workers will convert it",
    BatchState.RUNNING: "a worker is converting it",
    BatchState.DELEGATED: "a Spark engine is converting it",
    BatchState.PUBLISHING: "it is being published; if an upload is gone, use headsaw repair",
    BatchState.DONE: "it is published",
    BatchState.SPLIT: "its children carry on; retry the one that FAILED",
    BatchState.FAILING: "it is about to be FAILED; try again in a minute",
}


async def retry(config: ServiceSettings, ports: Ports, batch_id: str) -> Batch:
    """The batch is READY and due now. Raises NotFound, and NotRetried where it isn't the operator's turn."""
    batch = await ports.ledger.batch(BatchId(batch_id))
    if batch is None:
        raise NotFound(f"batch {batch_id}: the ledger {config.ledger_table} has no such batch")
    if batch.state is not BatchState.FAILED:
        raise NotRetried(f"batch {batch_id} is {batch.state.value}: {_INSTEAD[batch.state]}")
    (source,) = await ports.ledger.sources(batch)
    record = await ports.ledger.file(source.identity)
    if record is None:
        raise NotRetried(f"batch {batch_id}: the ledger has forgotten its file; use headsaw redrive or backfill")
    if record.batch != batch.span.root or record.mark is not FileMark.FAILED:
        raise NotRetried(
            f"batch {batch_id}: its file was redriven or notified again, and batch {record.batch} has it now; see "
            f"headsaw describe {record.batch}"
        )
    after = advance(batch, Retry(ports.clock.now()))
    match await ports.ledger.retry(batch, after, source):
        case Accepted(retried):
            return retried
        case _:
            raise NotRetried(f"batch {batch_id}: somebody else changed it just now; describe it, and try again")
