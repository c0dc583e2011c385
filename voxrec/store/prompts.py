"""Prompts: custom announcements with their audio, and that none goes away while a Profile needs it."""

# ruff: noqa: S608 - what is put into the statements are names of columns, all our own; values are parameters

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final, NamedTuple
from uuid import UUID

import msgspec

from voxrec.cursor import Cursor
from voxrec.errors import Conflict, FieldError, NotFound
from voxrec.model import Prompt
from voxrec.postgres.pool import Pool
from voxrec.postgres.transaction import Transaction
from voxrec.store.columns import Columns
from voxrec.store.keyset import Conditions, iterate_pages, newest
from voxrec.store.transaction_hook import NO_HOOK, TransactionHook

_COLUMNS: Final = Columns(Prompt, jsonb=frozenset())
_SELECT: Final = f"SELECT {_COLUMNS.listed} FROM prompts"
_INSERT: Final = f"""
    INSERT INTO prompts ({_COLUMNS.listed}) VALUES ({_COLUMNS.placeholders}) ON CONFLICT (id) DO NOTHING
    RETURNING {_COLUMNS.listed}
"""
_UPDATE: Final = f"UPDATE prompts SET ({_COLUMNS.listed}) = ROW ({_COLUMNS.placeholders}) WHERE id = %s"
_UPDATE_WITH_AUDIO: Final = f"""
    UPDATE prompts SET ({_COLUMNS.listed}, container, audio) = ROW ({_COLUMNS.placeholders}, %s, %s) WHERE id = %s
"""
_USERS: Final = "SELECT id FROM profiles WHERE record_prompt_custom_id = %s ORDER BY created_at DESC, id DESC LIMIT %s"
_NAMED: Final = 10  # Profiles that an error names


@dataclass(frozen=True, kw_only=True)
class PromptFilter:
    """Which Prompts are wanted: all."""

    def conditions(self) -> Conditions:
        """The same, for PostgreSQL."""
        return Conditions()


ALL_PROMPTS: Final = PromptFilter()


class PromptAudio(NamedTuple):
    """An announcement as it was uploaded; ``container`` is libsndfile's word for what it is."""

    container: str
    sha256: str
    content: bytes


def _unchecked(_: Prompt) -> None:
    """Nothing stands against it."""


class Prompts:
    """The Prompts in PostgreSQL. Everything raises StoreUnavailable while it does not answer."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def get(self, prompt_id: UUID) -> Prompt:
        """One Prompt. NotFound."""
        rows = await self._pool.query(f"{_SELECT} WHERE id = %s", (prompt_id,))
        if not rows:
            raise NotFound(f"There is no prompt {prompt_id}.")
        return _COLUMNS.struct(rows[0])

    async def exists(self, prompt_id: UUID) -> bool:
        """Whether there is one with this id."""
        return bool(await self._pool.query("SELECT 1 FROM prompts WHERE id = %s", (prompt_id,)))

    async def audio(self, prompt_id: UUID) -> PromptAudio:
        """What was uploaded. NotFound where there is no such Prompt, or it has no audio yet."""
        rows = await self._pool.query("SELECT container, sha256, audio FROM prompts WHERE id = %s", (prompt_id,))
        if not rows:
            raise NotFound(f"There is no prompt {prompt_id}.")
        container, sha256, content = rows[0]
        if content is None:
            raise NotFound(f"Prompt {prompt_id} has no audio yet.")
        return PromptAudio(container, sha256, bytes(content))

    async def all(self) -> list[Prompt]:
        """Every Prompt, newest first."""
        return [prompt async for page in self.pages() for prompt in page]

    def pages(self, wanted: PromptFilter = ALL_PROMPTS, size: int = 500) -> AsyncIterator[list[Prompt]]:
        """Every Prompt, newest first, ``size`` of them at a time."""
        return iterate_pages(lambda after: self.page(wanted, size, after), size)

    async def page(
        self, wanted: PromptFilter = ALL_PROMPTS, limit: int = 500, after: Cursor | None = None
    ) -> list[Prompt]:
        """At most ``limit`` Prompts, newest first, from behind ``after`` on."""
        where = wanted.conditions()
        rows = await newest(self._pool, _SELECT, where, limit, after)
        return [_COLUMNS.struct(row) for row in rows]

    async def create(self, prompt: Prompt, hook: TransactionHook[Prompt] = NO_HOOK) -> Prompt:
        """Add one without audio, and do ``hook``. Conflict where its id is in use."""

        async def work(transaction: Transaction) -> Prompt:
            rows = await transaction.query(_INSERT, _COLUMNS.values(prompt))
            if not rows:
                fault = FieldError("id", f"{prompt.id} is in use by another prompt")
                raise Conflict("The prompt collides with another one.", [fault])
            stored = _COLUMNS.struct(rows[0])
            await hook(transaction, stored)
            return stored

        return await self._pool.transaction(work)

    async def update(self, prompt_id: UUID, change: Callable[[Prompt], Prompt]) -> Prompt:
        """Put what ``change`` makes of it in the place of a Prompt, whose audio stays. NotFound."""

        async def work(transaction: Transaction) -> Prompt:
            old = await _locked(transaction, prompt_id)
            new = msgspec.structs.replace(change(old), id=old.id, created_at=old.created_at)
            await transaction.execute(_UPDATE, (*_COLUMNS.values(new), old.id))
            return new

        return await self._pool.transaction(work)

    async def put_audio(self, prompt_id: UUID, audio: PromptAudio, change: Callable[[Prompt], Prompt]) -> Prompt:
        """Give a Prompt its audio, in the place of any that it had. NotFound."""

        async def work(transaction: Transaction) -> Prompt:
            old = await _locked(transaction, prompt_id)
            told = msgspec.structs.replace(
                change(old), id=old.id, created_at=old.created_at, size=len(audio.content), sha256=audio.sha256
            )
            stored = (*_COLUMNS.values(told), audio.container, audio.content, old.id)
            await transaction.execute(_UPDATE_WITH_AUDIO, stored)
            return told

        return await self._pool.transaction(work)

    async def delete_audio(self, prompt_id: UUID, change: Callable[[Prompt], Prompt]) -> Prompt:
        """Take a Prompt's audio away. NotFound; Conflict, naming them, where Profiles play it."""

        async def work(transaction: Transaction) -> Prompt:
            old = await _locked(transaction, prompt_id)
            await _require_unused(transaction, old)
            bare = msgspec.structs.replace(
                change(old), id=old.id, created_at=old.created_at, duration=None, size=None, sha256=None
            )
            await transaction.execute(_UPDATE_WITH_AUDIO, (*_COLUMNS.values(bare), None, None, old.id))
            return bare

        return await self._pool.transaction(work)

    async def delete(self, prompt_id: UUID, check: Callable[[Prompt], None] = _unchecked) -> None:
        """Remove one, unless ``check`` raises. NotFound; Conflict, naming them, where Profiles play it."""

        async def work(transaction: Transaction) -> None:
            old = await _locked(transaction, prompt_id)
            check(old)
            await _require_unused(transaction, old)
            await transaction.execute("DELETE FROM prompts WHERE id = %s", (prompt_id,))

        await self._pool.transaction(work)


async def _locked(transaction: Transaction, prompt_id: UUID) -> Prompt:
    """The Prompt; until the transaction ends no Profile can begin to refer to it."""
    rows = await transaction.query(f"{_SELECT} WHERE id = %s FOR UPDATE", (prompt_id,))
    if not rows:
        raise NotFound(f"There is no prompt {prompt_id}.")
    return _COLUMNS.struct(rows[0])


async def _require_unused(transaction: Transaction, prompt: Prompt) -> None:
    users = [user for (user,) in await transaction.query(_USERS, (prompt.id, _NAMED + 1))]
    if users:
        named = ", ".join(map(str, users[:_NAMED])) + (" and more" if len(users) > _NAMED else "")
        raise Conflict(f"Prompt {prompt.id} is in use by the {'profile' if len(users) == 1 else 'profiles'} {named}.")
