"""Nothing personal remains of a deleted or expired Recording: not in any table, file or log, except its tombstone."""

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar

import psycopg2
from psycopg2.sql import SQL, Identifier
from treq.client import HTTPClient
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.http_headers import Headers

from tests.live.live_test_case import LiveTestCase, make_stack
from voxrec.postgres.cluster import dsn_of_running_server
from voxrec.sandbox import demo_call, tones
from voxrec.sandbox.phone import Phone
from voxrec.sandbox.stack import Stack

JOURNAL_SECONDS = 20.0  # after which docs/personal-data.md promises that nothing remains in the journal
COLUMNS = "SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = 'public'"


def tables_with(dsn: str, text: str) -> Iterator[str]:
    """Yield each column of each table in which ``text`` occurs, whatever the type of the column."""
    with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
        cursor.execute(COLUMNS)
        for table, column, data_type in cursor.fetchall():
            occurs = SQL("position(%s::bytea IN {})" if data_type == "bytea" else "position(%s IN {}::text)")
            statement = SQL("SELECT count(*) FROM {} WHERE {} > 0")
            cursor.execute(statement.format(Identifier(table), occurs.format(Identifier(column))), (text,))
            (count,) = cursor.fetchone() or (0,)
            if count:
                yield f"{table}.{column}"


def files_with(root: Path, text: str) -> Iterator[str]:
    """Yield each file below ``root`` that has ``text`` in its name or content, except for PostgreSQL's own and mails.

    Tables are read with SQL; mails have left voxrec.
    """
    for directory, subdirectories, names in os.walk(root):
        if Path(directory, "PG_VERSION").exists() or Path(directory).name == "mailbox":
            subdirectories.clear()
            continue
        for path in (Path(directory, name) for name in names):
            if path.is_file() and (text in path.name or text.encode() in path.read_bytes()):
                yield str(path.relative_to(root))


class ErasureTests(LiveTestCase):
    NUMBER: ClassVar = "+493055501471"
    DIALLED: ClassVar = "+493055509911"
    # As digits, a number is also found where its plus is encoded.
    PERSONAL: ClassVar = {
        "number of the caller": "493055501471",
        "name of the caller": "Zarathustra Quux",
        "dialled number": "493055509911",
        "far end": "farend7731",
        "metadata": "customer-4711-xyz",
        "recipient": "recipient-8842",
    }

    async def setUp(self) -> None:  # type: ignore[override]
        super().setUp()
        self.stack = make_stack({"rest": {"access_log": True}})
        self.addCleanup(self.stack.stop)
        await self.stack.start()

    def places(self, stack: Stack) -> dict[str, list[str]]:
        """Return the columns and files in which each piece of personal data occurs."""
        dsn = dsn_of_running_server(stack.directory / "data" / "postgres")
        return {
            name: [*tables_with(dsn, text), *files_with(stack.directory, text)] for name, text in self.PERSONAL.items()
        }

    async def record_call(self, callee: Phone, number: int) -> dict[str, Any]:
        """Call the dialled number, and return the finished Recording, the Profile's ``number``-th one."""
        caller = Phone.make_caller(
            self.reactor,
            self.directory,
            f"sip:{self.DIALLED}@{self.stack.sip_host_port}",
            play=tones.write_tone(self.directory / "caller.wav", demo_call.CALLER_HZ, 1.0),
            seconds=1.5,
            number=self.NUMBER,
            display_name=self.PERSONAL["name of the caller"],
        )
        self.kill_at_end(caller)
        await caller.start()
        await caller.wait_for("confirmed", 20)
        await caller.wait_until_ended(20)
        await callee.wait_until_ended(20)
        self.assertTrue(await self.stack.wait_until(lambda: self.is_listed(number), 20))
        recording = await self.stack.wait_for_recording(self.profile["id"])
        self.assertEqual((recording["state"], recording["from"]), ("completed", self.NUMBER))
        await self.stack.wait_for_mail(recording["id"])
        return recording

    async def is_listed(self, number: int) -> bool:
        return len(await self.stack.request_json("GET", f"/profiles/{self.profile['id']}/recordings")) == number

    async def start_callee(self) -> Phone:
        tone = tones.write_tone(self.directory / "desk.wav", demo_call.CALLEE_HZ, 1.0)
        callee = Phone.make_callee(
            self.reactor, self.directory, name=self.PERSONAL["far end"], play=tone, ring_seconds=0.1
        )
        return await self.kill_at_end(callee).start()

    async def import_recording(self) -> dict[str, Any]:
        body = {
            "profileId": self.profile["id"],
            "from": self.NUMBER,
            "fromName": self.PERSONAL["name of the caller"],
            "to": self.DIALLED,
            "remoteSipUri": self.profile["remoteSipUri"],
            "metadata": self.profile["metadata"],
        }
        created = await self.stack.request("PUT", "/recordings", body, headers={"Idempotency-Key": "import-1"})
        self.assertEqual(created.status, 201, created.body)
        recording: dict[str, Any] = created.json()
        self.assertIsNotNone(recording["expiresAt"])
        http = HTTPClient(Agent(self.reactor, pool=HTTPConnectionPool(self.reactor, persistent=False)))
        response = await http.put(
            f"{self.stack.url}/recordings/{recording['id']}/audio",
            data=(self.directory / "caller.wav").read_bytes(),
            headers=Headers({"Authorization": [f"Bearer {self.stack.token}"], "Content-Type": ["audio/wav"]}),
        )
        await response.content()
        self.assertEqual(response.code, 200)
        return recording

    def let_expire(self, recording_id: str) -> None:
        with closing(psycopg2.connect(dsn_of_running_server(self.stack.directory / "data" / "postgres"))) as connection:
            connection.cursor().execute("UPDATE recordings SET expires_at = now() WHERE id = %s", (recording_id,))
            connection.commit()

    async def erased(self) -> bool:
        return not await self.stack.request_json("GET", "/jobs")

    async def test_nothing_personal_remains(self) -> None:
        callee = await self.start_callee()
        self.profile = await self.stack.request_json(
            "PUT",
            "/profiles",
            {
                "remoteSipUri": callee.uri,
                "numbers": [self.DIALLED],
                "record": True,
                "retentionDays": 30,
                "metadata": {"customer": self.PERSONAL["metadata"]},
                "email": f"{self.PERSONAL['recipient']}@example.org",
            },
        )
        deleted = await self.record_call(callee, 1)
        callee.kill()
        callee = await self.start_callee()
        await self.stack.request_json("POST", f"/profiles/{self.profile['id']}", {"remoteSipUri": callee.uri})
        expired = await self.record_call(callee, 2)
        imported = await self.import_recording()
        await self.stack.request_json("GET", f"/recordings?from=%2B{self.PERSONAL['number of the caller']}")
        for name, places in self.places(self.stack).items():
            self.assertTrue(places, f"the search does not find the {name}")

        for recording in (deleted, imported):
            await self.stack.request_json("DELETE", f"/recordings/{recording['id']}?reason=request%204711")
        await self.stack.request_json("DELETE", f"/profiles/{self.profile['id']}")
        self.let_expire(expired["id"])
        await self.assert_gone_from_the_journal()
        # retention and housekeeping run every hour, and at the start
        await self.stack.stop_voxrec()
        await self.stack.start_voxrec()
        await self.assert_tombstones(deleted=deleted, imported=imported, expired=expired)
        self.assertTrue(await self.stack.wait_until(self.erased, 20))
        self.assertEqual(self.places(self.stack), {name: [] for name in self.PERSONAL})
        self.assertEqual(self.stack.count_log_lines("could not be deleted"), 0)

    async def assert_gone_from_the_journal(self) -> None:
        journal = self.stack.directory / "data" / "journal"

        async def gone() -> bool:
            return not any([*files_with(journal, text)] for text in self.PERSONAL.values())

        self.assertTrue(await self.stack.wait_until(gone, JOURNAL_SECONDS))

    async def assert_tombstones(self, **recordings: dict[str, Any]) -> None:
        """Assert that the Recordings are gone, and that the audit log says when, by whom or what, and why."""
        reasons = {}
        for name, recording in recordings.items():

            async def gone(path: str = f"/recordings/{recording['id']}") -> bool:
                return (await self.stack.request("GET", path)).status == 404

            self.assertTrue(await self.stack.wait_until(gone, 20), name)
            (entry,) = [
                entry
                for entry in await self.stack.request_json("GET", f"/audit?targetId={recording['id']}")
                if entry["method"] in ("DELETE", "RULE")
            ]
            self.assertEqual((entry["kind"], entry["outcome"]), ("recording", "done"))
            reasons[name] = (entry["who"], entry["reason"].partition(" 2")[0])
        by_request = ("admin", "request 4711")
        by_rule = ("retention", "expiresAt")
        self.assertEqual(reasons, {"deleted": by_request, "imported": by_request, "expired": by_rule})
