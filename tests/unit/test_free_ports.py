"""Programs that choose ports at the same time, each to listen there seconds later."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from services.engines.objects import development
from tests.support.processes import ROOT

COUNT = 300  # of 10,000: by chance alone, two choices have nine in common
CHOOSES = f"""
from services.engines.objects import development
print(*development.free_ports({COUNT}), flush=True)
input()
"""


def test_no_two_of_them_choose_the_same_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """A SeaweedFS ended at once, and its tests used that of another run, until that one ended."""
    reserved: list[socket.socket] = []
    monkeypatch.setattr(development, "_reserved", reserved)
    command = [sys.executable, "-c", CHOOSES]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        theirs = {int(port) for port in other.stdout.readline().split()}
        ours = set(development.free_ports(COUNT))
        assert len(theirs) == len(ours) == COUNT
        assert not theirs & ours
        other.communicate("\n", timeout=120)
    for name in reserved:
        name.close()
