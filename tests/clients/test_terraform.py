"""terraform keeps its state in each of our two ways, behind a lock: over HTTP with every version that is
installed, over S3 with the newest, since versions before 1.10 have no lock there.
"""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.clients.programs import run
from tests.clients.test_s3 import boto3_client, opened
from tests.conftest import StartServer
from tests.support.programs import need

ENV = {"CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1"}
OUTPUT = 'output "a" { value = "1" }\n'


@cache
def versions() -> dict[tuple[int, ...], str]:
    """The path of each terraform on PATH, by version, the newest last. Skips the test if there is none."""
    folders = [Path(need("terraform")).parent, *map(Path, os.environ.get("PATH", "").split(os.pathsep))]
    found = {}
    for program in (folder / "terraform" for folder in folders):
        if os.access(program, os.X_OK):
            first = run(program, "version", env=ENV)[0].splitlines()[0]
            found[tuple(int(n) for n in first.removeprefix("Terraform v").split("-")[0].split("."))] = str(
                program
            )
    return dict(sorted(found.items()))


def apply(program: str, folder: Path, env: dict[str, str], *flags: str, expect: int = 0) -> tuple[str, str]:
    return run(program, "apply", "-input=false", "-auto-approve", *flags, cwd=folder, env=env, expect=expect)


def test_the_state_is_kept_over_http_behind_a_lock(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server("--put-creates")
    for version, program in versions().items():
        folder = tmp_path / ".".join(map(str, version))
        folder.mkdir()
        path = f"/store/tf/{folder.name}"
        target = f"http://127.0.0.1:{server.port}{path}"
        places = "".join(
            f'    {name} = "{target}"\n' for name in ("address", "lock_address", "unlock_address")
        )
        text = f'terraform {{\n  backend "http" {{\n{places}    update_method = "PUT"\n  }}\n}}\n'
        (folder / "main.tf").write_text(text + OUTPUT)
        run(program, "init", "-input=false", cwd=folder, env=ENV)
        apply(program, folder, ENV)
        assert json.loads(server.ask("GET", path).body)["serial"] >= 0
        assert server.ask("LOCK", path, b'{"ID": "another"}').status == 200
        _, told = apply(program, folder, ENV, expect=1)
        assert "lock" in told.lower()
        assert server.ask("UNLOCK", path, b'{"ID": "another"}').status == 200
        apply(program, folder, ENV)


def test_the_state_is_kept_over_s3_behind_a_lock(tmp_path: Path) -> None:
    version, program = list(versions().items())[-1]
    if version < (1, 10):
        pytest.skip("terraform 1.10, the first with a lock in S3, is not installed")
    with opened(tmp_path) as door:
        env = {**ENV, **door.env}
        skipped = "".join(
            f"    skip_{name} = true\n"
            for name in ("credentials_validation", "requesting_account_id", "metadata_api_check")
        )
        (tmp_path / "main.tf").write_text(
            f'''terraform {{
  backend "s3" {{
    bucket = "bkt"
    key = "prod/state"
    region = "us-east-1"
    endpoints = {{ s3 = "{door.url}" }}
    use_path_style = true
    use_lockfile = true
{skipped}  }}
}}
{OUTPUT}'''
        )
        run(program, "init", "-input=false", cwd=tmp_path, env=env)
        apply(program, tmp_path, env)
        s3: Any = boto3_client(door)
        assert keys(s3) == ["prod/state"]  # the lock is given back
        lock = {
            "ID": "another",
            "Operation": "OperationTypeApply",
            "Who": "ann@host",
            "Path": "bkt/prod/state",
        }
        s3.put_object(Bucket="bkt", Key="prod/state.tflock", Body=json.dumps(lock).encode())
        _, told = apply(program, tmp_path, env, expect=1)
        assert ("PreconditionFailed" in told, "ann@host" in told) == (True, True), told
        assert len(keys(s3)) == 2  # it took nobody's lock away
        run(program, "force-unlock", "-force", "another", cwd=tmp_path, env=env)
        apply(program, tmp_path, env)
        run(program, "workspace", "new", "dev", cwd=tmp_path, env=env)
        apply(program, tmp_path, env)
        assert keys(s3) == ["env:/dev/prod/state", "prod/state"]


def keys(s3: Any) -> list[str]:
    return [one["Key"] for one in s3.list_objects_v2(Bucket="bkt").get("Contents", [])]
