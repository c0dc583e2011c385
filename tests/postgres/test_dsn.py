"""Tests of voxrec.postgres.dsn."""

import socket

from psycopg2.extensions import parse_dsn
from twisted.trial.unittest import TestCase

from tests.database import reactor
from voxrec.postgres.dsn import complete_dsn, describe_dsn


class CompleteDsnTests(TestCase):
    def setUp(self) -> None:
        self.resolved: list[str] = []

    def resolve(self, host: str, *_: object, **__: object) -> list[tuple[object, ...]]:
        self.resolved.append(host)
        return [(0, 0, 0, "", ("::1", 0, 0, 0)), (0, 0, 0, "", ("127.0.0.1", 0))]

    async def complete(self, dsn: str) -> dict[str, str]:
        self.patch(socket, "getaddrinfo", self.resolve)
        return parse_dsn(await complete_dsn(reactor, dsn))

    async def test_host_name_is_resolved_to_all_addresses(self) -> None:
        completed = await self.complete("postgresql://voxrec@db.example/calls")
        self.assertEqual(completed["hostaddr"], "::1,127.0.0.1")
        self.assertEqual(completed["host"], "db.example,db.example")
        self.assertEqual((completed["user"], completed["dbname"]), ("voxrec", "calls"))

    async def test_hosts_that_need_no_name_server(self) -> None:
        for dsn in (
            "host=192.0.2.1",
            "host=::1",
            "host=/run/postgresql",
            "host=a.example,b.example",
            "host=db.example hostaddr=192.0.2.1",
            "dbname=x",
        ):
            with self.subTest(dsn):
                completed = await self.complete(dsn)
                self.assertEqual({**completed, **parse_dsn(dsn)}, completed)
        self.assertEqual(self.resolved, [])

    async def test_defaults_can_be_overridden(self) -> None:
        completed = await self.complete("host=/run keepalives_idle=5")
        self.assertEqual(completed["keepalives_idle"], "5")
        self.assertEqual(completed["keepalives_interval"], "10")
        self.assertEqual(completed["fallback_application_name"], "voxrec")

    def test_description_has_no_secrets(self) -> None:
        self.assertEqual(
            describe_dsn("host=db.example port=5433 dbname=calls user=u password=secret"),
            "host=db.example port=5433 dbname=calls",
        )
        self.assertEqual(describe_dsn("dbname=calls"), "dbname=calls")
