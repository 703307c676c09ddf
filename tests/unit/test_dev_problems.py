"""What `timeball dev` says about settings that it cannot run with."""

from __future__ import annotations

from pathlib import Path

import pytest

from timeball_server.dev.problems import address_problems, file_problems


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("127.0.0.1", "write host:port"),
        (":7466", "write host:port"),
        ("127.0.0.1:http", "write host:port"),
        ("127.0.0.1:-1", "write host:port"),
        ("127.0.0.1:", "write host:port"),
        ("127.0.0.1:65536", "from 0 to 65535"),
        ("0.0.0.0:7466", "other machines"),
        ("[::]:7466", "other machines"),
        ("example.org:7466", "other machines"),
    ],
)
def test_an_address_that_cannot_be_meant_is_refused(address: str, words: str) -> None:
    (problem,) = address_problems(address)
    assert words in problem


@pytest.mark.parametrize("address", ["127.0.0.1:0", "localhost:65535", "[::1]:7466"])
def test_a_loopback_address_is_fine(address: str) -> None:
    assert list(address_problems(address)) == []


def test_files_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    inside = tmp_path / "file" / "dev.db"
    nowhere = tmp_path / "nowhere" / "starts"
    problems = list(file_problems(inside, {"--start-log": nowhere, "--ready-file": None}))
    assert [problem.partition(":")[0] for problem in problems] == ["--data", "--start-log"]
    assert all("is not a folder" in problem for problem in problems)


def test_the_folder_of_the_data_may_come_later(tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b" / "dev.db"
    assert list(file_problems(deep, {"--start-log": tmp_path / "starts"})) == []
    assert not deep.parent.exists()
