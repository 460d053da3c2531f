"""`headsaw repair`: the outputs of a committed batch, rebuilt."""

import os
import socket
from contextlib import nullcontext
from random import SystemRandom
from typing import Annotated

import typer

from headsaw.adapters.connect import connect
from headsaw.adapters.inline import InlineConverter
from headsaw.cli.display import count, plain
from headsaw.cli.shared import ConfigOption, JsonOption, err, load_config, out, print_json, run_async
from headsaw.config import ServiceSettings
from headsaw.core.model import BatchState, WorkerId
from headsaw.operate.repair import Repaired, repair
from headsaw.worker.publisher import UploadPublisher

SHOWN = 10


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("repair")(repair_command)


def repair_command(
    batch_id: Annotated[
        str, typer.Argument(metavar="BATCH_ID", help="A PUBLISHING batch whose uploads are gone.", show_default=False)
    ],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Rebuild a committed batch's outputs if its uploads are gone. Needs s3:DeleteObject at the destination."""
    settings = load_config(config)
    with err.status("converting the batch again, if it must be") if err.is_terminal else nullcontext():
        done = run_async(_repair(settings, batch_id))
    if as_json:
        print_json(
            {
                "batch": done.batch.id,
                "state": done.batch.state.value,
                "rebuilt": bool(done.gone),
                "gone": list(done.gone),
                "outputs": [f"s3://{upload.bucket}/{upload.key}" for upload in done.record.uploads],
                "rows": done.record.counts.rows,
            }
        )
    else:
        _show(done)


async def _repair(settings: ServiceSettings, batch_id: str) -> Repaired:
    async with connect(settings) as aws:
        converter = InlineConverter(
            aws.store,
            aws.ledger,
            aws.clock,
            settings.quarantine,
            new_token=lambda: f"{SystemRandom().getrandbits(128):032x}",
            threads=1,
            memory_bytes=int(settings.memory_bytes),
        )
        name = WorkerId(f"repair-{socket.gethostname()[:40]}-{os.getpid()}")
        try:
            return await repair(settings, aws, batch_id, converter, UploadPublisher(aws.store), name)
        finally:
            await converter.close()


def _show(done: Repaired) -> None:
    if done.gone:
        out.print(f"{count(len(done.gone))} uploads were gone; every output of batch {done.batch.id} was rebuilt:")
        for upload in done.record.uploads[:SHOWN]:
            out.print(f"  -> s3://{plain(upload.bucket)}/{plain(upload.key)}", soft_wrap=True)
        if len(done.record.uploads) > SHOWN:
            out.print(f"  ... and {count(len(done.record.uploads) - SHOWN)} more")
    else:
        out.print(f"Nothing was gone: every output of batch {done.batch.id} is visible.")
    if done.batch.state is BatchState.PUBLISHING:
        out.print("A running worker sends the DLQ messages of its rejected files, and finishes it.")
    else:
        out.print(f"It is {done.batch.state.value}.")
