"""Tests of voxrec.composition.mail."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from twisted.trial.unittest import SynchronousTestCase

from tests.database import DatabaseTestCase, reactor
from tests.store.samples import recording
from voxrec.composition.database import build_database
from voxrec.composition.environment import build_environment
from voxrec.composition.mail import _defaults, _listening_link
from voxrec.config import Mail, parse
from voxrec.mail.content import ListeningLink
from voxrec.store.recordings import Recordings

URL = "https://rec.example"


class SettingsTests(SynchronousTestCase):
    def test_templates(self) -> None:
        self.assertIsNone(_defaults(Mail()).templates)
        self.assertEqual(_defaults(Mail(templates="/etc/voxrec/mail")).templates, Path("/etc/voxrec/mail"))


class ListeningLinkTests(DatabaseTestCase):
    async def listening_link(self, recording_id: UUID, settings: str) -> ListeningLink:
        text = f"data_directory: {self.mktemp()}\nrest: {{public_url: '{URL}/'}}\nlinks: {{{settings}}}"
        env = build_environment(reactor, parse(text))
        database = build_database(env, self.dsn)
        database.pool.startService()
        await database.pool.when_ready()
        try:
            return await _listening_link(env, database)(recording_id)
        finally:
            await database.pool.stopService()

    async def test_the_settings_decide(self) -> None:
        stored = await Recordings(self.pool).create(recording())
        link = await self.listening_link(stored.id, "delivery_days: 3")
        self.assertRegex(link.url, rf"^{URL}/l/[A-Za-z0-9_-]{{48}}$")
        assert link.expires_at is not None
        self.assertAlmostEqual((link.expires_at - datetime.now(UTC)) / timedelta(days=1), 3, places=2)
        with_token = await self.listening_link(stored.id, "in_mails: false")
        self.assertEqual(with_token, ListeningLink(f"{URL}/recordings/{stored.id}/audio"))
