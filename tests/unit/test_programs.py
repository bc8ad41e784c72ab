"""What a test run says about programs that are missing."""

from __future__ import annotations

import pytest

from tests.support import programs


def test_what_lacks_is_counted_and_one_command_installs_it() -> None:
    reasons = [
        *("Skipped: promtool is not installed", "caddy is not installed", "promtool is not installed"),
        "Skipped: only root may make devices",
    ]
    assert programs.lacking(reasons) == (
        "3 tests were skipped for lack of programs: caddy (1), promtool (2).\n"
        "To run them: sudo apt-get install caddy prometheus"
    )
    assert programs.lacking(["Skipped: only root may make devices"]) == ""


def test_a_program_that_the_table_does_not_name_is_a_mistake_of_the_test() -> None:
    with pytest.raises(LookupError, match=r"programs\.txt"):
        programs.find("no-such-program")
    assert programs.packages()["aria2c"] == "aria2"
