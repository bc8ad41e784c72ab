"""`python -m tests.s3.conformance --suite DIR --names FILE`: ceph/s3-tests against a real server.

The suite is not part of this project: DIR is a checkout of it, FILE has the ids of the tests to run, one a
line, and PYTHON (by default `.venv/bin/python` in DIR) has what the suite requires. Flags that are not known
here are the server's. Exit status 0: enough of them pass, and those that fail are those of docs/s3.md.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support.processes import ROOT, Server
from tests.support.rules import DataDirectory
from tests.support.tools import tool

LEAST = 151  # of 161, which is what was asked for
USERS = ("main", "alt", "tenant", "iam", "root")
SECTIONS = ("s3 main", "s3 alt", "s3 tenant", "iam", "iam root", "iam alt root")
_RESULT = re.compile(r"^(PASSED|FAILED|ERROR) \S*::(\w+)", re.MULTILINE)


def documented(text: str) -> set[str]:
    """The tests that docs/s3.md says fail: those in the first column of the table of its last chapter."""
    chapter = text.partition("\n## Conformance\n")[2]
    rows = [line.split("|")[1] for line in chapter.splitlines() if line.startswith("| `")]
    return {name for row in rows for name in re.findall(r"`(\w+)`", row)}


def configuration(port: int, secrets: dict[str, str]) -> str:
    """That of the suite. It wants six users; all buckets have one owner here."""
    lines = ["[DEFAULT]", "host = 127.0.0.1", f"port = {port}", "is_secure = False", "ssl_verify = False"]
    lines += ["[fixtures]", "bucket prefix = bk-{random}-"]
    lines += ["iam name prefix = bk-", "iam path prefix = /bk/"]
    for section in SECTIONS:
        user = next(name for name in reversed(USERS) if name in section)
        lines += [f"[{section}]", "display_name = blobkeep", "user_id = blobkeep", "email = a@example.com"]
        lines += [f"access_key = {user}", f"secret_key = {secrets[user]}", "tenant = t", "api_name ="]
    return "\n".join(lines) + "\n"


def run(suite: Path, python: str, names: list[str], flags: list[str]) -> dict[str, bool]:
    """Whether each test passes, by its name."""
    with tempfile.TemporaryDirectory() as root:
        keys = Path(root) / "keys"
        secrets = {}
        for name in USERS:
            said = tool("access", "add", name, "--s3", "--file", keys).out
            secrets[name] = said.split("secret access key:")[1].split()[0]
        data = DataDirectory(Path(root) / "data")
        ours = ["--auth-file", str(keys), "--s3-hosts", "127.0.0.1", "--public", "bk-", "--id-bits", "32"]
        server = Server(data.path, *ours, *flags)
        try:
            conf = Path(root) / "s3tests.conf"
            conf.write_text(configuration(server.port, secrets))
            done = subprocess.run(
                [python, "-m", "pytest", "-q", "-rA", "--tb=no", "-p", "no:cacheprovider", *names],
                cwd=suite,
                env={
                    **os.environ,
                    "S3TEST_CONF": str(conf),
                    "AWS_MAX_ATTEMPTS": "1",
                    "BOTO_DISABLE_CRT": "true",
                },
                capture_output=True,
                text=True,
            )
        finally:
            server.end()
    found = {name: result == "PASSED" for result, name in _RESULT.findall(done.stdout)}
    if not found:
        sys.exit(f"The suite did not run:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return found


def main() -> int:
    """See the module docstring."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--suite", type=Path, required=True)
    parser.add_argument("--names", type=Path, required=True)
    parser.add_argument("--python")
    options, flags = parser.parse_known_args()
    names = [line for line in options.names.read_text().split() if "::" in line]
    python = options.python or str(options.suite.resolve() / ".venv/bin/python")
    found = run(options.suite, python, names, flags)
    failed = {name for name, passed in found.items() if not passed}
    known = documented((ROOT / "docs/s3.md").read_text())
    counts = f"{len(found) - len(failed)} of {len(names)} pass, at least {LEAST} must"
    print(counts)  # noqa: T201
    print(f"failed, not in docs/s3.md: {sorted(failed - known)}")  # noqa: T201
    print(f"in docs/s3.md, but passed: {sorted(known - failed)}")  # noqa: T201
    return int(failed != known or len(found) != len(names) or len(found) - len(failed) < LEAST)


if __name__ == "__main__":
    sys.exit(main())
