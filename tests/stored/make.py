"""`python -m tests.stored.make TREE NAME`: the server in the source tree TREE writes a data directory, which
is kept as NAME.tar.xz, and its answers after a restart as NAME.json.

It has blobs in each state, what a kill -9 leaves, a blob in quarantine, and a journal whose batches are not
all in their folders: after the kill the files of one blob are taken away and those of another cut short, as a
power cut may leave them. Run it again only for a new format, since an archive is useful because it is old.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import quote

from tests.support import processes
from tests.support.processes import Server, wait_for
from tests.support.raw import RawConnection

HERE = Path(__file__).parent
STATE, DATA = "blob_state.base64.json", "data.raw"
# The fields that must stay as they were.
FIELDS = (
    *("etag", "content-type", "content-length", "content-encoding", "last-modified", "repr-digest"),
    *("blob-id", "x-meta-colour", "content-disposition"),
)


def body(name: str, size: int) -> bytes:
    """`size` bytes that compress well, different for each name."""
    line = hashlib.sha256(name.encode()).hexdigest().encode() + b"\n"
    return (line * (size // len(line) + 1))[:size]


def write(root: Path) -> None:
    """Do everything, and end the server with kill -9."""
    server = Server(root, "--put-creates")
    ids: dict[str, str] = {}

    def put(name: str, size: int, **fields: str) -> None:
        headers = {key.replace("_", "-"): value for key, value in fields.items()}
        answer = server.ask("PUT", f"/store/{name}", body(name, size), headers)
        assert answer.status in (200, 201), answer
        ids[name] = server.ask("HEAD", f"/store/{name}").headers["blob-id"]

    put("small", 17, Content_Type="text/plain; charset=utf-8")
    put("empty", 0)
    put("folder/chunks", (2 << 20) + 5, Content_Type="video/mp4")
    put("coded.gz", 100, Content_Encoding="gzip", X_Meta_Colour="blue", Content_Disposition="inline")
    put("%E2%9C%93%20%C3%A9", 60)
    put("rots", 3000)
    server.stop()
    server.restart()  # so that the journal covers only what follows
    put("updated", 50)
    put("updated", 70)
    put("deleted", 80)
    assert server.ask("DELETE", "/store/deleted").status == 200
    with (root / ids["rots"] / DATA).open("r+b") as file:
        file.write(b"\0")
    assert server.ask("GET", "/store/rots").status == 500
    wait_for(lambda: list((root / ".quarantine").glob("*")), what="the quarantine")
    put("lost-folder", 90)
    put("cut-short", 4000)
    put("folder/last", 30)
    pending = RawConnection(server.port)
    pending.request("POST", "/store/pending", {"Content-Length": "300000"})
    pending.send(b"p" * 150_000)
    wait_for(lambda: any("Pending" in path.read_text() for path in root.glob(f"*/{STATE}")), what="Pending")
    time.sleep(1.1)  # what follows gets another time in whole seconds
    server.kill()
    pending.close()
    shutil.rmtree(root / ids["lost-folder"])
    os.truncate(root / ids["cut-short"] / DATA, 100)


def answers(root: Path) -> dict[str, object]:
    """The server's answers about everything that it knows."""
    server = Server(root, "--put-creates")
    listed = json.loads(server.ask("GET", "/store/").body)
    found: dict[str, object] = {"listing": listed}
    for name in [*(blob["location"] for blob in listed["blobs"]), "rots", "deleted", "pending"]:
        answer = server.ask("GET", f"/store/{quote(name)}")
        fields = {key: answer.headers[key] for key in FIELDS if key in answer.headers}
        sha256 = hashlib.sha256(answer.body).hexdigest() if answer.status == 200 else ""
        found[name] = {"status": answer.status, "fields": fields, "sha256": sha256}
    server.end()
    return found


def main(tree: str, name: str) -> None:
    """See the module docstring."""
    processes.ROOT = Path(tree).resolve()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch, "data")
        root.mkdir(mode=0o700)
        write(root)
        for socket in root.glob("*.sock"):
            socket.unlink()
        archive = [
            "tar",
            "--sparse",
            "--owner=0",
            "--group=0",
            "-C",
            scratch,
            "-cJf",
            f"{HERE}/{name}.tar.xz",
        ]
        subprocess.run([*archive, "data"], check=True)
        Path(HERE, f"{name}.json").write_text(json.dumps(answers(root), indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
