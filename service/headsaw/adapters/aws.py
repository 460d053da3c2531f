"""The one place that makes AWS clients, and the one place where AWS errors become headsaw's.

Retries are botocore's `standard` mode: bounded tries with jittered backoff and a retry quota. Not `adaptive`: its
client-side rate limiter is shared by all calls of a client, so one throttled prefix would hold up lease renewals; what
outlasts the bounded tries is an `Outage`, and the worker's own backoff takes over. Endpoints come from AWS_ENDPOINT_URL
and AWS_ENDPOINT_URL_<SERVICE>, credentials and region from the usual chain, which botocore reads. Only AWS_REGION is
read here: ECS and Lambda set it, and botocore knows AWS_DEFAULT_REGION and profiles alone.

Messages of errors name buckets, queues and tables, never object keys: they may end up in logs.
"""

import asyncio
import os
import re
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from types import TracebackType
from typing import Any, Final, NoReturn, Self
from urllib.parse import urlsplit

import aiohttp
import botocore
from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession, get_session
from botocore import exceptions as boto
from botocore.parsers import ResponseParserError

from headsaw.adapters.aws_hooks import correct_clock, parse_time, prepare_body
from headsaw.adapters.clock import LedgerClock
from headsaw.errors import AccessDenied, HeadsawError, Outage, Throttled, Unreachable, UsageError

CALL_TRIES: Final = 3
"""Tries of one call within botocore, the first included: three seconds of backoff in all at most."""

_CONNECT_SECONDS = 3.0
_READ_SECONDS: Final = {
    "sqs": 30.0,  # the longest poll is 20 s
    "s3": 60.0,  # between two bytes; completing a large upload answers late
    "dynamodb": 5.0,  # a lease renewal must not wait for a dead connection
}
_READ_SECONDS_DEFAULT = 30.0

_TRIED_ONCE: Final = frozenset({"glue", "emr"})
"""Services that have no token for a start: a repeat of one whose answer was lost would start a second run."""

_USER_AGENT: Final = f"headsaw botocore/{botocore.__version__}"
"""Given whole: botocore would put its own together anew for every call, at a twelfth of the call's cost."""


class Aws:
    """An async context that owns one client per service; each is made at its first use and closed at the end.

    `region` overrides AWS_REGION, and that what botocore finds by itself; `endpoint_url` overrides the environment for
    every service. Where a `clock` is given, the Date headers of DynamoDB's answers correct it. A `session` that is
    shared keeps AWS's API descriptions loaded.
    """

    def __init__(
        self,
        *,
        region: str | None = None,
        endpoint_url: str | None = None,
        connections: int = 64,
        tries: int = CALL_TRIES,
        clock: LedgerClock | None = None,
        session: AioSession | None = None,
    ) -> None:
        self._region = region or os.environ.get("AWS_REGION") or None
        self._endpoint_url = endpoint_url
        self._connections = connections
        self._tries = tries
        self._clock = clock
        self._session = session or get_session()
        self._session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=parse_time)
        self._stack = AsyncExitStack()
        self._clients: dict[str, Any] = {}
        self._lock = asyncio.Lock()

    async def __aenter__(self) -> Self:
        """Nothing is made yet."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Every client and its connections are closed."""
        await self._stack.aclose()
        self._clients.clear()

    async def client(self, service: str) -> Any:
        """The service's one client. Raises UsageError where region or endpoint are missing or wrong."""
        async with self._lock:
            if service not in self._clients:
                self._clients[service] = await self._make(service)
        return self._clients[service]

    async def _make(self, service: str) -> Any:
        with translated(f"set up {service}"):
            try:
                context = self._session.create_client(
                    service, region_name=self._region, endpoint_url=self._endpoint_url, config=self._config(service)
                )
                client = await self._stack.enter_async_context(context)
            except ValueError as error:  # botocore's answer to an endpoint that is no URL
                raise UsageError(f"{service}: {error}; give AWS_ENDPOINT_URL as http://host:port") from None
        client.meta.events.register("before-send", prepare_body)
        if service == "dynamodb" and self._clock is not None:
            correct_clock(client, service, self._clock)
        return client

    def _config(self, service: str) -> AioConfig:
        return AioConfig(
            retries={"mode": "standard", "total_max_attempts": 1 if service in _TRIED_ONCE else self._tries},
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=_READ_SECONDS.get(service, _READ_SECONDS_DEFAULT),
            max_pool_connections=self._connections,
            # The adapters send CRC32 in a header themselves: cheaper than a signed SHA-256 or a chunked trailer.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={"payload_signing_enabled": False},
            user_agent=_USER_AGENT,
        )


# ------------------------------------------------------------------------------------------------------------- errors

_MISSING: Final = {
    "NoSuchBucket": "there is no such bucket",
    "AWS.SimpleQueueService.NonExistentQueue": "there is no such queue",
    "QueueDoesNotExist": "there is no such queue",
    "InvalidAddress": "that is no queue URL",
    "ResourceNotFoundException": "there is no such table",
    "TableNotFoundException": "there is no such table",
}
_WRONG_REGION: Final = frozenset(
    {"PermanentRedirect", "301", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}
)
_THROTTLING: Final = frozenset(
    {
        "Throttling", "ThrottlingException", "ThrottledException", "RequestThrottled", "RequestThrottledException",
        "TooManyRequestsException", "ProvisionedThroughputExceededException", "RequestLimitExceeded",
        "BandwidthLimitExceeded", "LimitExceededException", "SlowDown", "Slow Down", "OverLimit",
        "KmsThrottled", "KMS.ThrottlingException", "TransactionInProgressException", "OperationAborted",
        "ConditionalRequestConflict", "429",
    }
)  # fmt: skip
_DENIED: Final = frozenset(
    {
        "AccessDenied", "AccessDeniedException", "AllAccessDisabled", "AccountProblem", "AuthFailure", "ExpiredToken",
        "ExpiredTokenException", "IncompleteSignature", "InvalidAccessKeyId", "InvalidClientTokenId", "InvalidSecurity",
        "InvalidSignatureException", "InvalidToken", "KmsAccessDenied", "KmsDisabled", "KmsInvalidKeyUsage",
        "KmsInvalidState", "KmsNotFound", "KmsOptInRequired", "MissingAuthenticationToken",
        "MissingAuthenticationTokenException", "NotSignedUp", "OptInRequired", "RequestExpired",
        "RequestTimeTooSkewed", "SignatureDoesNotMatch", "TokenRefreshRequired", "UnrecognizedClientException",
        "401", "403",
    }
)  # fmt: skip
_UNANSWERED: Final = frozenset(
    {
        "RequestTimeout",
        "RequestTimeoutException",
        "PriorRequestNotComplete",
        "IncompleteBody",
        "BadDigest",
        "InternalError",
    }
)

_NO_CREDENTIALS = (
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.CredentialRetrievalError,
    boto.NoAuthTokenError,
    boto.TokenRetrievalError,
    boto.MetadataRetrievalError,
    boto.SSOError,
    boto.LoginError,
)
_MISCONFIGURED = (
    boto.NoRegionError,
    boto.InvalidRegionError,
    boto.ProfileNotFound,
    boto.ConfigParseError,
    boto.ConfigNotFound,
    boto.InvalidConfigError,
    boto.InvalidEndpointConfigurationError,
    boto.EndpointProviderError,
    boto.InvalidProxiesConfigError,
)
_NO_ANSWER = (
    boto.HTTPClientError,
    boto.ConnectionError,
    boto.IncompleteReadError,
    boto.FlexibleChecksumError,
    boto.ChecksumError,
    ResponseParserError,
    aiohttp.ClientError,
    TimeoutError,
    ConnectionError,
)


_OUR_FAULT = (
    "Validation", "Invalid", "Malformed", "Missing", "Serialization", "Unsupported", "Idempotent", "Conditional",
    "BatchRequestTooLong", "AWS.SimpleQueueService.", "EntityTooSmall",
)  # fmt: skip
"""Codes of requests that are wrong in themselves: a bug, so raised unchanged. Any other unknown code is an outage."""


def translate(error: Exception, doing: str) -> HeadsawError | None:
    """What the error means to headsaw, most specific first; None for a bug of the caller, to be raised unchanged."""
    match error:
        case boto.ClientError():
            return _translate_answer(error, doing)
        case _ if isinstance(error, _NO_CREDENTIALS):
            return AccessDenied(f"{doing}: {_one_line(error)}; give the process AWS credentials (a role is best)")
        case _ if isinstance(error, _MISCONFIGURED):
            return UsageError(
                f"{doing}: {_one_line(error)}; set AWS_REGION and AWS_ENDPOINT_URL, or the AWS profile, right"
            )
        case _ if isinstance(error, _NO_ANSWER):
            return Unreachable(f"{doing}: {type(error).__name__}{_where(error)}; check network and AWS_ENDPOINT_URL")
        case _:
            return None


def _translate_answer(error: boto.ClientError, doing: str) -> HeadsawError | None:
    code = error_code(error)
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    what = f"{doing}: {told(error)}"
    if str(error.operation_name).startswith(("AssumeRole", "GetSession", "GetRoleCredentials")):
        return AccessDenied(f"{what}; the process's role can't be assumed just now")
    if code in _MISSING:
        return UsageError(f"{doing}: {_MISSING[code]}; create it, or correct its name, account and region")
    if code in _WRONG_REGION:
        return UsageError(f"{what}; it lives in another region: set AWS_REGION to that one")
    if code in _THROTTLING:
        return Throttled(what)
    if code in _DENIED:
        return AccessDenied(what)
    if code in _UNANSWERED or status >= 500:
        return Unreachable(what)
    if status == 403 or code.startswith("KMS."):
        return AccessDenied(what)
    if status in (409, 429):
        return Throttled(what)
    return None if code.startswith(_OUR_FAULT) else Outage(what)


def error_code(error: boto.ClientError) -> str:
    """AWS's code, or the HTTP status where an answer without a body (to HEAD) has none."""
    return str(error.response.get("Error", {}).get("Code", ""))


def told(error: boto.ClientError) -> str:
    """AWS's code and message on one line, without object keys: AWS names whole object ARNs when it denies access."""
    message = " ".join(str(error.response.get("Error", {}).get("Message", "")).split())
    return f"{error_code(error)}: " + re.sub(r"((?:arn:aws[\w-]*:s3:::|s3://)[^/\s\"']+/)[^\s\"']*", r"\1…", message)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _where(error: Exception) -> str:
    """The host that didn't answer; never the path, which holds the object key."""
    url = getattr(error, "kwargs", {}).get("endpoint_url")
    return f" at {urlsplit(str(url)).netloc}" if url else ""


def raise_translated(error: Exception, doing: str) -> NoReturn:
    """Raises what the error means, or the error itself. Its cause is dropped: botocore's texts hold object keys."""
    meaning = translate(error, doing)
    if meaning is None:
        raise error
    raise meaning from None


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """AWS errors inside the context come out as headsaw's; `doing` says what was tried, without object keys."""
    try:
        yield
    except (boto.ClientError, boto.BotoCoreError, ResponseParserError, aiohttp.ClientError, OSError) as error:
        raise_translated(error, doing)
