"""A list of Recordings that PostgreSQL does not find within its statement timeout, over REST and in the console."""

from contextlib import closing

import psycopg2

from tests.console.console_test_case import ConsoleTestCase
from tests.database import reactor
from voxrec.postgres.pool import Pool


class ListTimeoutTests(ConsoleTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        pool = Pool(reactor, self.dsn, size=1, statement_timeout=0.1)
        pool.startService()
        self.addCleanup(pool.stopService)
        await pool.when_ready()
        self.patch(self.recordings, "_database", pool)

    async def test_the_problem_names_the_filters_and_the_console_says_what_to_do(self) -> None:
        cookie = await self.signed_in()
        with closing(psycopg2.connect(self.dsn)) as other, other.cursor() as cursor:
            cursor.execute("LOCK TABLE recordings")
            response = await self.request("GET", "/recordings?minDuration=5&tag=a")
            page = await self.open("/console/recordings", cookie)
        self.assertEqual((response.status, response.json["code"]), (503, "list-timeout"))
        self.assertRegex(response.json["detail"], "compared for .*minDuration.* Limit the time by since and until")
        self.assertIn("tag", response.json["detail"])
        self.assertIn("retry-after", response.headers)
        self.assertEqual(page.status, 503)
        self.assertIn("The recordings were not found in time", page.body.decode())
        self.assertEqual((await self.request("GET", "/recordings?minDuration=5")).status, 200)
