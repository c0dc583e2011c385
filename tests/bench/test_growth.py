"""The benchmark of lists that grow asks for full pages, of REST and of PostgreSQL alike."""

from contextlib import closing
from dataclasses import replace
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID

import psycopg2
from psycopg2.sql import SQL, Identifier
from twisted.trial.unittest import TestCase

from bench.growth import Explaining, explained, fill, indexes, questions
from tests.database import administer, cluster
from voxrec.api.recordings import FILTERS, recording_filter
from voxrec.store.recordings import Recordings
from voxrec.web.pagination import PAGINATION
from voxrec.web.query import parse_query

SIZE = 1000


class GrowthTests(TestCase):
    def setUp(self) -> None:
        fill(cluster(), SIZE, {frozenset([UUID(int=1)]): "secret"})
        self.addCleanup(administer, SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(f"growth_{SIZE}")))
        connection = self.enterContext(closing(psycopg2.connect(cluster().dsn(f"growth_{SIZE}"))))
        self.cursor = connection.cursor()
        self.cursor.execute("SET enable_seqscan = off")

    async def test_every_page_is_full(self) -> None:
        for question in questions(SIZE):
            store = Recordings(Explaining(self.cursor)).scoped_to(question.limited)  # type: ignore[arg-type]
            found = await store.page(question.wanted, 50, question.after)
            self.assertEqual(len(found), 50, question.name)

    def test_rest_is_asked_for_the_same(self) -> None:
        for question in questions(SIZE):
            address = urlsplit(question.path)
            values = parse_query(parse_qsl(address.query), {**FILTERS, **PAGINATION})
            self.assertEqual((values.pop("limit"), values.pop("cursor", None)), (50, question.after))
            below = address.path.split("/")[2:-1]
            asked = recording_filter(values, UUID(below[0]) if below else None)
            wanted = replace(question.wanted, states=tuple(question.wanted.states))
            self.assertEqual(replace(asked, states=tuple(asked.states)), wanted)

    def test_marks_are_those_of_the_trigger(self) -> None:
        self.cursor.execute("""
            SELECT count(*) FROM recording_marks FULL JOIN (
                SELECT mark, created_at, id FROM recordings CROSS JOIN LATERAL voxrec_marks(metadata) AS mark
            ) AS wanted ON wanted.mark = recording_marks.mark AND id = recording_id AND at = created_at
            WHERE id IS NULL OR recording_id IS NULL
        """)
        self.assertEqual(self.cursor.fetchone(), (0,))

    def test_a_plan_in_a_line(self) -> None:
        plan = explained(self.cursor, questions(SIZE)[0])
        self.assertEqual(plan.shape, "Limit > Index Scan recordings_newest_first")
        self.assertGreater(plan.pages, 0)
        self.assertLessEqual(
            {"recordings_profile", "table recording_marks"}, {name for name, _ in indexes(self.cursor)}
        )
