"""The number of webhooks that fail, for voxrec doctor. Blocking."""

from typing import Final, NamedTuple

from psycopg2.extensions import connection as BlockingConnection

_HEALTH: Final = """
    SELECT count(*), count(*) FILTER (WHERE NOT enabled AND disabled_reason IS NOT NULL),
           count(*) FILTER (WHERE enabled AND failing_since IS NOT NULL)
    FROM webhooks
"""


class WebhookHealth(NamedTuple):
    """Numbers of webhooks: all, those that voxrec disabled, and those whose last request failed."""

    total: int
    disabled: int
    failing: int


def read_webhook_health(connection: BlockingConnection) -> WebhookHealth | None:
    """Return the numbers, or None if the schema has no webhooks yet."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('webhooks') IS NOT NULL")
        [(exists,)] = cursor.fetchall()
        if not exists:
            return None
        cursor.execute(_HEALTH)
        [row] = cursor.fetchall()
    return WebhookHealth(*row)
