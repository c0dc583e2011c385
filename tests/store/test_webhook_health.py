"""Tests of voxrec.store.webhook_health."""

from contextlib import closing

import psycopg2

from tests.database import DatabaseTestCase
from voxrec.store.webhook_health import WebhookHealth, read_webhook_health


class WebhookHealthTests(DatabaseTestCase):
    async def test_numbers(self) -> None:
        await self.pool.execute("""
            INSERT INTO webhooks (url, enabled, disabled_reason, failing_since) VALUES
                ('https://a.example', TRUE, NULL, NULL), ('https://b.example', TRUE, NULL, now()),
                ('https://c.example', FALSE, NULL, NULL), ('https://d.example', FALSE, 'gone', now())
        """)
        with closing(psycopg2.connect(self.dsn)) as connection:
            self.assertEqual(read_webhook_health(connection), WebhookHealth(total=4, disabled=1, failing=1))

    async def test_an_older_schema(self) -> None:
        with closing(psycopg2.connect(self.dsn)) as connection, connection.cursor() as cursor:
            cursor.execute("DROP TABLE webhooks CASCADE")
            self.assertIsNone(read_webhook_health(connection))
            connection.rollback()
