"""Tests of voxrec.store.recording_sources; test_recording_turns compares lists that use them."""

from tests.database import DatabaseTestCase
from voxrec.store.recording_filter import RecordingFilter
from voxrec.store.recording_sources import rare_words, residual_sources


class NumberOfSourcesTests(DatabaseTestCase):
    """Each source of a list is counted in each turn: a request with hundreds of tags or words must not be as slow."""

    def test_tags_and_metadata(self) -> None:
        tags, metadata = [f"tag{number}" for number in range(3)], {f"key{number}": 1 for number in range(100)}
        sources = [*residual_sources(RecordingFilter(tags=tags, metadata=metadata, legal_hold=True))]
        self.assertEqual(len(sources), 1 + 4)

    async def test_words(self) -> None:
        for search, expected in (
            ("a", ["'a':*"]),
            ("a A ä", ["'a':*"]),
            ("a bb ccc dddd eeeee " * 20, ["'eeeee':*", "'dddd':*", "'ccc':*", "'bb':*"]),
        ):
            self.assertEqual(await rare_words(self.pool, RecordingFilter(search=search)), expected)
        number, *words = await rare_words(self.pool, RecordingFilter(search="a bb 4711 ccc dddd"))
        self.assertIn("'4711':*", number)
        self.assertEqual(words, ["'dddd':*", "'ccc':*", "'bb':*"])
