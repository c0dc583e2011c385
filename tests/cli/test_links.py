"""Tests of ``voxrec links``."""

from tests.cli.command_test_case import CommandTestCase


class LinksCommandTests(CommandTestCase):
    group = "links"

    def setUp(self) -> None:
        super().setUp()
        self.query(
            """
            INSERT INTO recordings
                (id, profile_id, state, format, channels, timeline, metadata, legal_hold, created_at, updated_at)
            VALUES (gen_random_uuid(), gen_random_uuid(), 'completed', 'wav', 1, '[]', '{}', FALSE, now(), now())
            """
        )
        self.query("INSERT INTO link_keys (created_at) VALUES ('2026-01-01'), ('2026-03-01')")
        self.query(
            """
            INSERT INTO links (recording_id, key_id, origin, created_by, expires_at)
            SELECT recordings.id, link_keys.id, 'rest', 'crm', now() + interval '1 day' FROM recordings, link_keys
            """
        )

    def revoked(self) -> list[bool]:
        """Whether each link is revoked, that of the oldest key first."""
        return [bool(row[0]) for row in self.query("SELECT revoked_at IS NOT NULL FROM links ORDER BY created_at")]

    def test_rotation(self) -> None:
        result = self.voxrec("rotate-keys")
        self.assertEqual(result.exit_code, 0, result.output)
        self.assertEqual(result.output, "new links are signed by a new key; links that were revoked: 0\n")
        self.assertEqual(self.revoked(), [False, False])
        self.assertEqual(self.query("SELECT count(*) FROM link_keys"), [(3,)])
        self.assertEqual(self.audit_entries(), [("COMMAND", "voxrec links rotate-keys", "link-key", None, "done")])

    def test_all_links(self) -> None:
        result = self.voxrec("rotate-keys", "--revoke-all")
        self.assertIn("links that were revoked: 2", result.output)
        self.assertEqual(self.revoked(), [True, True])
        self.assertEqual(self.query("SELECT count(*) FROM link_keys"), [(1,)])

    def test_all_links_if_the_clock_of_postgresql_is_fast(self) -> None:
        self.query("UPDATE link_keys SET created_at = now() + interval '1 minute'")
        self.voxrec("rotate-keys", "--revoke-all")
        self.assertEqual(self.revoked(), [True, True])
        self.assertEqual(self.query("SELECT count(*) FROM link_keys"), [(1,)])

    def test_links_of_earlier_keys(self) -> None:
        result = self.voxrec("rotate-keys", "--revoke-before", "2026-02-01")
        self.assertIn("links that were revoked: 1", result.output)
        self.assertEqual(
            self.query("SELECT count(*) FROM links WHERE revoked_at IS NULL AND key_id IS NOT NULL"), [(1,)]
        )

    def test_wrong_options(self) -> None:
        for options in (("--revoke-all", "--revoke-before", "2026-02-01"), ("--revoke-before", "2999-01-01")):
            self.assertEqual(self.voxrec("rotate-keys", *options).exit_code, 2, options)
        self.assertEqual(self.query("SELECT count(*) FROM link_keys"), [(2,)])
