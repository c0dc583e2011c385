"""Tests of bench.growth: every query returns a full page, and REST and PostgreSQL execute the same queries."""

from contextlib import closing
from dataclasses import replace
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID

import psycopg2
from psycopg2.sql import SQL, Identifier
from twisted.trial.unittest import TestCase

from bench.growth import ExplainingDatabase, explain_page, fill, index_sizes, page_queries
from tests.database import administer, cluster
from voxrec.api.recordings.recording_query import FILTERS, ORDER, recording_filter
from voxrec.store.recordings import Recordings
from voxrec.web.pagination import PAGINATION
from voxrec.web.query import parse_query

SIZE = 1000


class GrowthTests(TestCase):
    def setUp(self) -> None:
        fill(cluster(), SIZE, {frozenset([UUID(int=1)]): "secret"})
        self.addCleanup(administer, SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(f"growth_{SIZE}")))
        connection = self.enterContext(closing(psycopg2.connect(cluster().dsn(f"growth_{SIZE}"))))
        connection.autocommit = True
        self.cursor = connection.cursor()
        self.cursor.execute("SET enable_seqscan = off")

    async def test_every_page_is_full(self) -> None:
        for query in page_queries(SIZE):
            store = Recordings(ExplainingDatabase(self.cursor)).scoped_to(query.profile_ids)  # type: ignore[arg-type]
            rows = await store.page(query.filters, 50, query.after)
            self.assertEqual(len(rows), 50, query.name)

    def test_the_path_has_the_same_filters_as_the_query(self) -> None:
        for query in page_queries(SIZE):
            address = urlsplit(query.path)
            values = parse_query(parse_qsl(address.query), {**FILTERS, **ORDER, **PAGINATION})
            self.assertEqual((values.pop("limit"), values.pop("cursor", None)), (50, query.after))
            parents = address.path.split("/")[2:-1]
            parsed = recording_filter(values, UUID(parents[0]) if parents else None)
            expected = replace(query.filters, states=tuple(query.filters.states))
            self.assertEqual(replace(parsed, states=tuple(parsed.states)), expected)

    def test_the_metadata_index_is_the_same_as_the_triggers(self) -> None:
        self.cursor.execute("""
            SELECT count(*) FROM recording_marks FULL JOIN (
                SELECT mark, created_at, id FROM recordings CROSS JOIN LATERAL voxrec_marks(metadata) AS mark
            ) AS expected ON expected.mark = recording_marks.mark AND id = recording_id AND at = created_at
            WHERE id IS NULL OR recording_id IS NULL
        """)
        self.assertEqual(self.cursor.fetchone(), (0,))

    def test_a_plan_is_one_line(self) -> None:
        plan = explain_page(self.cursor, page_queries(SIZE)[0])
        self.assertEqual(plan.shape, "Limit > Index Scan recordings_newest_first")
        self.assertGreater(plan.pages, 0)
        self.assertLessEqual(
            {"recordings_profile", "table recording_marks"}, {name for name, _ in index_sizes(self.cursor)}
        )
