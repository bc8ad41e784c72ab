"""`python -m bench.s3_parts`: 64 MiB in parts over S3 against a native PUT, in each form that clients send.

Bodies, checksums, framing and the parts' signatures are made, and connections opened, before the clock
starts. While it runs the client sends, reads the answers, and makes and signs the completion, since that
names the parts' ETags. As SDKs do, it keeps a connection for each part that it sends at a time. A native PUT
(a create, which is a POST with a token) is one request; parts are sent in turn, and four at a time.
The cases take turns in each round, and the ratios are the medians of those of the rounds, since a busy
machine changes both alike.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import os
import socket
import statistics
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

from bench.measure import MIB
from bench.peers import ALL_CORES, LOAD_CORE, SERVER_CORE
from bench.s3 import BUCKET, Figure, Signer, cpu_s, put_native, started

_LARGE, _PART = 64 * MIB, 8 * MIB
_CHUNK = 1 * MIB
_TARGET = 0.8  # of the native rate

Form = Callable[[Signer, str, bytes], tuple[bytes, bytes]]
"""(signer, target, part) -> the head and the body as they are sent."""


def _crc32(part: bytes) -> str:
    return base64.b64encode(zlib.crc32(part).to_bytes(4, "big")).decode()


def _signed(signer: Signer, target: str, part: bytes) -> tuple[bytes, bytes]:
    return signer.head("PUT", target, part, fields={"x-amz-checksum-crc32": _crc32(part)}), part


def _trailer(signer: Signer, target: str, part: bytes) -> tuple[bytes, bytes]:
    chunks = [part[at : at + _CHUNK] for at in range(0, len(part), _CHUNK)]
    body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    body += f"0\r\nx-amz-checksum-crc32:{_crc32(part)}\r\n\r\n".encode()
    fields = {
        "content-encoding": "aws-chunked",
        "x-amz-decoded-content-length": str(len(part)),
        "x-amz-trailer": "x-amz-checksum-crc32",
    }
    payload = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
    return signer.head("PUT", target, body, payload=payload, fields=fields), body


def _unsigned(signer: Signer, target: str, part: bytes) -> tuple[bytes, bytes]:
    fields = {"x-amz-checksum-crc32": _crc32(part)}
    return signer.head("PUT", target, part, payload="UNSIGNED-PAYLOAD", fields=fields), part


FORMS: dict[str, Form] = {
    "SHA-256 signed, CRC-32": _signed,
    "unsigned, CRC-32 in a trailer": _trailer,
    "unsigned, CRC-32 in a field": _unsigned,
}


def _measured(signer: Signer, run: Callable[[], object]) -> Figure:
    before_s, began = cpu_s(signer.server), time.perf_counter()
    run()
    mib = _LARGE / MIB
    return Figure(mib / (time.perf_counter() - began), (cpu_s(signer.server) - before_s) / mib)


def in_parts(signer: Signer, body: bytes, form: Form, at_once: int) -> Figure:
    """The same bytes in parts, from the first of them to the completion."""
    target = f"/{BUCKET}/parts-{time.monotonic_ns()}"
    told = signer.ask("POST", f"{target}?uploads").decode()
    upload = told.partition("<UploadId>")[2].partition("<")[0]
    requests = [
        form(signer, f"{target}?partNumber={number}&uploadId={upload}", body[at : at + _PART])
        for number, at in enumerate(range(0, len(body), _PART), 1)
    ]

    free: SimpleQueue[socket.socket] = SimpleQueue()

    def send(head: bytes, part: bytes) -> str:
        sock = free.get()
        answer = signer.send_over(sock, head, part)
        free.put(sock)
        return answer.decode("latin-1")

    def run() -> None:
        with ThreadPoolExecutor(at_once) as threads:
            answers = list(threads.map(send, *zip(*requests, strict=True)))
        named = ""
        for number, answer in enumerate(answers, 1):
            line = next(line for line in answer.split("\r\n") if line.lower().startswith("etag:"))
            tag = line.partition(":")[2].strip()
            named += f"<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>"
        said = f"<CompleteMultipartUpload>{named}</CompleteMultipartUpload>".encode()
        done = send(signer.head("POST", f"{target}?uploadId={upload}", said), said)
        if "<Error>" in done:
            raise RuntimeError(f"completing: {done[-300:]!r}")

    with contextlib.ExitStack() as opened:
        for _ in range(at_once):
            free.put(opened.enter_context(signer.connect()))
        return _measured(signer, run)


def _print_ratios(rounds: int, cores: frozenset[int]) -> None:
    """The medians, and each ratio to the native PUT beside the target. The server runs on `cores`."""
    body = os.urandom(_LARGE)
    natives: list[Figure] = []
    found: dict[tuple[str, int], list[Figure]] = {(form, n): [] for form in FORMS for n in (1, 4)}
    with (
        tempfile.TemporaryDirectory(prefix="bk-s3-") as folder,
        started("blobkeep", Path(folder), cores) as signer,
    ):
        for _ in range(rounds):
            natives.append(put_native(signer, 1))
            for (form, at_once), figures in found.items():
                figures.append(in_parts(signer, body, FORMS[form], at_once))
    middle = statistics.median(one.rate for one in natives)
    sys.stdout.write(f"{len(cores)} core(s): native PUT of 64 MiB: {middle:,.0f} MiB a second\n")
    for (form, at_once), figures in found.items():
        pairs = list(zip(figures, natives, strict=True))
        rate = statistics.median(one.rate / beside.rate for one, beside in pairs)
        cpu = statistics.median(beside.cpu_s / one.cpu_s for one, beside in pairs)
        verdict = "yes" if rate >= _TARGET else "no"
        sys.stdout.write(
            f"{form}, {at_once} at a time: {rate:.2f} of the native rate (wanted {_TARGET}: {verdict}), "
            f"by CPU {cpu:.2f}\n"
        )


def main() -> int:
    """Print the ratios for a server on one core, and with `--all-cores` on all of them, too."""
    parser = argparse.ArgumentParser(prog="python -m bench.s3_parts", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--all-cores", action="store_true", help="measure a server on all cores, too")
    options = parser.parse_args()
    os.sched_setaffinity(0, {LOAD_CORE})
    for cores in (frozenset({SERVER_CORE}), *([frozenset(ALL_CORES)] if options.all_cores else [])):
        _print_ratios(options.rounds, cores)
    return 0


if __name__ == "__main__":
    sys.exit(main())
