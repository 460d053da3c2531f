"""What the engines have in common: the size of a run, how a call is refused, how a run ended, which run is a job's.

What an engine says of a run's end may quote the data, so it is read for its cause and never passed on: the run's own
log has the rest.
"""

import hashlib
import math
import re
from collections.abc import Awaitable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from botocore.exceptions import ClientError

from headsaw.adapters.aws import error_code, told, translated
from headsaw.core.delegation import RunState, RunStatus
from headsaw.errors import Outage, UsageError

PAGES_MAX: Final = 4
"""Pages of an engine's list of runs, newest first, in which a job's run is looked for."""

_TOKEN: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")


def size_of(batch_bytes: int, bytes_each: int, fewest: int, most: int) -> int:
    """So many that none has to take more than `bytes_each`, within the bounds."""
    return max(fewest, min(most, math.ceil(batch_bytes / bytes_each)))


def client_token(name: str) -> str:
    """The job's name, or what stands for it where an engine wouldn't take it: equal for equal names only."""
    return name if _TOKEN.fullmatch(name) else hashlib.sha256(name.encode()).hexdigest()


# ------------------------------------------------------------------------------------------------------------ refusals


@dataclass(frozen=True, slots=True)
class Refused:
    """The engine did nothing, and says why."""

    code: str
    reason: str


async def ask(call: Awaitable[dict[str, Any]], doing: str, refusals: Collection[str] = ()) -> dict[str, Any] | Refused:
    """The engine's answer, or its refusal by one of these codes; whatever else goes wrong is an Outage.

    Also what AWS takes for the caller's mistake: the job, role or cluster that it speaks of is the operator's to mend,
    and the batch waits meanwhile.
    """
    try:
        with translated(doing):
            try:
                return await call
            except ClientError as error:
                if error_code(error) in refusals:
                    return Refused(error_code(error), told(error))
                raise
    except (ClientError, UsageError) as error:
        raise Outage(f"{doing}: {told(error)}" if isinstance(error, ClientError) else str(error)) from None


def must_be_there(answer: dict[str, Any] | Refused, what: str, remedy: str) -> None:
    """Raises UsageError where the engine refused to tell anything of it."""
    if isinstance(answer, Refused):
        raise UsageError(f"{what} can't be used: {answer.reason}; {remedy}, as docs/spark.md says")


# -------------------------------------------------------------------------------------------------------- how runs end


@dataclass(frozen=True, slots=True)
class Cause:
    """What ended a run, where the engine's words tell: whether the data may be to blame, and what people are told."""

    words: re.Pattern[str]
    state: RunState
    means: str


def _cause(words: str, state: RunState, means: str) -> Cause:
    return Cause(re.compile(words, re.IGNORECASE), state, means)


CAUSES: Final = (
    _cause(
        r"max(imum)? (allowed )?concurrent (compute|capacity|dpu|runs)|max(imum)?[ _]?capacity|"
        r"insufficient[\w ]*capacity|capacity[\w ]*(exceeded|unavailable|not available)|"
        r"resources? unavailable|vcpu[\w ]*(quota|limit)|"
        r"(ip|free) addresses|spot (instance|interruption)|preempted",
        RunState.STOPPED,
        "no capacity",
    ),
    _cause(
        r"access ?denied|not authorized to|unable to assume|cannot be assumed|invalid security token",
        RunState.STOPPED,
        "access denied",
    ),
    _cause(
        r"no module named|module ?not ?found ?error|import ?error|no such file.{0,200}\.py|pip3? install|"
        r"unsupported python|cannot run program",
        RunState.STOPPED,
        "its package or environment is not there",
    ),
    _cause(r"out ?of ?memory|exit ?(code|status):? 137|killed by yarn|memory ?limit", RunState.FAILED, "out of memory"),
    _cause(r"timed? ?out|time ?limit", RunState.FAILED, "its time was over"),
)
"""Most telling first. They are read only of runs that ended without success."""


def status_of(states: Mapping[str, RunState], state: str, said: str | None = None) -> RunStatus:
    """A run's status from the engine's word for its state, and from what the engine said of the cause.

    A state that this version doesn't know is waited on: `spark.run_max` ends the waiting.
    """
    known = states.get(state, RunState.RUNNING)
    if known not in (RunState.FAILED, RunState.STOPPED):
        return RunStatus(known, state)
    cause = next((cause for cause in CAUSES if cause.words.search(said or "")), None)
    return RunStatus(known, state) if cause is None else RunStatus(cause.state, f"{state}, {cause.means}")


# ------------------------------------------------------------------------------------------------- which run is a job's


def best_run(found: Iterable[tuple[str, RunState]]) -> str | None:
    """Of a job's runs, newest first, the one to wait for: one that may still end well, else one that did, else any."""
    order = (RunState.RUNNING, RunState.SUCCEEDED)
    ranked = sorted(found, key=lambda run: order.index(run[1]) if run[1] in order else len(order))
    return ranked[0][0] if ranked else None
