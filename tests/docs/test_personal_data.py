"""docs/personal-data.md names every table."""

import re
from pathlib import Path
from typing import Final

from tests.database import DatabaseTestCase

PAGE: Final = Path(__file__).parents[2] / "docs" / "personal-data.md"
OF_YOYO: Final = re.compile(r"_?yoyo_\w+")


class PersonalDataTests(DatabaseTestCase):
    async def test_every_table_is_named(self) -> None:
        rows = await self.pool.query("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        tables = {name for (name,) in rows if not OF_YOYO.fullmatch(name)}
        self.assertIn("recordings", tables)
        self.assertEqual(tables - {*re.findall(r"`(\w+)`", PAGE.read_text())}, set())
