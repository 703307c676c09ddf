"""What is written of measurements: the book, the page, pictures, and ratios of two states."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.bench.book import Entry, entry_of, keep, read_book
from tests.bench.compare import ratios, shows
from tests.bench.judging import IDLE, Result, Spread
from tests.bench.pages import BY_HAND, title, write_page
from tests.bench.product import Product
from tests.support.drawing import course, histogram


def entry(p99_ms: float, *, lost: int = 0, idle: float = 50.0) -> Entry:
    result = Result(figures={"lateness p99 ms": p99_ms, IDLE: idle})
    result.faults["lost"] = ["a"] * lost
    result.lateness_ms.update([3, 3, 500])
    result.course = {0: 3, 2: 500}
    return entry_of("cluster", "steady", [result], {"machine": "small"}, "run.py steady")


def test_a_book_is_read_as_it_was_written_and_keeps_one_entry_of_each_kind(tmp_path: Path) -> None:
    book = tmp_path / "benchmarks.json"
    keep(entry(7.0), book)
    keep(entry(8.0), book)
    assert read_book(book) == [entry(8.0)]
    assert read_book(tmp_path / "absent") == []


def test_a_page_holds_the_goals_and_leaves_what_people_wrote(tmp_path: Path) -> None:
    (tmp_path / "benchmarks.md").write_text(f"Old figures.\n{BY_HAND}\n## Notes\n\nOurs.\n")
    write_page(tmp_path, [entry(51.0, lost=2)])
    text = (tmp_path / "benchmarks.md").read_text()
    assert "| cluster: steady, lateness p99 ms | 50 | 51 | **no** |" in text
    assert "| lost, all runs | 0 | 2 | **no** |" in text
    assert "not measured" in text
    assert text.endswith(f"{BY_HAND}\n## Notes\n\nOurs.\n")
    assert "Old figures" not in text
    assert (tmp_path / "images" / "bench-cluster-steady-lateness.svg").exists()


def test_a_full_machine_is_named_in_the_title_and_in_the_goal(tmp_path: Path) -> None:
    full = entry(51.0, idle=4.0)
    assert title(full) == "cluster: steady, 1 run, SATURATED in 1"
    write_page(tmp_path, [full])
    assert "**no**, machine saturated" in (tmp_path / "benchmarks.md").read_text()


def test_figures_that_a_repetition_lacks_are_left_out() -> None:
    runs = [Result(figures={"a": 1.0, "b": 2.0}), Result(figures={"a": 3.0})]
    spreads = entry_of("dev", "steady", runs, {}, "").spreads()
    assert spreads == {"a": Spread(1.0, 2.0, 3.0)}


def test_a_histogram_has_a_bar_for_each_millisecond_that_occurred() -> None:
    drawn = histogram({0: 2, 3: 1, 500: 1}, [("p50", 0.0)], "words")
    assert drawn.count("<rect x=") == 3
    assert "60+" in drawn


def test_a_course_has_a_bar_for_each_second_and_a_line_for_each_mark() -> None:
    drawn = course({0: 5, 2: 900}, [("killed", 1.0)], "words", "second")
    assert drawn.count("<rect x=") == 2
    assert "killed" in drawn
    assert "900" in drawn


def test_ratios_are_taken_pair_by_pair_of_figures_that_all_runs_have() -> None:
    base = [{"cpu": 100.0, "none": 0.0, "old": 1.0}, {"cpu": 200.0, "none": 0.0, "old": 1.0}]
    here = [{"cpu": 50.0, "none": 1.0}, {"cpu": 150.0, "none": 1.0}]
    assert ratios(base, here) == {"cpu": Spread(0.5, 0.625, 0.75)}


def test_a_ratio_shows_something_only_when_all_pairs_agree() -> None:
    spreads = (Spread(0.5, 0.7, 0.9), Spread(0.9, 1.0, 1.1), Spread(1.01, 1.5, 2.0))
    assert [shows(each) for each in spreads] == ["less", "", "more"]


def test_an_interpreter_is_asked_itself_how_fast_it_is() -> None:
    said = Product(python=sys.executable).interpreter()
    version = ".".join(map(str, sys.version_info[:3]))
    assert said.startswith(f"Python {version} (")
    assert "ns for a step" in said
