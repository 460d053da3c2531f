from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks import __main__ as command
from benchmarks.runs import Result
from benchmarks.tables import Measured, as_markdown, conclusions, rows

MINE = Result("headsaw native", False, "", "1", 300.0, 290.0, 200 << 20, 10_000_000)
FAST = Result("polars", True, "wrong: 12 rows missing", "2", 200.0, 150.0, 100 << 20, 8_000_000)
SLOW = Result("duckdb", True, "", "2", 100.0, 90.0, 100 << 20, 5_000_000)
FAILED = Result("pyarrow", True, "fails: Error")


def test_a_wrong_answers_speed_stands_in_brackets_and_a_failure_has_none() -> None:
    cells = {row[0]: row for row in rows(Measured("", [MINE, FAST, FAILED], [MINE, FAST, FAILED]))}
    assert cells["headsaw native"][1] == "300"
    assert cells["polars"][1] == "(200)"
    assert cells["polars"][-1] == "wrong: 12 rows missing"
    assert cells["pyarrow"][1:5] == ("–",) * 4


def test_answers_that_differ_between_plain_and_gzip_are_told_apart() -> None:
    (cells,) = rows(Measured("", [SLOW], [replace(SLOW, fault="no gzip")]))
    assert cells[-1] == "plain: right; gzip: no gzip"


def test_the_comparison_names_the_fastest_peer_and_the_fastest_right_one() -> None:
    (told,) = conclusions(Measured("", [MINE, FAST, SLOW, FAILED], []))
    assert told == (
        "plain: 1.50 × the fastest peer's MB/CPU-s (polars, wrong), 3.00 × the fastest right one's (duckdb); "
        "output 1.25 × the fastest's, 2.00 × the smallest (duckdb)"
    )


def test_the_best_round_counts_and_the_highest_peak() -> None:
    best = MINE.best(replace(MINE, mb_per_cpu_second=310.0, mb_per_second=1.0, peak_bytes=1))
    assert (best.mb_per_cpu_second, best.mb_per_second, best.peak_bytes) == (310.0, 290.0, 200 << 20)


def test_what_is_written_replaces_what_stands_between_the_marks_alone(tmp_path: Path) -> None:
    path = tmp_path / "benchmarks.md"
    path.write_text(f"before\n{command.BEGIN}\nold\n{command.END}\nafter\n")
    command._write(path, as_markdown(("a", "b", "c"), [("1", "2", "x|y")]))
    assert path.read_text() == (
        f"before\n{command.BEGIN}\n| a | b | c |\n|---|---:|---|\n| 1 | 2 | x\\|y |\n\n{command.END}\nafter\n"
    )


def test_a_file_without_the_marks_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.md"
    path.write_text("nothing")
    with pytest.raises(SystemExit, match="lacks the marks"):
        command._write(path, "text")
    assert path.read_text() == "nothing"
