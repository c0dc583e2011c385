"""Tests of voxrec.calls.announcements.announcement_files."""

import io
import os
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple
from uuid import UUID, uuid4

import msgspec
import soundfile
from twisted.internet.defer import maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.audio.fixtures import tone
from tests.calls.fake_asterisk import NOW, make_profile
from tests.temporary import temporary_directory
from voxrec.calls.announcements.announcement_files import (
    Announcements,
    _Sound,
    _write_files,
    explain_unreadable,
    install_default,
)
from voxrec.errors import NotFound, StoreUnavailable
from voxrec.model import Prompt, RecordPrompt

GRACE = 100.0


class Audio(NamedTuple):
    sha256: str
    content: bytes


class InMemoryPrompts:
    """A repository of Prompts in memory."""

    def __init__(self) -> None:
        self.audios: dict[UUID, Audio] = {}
        self.unavailable = False

    def put(self, prompt_id: UUID, hertz: float) -> str:
        """Store a tone and return the name of its files."""
        file = io.BytesIO()
        soundfile.write(file, tone(hertz, 0.5, rate=22050), 22050, format="FLAC")
        return self.put_raw(prompt_id, file.getvalue())

    def put_raw(self, prompt_id: UUID, content: bytes) -> str:
        """Store a file and return the name of its announcement."""
        digest = sha256(content).hexdigest()
        self.audios[prompt_id] = Audio(digest, content)
        return f"prompt-{prompt_id}-{digest[:16]}"

    async def all(self) -> list[Prompt]:
        if self.unavailable:
            raise StoreUnavailable("unavailable")
        without_audio = Prompt(id=uuid4(), created_at=NOW, updated_at=NOW)
        with_audio = [
            msgspec.structs.replace(without_audio, id=prompt_id, sha256=audio.sha256)
            for prompt_id, audio in self.audios.items()
        ]
        return [without_audio, *with_audio]

    async def audio(self, prompt_id: UUID, /) -> Audio:
        try:
            return self.audios[prompt_id]
        except KeyError:
            raise NotFound("deleted") from None


class AnnouncementTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.prompts = InMemoryPrompts()
        self.directory = Path(self.mktemp())
        self.prompt_id = uuid4()
        self.announcements = self.make_announcements()

    def make_announcements(self) -> Announcements:
        announcements = Announcements(
            self.clock,
            self.prompts,
            self.directory,
            maybeDeferred,
            default="sound:default",
            in_asterisk="sounds",
            grace=GRACE,
        )
        self.successResultOf(announcements.startService())
        return announcements

    def notify(self) -> None:
        self.announcements.prompt_changed(str(self.prompt_id))
        self.clock.advance(0)

    @property
    def files(self) -> list[str]:
        return sorted(path.name for path in self.directory.iterdir() if path.name.startswith("prompt"))

    @property
    def media(self) -> str | None:
        return self.announcements.media_for(
            make_profile(record_prompt=RecordPrompt.CUSTOM, record_prompt_custom_id=self.prompt_id)
        )

    def test_default_announcement(self) -> None:
        self.assertTrue((self.directory / "announcement.wav").exists())
        self.assertEqual(
            self.announcements.media_for(make_profile(record_prompt=RecordPrompt.DEFAULT)), "sound:default"
        )

    def test_other_accounts_can_read_the_announcements_whatever_the_umask(self) -> None:
        self.addCleanup(os.umask, os.umask(0o022))
        for umask in (0o000, 0o027, 0o077):
            os.umask(umask)
            directory = self.directory / f"{umask:o}" / "sounds"
            install_default(directory)
            _write_files(directory, _Sound(str(uuid4()), "0" * 16), self.flac())
            self.assert_readable(directory)

    def test_permissions_that_an_earlier_umask_prevented_are_added(self) -> None:
        directory = self.directory / "sounds"
        install_default(directory)
        _write_files(directory, _Sound(str(uuid4()), "0" * 16), self.flac())
        directory.chmod(0o750)
        for path in directory.iterdir():
            path.chmod(0o640)
        install_default(directory)
        self.assert_readable(directory)

    def test_modes_that_an_administrator_chose_are_not_changed(self) -> None:
        directory = self.directory / "sounds"
        install_default(directory)
        directory.chmod(0o750)
        self.patch(os, "getegid", lambda: 12345)
        install_default(directory)
        self.assertEqual(directory.stat().st_mode & 0o777, 0o750)

    def test_explanation_of_what_other_accounts_cannot_read(self) -> None:
        root = temporary_directory("announcements")
        directory = root / "a" / "sounds"
        self.assertIn("No such file or directory", explain_unreadable(directory))
        install_default(directory)
        self.assertIn("is readable; check asterisk.sounds_in_asterisk", explain_unreadable(directory))
        (directory / "announcement.wav").chmod(0o640)
        self.assertIn(f"run chmod o+r {directory}/announcement.wav", explain_unreadable(directory))
        directory.parent.chmod(0o750)
        self.assertIn(f"run chmod o+x {directory.parent}", explain_unreadable(directory))

    def assert_readable(self, directory: Path) -> None:
        for path, mode in (
            (directory.parent, "755"),
            (directory, "755"),
            *((one, "644") for one in directory.iterdir()),
        ):
            self.assertEqual(f"{path.stat().st_mode & 0o7777:o}", mode, path)

    def flac(self) -> bytes:
        prompt_id = uuid4()
        prompts = InMemoryPrompts()
        prompts.put(prompt_id, 440)
        return prompts.audios[prompt_id].content

    def test_prompt_is_installed_at_both_sampling_rates(self) -> None:
        self.assertIsNone(self.media)
        name = self.prompts.put(self.prompt_id, 440)
        self.notify()
        self.assertEqual(self.files, [f"{name}.wav", f"{name}.wav16"])
        for extension, rate in (("wav", 8000), ("wav16", 16000)):
            info = soundfile.info(self.directory / f"{name}.{extension}")
            self.assertEqual((info.samplerate, info.channels, info.subtype, info.frames), (rate, 1, "PCM_16", rate / 2))
        self.assertEqual((self.directory / f"{name}.wav").stat().st_mode & 0o777, 0o644)
        self.assertEqual(self.media, f"sound:sounds/{name}")
        self.assertEqual([path.name for path in self.directory.iterdir() if path.name.startswith(".")], [])

    def test_replaced_prompt_stays_during_the_grace_period(self) -> None:
        old = self.prompts.put(self.prompt_id, 440)
        self.notify()
        new = self.prompts.put(self.prompt_id, 880)
        self.notify()
        self.assertEqual(self.media, f"sound:sounds/{new}")
        self.assertEqual(len(self.files), 4)
        self.clock.advance(GRACE - 1)
        self.notify()
        self.assertIn(f"{old}.wav", self.files)
        self.clock.advance(60)  # the periodic clean-up
        self.assertEqual(self.files, [f"{new}.wav", f"{new}.wav16"])

    def test_deleted_prompt_can_be_played_during_the_grace_period(self) -> None:
        self.prompts.put(self.prompt_id, 440)
        self.notify()
        self.prompts.audios.clear()
        self.notify()
        self.assertIsNotNone(self.media)
        self.clock.advance(GRACE)
        self.notify()
        self.assertEqual((self.media, self.files), (None, []))

    def test_installed_prompts_are_played_after_a_restart_without_postgresql(self) -> None:
        name = self.prompts.put(self.prompt_id, 440)
        self.notify()
        self.prompts.unavailable = True
        self.announcements.stopService()
        self.announcements = self.make_announcements()
        self.notify()
        self.assertEqual(self.media, f"sound:sounds/{name}")
        self.prompts.unavailable = False
        self.prompts.audios.clear()
        self.clock.advance(5)
        self.clock.advance(GRACE)
        self.notify()
        self.assertEqual(self.files, [])

    def test_invalid_audio_does_not_prevent_other_announcements(self) -> None:
        self.prompts.put_raw(uuid4(), b"not audio")
        name = self.prompts.put(self.prompt_id, 440)
        self.notify()
        self.assertEqual(self.media, f"sound:sounds/{name}")

    def test_stopped_service_has_no_timers(self) -> None:
        self.prompts.unavailable = True
        self.notify()
        self.announcements.stopService()
        self.assertEqual(self.clock.getDelayedCalls(), [])
