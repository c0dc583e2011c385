"""Tests of ``voxrec token``."""

from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from tests.cli.command_test_case import CommandTestCase
from tests.subtest import subtest
from voxrec.model import Profile, Role
from voxrec.postgres.blocking_database import blocking_transaction, run_to_completion
from voxrec.store.profiles import Profiles
from voxrec.store.tokens import SECRET_PREFIX, Tokens, hash_secret

PROFILE_ID: Final = "11111111-1111-4111-8111-111111111111"


class NewerSchemaTests(CommandTestCase):
    group = "token"

    def test_a_command_reports_a_newer_schema(self) -> None:
        self.assertEqual(self.voxrec("list").stderr, "")
        self.query(
            "INSERT INTO _yoyo_migration (migration_hash, migration_id, applied_at_utc) "
            "VALUES ('x', '9999.later', now())"
        )
        result = self.voxrec("list")
        self.assertEqual(result.exit_code, 0)
        self.assertIn("warning: the schema of the database is newer than this version of voxrec", result.stderr)


class TokenCommandTests(CommandTestCase):
    group = "token"

    def add_profile(self) -> None:
        at = datetime(2026, 1, 1, tzinfo=UTC)
        with blocking_transaction(self.dsn) as database:
            profile = Profile(id=UUID(PROFILE_ID), created_at=at, updated_at=at)
            run_to_completion(Profiles(database).create(profile))

    def create(self, *arguments: str) -> str:
        """Create a token and return its secret."""
        result = self.voxrec("create", *arguments)
        self.assertEqual(result.exit_code, 0, result.output)
        return result.stdout.strip()

    def test_create_stores_the_token(self) -> None:
        self.add_profile()
        secret = self.create("--name", "crm", "--role", "read", "--profile", PROFILE_ID, "--expires", "2099-12-31")
        self.assertTrue(secret.startswith(SECRET_PREFIX))
        with blocking_transaction(self.dsn) as database:
            token = run_to_completion(Tokens(database).find(hash_secret(secret)))
        assert token is not None
        self.assertEqual((token.name, token.role, token.profile_ids), ("crm", Role.READ, (UUID(PROFILE_ID),)))
        self.assertEqual(token.expires_at, datetime(2099, 12, 31, tzinfo=UTC))

    def test_only_the_secret_is_on_standard_output(self) -> None:
        result = self.voxrec("create", "--name", "crm", "--role", "read")
        [(token_id,)] = self.query("SELECT id::text FROM tokens")
        self.assertEqual(result.stderr, f"Created token {token_id}. Its secret, which cannot be displayed again:\n")
        self.assertEqual(len(result.stdout.splitlines()), 1)

    def test_list_and_revoke(self) -> None:
        secret = self.create("--name", "crm", "--role", "provision")
        [(token_id,)] = self.query("SELECT id::text FROM tokens")
        output = self.voxrec("list").stdout
        self.assertNotIn(secret, output)
        self.assertEqual(output.splitlines()[1].split(), [token_id, "active", "provision", "all", "never", "crm"])
        result = self.voxrec("revoke", str(token_id))
        self.assertEqual((result.exit_code, result.stdout), (0, f"token {token_id} (crm) is revoked\n"))
        self.assertIn(" revoked ", self.voxrec("list").stdout)
        result = self.voxrec("revoke", str(token_id))
        self.assertEqual((result.exit_code, result.stderr), (1, f"Error: There is no token {token_id}.\n"))

    def test_changes_are_audited(self) -> None:
        self.create("--name", "crm", "--role", "read")
        [(token_id,)] = self.query("SELECT id::text FROM tokens")
        self.voxrec("revoke", str(token_id))
        self.voxrec("revoke", str(token_id))  # fails, and its audit entry is rolled back
        self.assertEqual(
            self.audit_entries(),
            [
                ("COMMAND", "voxrec token create", "token", token_id, "done"),
                ("COMMAND", "voxrec token revoke", "token", token_id, "done"),
            ],
        )

    def test_invalid_arguments_of_create(self) -> None:
        for arguments, message in (
            (("--name", "", "--role", "read"), "name:"),
            (("--name", "a\nb", "--role", "read"), "name:"),
            (("--name", "a", "--role", "root"), "'--role'"),
            (("--name", "a", "--role", "read", "--expires", "2020-01-01"), "expiresAt: is not in the future"),
            (("--name", "a", "--role", "read", "--expires", "2099-01-01T10:00"), "'--expires'"),
            (("--name", "a", "--role", "read", "--expires", "soon"), "'--expires'"),
            (("--name", "a", "--role", "read", "--profile", "x"), "'--profile'"),
            (
                ("--name", "a", "--role", "read", "--profile", PROFILE_ID),
                f"profileIds: there is no profile {PROFILE_ID}",
            ),
            (("--name", "a", "--role", "admin", "--profile", PROFILE_ID), "profileIds: not allowed for the role admin"),
        ):
            with subtest(arguments):
                result = self.voxrec("create", *arguments)
                self.assertNotEqual(result.exit_code, 0)
                self.assertIn(message, result.stderr)
                self.assertEqual(result.stdout, "")
        self.assertEqual(self.query("SELECT count(*) FROM tokens"), [(0,)])
        self.assertEqual(self.query("SELECT count(*) FROM audit"), [(0,)])
