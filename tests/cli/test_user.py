"""Tests of ``voxrec user``."""

from datetime import UTC, datetime, timedelta
from typing import Final

from click.testing import CliRunner, Result

from tests.cli.command_test_case import CommandTestCase
from tests.subtest import subtest
from voxrec.cli.main import main
from voxrec.postgres.blocking_database import blocking_transaction, run_to_completion
from voxrec.store.second_factors import Enrolment, SecondFactors
from voxrec.store.users import Users, VerifiedUser

PASSWORD: Final = "correct horse battery staple"


class UserCommandTests(CommandTestCase):
    group = "user"

    def create(self, name: str = "anna", role: str = "supervise", password: str = PASSWORD, *options: str) -> Result:
        return self.voxrec("create", name, "--role", role, "--password", password, *options)

    def stored_hash(self) -> object:
        [(password,)] = self.query("SELECT password FROM users")
        return password

    def test_create_and_list(self) -> None:
        result = self.create()
        self.assertEqual((result.exit_code, result.output), (0, "user anna is created\n"))
        [heading, line] = self.voxrec("list").output.splitlines()
        self.assertEqual(heading.split(), ["ID", "STATE", "ROLE", "PROFILES", "NAME"])
        self.assertEqual(line.split()[1:], ["enabled", "supervise", "all", "anna"])
        with blocking_transaction(self.dsn) as database:
            user, hashed = run_to_completion(Users(database).credentials("anna"))
        self.assertEqual(user and user.name, "anna")
        self.assertTrue(str(hashed).startswith("$argon2id$"))
        self.assertEqual(self.audit_entries(), [("COMMAND", "voxrec user create", "user", line.split()[0], "done")])

    def test_the_password_is_asked_for_twice(self) -> None:
        arguments = ["user", "create", "anna", "--role", "read", "--config", str(self.config_file)]
        result = CliRunner().invoke(main, arguments, input=f"{PASSWORD}\n{PASSWORD}\n")
        self.assertEqual(result.exit_code, 0, result.output)
        self.assertNotIn(PASSWORD, result.output)

    def test_invalid_values(self) -> None:
        for arguments, text in (
            (("Anna", "read", PASSWORD), "name: invalid value 'Anna'"),
            (("admin", "read", PASSWORD), "could be confused"),
            (("anna", "read", "short"), "password: invalid value: Expected `str` of length >= 12"),
            (("anna", "read", "anna anna anna anna"), "password: must not contain the name of the user"),
            (("anna", "root", PASSWORD), "'root' is not one of"),
        ):
            with subtest(arguments):
                result = self.create(*arguments)
                self.assertNotEqual(result.exit_code, 0)
                self.assertIn(text.replace("`", ""), result.output)
                self.assertEqual(self.query("SELECT name FROM users"), [])

    def test_a_name_in_use(self) -> None:
        self.create()
        result = self.create()
        self.assertEqual(result.exit_code, 1)
        self.assertIn("name: anna is in use by another user", result.output)

    def test_reset_of_a_second_factor(self) -> None:
        self.create()
        result = self.voxrec("reset-second-factor", "anna")
        self.assertEqual(result.exit_code, 1)
        self.assertIn("has no second factor", result.output)
        with blocking_transaction(self.dsn) as database:
            user, hashed = run_to_completion(Users(database).credentials("anna"))
            assert user is not None
            assert hashed is not None
            second_factors, expires_at = SecondFactors(database), datetime.now(UTC) + timedelta(minutes=1)
            verified = VerifiedUser(user, hashed)
            self.assertTrue(run_to_completion(second_factors.challenge(verified, "ticket", expires_at, "SECRET")))
            enrolment = Enrolment("SECRET", 1, [b"h" * 32])
            self.assertTrue(run_to_completion(second_factors.store(user.id, "ticket", enrolment, None)))
        self.assertEqual(self.query("SELECT second_factor FROM users"), [(True,)])
        result = self.voxrec("reset-second-factor", "anna")
        self.assertEqual((result.exit_code, result.output), (0, "the second factor of user anna is removed\n"))
        counts = self.query("SELECT (SELECT count(*) FROM second_factors), (SELECT count(*) FROM recovery_codes)")
        self.assertEqual((counts, self.query("SELECT second_factor FROM users")), ([(0, 0)], [(False,)]))

    def test_password(self) -> None:
        self.create()
        before = self.stored_hash()
        result = self.voxrec("password", "anna", "--password", "another long password")
        self.assertEqual((result.exit_code, result.output), (0, "the password of user anna is changed\n"))
        self.assertNotEqual(self.stored_hash(), before)
        for name, password, text in (
            ("ben", PASSWORD, "There is no user ben."),
            ("anna", "short", "password: invalid value"),
        ):
            with subtest(name):
                result = self.voxrec("password", name, "--password", password)
                self.assertEqual(result.exit_code, 1)
                self.assertIn(text, result.output)


class SignOutTests(CommandTestCase):
    group = "user"

    def setUp(self) -> None:
        super().setUp()
        for name in ("anna", "ben"):
            self.query(
                f"""
                INSERT INTO users VALUES (gen_random_uuid(), '{name}', '-', 'read', NULL, TRUE, now(), now());
                INSERT INTO sessions SELECT gen_random_uuid(), id, sha256('{name}'), now(), now(),
                                            now() + interval '1 hour', '::1', '' FROM users WHERE name = '{name}'
                """  # noqa: S608
            )

    def names(self) -> list[object]:
        return [
            name for (name,) in self.query("SELECT name FROM sessions JOIN users ON users.id = user_id ORDER BY name")
        ]

    def test_one_user(self) -> None:
        result = self.voxrec("sign-out", "anna")
        self.assertEqual((result.exit_code, result.output), (0, "sessions that were ended: 1\n"))
        self.assertEqual(self.names(), ["ben"])

    def test_all_users(self) -> None:
        result = self.voxrec("sign-out", "--all")
        self.assertEqual((result.exit_code, result.output), (0, "sessions that were ended: 2\n"))
        self.assertEqual(self.names(), [])
        self.assertEqual(self.audit_entries(), [("COMMAND", "voxrec user sign-out", "session", None, "done")])

    def test_wrong_arguments(self) -> None:
        for arguments in ((), ("anna", "--all")):
            self.assertEqual(self.voxrec("sign-out", *arguments).exit_code, 2, arguments)
        self.assertEqual(self.voxrec("sign-out", "nobody").exit_code, 1)
        self.assertEqual(self.names(), ["anna", "ben"])
