"""Every option there is: one table, from which the flags, conf/blobkeep.toml and the reference are made.

An option is a field of `Config`, with its type, default and meaning. The unit is part of the name.
`common/config.py` reads the values from flags, environment and file.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

import msgspec

KIB = 1 << 10
MIB = 1 << 20

# What a name may end in, and how the unit is called in texts. Users may leave the ending out.
UNITS = {
    "_bytes_per_s": "bytes a second",
    "_mb_per_s": "MB (10^6 bytes) a second",
    "_bytes": "bytes",
    "_s": "seconds",
}

SERVER = frozenset({"server"})
GC = frozenset({"gc"})
RECOVERY = frozenset({"recovery"})
READER = frozenset({"reader"})
ALL = SERVER | GC | RECOVERY | READER


class Option(msgspec.Struct, frozen=True):
    """What is known of one option.

    `group`: its heading. `used_by`: the processes that have a flag for it; all may get it from the file and
    the environment. `choices`: the only values, where not empty. `positive`: neither zero nor an empty
    string is allowed. `flags`: in place of those made from the name. `old_name`: still works; may be empty.
    """

    name: str
    type: type
    default: Any
    group: str
    text: str
    used_by: frozenset[str]
    choices: tuple[Any, ...]
    positive: bool
    flags: tuple[str, ...]
    old_name: str

    @property
    def unit(self) -> str:
        """ "seconds", "bytes", ..., or empty where the name has no unit."""
        return next((text for ending, text in UNITS.items() if self.name.endswith(ending)), "")

    @property
    def spellings(self) -> tuple[str, ...]:
        """The name, the name without its unit, and the old name."""
        ending = next((ending for ending in UNITS if self.name.endswith(ending)), "")
        names = (self.name, self.name.removesuffix(ending) if ending else "", self.old_name)
        return tuple(name for name in names if name)

    @property
    def is_size(self) -> bool:
        """True where "64 KiB" makes sense."""
        return self.unit in ("bytes", "bytes a second")

    @property
    def is_table(self) -> bool:
        """True where the value is a table by prefixes of locations."""
        return self.type is tuple

    @property
    def is_time(self) -> bool:
        """True where "7d" makes sense."""
        return self.unit == "seconds"


def _option(
    default: Any,
    group: str,
    text: str,
    used_by: frozenset[str] = SERVER,
    *,
    choices: tuple[Any, ...] = (),
    positive: bool = False,
    flags: tuple[str, ...] = (),
    old_name: str = "",
) -> Any:
    about = {"group": group, "text": text, "used_by": used_by, "choices": choices, "positive": positive}
    return field(default=default, metadata=about | {"flags": flags, "old_name": old_name})


@dataclass(frozen=True)
class Config:
    """What one process runs with. Frozen: nothing changes while it runs."""

    engine: str = _option(
        "local",
        "Every engine",
        '"local": blobs are in `dir`, on this machine. "objects": they are in an object store '
        "(docs/objects.md), and `dir` holds only what the processes report about themselves.",
        ALL,
        choices=("local", "objects"),
    )
    dir: str = _option("./data", "Every engine", "The data directory.", ALL, positive=True, flags=("--dir",))
    max_blob_size_bytes: int = _option(
        0, "Every engine", "A larger body is refused with 413. 0: no limit but the disk."
    )
    small_body_bytes: int = _option(
        64 * KIB,
        "Every engine",
        "A body up to this size is kept in memory until it is whole. Only then it takes an id.",
    )
    drain_timeout_s: float = _option(
        8.0,
        "Every engine",
        "After SIGTERM, requests get this long to finish. stopwaitsecs in supervisord.conf must be longer.",
    )
    gc_interval_s: float = _option(
        5.0, "Every engine", "From the start of one pass of the gc to the next.", GC, positive=True
    )
    recovery_interval_s: float = _option(
        5.0,
        "Every engine",
        "From the start of one pass of the recovery worker to the start of the next.",
        RECOVERY,
        positive=True,
    )
    scrub_rate_mb_per_s: float = _option(
        20.0,
        "Every engine",
        "How fast the recovery worker re-reads blobs to verify their checksums.",
        RECOVERY,
        positive=True,
    )
    expire_s: tuple[tuple[str, float], ...] = _option(
        (),
        "Every engine",
        'How long a blob lives, by prefix of its location, the longest wins: {"ccache/" = "30d"}; in a flag: '
        '"ccache/=30d, tmp/=1d". Its Blob-Expires wins over it. Then it is 404, also with keep_deleted.',
        SERVER | RECOVERY,
    )

    create: bool = _option(
        True,
        "Engine local",
        "Make a new store in a directory that holds none. Set it to false after the first start: without the "
        "mounted disk, a start then fails.",
        ALL,
    )
    id_bits: int = _option(
        16,
        "Engine local",
        "Width of ids: 16 (65,536 blobs) or 32. A directory keeps its width (but: `blobkeep widen`).",
        ALL,
        choices=(16, 32),
    )
    sync: str = _option(
        "journal",
        "Engine local",
        '"journal": acknowledged means durable, with one sync for a batch of writes. "folder": the same, '
        'with syncs of each folder, which is slower. "none": a power cut may lose acknowledged writes.',
        choices=("journal", "folder", "none"),
    )
    index: bool = _option(False, "Engine local", "Keep an index of the blobs on disk (docs/scaling.md).")
    readers: int = _option(
        -1,
        "Engine local",
        "How many reader processes run beside the server (docs/scaling.md). -1: one less than the cores, but "
        'at most 8, where supervisord runs it; else 0. None do without fast_path, or with http = "tornado".',
        choices=tuple(range(-1, 9)),
    )
    keep_deleted_s: float = _option(
        0.0,
        "Engine local",
        "How long a deleted or replaced blob is kept. Until then it can be read by id and undeleted "
        "(docs/operating.md). It takes an id and room, so the gc removes the oldest sooner when only an "
        "eighth of the ids or a 32nd of the disk is free. 0: the gc removes it in its next pass.",
        SERVER | GC,
    )
    max_bytes: tuple[tuple[str, float], ...] = _option(
        (),
        "Engine local",
        "How many bytes may be under a prefix: "
        '{"ccache/" = "20GiB"}; in a flag or variable: "ccache/=20GiB, tmp/=1GB". Above it, the least '
        "recently read blobs are deleted, also with keep_deleted (docs/operating.md).",
    )
    hot_bytes: int = _option(
        64 * MIB, "Engine local", "Memory for blobs that are read often, with any engine. 0: none."
    )
    min_free_space_bytes: int = _option(
        MIB,
        "Engine local",
        "An upload that would leave less than this free on the disk is refused with 507. So is one that "
        "would leave fewer than 1,024 inodes (on a disk with few inodes: an eighth of them).",
        SERVER | GC,
    )
    lock_wait_s: float = _option(
        10.0,
        "Engine local",
        "How long a starting server waits until one that is stopping has released the directory.",
    )

    objects_endpoint: str = _option(
        "", "Engine objects", "URL of the S3-compatible store: http://127.0.0.1:8333. Empty: AWS.", ALL
    )
    objects_bucket: str = _option("", "Engine objects", "The bucket. It must exist.", ALL)
    objects_prefix: str = _option(
        "", "Engine objects", "All keys begin with it. It ends in one slash: blobs/.", ALL
    )
    objects_region: str = _option("us-east-1", "Engine objects", "Requests are signed for it.", ALL)
    objects_credentials_file: str = _option(
        "",
        "Engine objects",
        "A file like ~/.aws/credentials, section [default], that only its owner may read. Empty: "
        "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY of the environment, else the role of the machine.",
        ALL,
    )
    objects_ca_file: str = _option(
        "", "Engine objects", "Certificates (PEM) to trust besides the system's, for an https endpoint.", ALL
    )
    objects_virtual_hosts: bool = _option(
        False,
        "Engine objects",
        "The bucket's name is in the host name of each request, not in its path.",
        ALL,
    )
    objects_timeout_s: float = _option(
        10.0, "Engine objects", "A request to the store that takes longer is given up.", ALL, positive=True
    )
    objects_patience_s: float = _option(
        10.0,
        "Engine objects",
        "How long a request that may be repeated is tried, all tries together, before the client gets 503.",
        ALL,
        positive=True,
    )
    objects_inline_bytes: int = _option(
        MIB,
        "Engine objects",
        "A blob up to this size is stored in its pointer: one request creates it, one reads it.",
        positive=True,
    )
    objects_part_bytes: int = _option(
        4 * MIB,
        "Engine objects",
        "A larger blob is stored in parts of this size (whole MiB). An upload holds three in memory.",
        positive=True,
    )
    objects_reading_s: float = _option(
        900.0,
        "Engine objects",
        "How long the data of a replaced or deleted blob is kept for readers that have begun.",
        GC | RECOVERY,
    )

    listen: str = _option(
        ":7777",
        "Front ends",
        "HOST:PORT to listen on. An IPv6 host needs brackets. No host: every address of IPv4 and IPv6.",
        flags=("-s", "--listen"),
    )
    put_creates: bool = _option(
        False,
        "Front ends",
        "PUT creates a blob where there is none (201), as caches and `curl -T` expect. false: 404.",
    )
    guess_type: bool = _option(
        True,
        "Front ends",
        "Guess the media type of an upload without one from the ending of its name (docs/http.md). false: it "
        "is application/octet-stream, which browsers download instead of showing.",
    )
    restic: bool = _option(
        False, "Front ends", "Serve restic's REST protocol under /restic/<repository>/ (docs/restic.md)."
    )
    s3_hosts: str = _option(
        "",
        "Front ends",
        "Host names, separated by commas, under which the listening port speaks S3. The endpoint is "
        "http://NAME:PORT; a bucket is also http://BUCKET.NAME:PORT.",
    )
    s3_path: str = _option(
        "",
        "Front ends",
        "A path, such as /s3, under which the listening port speaks S3. The endpoint is http://HOST:PORT/s3.",
    )
    s3_listen: str = _option("", "Front ends", "HOST:PORT of a port that speaks only S3.")
    s3_region: str = _option(
        "us-east-1", "Front ends", "The region that S3 clients sign for. Any name will do.", positive=True
    )
    s3_etag: str = _option(
        "auto", "Front ends", "ETags of S3: which are MD5s (docs/s3.md).", choices=("auto", "md5", "fast")
    )
    multipart_expiry_s: float = _option(
        7 * 86400.0, "Front ends", "An upload in parts that is idle for this long is dropped.", positive=True
    )
    http: str = _option(
        "blobkeep",
        "Front ends",
        'Which HTTP/1.1 connection serves: "blobkeep" (our own, strict) or "tornado" (Tornado\'s).',
        choices=("blobkeep", "tornado"),
    )
    fast_path: bool = _option(
        True,
        "Front ends",
        "Answer plain requests without a Tornado handler: the same answers, several times as fast. "
        'Has no effect with http = "tornado".',
        old_name="lean",
    )

    max_connections: int = _option(
        4096, "Limits on clients", "Open connections. One more is answered with 503.", positive=True
    )
    max_uploads: int = _option(
        256,
        "Limits on clients",
        "How many uploads may run at once. One more takes the place of an upload below the minimum rate, if "
        "there is one; else it is answered with 503.",
        positive=True,
    )
    max_target_bytes: int = _option(
        8 * KIB, "Limits on clients", "A longer request target is refused with 414.", positive=True
    )
    max_header_bytes: int = _option(
        64 * KIB, "Limits on clients", "A longer request head is refused with 431.", positive=True
    )
    header_timeout_s: float = _option(
        10.0, "Limits on clients", "A request head that takes longer is answered with 408.", positive=True
    )
    idle_timeout_s: float = _option(
        75.0, "Limits on clients", "A connection without a request is closed after this time.", positive=True
    )
    body_timeout_s: float = _option(
        60.0,
        "Limits on clients",
        "An upload that sends nothing for this long is answered with 408.",
        positive=True,
    )
    send_timeout_s: float = _option(
        60.0,
        "Limits on clients",
        "A client that takes nothing of an answer for this long is cut off.",
        positive=True,
    )
    min_upload_rate_bytes_per_s: int = _option(
        1024,
        "Limits on clients",
        "An upload that is slower than this after min_upload_grace_s is answered with 408. 0: no limit.",
    )
    min_upload_grace_s: float = _option(
        30.0, "Limits on clients", "How long an upload may be slower than the minimum rate."
    )

    auth_file: str = _option(
        "",
        "Access",
        "The file with hashed tokens and users (docs/access.md). Only its owner may read it. "
        "Empty: everyone may do everything.",
    )
    hosts: str = _option(
        "",
        "Access",
        "Host names that the server answers to, separated by commas: blobs.example.org, *.example.org; * is "
        "any. localhost and addresses are always allowed. Empty: any name; but an open server on the "
        "loopback address allows no other name, as a defence against DNS rebinding (docs/access.md).",
    )
    public: str = _option("", "Access", 'Prefixes that everybody may read, with commas: "site/, docs/".')
    cors_origins: str = _option(
        "", "Access", "Origins whose pages may use it, with commas: https://app.example.org; * is any."
    )
    tls_cert: str = _option("", "Access", "Certificate chain (PEM). With tls_key, the server speaks TLS.")
    tls_key: str = _option("", "Access", "Private key (PEM) of tls_cert.")

    debug: bool = _option(False, "Logs", "Log every step in detail.", ALL, flags=("-D", "--debug"))
    log_format: str = _option(
        "text", "Logs", 'How a line is written to stderr: "text" or "json".', ALL, choices=("text", "json")
    )
    access_log: bool = _option(
        False,
        "Logs",
        "Write a line to stdout for each request: the combined format, then the seconds that it took.",
    )

    # Flags of the workers alone: in no file, in no environment.
    once: bool = False
    dry_run: bool = False


# By name, in the order of the file and the reference.
OPTIONS: dict[str, Option] = {
    f.name: Option(name=f.name, type=type(f.default), default=f.default, **f.metadata)
    for f in fields(Config)
    if f.metadata
}
