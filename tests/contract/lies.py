"""What local implementations are known to do otherwise than AWS, as far as the service depends on it.

Each names the contract tests that must therefore fail there; where one passes, the suite fails, and the row is removed.
`python tests/contract/lies.py` prints the table of docs/emulators.md.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Lie:
    """One wrong behaviour of one implementation. `tests` are named as pytest names them, without the implementation."""

    where: str
    does: str
    aws: str
    tests: tuple[str, ...]

    @property
    def items(self) -> tuple[str, ...]:
        """Tests as pytest names them: `test[implementation]` or `test[implementation-parameter]`."""
        names = (test.removesuffix("]").partition("[") for test in self.tests)
        return tuple(f"{name}[{'-'.join(filter(None, (self.where, parameter)))}]" for name, _, parameter in names)


_SIZE = "test_parts_that_add_up_to_another_size_complete_nothing"
_NO_PARTS = "test_an_upload_without_parts_is_not_completed"
_ORDER = "test_parts_out_of_order_complete_nothing"
_TWICE = "test_completing_twice_finds_no_such_upload"
_OWNER = "test_a_bucket_of_another_owner_refuses_every_call"
_HALF_DAY = "test_no_message_is_made_invisible_for_more_than_twelve_hours"
_RACE = "test_of_fifty_concurrent_overlapping_claims_each_file_has_one_owner"
_TOKEN = "test_a_transaction_that_is_repeated_under_its_token_is_answered_as_the_first_time"
_STALE_DELETE = "test_a_stale_receipt_does_not_delete_the_redelivered_message"
_STALE_VISIBILITY = "test_a_stale_receipt_does_not_change_the_visibility_of_the_redelivered_message"
_CHECKSUM = "test_a_body_that_is_not_what_its_checksum_says_is_not_stored"
_ABORTED = "test_an_aborted_upload_is_gone_and_aborting_again_is_no_error"
_ABORTED_PART = "test_a_part_of_an_aborted_upload_is_an_outage"
_KEYS = "test_what_was_put_is_read"
_CANCELLED = "test_a_cancelled_run_stops_and_cancelling_it_again_is_no_error"

LIES: Final = (
    Lie("emulator", "completes an upload with a small part before the last", "EntityTooSmall",
        ("test_a_small_part_before_the_last_completes_nothing",)),
    Lie("emulator", "sorts parts that are out of order", "InvalidPartOrder", (_ORDER,)),
    Lie("emulator", "completes an upload with an empty part list", "MalformedXML", (_NO_PARTS,)),
    Lie("emulator", "completes an upload again and again", "success for a while, then NoSuchUpload", (_TWICE,)),
    Lie("emulator", "ignores the expected bucket owner", "AccessDenied", (_OWNER,)),
    Lie("emulator", "hides a message for more than 12 hours", "InvalidParameterValue", (_HALF_DAY,)),
    Lie("seaweedfs", "completes an upload with an empty part list", "MalformedXML", (_NO_PARTS,)),
    Lie("seaweedfs", "ignores the total size that completing tells", "InvalidRequest", (_SIZE,)),
    Lie("seaweedfs", "completes an upload again and again", "success for a while, then NoSuchUpload", (_TWICE,)),
    Lie("seaweedfs", "ignores the expected bucket owner", "AccessDenied", (_OWNER,)),
    Lie("seaweedfs", "answers AccessDenied to a PUT into a bucket that isn't there", "NoSuchBucket",
        ("test_a_missing_bucket_is_a_usage_error_that_names_it",)),
    Lie("seaweedfs", "keys are paths: no part over 255 bytes, none called `.`", "keys of 1,024 bytes of anything",
        (f"{_KEYS}[longest]", f"{_KEYS}[longest-in-bytes]", f"{_KEYS}[dot]")),
    Lie("seaweedfs", "an object whose key ends in a slash is read as empty", "its content", (f"{_KEYS}[slashes]",)),
    Lie("elasticmq", "hides a message for more than 12 hours", "InvalidParameterValue", (_HALF_DAY,)),
    Lie("elasticmq", "takes messages up to 256 KiB", "1 MiB",
        ("test_the_largest_message_is_taken_and_several_large_ones_at_once",)),
    Lie("elasticmq", "doesn't tell a queue's retention", "MessageRetentionPeriod",
        ("test_traits_tell_visibility_and_redrive_policy",)),
    Lie("moto", "TransactWriteItems isn't atomic under concurrency", "all or nothing, serialisable", (_RACE,)),
    Lie("moto", "ignores ClientRequestToken", "the first answer again, for 10 minutes", (_TOKEN,)),
    Lie("moto", "stores bodies that aren't what their checksum says", "BadDigest",
        (_CHECKSUM, "test_wrong_parts_complete_nothing[checksum]")),
    Lie("moto", "sorts parts that are out of order", "InvalidPartOrder", (_ORDER,)),
    Lie("moto", "ignores the total size that completing tells", "InvalidRequest", (_SIZE,)),
    Lie("moto", "completes an upload again and again", "success for a while, then NoSuchUpload", (_TWICE,)),
    Lie("moto", "answers 500 for an upload that was aborted", "NoSuchUpload", (_ABORTED, _ABORTED_PART)),
    Lie("moto", "ignores the expected bucket owner", "AccessDenied", (_OWNER,)),
    Lie("moto", "an outdated receipt deletes the message that somebody else holds", "the message stays",
        (_STALE_DELETE,)),
    Lie("moto", "an outdated receipt changes the visibility of the message that somebody else holds",
        "the message stays as it is", (_STALE_VISIBILITY,)),
    Lie("moto", "EMR Serverless ignores clientToken: a repeated start is a second run", "the first run again",
        ("test_a_second_start_of_the_same_attempt_is_its_first_run[emr-serverless]",)),
    Lie("moto", "EMR Serverless job runs have succeeded when they are started", "SUBMITTED … RUNNING, SUCCESS",
        ("test_a_run_that_was_started_is_at_work[emr-serverless]",)),
    Lie("moto", "a cluster's first step is RUNNING for ever, the others PENDING", "COMPLETED when its command ends",
        ("test_a_run_ends_with_success[emr]",)),
    Lie("moto", "DescribeStep answers nothing for a step that isn't there", "InvalidRequestException",
        ("test_a_run_that_never_was_is_gone[emr]",)),
    Lie("moto", "500 for a cluster that isn't there", "InvalidRequestException",
        ("test_an_engine_that_is_not_there_starts_nothing_and_says_why[emr]",
         "test_an_engine_that_is_not_there_is_told_at_start_with_the_remedy[emr]")),
    Lie("moto", "ListJobRuns doesn't know an application that never had a run", "no runs",
        ("test_an_engine_that_is_there_passes_the_check_at_start[emr-serverless]",)),
    Lie("moto", "has no BatchStopJobRun (Glue) and no CancelSteps (EMR)", "the run stops",
        (f"{_CANCELLED}[glue]", f"{_CANCELLED}[emr]")),
)  # fmt: skip

_EXPECTED: Final = {item: lie for lie in LIES for item in lie.items}


def lie_of(item: str) -> Lie | None:
    """Why the test of this name must fail, if it must."""
    return _EXPECTED.get(item)


def table() -> str:
    """The table of docs/emulators.md."""
    rows = [
        f"| {lie.where} | {lie.does} | {lie.aws} | {', '.join(f'`{test}`' for test in lie.tests)} |" for lie in LIES
    ]
    return "\n".join(["| implementation | does | AWS | fails there |", "|---|---|---|---|", *rows])


if __name__ == "__main__":
    print(table())  # noqa: T201
