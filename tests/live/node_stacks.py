"""Several nodes for the live tests: each voxrec with its own Asterisk and spool, one PostgreSQL and one archive."""

from itertools import count
from pathlib import Path
from typing import Any, ClassVar

from psycopg2.sql import Identifier

from tests.database import cluster, create_migrated_database
from tests.live.live_test_case import LiveTestCase, make_stack, rootfs_of
from tests.temporary import temporary_directory
from voxrec.sandbox.sipp import SippAnswerer, SippCaller
from voxrec.sandbox.stack import Stack

_serial = count(1)


class NodesTestCase(LiveTestCase):
    """A test with ``self.dsn``, a database without rows, and the nodes that it adds."""

    names: ClassVar = ("berlin", "munich")

    def setUp(self) -> None:
        super().setUp()
        name = f"nodes_{next(_serial)}"
        self.create_database(Identifier(name))
        self.dsn = cluster().dsn(name)
        self.archive = temporary_directory("archive")

    def create_database(self, name: Identifier) -> None:
        """Create the database ``name``."""
        create_migrated_database(name)

    def settings(self, name: str) -> dict[str, dict[str, Any]]:
        """Return the settings of the node ``name``: the shared database and archive."""
        return {
            "database": {"dsn": self.dsn},
            "archive": {"directory": str(self.archive)},
            "node": {"name": name},
        }

    async def start_node(self, name: str, source: Path | None = None, **settings: dict[str, Any]) -> Stack:
        """Start the node ``name`` with the shared database and archive, and return its stack.

        ``source`` is the directory of another version of voxrec.
        """
        stack = make_stack({**self.settings(name), **settings}, self.recipe)
        stack.source_directory = source
        self.addCleanup(stack.stop)
        await stack.start()
        return stack

    async def start_answerer(self, stack: Stack) -> SippAnswerer:
        """Start a far end that answers every call."""
        answerer = SippAnswerer(self.reactor, self.directory / "answerer", rootfs_of(self.recipe))
        self.addCleanup(answerer.stop)
        await answerer.start()
        return answerer

    async def start_calls(self, stack: Stack, profile: str, **options: Any) -> SippCaller:
        """Begin calls to a Profile at one node."""
        name = f"caller-{len(list(self.directory.iterdir()))}"
        caller = SippCaller(
            self.reactor,
            self.directory / name,
            rootfs_of(self.recipe),
            stack.asterisk.sip_address,
            profile,
            **options,
        )
        self.addCleanup(caller.stop)
        await caller.start()
        return caller
