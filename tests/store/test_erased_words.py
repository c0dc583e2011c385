"""What is left of the words of a deleted Recording, and the statements in docs/personal-data.md that remove it."""

import re
from pathlib import Path
from typing import Final

from tests.database import DatabaseTestCase
from tests.store.samples import recording
from voxrec.store.recording_filter import RecordingFilter
from voxrec.store.recordings import Recordings
from voxrec.store.search_index import index_new_recordings

DOCUMENTATION: Final = Path(__file__).parents[2] / "docs" / "personal-data.md"
WORD: Final = "zyxwvutsrqp"


class ErasedWordsTests(DatabaseTestCase):
    async def is_in_index_file(self) -> bool:
        await self.pool.execute("CHECKPOINT")
        ((is_there,),) = await self.pool.query(
            "SELECT position(%s::bytea IN pg_read_binary_file(pg_relation_filepath('recording_search_document'))) > 0",
            (WORD.encode(),),
        )
        return bool(is_there)

    async def is_in_statistics(self) -> bool:
        rows = await self.pool.query(
            "SELECT 1 FROM pg_stats WHERE tablename IN ('recordings', 'recording_search') AND pg_stats::text ~ %s",
            (WORD,),
        )
        return bool(rows)

    async def test_the_documented_statements_remove_the_words_of_a_deleted_recording(self) -> None:
        recordings = Recordings(self.pool)
        kept = await recordings.create(recording(from_name="Kept"))
        deleted = [await recordings.create(recording(from_name=WORD)) for _ in range(3)]
        await index_new_recordings(self.pool)
        await self.pool.execute("ANALYZE recordings, recording_search")
        for each in deleted:
            await recordings.delete(each.id)
        self.assertEqual(await recordings.page(RecordingFilter(search=WORD)), [])
        await self.pool.execute("VACUUM recording_search")
        self.assertEqual((await self.is_in_index_file(), await self.is_in_statistics()), (True, True))

        documented = re.search(r"```sql\n(VACUUM .*?)```", DOCUMENTATION.read_text(), re.DOTALL)
        assert documented is not None
        for statement in documented[1].split(";\n"):
            if statement:
                await self.pool.execute(statement)
        self.assertEqual((await self.is_in_index_file(), await self.is_in_statistics()), (False, False))
        self.assertEqual([each.id for each in await recordings.page(RecordingFilter(search="kept"))], [kept.id])
