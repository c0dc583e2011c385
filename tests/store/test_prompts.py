"""Tests of voxrec.store.prompts."""

from hashlib import sha256
from typing import Any
from uuid import uuid4

import msgspec

from tests.database import DatabaseTestCase
from tests.store.samples import NOON, later, profile
from voxrec.errors import Conflict, NotFound
from voxrec.model import Prompt, RecordPrompt
from voxrec.store.profiles import Profiles
from voxrec.store.prompts import PromptAudio, Prompts

CONTENT = b"RIFF\0\xff"
AUDIO = PromptAudio("WAV", sha256(CONTENT).hexdigest(), CONTENT)


def prompt(**fields: Any) -> Prompt:
    return Prompt(**{"id": uuid4(), "created_at": NOON, "updated_at": NOON, **fields})


def with_duration(old: Prompt) -> Prompt:
    return msgspec.structs.replace(old, duration=1.5, updated_at=later(1))


class PromptsTests(DatabaseTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.prompts = Prompts(self.pool)
        self.prompt = await self.prompts.create(prompt(name="Welcome"))

    async def test_create_and_get(self) -> None:
        self.assertEqual(await self.prompts.get(self.prompt.id), self.prompt)
        self.assertTrue(await self.prompts.exists(self.prompt.id))
        self.assertFalse(await self.prompts.exists(uuid4()))
        with self.assertRaises(Conflict) as raised:
            await self.prompts.create(self.prompt)
        self.assertEqual([error.field for error in raised.exception.field_errors], ["id"])

    async def test_unknown_prompt(self) -> None:
        unknown = uuid4()
        for attempt in (
            self.prompts.get(unknown),
            self.prompts.audio(unknown),
            self.prompts.update(unknown, with_duration),
            self.prompts.put_audio(unknown, AUDIO, with_duration),
            self.prompts.delete_audio(unknown, with_duration),
            self.prompts.delete(unknown),
        ):
            with self.assertRaisesRegex(NotFound, str(unknown)):
                await attempt

    async def test_audio(self) -> None:
        with self.assertRaisesRegex(NotFound, "no audio"):
            await self.prompts.audio(self.prompt.id)
        stored = await self.prompts.put_audio(self.prompt.id, AUDIO, with_duration)
        self.assertEqual((stored.size, stored.sha256, stored.duration), (len(CONTENT), AUDIO.sha256, 1.5))
        self.assertEqual(await self.prompts.get(self.prompt.id), stored)
        self.assertEqual(await self.prompts.audio(self.prompt.id), AUDIO)

    async def test_update_keeps_the_audio(self) -> None:
        await self.prompts.put_audio(self.prompt.id, AUDIO, with_duration)
        renamed = await self.prompts.update(
            self.prompt.id, lambda old: msgspec.structs.replace(old, id=uuid4(), name="Hello")
        )
        self.assertEqual((renamed.id, renamed.name, renamed.duration), (self.prompt.id, "Hello", 1.5))
        self.assertEqual(await self.prompts.audio(self.prompt.id), AUDIO)

    async def test_delete_audio(self) -> None:
        await self.prompts.put_audio(self.prompt.id, AUDIO, with_duration)
        stored = await self.prompts.delete_audio(self.prompt.id, lambda old: old)
        self.assertEqual((stored.size, stored.sha256, stored.duration), (None, None, None))
        self.assertEqual(await self.prompts.get(self.prompt.id), stored)

    async def test_delete(self) -> None:
        def refuse(_: Prompt) -> None:
            raise Conflict("changed meanwhile")

        with self.assertRaisesRegex(Conflict, "changed meanwhile"):
            await self.prompts.delete(self.prompt.id, refuse)
        await self.prompts.delete(self.prompt.id)
        self.assertFalse(await self.prompts.exists(self.prompt.id))

    async def test_prompt_in_use(self) -> None:
        profiles = Profiles(self.pool)
        for n in range(11):
            user = profile(
                created_at=later(n), record_prompt=RecordPrompt.CUSTOM, record_prompt_custom_id=self.prompt.id
            )
            await profiles.create(user)
            message = f"in use by the profiles? {user.id}" + (".* and more" if n == 10 else "")
            with self.assertRaisesRegex(Conflict, message):
                await self.prompts.delete(self.prompt.id)
            with self.assertRaisesRegex(Conflict, message):
                await self.prompts.delete_audio(self.prompt.id, with_duration)

    async def test_all(self) -> None:
        newer = await self.prompts.create(prompt(created_at=later(1)))
        self.assertEqual(await self.prompts.all(), [newer, self.prompt])
