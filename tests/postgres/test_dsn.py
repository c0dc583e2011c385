"""Tests of voxrec.postgres.dsn."""

import socket

from psycopg2.extensions import parse_dsn
from twisted.trial.unittest import TestCase

from tests.database import reactor
from voxrec.postgres.dsn import Server, addresses, describe_dsn, server_dsn, servers


class ServersTests(TestCase):
    def setUp(self) -> None:
        self.resolved: list[str] = []

    def resolve(self, host: str, *_: object, **__: object) -> list[tuple[object, ...]]:
        self.resolved.append(host)
        if host == "unknown.example":
            raise OSError(f"{host} is unknown")
        return [(0, 0, 0, "", ("::1", 0, 0, 0)), (0, 0, 0, "", ("127.0.0.1", 0))]

    async def addresses(self, dsn: str) -> list[Server]:
        self.patch(socket, "getaddrinfo", self.resolve)
        return await addresses(reactor, dsn)

    async def test_host_name_is_resolved_to_all_addresses(self) -> None:
        dsn = "postgresql://voxrec@db.example/calls"
        found = await self.addresses(dsn)
        self.assertEqual(found, [Server("db.example", "::1", ""), Server("db.example", "127.0.0.1", "")])
        parameters = parse_dsn(server_dsn(dsn, found[1]))
        self.assertEqual((parameters["host"], parameters["hostaddr"]), ("db.example", "127.0.0.1"))
        self.assertEqual((parameters["user"], parameters["dbname"]), ("voxrec", "calls"))

    async def test_several_hosts(self) -> None:
        self.assertEqual(
            await self.addresses("postgresql://192.0.2.1:5433,db.example:5434,%2Frun%2Fx"),
            [
                Server("192.0.2.1", "", "5433"),
                Server("db.example", "::1", "5434"),
                Server("db.example", "127.0.0.1", "5434"),
                Server("/run/x", "", ""),
            ],
        )
        self.assertEqual(servers("host=a,b port=5433"), [Server("a", "", "5433"), Server("b", "", "5433")])
        self.assertEqual(servers("hostaddr=192.0.2.1,192.0.2.2")[1], Server("", "192.0.2.2", ""))

    async def test_names_that_cannot_be_resolved(self) -> None:
        """One of several does not matter; without any address there is an error."""
        self.assertEqual(await self.addresses("host=unknown.example,192.0.2.1"), [Server("192.0.2.1", "", "")])
        with self.assertRaises(OSError):
            await self.addresses("host=unknown.example")

    async def test_hosts_that_need_no_name_server(self) -> None:
        for dsn in ("host=192.0.2.1", "host=::1", "host=/run/postgresql", "host=db.example hostaddr=::1", "dbname=x"):
            with self.subTest(dsn):
                (server,) = await self.addresses(dsn)
                completed = parse_dsn(server_dsn(dsn, server))
                self.assertEqual({**completed, **parse_dsn(dsn)}, completed)
        self.assertEqual(self.resolved, [])

    def test_defaults_can_be_overridden(self) -> None:
        dsn = "host=/run keepalives_idle=5"
        completed = parse_dsn(server_dsn(dsn, *servers(dsn)))
        self.assertEqual(completed["keepalives_idle"], "5")
        self.assertEqual(completed["keepalives_interval"], "10")
        self.assertEqual(completed["fallback_application_name"], "voxrec")

    def test_a_dead_server_is_noticed_sooner_if_there_is_another_one(self) -> None:
        dsn = "host=192.0.2.1,192.0.2.2"
        completed = parse_dsn(server_dsn(dsn, servers(dsn)[0]))
        self.assertEqual((completed["host"], completed["tcp_user_timeout"]), ("192.0.2.1", "10000"))

    def test_description_has_no_secrets(self) -> None:
        self.assertEqual(
            describe_dsn("host=db.example port=5433 dbname=calls user=u password=secret"),
            "host=db.example port=5433 dbname=calls",
        )
        self.assertEqual(describe_dsn("dbname=calls"), "dbname=calls")
