"""The announcements in Asterisk's directory follow the table of Prompts, and none goes while a call may need it."""

import io
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple
from uuid import UUID, uuid4

import msgspec
import soundfile
from twisted.internet.defer import maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.audio.tones import tone
from tests.calls.double import NOW, profile
from voxrec.calls.announcements import Announcements
from voxrec.errors import NotFound, StoreUnavailable
from voxrec.model import Prompt, RecordPrompt

GRACE = 100.0


class Audio(NamedTuple):
    sha256: str
    content: bytes


class Table:
    """The Prompts, in memory."""

    def __init__(self) -> None:
        self.audios: dict[UUID, Audio] = {}
        self.down = False

    def put(self, prompt_id: UUID, hertz: float) -> str:
        file = io.BytesIO()
        soundfile.write(file, tone(hertz, 0.5, rate=22050), 22050, format="FLAC")
        content = file.getvalue()
        return self.put_raw(prompt_id, content)

    def put_raw(self, prompt_id: UUID, content: bytes) -> str:
        digest = sha256(content).hexdigest()
        self.audios[prompt_id] = Audio(digest, content)
        return f"prompt-{prompt_id}-{digest[:16]}"

    async def all(self) -> list[Prompt]:
        if self.down:
            raise StoreUnavailable("down")
        bare = Prompt(id=uuid4(), created_at=NOW, updated_at=NOW)
        made = [msgspec.structs.replace(bare, id=id_, sha256=audio.sha256) for id_, audio in self.audios.items()]
        return [bare, *made]

    async def audio(self, prompt_id: UUID, /) -> Audio:
        try:
            return self.audios[prompt_id]
        except KeyError:
            raise NotFound("gone") from None


class AnnouncementTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.table = Table()
        self.directory = Path(self.mktemp())
        self.prompt_id = uuid4()
        self.announcements = self.made()
        self.successResultOf(maybeDeferred(self.announcements.start))

    def made(self) -> Announcements:
        return Announcements(
            self.clock,
            self.table,
            self.directory,
            maybeDeferred,
            default="sound:default",
            in_asterisk="sounds",
            grace=GRACE,
        )

    def follow(self) -> None:
        self.announcements.changed()
        self.clock.advance(0)

    @property
    def files(self) -> list[str]:
        return sorted(path.name for path in self.directory.iterdir() if path.name.startswith("prompt"))

    @property
    def media(self) -> str | None:
        return self.announcements.media_for(
            profile(record_prompt=RecordPrompt.CUSTOM, record_prompt_custom_id=self.prompt_id)
        )

    def test_the_default(self) -> None:
        self.assertTrue((self.directory / "announcement.wav").exists())
        self.assertEqual(self.announcements.media_for(profile(record_prompt=RecordPrompt.DEFAULT)), "sound:default")

    def test_one_is_installed_at_both_rates(self) -> None:
        self.assertIsNone(self.media)
        name = self.table.put(self.prompt_id, 440)
        self.follow()
        self.assertEqual(self.files, [f"{name}.wav", f"{name}.wav16"])
        for suffix, rate in (("wav", 8000), ("wav16", 16000)):
            info = soundfile.info(self.directory / f"{name}.{suffix}")
            self.assertEqual((info.samplerate, info.channels, info.subtype, info.frames), (rate, 1, "PCM_16", rate / 2))
        self.assertEqual((self.directory / f"{name}.wav").stat().st_mode & 0o777, 0o644)
        self.assertEqual(self.media, f"sound:sounds/{name}")
        self.assertEqual([path.name for path in self.directory.iterdir() if path.name.startswith(".")], [])

    def test_one_that_is_replaced_stays_for_the_calls_that_began_with_it(self) -> None:
        old = self.table.put(self.prompt_id, 440)
        self.follow()
        new = self.table.put(self.prompt_id, 880)
        self.follow()
        self.assertEqual(self.media, f"sound:sounds/{new}")
        self.assertEqual(len(self.files), 4)
        self.clock.advance(GRACE - 1)
        self.follow()
        self.assertIn(f"{old}.wav", self.files)
        self.clock.advance(1)
        self.successResultOf(maybeDeferred(self.announcements.sweep))
        self.clock.advance(0)
        self.assertEqual(self.files, [f"{new}.wav", f"{new}.wav16"])

    def test_one_that_is_deleted_can_be_played_a_while(self) -> None:
        self.table.put(self.prompt_id, 440)
        self.follow()
        self.table.audios.clear()
        self.follow()
        self.assertIsNotNone(self.media)
        self.clock.advance(GRACE)
        self.follow()
        self.assertEqual((self.media, self.files), (None, []))

    def test_after_a_restart_what_is_there_is_played_without_postgresql(self) -> None:
        name = self.table.put(self.prompt_id, 440)
        self.follow()
        self.table.down = True
        self.announcements = self.made()
        self.successResultOf(maybeDeferred(self.announcements.start))
        self.follow()
        self.assertEqual(self.media, f"sound:sounds/{name}")
        self.table.down = False
        self.table.audios.clear()
        self.clock.advance(5)
        self.clock.advance(GRACE)
        self.follow()
        self.assertEqual(self.files, [])

    def test_one_that_cannot_be_converted_holds_up_no_other(self) -> None:
        self.table.put_raw(uuid4(), b"rubbish")
        name = self.table.put(self.prompt_id, 440)
        self.follow()
        self.assertEqual(self.media, f"sound:sounds/{name}")
