"""All front ends allow a client the same: every role and every action, through every front end."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import msgspec
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError

from services.access import file as access_file
from services.access import links
from services.access.decisions import Action, Client, Everybody, Role
from services.access.links import LinkHolder
from services.access.secret_hash import NoSecret, hash_token
from tests.http.conftest import shared_server
from tests.support.processes import Answer, Server

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
ACTIONS = ("read", "list", "create", "update", "delete", "copy", "move")
SOURCE = "restic/other/data/" + "0" * 64  # the target of copies and moves: outside of every client's prefix
LINK_KEY = access_file.make_link_key()


def needs(action: str, location: str) -> list[tuple[Action, str]]:
    """What a client must be allowed to do."""
    folder = location.rpartition("/")[0] + "/"
    return {
        "read": [(Action.READ, location)],
        "list": [(Action.READ, folder)],
        "create": [(Action.CREATE, location)],
        "update": [(Action.UPDATE, location)],
        "delete": [(Action.DELETE, location)],
        "copy": [(Action.READ, SOURCE), (Action.CREATE, location)],
        "move": [(Action.READ, SOURCE), (Action.DELETE, SOURCE), (Action.CREATE, location)],
    }[action]


def ask(
    server: Server,
    client: Client,
    method: str,
    target: str,
    body: bytes | None = None,
    fields: dict[str, str] | None = None,
) -> Answer:
    """One request of the client, with its token, with its link, or with neither."""
    if isinstance(client, LinkHolder):
        target += "?" + links.query(LINK_KEY, client.kind, client.location, int(time.time()) + 600)
        who = {}
    else:
        who = {} if client is NOBODY else {"Authorization": f"Bearer {TOKEN}{client.name}"}
    return server.ask(method, target, body, {**who, **(fields or {})})


def native(server: Server, client: Client, action: str, location: str, body: bytes) -> bool:
    target, source = f"/store/{location}", f"/store/{SOURCE}"
    method, at, sent, fields = {
        "read": ("GET", target, None, {}),
        "list": ("GET", folder_of(target), None, {}),
        "create": ("POST", target, body, {}),
        "update": ("PUT", target, body, {}),
        "delete": ("DELETE", target, None, {}),
        "copy": ("POST", target, None, {"Blob-Copy-From": source}),
        "move": ("POST", target, None, {"Blob-Move-From": source}),
    }[action]
    return judged(ask(server, client, method, at, sent, fields).status)


def folder_of(path: str) -> str:
    return path.rpartition("/")[0] + "/"


def webdav(server: Server, client: Client, action: str, location: str, body: bytes) -> bool | None:
    """MKCOL makes nothing. LOCK needs the same right as an update."""
    target = f"/store/{location}"
    asked = {
        "read": ("PROPFIND", target, None),
        "list": ("PROPFIND", folder_of(target), None),
        "create": ("MKCOL", target, None),
        "update": ("LOCK", target, b'{"ID": "a"}'),
    }
    if action not in asked:
        return None
    found = judged(ask(server, client, *asked[action]).status)
    if action == "update":
        assert judged(ask(server, client, "UNLOCK", target).status) == found
    return found


def ticket(server: Server, client: Client, action: str, location: str, body: bytes) -> bool | None:
    """The download links by which a browser saves a blob."""
    if action != "read":
        return None
    answer = ask(server, client, "POST", f"/tickets/{location}")
    if judged(answer.status):
        assert server.ask("GET", "/" + json.loads(answer.body)["url"]).body == body
    return answer.status < 400


def by_id(server: Server, client: Client, action: str, location: str, body: bytes) -> bool | None:
    """Reading a blob's bytes by its id, and undeleting it."""
    if action not in ("read", "create", "update"):
        return None
    owner = CLIENTS[2]
    if action == "create":
        assert ask(server, owner, "POST", f"/store/{location}", body).status == 201
    blob_id = ask(server, owner, "HEAD", f"/store/{location}").headers["blob-id"]
    if action == "read":
        return judged(ask(server, client, "GET", f"/blobs/{blob_id}/data").status)
    assert ask(server, owner, "DELETE", f"/store/{location}").status == 200
    if action == "update":
        assert ask(server, owner, "POST", f"/store/{location}", b"other").status == 201
    replaces = "?replace" if action == "update" and not isinstance(client, LinkHolder) else ""
    return judged(ask(server, client, "POST", f"/blobs/{blob_id}/undelete{replaces}").status)


def restic(server: Server, client: Client, action: str, location: str, body: bytes) -> bool | None:
    if action in ("update", "copy", "move"):
        return None  # its protocol does not have this
    method = {"read": "GET", "list": "GET", "create": "POST", "delete": "DELETE"}[action]
    target = folder_of(f"/{location}") if action == "list" else f"/{location}"
    return judged(ask(server, client, method, target, body if action == "create" else None).status)


def s3_parts(server: Server, client: Client, action: str, location: str, body: bytes) -> bool | None:
    """The same with an upload in parts."""
    if action not in ("create", "update", "copy"):
        return None
    asking = client_of_s3(server, client)
    bucket, _, key = location.partition("/")
    at = {"Bucket": bucket, "Key": key}
    try:
        upload = {**at, "UploadId": asking.create_multipart_upload(**at)["UploadId"]}
        if action == "copy":
            source = {"Bucket": bucket, "Key": SOURCE.partition("/")[2]}
            part = asking.upload_part_copy(**upload, PartNumber=1, CopySource=source)["CopyPartResult"]
        else:
            part = asking.upload_part(**upload, PartNumber=1, Body=body)
        named = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
        asking.complete_multipart_upload(**upload, MultipartUpload=named)
    except ClientError as err:
        return judged(err.response["ResponseMetadata"]["HTTPStatusCode"])
    return True


def s3(server: Server, client: Client, action: str, location: str, body: bytes) -> bool | None:
    if action == "move":
        return None
    asking = client_of_s3(server, client)
    bucket, _, key = location.partition("/")
    at = {"Bucket": bucket, "Key": key}
    source = {"Bucket": bucket, "Key": SOURCE.partition("/")[2]}
    do: dict[str, Callable[[], Any]] = {
        "read": lambda: asking.get_object(**at)["Body"].read(),
        "list": lambda: asking.list_objects_v2(Bucket=bucket, Prefix=folder_of(key)),
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


def s3_others(server: Server, client: Client, action: str, location: str, body: bytes) -> bool | None:
    """Other requests for the same: attributes, versions, and DeleteObjects, whose answer contains the
    refusal.
    """
    asking = client_of_s3(server, client)
    bucket, _, key = location.partition("/")
    try:
        if action == "read":
            asking.get_object_attributes(Bucket=bucket, Key=key, ObjectAttributes=["ETag"])
        elif action == "list":
            asking.list_object_versions(Bucket=bucket, Prefix=folder_of(key))
        elif action == "delete":
            told = asking.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key}]})
            return [one["Code"] for one in told.get("Errors", ())] != ["AccessDenied"]
        else:
            return None
    except ClientError as err:
        return judged(err.response["ResponseMetadata"]["HTTPStatusCode"])
    return True


@functools.lru_cache(32)
def client_of_s3(server: Server, client: Client) -> Any:
    signed = {"aws_access_key_id": client.name, "aws_secret_access_key": SECRET}
    how: dict[str, Any] = {"retries": {"total_max_attempts": 1}, "s3": {"addressing_style": "path"}}
    if client is NOBODY:
        signed, how["signature_version"] = {}, UNSIGNED
    return boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{server.port}/s3",
        region_name="us-east-1",
        config=Config(**how),
        **signed,
    )


def judged(status: int) -> bool:
    assert status in (200, 201, 204, 207, 401, 403), status
    return status < 400


DOORS: dict[Callable[..., bool | None], int] = {
    native: 7,
    webdav: 4,
    ticket: 1,
    by_id: 3,
    restic: 4,
    s3: 6,
    s3_parts: 3,
    s3_others: 3,
}
"""Each with how many of the actions it has."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    keys = tmp_path_factory.mktemp("matrix") / "keys"
    text = "".join(map(access_file.entry_text, CLIENTS)) + f'[links]\nkey = "{LINK_KEY}"\n'
    keys.write_text(text)
    keys.chmod(0o600)
    yield from shared_server(
        tmp_path_factory,
        "blobkeep",
        *("--auth-file", str(keys), "--s3-path", "/s3", "--restic", "--public", "restic/open/"),
        *("--small-body-bytes", "0", "--keep-deleted", "600"),
    )


def tried(server: Server, door: Callable[..., bool | None], client: Client, action: str, where: str) -> bool:
    """True if the front end has this action. Asserts that it does what the rules allow `client`, and
    nothing else.
    """
    owner, body = CLIENTS[2], os.urandom(20)
    if where != "link":
        location = f"restic/{where}/data/{hashlib.sha256(body).hexdigest()}"
    else:
        assert isinstance(client, LinkHolder)
        location = f"restic/other/data/{hashlib.sha256(body).hexdigest()}"
        client = msgspec.structs.replace(client, location=location)
    if action not in ("create", "copy", "move"):
        assert ask(server, owner, "POST", f"/store/{location}", body).status == 201
    if ask(server, owner, "HEAD", f"/store/{SOURCE}").status == 404:
        assert ask(server, owner, "POST", f"/store/{SOURCE}", b"source").status == 201
    found = door(server, client, action, location, body)
    if found is None:
        return False
    right = all(client.may(*need) for need in needs(action, location))
    if isinstance(client, LinkHolder):  # links are for what is under /store/, by its name
        right = right and door in (native, webdav)
    if door is by_id:  # a client without a name has no access by id; a replaced blob is still a blob
        right = right and client is not NOBODY
    assert found == right, (client.name, location, action)
    there = ask(server, owner, "GET", f"/store/{location}")
    if action in ("create", "copy", "move") and door is not webdav:
        assert (there.status == 200) == right
    elif action == "delete":
        assert (there.status == 404) == right
    if action == "move":
        assert (ask(server, owner, "HEAD", f"/store/{SOURCE}").status == 404) == right
    return True


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__)
def test_a_door_lets_in_whom_the_rules_do(server: Server, door: Callable[..., bool | None]) -> None:
    asked = [
        tried(server, door, client, action, repository)
        for client in (*CLIENTS, NOBODY)
        for repository in REPOSITORIES
        for action in ACTIONS
    ]
    assert sum(asked) == 7 * 3 * DOORS[door]


@pytest.mark.parametrize(
    ("name", "repository", "rights"),
    [
        *(("appender", "other", "own"), ("teamadder", "team", "own"), ("teamadder", "other", "")),
        *(("teamreader", "team", ""), ("team", "team", "all"), ("team", "other", "")),
    ],
)
def test_uploads_in_parts_of_others_are_changed_by_who_may_change_blobs(
    server: Server, name: str, repository: str, rights: str
) -> None:
    """Who may only add changes what it began itself: an acknowledged part is not another's to drop."""
    client = next(one for one in CLIENTS if one.name == name)
    theirs = client_of_s3(server, client)
    copied = f"{repository}/data/{os.urandom(32).hex()}"
    assert ask(server, CLIENTS[2], "POST", f"/store/restic/{copied}", b"a source").status == 201
    for owner in (CLIENTS[2], client) if rights == "own" else (CLIENTS[2],):
        at = {"Bucket": "restic", "Key": f"{repository}/data/{os.urandom(32).hex()}"}
        owners = client_of_s3(server, owner)
        upload = {**at, "UploadId": owners.create_multipart_upload(**at)["UploadId"]}
        gone = {**at, "UploadId": owners.create_multipart_upload(**at)["UploadId"]}
        tag = owners.upload_part(**upload, PartNumber=2, Body=b"the owner's")["ETag"]
        named = {"Parts": [{"PartNumber": 2, "ETag": tag}]}
        source = {"Bucket": "restic", "Key": copied}
        for do in (
            functools.partial(theirs.upload_part, **upload, PartNumber=1, Body=b"x"),
            functools.partial(theirs.upload_part_copy, **upload, PartNumber=1, CopySource=source),
            functools.partial(theirs.complete_multipart_upload, **upload, MultipartUpload=named),
            functools.partial(theirs.abort_multipart_upload, **gone),
        ):
            try:
                do()
                found = True
            except ClientError as err:
                found = judged(err.response["ResponseMetadata"]["HTTPStatusCode"])
            assert found == (owner is client or rights == "all"), do
        if not found:
            assert [part["ETag"] for part in owners.list_parts(**upload)["Parts"]] == [tag]
            assert "Parts" not in owners.list_parts(**gone)


@pytest.mark.parametrize("door", [door for door in DOORS if door not in (s3, s3_parts, s3_others)])
def test_a_link_opens_one_door_for_one_thing(server: Server, door: Callable[..., bool | None]) -> None:
    for kind in (links.READ, links.WRITE):
        holder = LinkHolder("link", Role.READ_WRITE, "", NoSecret(), kind=kind)
        asked = [tried(server, door, holder, action, "link") for action in ACTIONS]
        assert sum(asked) == DOORS[door]
    query = links.query(LINK_KEY, links.READ, SOURCE, int(time.time()) + 600)
    assert server.ask("GET", f"/s3/{SOURCE}?{query}").status in (403, 501)
