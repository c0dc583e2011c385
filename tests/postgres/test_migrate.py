"""Tests of voxrec.postgres.migrate."""

from contextlib import closing
from uuid import UUID, uuid4

import psycopg2
from psycopg2.extensions import parse_dsn
from psycopg2.sql import SQL, Identifier
from twisted.internet.defer import gatherResults
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase
from yoyo import get_backend, read_migrations
from yoyo.migrations import MigrationList

from tests.database import administer, cluster
from voxrec.errors import StoreUnavailable
from voxrec.postgres.migrate import migrate, yoyo_uri
from voxrec.postgres.requirements import MIGRATIONS


class MigrateTests(TestCase):
    def setUp(self) -> None:
        self.database = Identifier("migrating")
        cluster()
        administer(SQL("CREATE DATABASE {}").format(self.database))
        self.addCleanup(administer, SQL("DROP DATABASE {} WITH (FORCE)").format(self.database))
        self.dsn = cluster().dsn("migrating")

    def query(self, sql: str, params: tuple[object, ...] | None = None) -> list[tuple[object, ...]]:
        with closing(psycopg2.connect(self.dsn)) as connection, connection, connection.cursor() as cursor:
            cursor.execute(sql, params)
            return cursor.fetchall() if cursor.description else []

    def tables(self) -> set[object]:
        return {name for (name,) in self.query("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}

    def test_second_run_changes_nothing(self) -> None:
        migrate(self.dsn)
        migrate(self.dsn)
        self.assertLessEqual({"profiles", "profile_numbers", "recordings", "jobs"}, self.tables())

    async def test_concurrent_runs(self) -> None:
        await gatherResults([deferToThread(migrate, self.dsn) for _ in range(4)])
        self.assertIn("recordings", self.tables())

    def test_dsn_in_the_form_of_a_uri(self) -> None:
        parameters = parse_dsn(self.dsn)
        host = parameters["host"].replace("/", "%2F")
        migrate(f"postgresql://{parameters['user']}@{host}/{parameters['dbname']}")
        self.assertIn("jobs", self.tables())

    def test_lock_of_a_killed_process_is_broken(self) -> None:
        get_backend(yoyo_uri(self.dsn)).connection.close()  # creates yoyo's tables
        self.query("INSERT INTO yoyo_lock (locked, ctime, pid) VALUES (1, now(), 4711)")
        migrate(self.dsn)
        self.assertIn("jobs", self.tables())

    def test_rollback_of_all_migrations(self) -> None:
        migrate(self.dsn)
        with get_backend(yoyo_uri(self.dsn)) as backend:
            backend.rollback_migrations(backend.to_rollback(read_migrations(str(MIGRATIONS))))
        self.assertNotIn("profiles", self.tables())
        self.assertEqual(self.query("SELECT proname FROM pg_proc WHERE proname LIKE 'voxrec%'"), [])

    def test_metadata_of_existing_recordings_are_indexed(self) -> None:
        with get_backend(yoyo_uri(self.dsn)) as backend:
            former = MigrationList(each for each in read_migrations(str(MIGRATIONS)) if each.id < "0013")
            backend.apply_migrations(backend.to_apply(former))
        self.query("""
            INSERT INTO recordings (id, profile_id, state, format, channels, timeline, metadata, legal_hold, created_at,
                                    updated_at)
            SELECT gen_random_uuid(), gen_random_uuid(), 'failed', 'wav', 1, '[]', parameters, false, now(), now()
            FROM (VALUES ('{}'::jsonb), ('{"a": [1, 2], "b": {"c": 1}}')) AS metadata (parameters)
        """)
        migrate(self.dsn)
        kept = self.query("SELECT DISTINCT metadata::text FROM recording_marks JOIN recordings ON id = recording_id")
        self.assertEqual(kept, [('{"a": [1, 2], "b": {"c": 1}}',)])
        self.assertEqual(self.query("SELECT count(*) FROM recording_marks"), [(5,)])

    def test_existing_webhook_urls_become_webhooks(self) -> None:
        with get_backend(yoyo_uri(self.dsn)) as backend:
            former = MigrationList(each for each in read_migrations(str(MIGRATIONS)) if each.id < "0020")
            backend.apply_migrations(backend.to_apply(former))
        self.query("""
            INSERT INTO profiles (id, webhook_url, record, record_format, record_channels, record_beep_at_start,
                record_beep_interval, record_prompt, metadata, created_at, updated_at)
            SELECT gen_random_uuid(), url, false, 'wav', 'mono', false, 0, 'none', '{}', now(), now()
            FROM (VALUES ('https://crm.example/x'), (NULL), ('')) AS former (url)
        """)
        migrate(self.dsn)
        stored = self.query("SELECT url, of_profile, enabled, secret FROM webhooks")
        self.assertEqual([row[:3] for row in stored], [("https://crm.example/x", True, True)])
        self.assertRegex(str(stored[0][3]), r"^whsec_[A-Za-z0-9+/]{43}=$")

    def test_exports_that_the_former_version_does_not_understand(self) -> None:
        """It would export all Recordings; so it cannot claim them, and a rollback ends them."""
        migrate(self.dsn)
        queries = ("{}", '{"tag": ["a"]}', '{"search": "miller"}', '{"legalHold": false}')
        for query in queries:
            self.insert_export(query)
        self.insert_export("{}", bulk_action_id=uuid4())
        claimed = self.query("""
            UPDATE exports
            SET state = 'running', attempts = attempts + 1, claims = claims + 1, leased_until = now(),
                started_at = coalesce(started_at, now()), node = '', recordings = 0, bytes = 0, missing = 0
            WHERE id = ANY (ARRAY(
                SELECT id FROM exports WHERE state IN ('pending', 'running') LIMIT 10 FOR UPDATE SKIP LOCKED))
            RETURNING description
        """)  # the statement of version 0.1
        self.assertCountEqual(claimed, [("{}",), ('{"tag": ["a"]}',)])
        with get_backend(yoyo_uri(self.dsn)) as backend:
            newer = MigrationList(each for each in read_migrations(str(MIGRATIONS)) if each.id >= "0040")
            backend.rollback_migrations(backend.to_rollback(newer))
        failed = self.query("SELECT description FROM exports WHERE state = 'failed' AND finished_at IS NOT NULL")
        self.assertCountEqual(failed, [('{"search": "miller"}',), ('{"legalHold": false}',), ("bulk action",)])

    def insert_export(self, query: str, bulk_action_id: UUID | None = None) -> None:
        description = query if bulk_action_id is None else "bulk action"
        insert = """
            INSERT INTO exports (created_by, description, format, audio, query, bulk_action_id)
            VALUES ('x', %s, 'zip', true, %s, %s)
        """
        self.query(insert, (description, query, bulk_action_id and str(bulk_action_id)))

    def test_unreachable_server(self) -> None:
        with self.assertRaises(StoreUnavailable):
            migrate("host=/nowhere dbname=x")
