"""`python -m coordinator` says what to run instead, and does not pretend to start."""

from __future__ import annotations

import runpy

import pytest


def test_it_names_the_command_that_works(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        runpy.run_module("coordinator", run_name="__main__")
    assert caught.value.code == 2
    assert "timeball dev" in capsys.readouterr().err
