"""Tests of voxrec.store.recording_sources; test_recording_turns compares lists that use them."""

from tests.database import DatabaseTestCase
from voxrec.store.recording_filter import RecordingFilter
from voxrec.store.recording_sources import residual_sources, word_sources


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
            sources = await word_sources(self.pool, RecordingFilter(search=search))
            self.assertEqual([source.conditions.params[-1] for source in sources], expected)
        number, *words = await word_sources(self.pool, RecordingFilter(search="a bb 4711 ccc dddd"))
        self.assertIn("'4711':*", str(number.conditions.params[-1]))
        self.assertEqual([source.conditions.params[-1] for source in words], ["'dddd':*", "'ccc':*", "'bb':*"])
