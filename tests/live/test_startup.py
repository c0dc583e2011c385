"""When systemd learns that the daemon has started, and what ends the start: the daemon under twistd, real databases."""

import os
import socket
import sys
from pathlib import Path
from typing import Any

import yaml
from psycopg2.sql import SQL, Identifier
from twisted.internet import reactor as installed_reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from tests.database import administer, cluster
from tests.temporary import temporary_directory
from voxrec.sandbox.asterisk import free_port
from voxrec.sandbox.process import Process, with_parent_death_signal

_reactor: Any = installed_reactor
# in a network of its own, in which ports below 1024 are privileged
_WITHOUT_CAPABILITY = ["setpriv", "--bounding-set=-net_bind_service", "--inh-caps=-net_bind_service"]
# with what the unit has, and access to the socket directory of the tests' PostgreSQL
_CAPABILITIES = "-all,+net_bind_service,+dac_override"
_WITH_CAPABILITY = ["setpriv", f"--bounding-set={_CAPABILITIES}", f"--inh-caps={_CAPABILITIES}"]


class StartupTests(TestCase):
    timeout = 120

    def setUp(self) -> None:
        self.directory = temporary_directory("startup")
        self.recordings = self.directory / "recording"
        self.recordings.mkdir()
        self.archive = self.directory / "archive"
        self.archive.mkdir()
        self.database = f"startup_{os.urandom(4).hex()}"
        self.systemd = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.addCleanup(self.systemd.close)
        self.systemd.bind(str(self.directory / "notify"))
        self.notified: list[str] = []

    def create_database(self, options: str = "") -> None:
        cluster()
        administer(SQL("CREATE DATABASE {} " + options).format(Identifier(self.database)))
        self.addCleanup(administer, SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(self.database)))

    def launch(self, *prefix: str, **settings: Any) -> None:
        """Start the daemon."""
        written = {
            "data_directory": str(self.directory / "data"),
            "asterisk": {
                "url": f"http://127.0.0.1:{free_port(socket.SOCK_STREAM)}/ari",
                "recordings": str(self.recordings),
                "recordings_floor": 0,
                "sounds": str(self.directory / "sounds"),
            },
            "archive": {"directory": str(self.archive)},
            "database": {"dsn": cluster().dsn(self.database)},
            "rest": {"listen": f"tcp:{free_port(socket.SOCK_STREAM)}:interface=127.0.0.1"},
            **settings,
        }
        file = self.directory / "voxrec.yaml"
        file.write_text(yaml.safe_dump(written))
        twistd = str(Path(sys.executable).with_name("twistd"))
        command = [twistd, "--nodaemon", "--pidfile=", "voxrec", "--config", str(file)]
        self.process = Process(
            [*prefix, *with_parent_death_signal(command)],
            self.directory / "voxrec.log",
            environment={**os.environ, "NOTIFY_SOCKET": str(self.directory / "notify")},
        )
        self.addCleanup(self.process.kill)

    def read_notifications(self) -> str:
        """Return everything that systemd was notified of."""
        while True:
            try:
                self.notified.append(self.systemd.recv(65536).decode())
            except BlockingIOError:
                return "\n".join(self.notified)

    async def wait_for(self, notification: str, seconds: float = 30) -> None:
        """Wait until systemd is notified; fail if the process ends."""
        deadline = _reactor.seconds() + seconds
        while notification not in self.read_notifications():
            self.assertTrue(self.process.running, self.process.log_tail())
            self.assertLess(_reactor.seconds(), deadline, f"{self.notified[-3:]}\n{self.process.log_tail()}")
            await deferLater(_reactor, 0.05)

    async def wait_until_ended(self) -> None:
        """Wait until the process ends with status 78."""
        self.assertEqual(await self.process.wait_until_ended(_reactor, 30), os.EX_CONFIG, self.process.log_tail())

    def log(self) -> str:
        return self.process.log.read_text()

    def assert_not_started(self) -> None:
        self.assertNotIn("READY=1", self.read_notifications())
        self.assertNotIn("voxrec has started", self.log())

    async def test_ready_when_everything_but_asterisk_works(self) -> None:
        self.create_database()
        self.launch()
        await self.wait_for("READY=1")
        self.assertIn("voxrec has started", self.log())
        self.assertIn("REST: listening", self.log())
        for warning in ("not connected yet", "announcements could not be updated", "waits for PostgreSQL"):
            self.assertNotIn(warning, self.log())

    async def test_a_database_that_is_not_utf8_is_refused_until_it_is_replaced(self) -> None:
        self.create_database("ENCODING 'SQL_ASCII' LOCALE_PROVIDER libc LOCALE 'C' TEMPLATE template0")
        self.launch()
        await self.wait_for("STATUS=not ready: postgresql")
        await deferLater(_reactor, 1)
        self.assert_not_started()
        self.assertIn("SQL_ASCII", self.log())
        self.assertNotIn("Traceback", self.log())
        administer(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(self.database)))
        administer(SQL("CREATE DATABASE {}").format(Identifier(self.database)))
        await self.wait_for("READY=1")

    async def test_an_archive_that_is_not_mounted_is_waited_for(self) -> None:
        self.create_database()
        self.archive.rmdir()
        self.launch()
        await self.wait_for("archive")
        await deferLater(_reactor, 1)
        self.assert_not_started()
        self.archive.mkdir()
        await self.wait_for("READY=1")

    async def test_a_recording_directory_that_does_not_exist_is_waited_for(self) -> None:
        self.create_database()
        self.recordings.rmdir()
        self.launch()
        await self.wait_for("spool")
        self.assert_not_started()
        self.recordings.mkdir()
        await self.wait_for("READY=1")

    async def test_a_port_in_use_is_waited_for(self) -> None:
        self.create_database()
        with socket.socket() as blocker:
            blocker.bind(("127.0.0.1", 0))
            blocker.listen()
            listen = f"tcp:{blocker.getsockname()[1]}:interface=127.0.0.1"
            self.launch(rest={"listen": listen})
            await self.wait_for(f"STATUS=not ready: REST does not listen on {listen}")
            self.assert_not_started()
        await self.wait_for("READY=1")

    async def test_a_privileged_port_without_the_capability_ends_the_process(self) -> None:
        self.create_database()
        namespaces = ["--net"] if os.geteuid() == 0 else ["--user", "--map-root-user", "--net"]
        self.launch("unshare", *namespaces, "--", *_WITHOUT_CAPABILITY, rest={"listen": "tcp:443"})
        await self.wait_until_ended()
        self.assert_not_started()
        self.assertIn("CAP_NET_BIND_SERVICE", self.log())
        self.assertNotIn("Traceback", self.log())

    async def test_a_privileged_port_with_the_capability_of_the_unit(self) -> None:
        self.create_database()
        namespaces = ["--net"] if os.geteuid() == 0 else ["--user", "--map-root-user", "--net"]
        self.launch("unshare", *namespaces, "--", *_WITH_CAPABILITY, rest={"listen": "tcp:443"})
        await self.wait_for("READY=1")

    async def test_an_unwritable_data_directory_ends_the_process_with_a_message(self) -> None:
        (self.directory / "data").write_text("not a directory")
        self.launch(database={})
        await self.wait_until_ended()
        self.assertIn("data_directory", self.log())
        self.assertIn("is not writable", self.log())
        self.assertNotIn("Traceback", self.log())
