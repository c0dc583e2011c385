"""Tests of voxrec.sandbox.postgres_account."""

import os
import pwd
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from voxrec.sandbox.postgres_account import ACCOUNT, prepare_postgres_directory


class PreparePostgresDirectoryTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp()) / "data" / "postgres"

    def owner(self) -> int:
        return self.directory.stat().st_uid

    def test_directory_is_created_for_an_unprivileged_account(self) -> None:
        prepare_postgres_directory(self.directory)
        expected = pwd.getpwnam(ACCOUNT).pw_uid if os.geteuid() == 0 else os.geteuid()
        self.assertEqual(self.owner(), expected)
        self.assertNotEqual(self.owner(), 0)

    def test_existing_cluster_keeps_its_owner(self) -> None:
        (self.directory / "cluster").mkdir(parents=True)
        prepare_postgres_directory(self.directory)
        self.assertEqual(self.owner(), os.geteuid())
