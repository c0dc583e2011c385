"""Two versions of voxrec on one database: that before the newest migration, and this one.

The rules that make this possible are in CONTRIBUTING.md, "How to add a migration".
"""

import os
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from psycopg2.sql import Identifier

from tests.database import create_database
from tests.live.node_stacks import NodesTestCase
from tests.temporary import temporary_directory
from voxrec.sandbox.stack import Stack

REPOSITORY = Path(__file__).parents[2]
MIGRATIONS = "voxrec/postgres/migrations"


def git(*arguments: str) -> bytes:
    """Return the output of git. A failure fails the test: without the history there is no earlier version."""
    return subprocess.run(["git", *arguments], cwd=REPOSITORY, check=True, stdout=subprocess.PIPE).stdout  # noqa: S603, S607


def version_before_newest_migration() -> str:
    """Return the last commit in which the newest migrations did not exist."""
    newest = git("log", "-1", "--first-parent", "--diff-filter=A", "--format=%H", "--", MIGRATIONS).decode().strip()
    if not newest or not git("rev-list", "--parents", "-1", newest).split()[1:]:
        raise AssertionError(
            "the history does not reach back to the version before the newest migration: git fetch --unshallow"
        )
    return f"{newest}~1"


class RollingUpgradeTests(NodesTestCase):
    def create_database(self, name: Identifier) -> None:
        create_database(name)  # the earlier version creates the tables

    def extract(self, commit: str) -> Path:
        """Write the daemon's source at ``commit`` to a directory, and return that."""
        directory = temporary_directory("earlier")
        with tarfile.open(fileobj=BytesIO(git("archive", commit, "voxrec", "twisted"))) as archive:
            archive.extractall(directory, filter="data")
        imported = subprocess.run(
            [sys.executable, "-c", "import voxrec; print(voxrec.__file__)"],
            env={**os.environ, "PYTHONPATH": str(directory)},
            cwd=directory,
            check=True,
            stdout=subprocess.PIPE,
        ).stdout.decode()
        self.assertTrue(Path(imported.strip()).is_relative_to(directory), imported)
        return directory

    async def test_one_node_after_the_other(self) -> None:
        """A node is upgraded during a call on the other one; then that one is, and takes over its own call."""
        earlier = self.extract(version_before_newest_migration())
        munich = await self.start_node("munich", earlier)
        answerer = await self.start_answerer(munich)
        fields = {"remoteSipUri": answerer.uri, "record": True, "recordBeepAtStart": False, "email": "a@voxrec.test"}
        profile = await munich.request_json("PUT", "/profiles", fields)
        first = await self.start_calls(munich, profile["id"], talk_seconds=60.0)
        await self.wait_for_call(munich, profile["id"])

        berlin = await self.start_node("berlin")  # changes the schema
        own = {path.stem for path in (REPOSITORY / MIGRATIONS).glob("*.sql")}
        known = {path.stem for path in (earlier / MIGRATIONS).glob("*.sql")}
        self.assertLess(known, own, "the schema of the two versions is the same")
        call = await self.wait_for_call(berlin, profile["id"])
        for state in ("paused", "recording"):
            for stack in (berlin, munich):
                changed = await stack.request_json("POST", f"/recordings/{call['recordingId']}", {"state": state})
                self.assertEqual((changed["state"], changed["node"]), (state, "munich"))
        for stack in (berlin, munich):
            await stack.request_json("POST", f"/profiles/{profile['id']}", {"ringTimeoutSeconds": 30})
        await self.assert_completed([berlin, munich], call, first)

        second = await self.start_calls(munich, profile["id"], talk_seconds=60.0)
        call = await self.wait_for_call(berlin, profile["id"])
        await munich.stop_voxrec()
        munich.source_directory = None
        await munich.start_voxrec()
        await self.wait_for_call(munich, profile["id"])
        await self.assert_completed([munich, berlin], call, second)
        nodes = await berlin.request_json("GET", "/nodes")
        self.assertEqual(
            [(node["name"], node["state"]) for node in nodes], [("berlin", "running"), ("munich", "running")]
        )

    async def wait_for_call(self, stack: Stack, profile: str) -> Any:
        """Wait until the call on munich is recorded and listed by a node, and return it."""
        found: list[Any] = []

        async def talking() -> bool:
            calls = await stack.request_json("GET", "/calls")
            recordings = await stack.request_json("GET", f"/profiles/{profile}/recordings")
            found[:] = [call for call in calls if (call["node"], call["state"]) == ("munich", "talking")]
            return bool(found) and recordings[0]["state"] == "recording"

        self.assertTrue(await stack.wait_until(talking, 20), stack.voxrec_log_tail())
        return found[0]

    async def assert_completed(self, nodes: Sequence[Stack], call: Any, caller: Any) -> None:
        """End the call on munich through the first of the nodes, and assert that it is recorded, and mailed by one."""
        through = nodes[0]
        self.assertEqual((await through.request("DELETE", f"/calls/{call['id']}")).status, 204)
        await caller.finish()
        recording = await through.wait_for_recording(call["profileId"])
        self.assertEqual((recording["id"], recording["state"]), (call["recordingId"], "completed"))
        self.assertEqual(recording["node"], "munich")

        async def mailed() -> bool:
            mails = [mail for stack in nodes for _, mail in stack.mails()]
            return any(mail["X-Voxrec-Recording"] == recording["id"] for mail in mails)

        self.assertTrue(await through.wait_until(mailed, 30), "no mail")
