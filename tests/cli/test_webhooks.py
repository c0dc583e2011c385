"""Tests of ``voxrec webhooks``."""

from typing import Final

from tests.cli.command_test_case import CommandTestCase

FIRST: Final = "77777777-7777-4777-8777-777777777771"
SECOND: Final = "77777777-7777-4777-8777-777777777772"


class WebhooksCommandTests(CommandTestCase):
    group = "webhooks"

    def setUp(self) -> None:
        super().setUp()
        for id_ in (FIRST, SECOND):
            self.query(f"INSERT INTO webhooks (id, url) VALUES ('{id_}', 'https://crm.example/{id_[-1]}')")  # noqa: S608
        self.former = self.secrets()

    def secrets(self) -> dict[object, object]:
        return dict(self.query("SELECT id::text, secret FROM webhooks"))  # type: ignore[arg-type]

    def test_all_webhooks(self) -> None:
        result = self.voxrec("rotate-secrets", "--all")
        self.assertEqual(result.exit_code, 0, result.output)
        secrets = self.secrets()
        for id_ in (FIRST, SECOND):
            self.assertNotEqual(secrets[id_], self.former[id_])
            self.assertIn(str(secrets[id_]), result.stdout)
        valid = self.query("SELECT count(*) FROM webhooks WHERE previous_secret_expires_at > now()")
        self.assertEqual(valid, [(0,)])
        paths = {(path, target) for _, path, _, target, _ in self.audit_entries()}
        self.assertEqual(paths, {("voxrec webhooks rotate-secrets", FIRST), ("voxrec webhooks rotate-secrets", SECOND)})

    def test_one_webhook_with_an_overlap(self) -> None:
        self.assertEqual(self.voxrec("rotate-secrets", FIRST, "--overlap", "3600").exit_code, 0)
        self.assertEqual(self.secrets()[SECOND], self.former[SECOND])
        previous = self.query("SELECT previous_secret FROM webhooks WHERE previous_secret_expires_at > now()")
        self.assertEqual(previous, [(self.former[FIRST],)])

    def test_a_webhook_that_is_named_twice_is_changed_once(self) -> None:
        self.assertEqual(self.voxrec("rotate-secrets", FIRST, FIRST, "--overlap", "3600").exit_code, 0)
        previous = self.query("SELECT previous_secret FROM webhooks WHERE previous_secret_expires_at > now()")
        self.assertEqual(previous, [(self.former[FIRST],)])

    def test_wrong_arguments(self) -> None:
        for arguments in ((), (FIRST, "--all"), (FIRST, "--overlap", "-1")):
            self.assertEqual(self.voxrec("rotate-secrets", *arguments).exit_code, 2, arguments)
        result = self.voxrec("rotate-secrets", FIRST, "77777777-7777-4777-8777-777777777773")
        self.assertEqual(result.exit_code, 1)
        self.assertIn("There is no webhook", result.output)
        self.assertEqual(self.secrets(), self.former)
