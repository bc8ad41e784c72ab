"""Through no front end does a client get what another denies it: every role and action, at every door."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError

from services.access import file as access_file
from services.access.decisions import Action, Client, Everybody, Role
from services.access.secret_hash import NoSecret, hash_token
from tests.conftest import StartServer
from tests.support.processes import Server

SECRET = "a-secret-of-s3-that-is-long-enough"
TOKEN = "token-of-"
CLIENTS = [
    access_file.make_client(name, role, prefix, hash_token(TOKEN + name), SECRET)
    for name, role, prefix in (
        ("reader", "read-only", ""),
        ("appender", "append-only", ""),
        ("writer", "read-write", ""),
        ("team", "read-write", "restic/team/"),
        ("teamreader", "read-only", "restic/team/"),
        ("teamadder", "append-only", "restic/team/"),
    )
]
NOBODY = Everybody("-", Role.READ_ONLY, "", NoSecret(), public=("restic/open/",))
REPOSITORIES = ("team", "other", "open")
ACTIONS = ("read", "list", "create", "update", "delete", "copy")


def needs(action: str, location: str) -> list[tuple[Action, str]]:
    """What a client must be allowed."""
    folder = location.rpartition("/")[0] + "/"
    return {
        "read": [(Action.READ, location)],
        "list": [(Action.READ, folder)],
        "create": [(Action.CREATE, location)],
        "update": [(Action.UPDATE, location)],
        "delete": [(Action.DELETE, location)],
        "copy": [(Action.READ, "restic/other/data/" + "0" * 64), (Action.CREATE, location)],
    }[action]


def native(server: Server, client: Client, action: str, location: str, body: bytes) -> bool:
    fields = {} if client is NOBODY else {"Authorization": f"Bearer {TOKEN}{client.name}"}
    target, source = f"/store/{location}", {"Blob-Copy-From": "/store/restic/other/data/" + "0" * 64}
    folder = target.rpartition("/")[0] + "/"
    asked = {
        "read": ("GET", target, None, fields),
        "list": ("GET", folder, None, fields),
        "create": ("POST", target, body, fields),
        "update": ("PUT", target, body, fields),
        "delete": ("DELETE", target, None, fields),
        "copy": ("POST", target, None, {**fields, **source}),
    }[action]
    return judged(server.ask(*asked).status)


def restic(server: Server, client: Client, action: str, location: str, body: bytes) -> bool | None:
    if action in ("update", "copy"):
        return None  # there is no such thing in its protocol
    fields = {} if client is NOBODY else {"Authorization": f"Bearer {TOKEN}{client.name}"}
    method = {"read": "GET", "list": "GET", "create": "POST", "delete": "DELETE"}[action]
    target = f"/{location.rpartition('/')[0]}/" if action == "list" else f"/{location}"
    return judged(server.ask(method, target, body if action == "create" else None, fields).status)


def s3(server: Server, client: Client, action: str, location: str, body: bytes) -> bool:
    signed = {"aws_access_key_id": client.name, "aws_secret_access_key": SECRET}
    how: dict[str, Any] = {"retries": {"total_max_attempts": 1}, "s3": {"addressing_style": "path"}}
    if client is NOBODY:
        signed, how["signature_version"] = {}, UNSIGNED
    asking: Any = boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{server.port}/s3",
        region_name="us-east-1",
        config=Config(**how),
        **signed,
    )
    bucket, _, key = location.partition("/")
    at = {"Bucket": bucket, "Key": key}
    source = {"Bucket": bucket, "Key": "other/data/" + "0" * 64}
    do: dict[str, Callable[[], Any]] = {
        "read": lambda: asking.get_object(**at)["Body"].read(),
        "list": lambda: asking.list_objects_v2(Bucket=bucket, Prefix=key.rpartition("/")[0] + "/"),
        "create": lambda: asking.put_object(**at, Body=body),
        "update": lambda: asking.put_object(**at, Body=body),
        "delete": lambda: asking.delete_object(**at),
        "copy": lambda: asking.copy_object(**at, CopySource=source),
    }
    try:
        do[action]()
    except ClientError as err:
        return judged(err.response["ResponseMetadata"]["HTTPStatusCode"])
    return True


def judged(status: int) -> bool:
    assert status in (200, 201, 204, 401, 403), status
    return status < 400


@pytest.mark.parametrize("door", [native, restic, s3], ids=lambda door: door.__name__)
def test_a_door_lets_in_whom_the_rules_do(
    start_server: StartServer,
    tmp_path: Path,
    door: Callable[[Server, Client, str, str, bytes], bool | None],
) -> None:
    keys = tmp_path / "keys"
    keys.write_text("".join(map(access_file.entry_text, CLIENTS)))
    keys.chmod(0o600)
    server = start_server(
        *("--auth-file", str(keys), "--s3-path", "/s3", "--restic", "--public", "restic/open/"),
        *("--small-body-bytes", "0"),
    )
    owner = {"Authorization": f"Bearer {TOKEN}writer"}
    source = "/store/restic/other/data/" + "0" * 64
    assert server.ask("POST", source, b"source", owner).status == 201
    tried = 0
    for client in (*CLIENTS, NOBODY):
        for repository in REPOSITORIES:
            for action in ACTIONS:
                body = os.urandom(20)
                location = f"restic/{repository}/data/{hashlib.sha256(body).hexdigest()}"
                if action not in ("create", "copy"):
                    assert server.ask("POST", f"/store/{location}", body, owner).status == 201
                found = door(server, client, action, location, body)
                right = all(client.may(*need) for need in needs(action, location))
                if found is not None:
                    assert found == right, (client.name, repository, action)
                    tried += 1
                there = server.ask("GET", f"/store/{location}", None, owner)
                if found is not None and action in ("create", "copy"):
                    assert (there.status == 200) == right
                elif found is not None and action == "delete":
                    assert (there.status == 404) == right
    assert tried == 7 * 3 * (4 if door is restic else 6)
