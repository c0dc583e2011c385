"""Repository of Prompts: custom announcements with their audio. One that a Profile plays cannot be deleted."""

# ruff: noqa: S608 - only names of columns are formatted into statements; values are parameters

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple
from uuid import UUID

import msgspec

from voxrec.cursor import Cursor
from voxrec.error_codes import ProblemReason
from voxrec.errors import Conflict, NotFound
from voxrec.model import Prompt
from voxrec.postgres.statement import Row
from voxrec.postgres.transaction import Transaction
from voxrec.store.columns import Columns
from voxrec.store.keyset import Conditions, fetch_page
from voxrec.store.repository import Repository, apply_change, no_check
from voxrec.store.transaction_hook import NO_HOOK, TransactionHook

_COLUMNS: Final = Columns(Prompt, jsonb=frozenset())
_SELECT: Final = f"SELECT {_COLUMNS.column_list} FROM prompts"
_INSERT: Final = f"""
    INSERT INTO prompts ({_COLUMNS.column_list}) VALUES ({_COLUMNS.placeholders}) ON CONFLICT (id) DO NOTHING
    RETURNING {_COLUMNS.column_list}
"""
_UPDATE: Final = f"UPDATE prompts SET ({_COLUMNS.column_list}) = ROW ({_COLUMNS.placeholders}) WHERE id = %s"
_UPDATE_WITH_AUDIO: Final = f"""
    UPDATE prompts SET ({_COLUMNS.column_list}, container, audio) = ROW ({_COLUMNS.placeholders}, %s, %s)
    WHERE id = %s
"""
_SELECT_PROFILES: Final = """
    SELECT id FROM profiles WHERE record_prompt_custom_id = %s ORDER BY created_at DESC, id DESC LIMIT %s
"""
_MAX_LISTED_PROFILES: Final = 10  # in an error message


@dataclass(frozen=True, kw_only=True)
class PromptFilter:
    """Filters of a list; there are none."""

    def conditions(self) -> Conditions:
        """Return the filters as SQL."""
        return Conditions()


ALL_PROMPTS: Final = PromptFilter()


class PromptAudio(NamedTuple):
    """The uploaded audio file of a Prompt; ``container`` is libsndfile's name of its format."""

    container: str
    sha256: str
    content: bytes


class Prompts(Repository[Prompt, PromptFilter]):
    """The table of Prompts."""

    _resource = "prompt"
    _no_filters = ALL_PROMPTS

    async def exists(self, prompt_id: UUID) -> bool:
        """Return whether a Prompt exists."""
        return bool(await self._database.query("SELECT 1 FROM prompts WHERE id = %s", (prompt_id,)))

    async def audio(self, prompt_id: UUID) -> PromptAudio:
        """Return the audio of a Prompt. Raises NotFound if the Prompt does not exist or has no audio."""
        rows = await self._database.query("SELECT container, sha256, audio FROM prompts WHERE id = %s", (prompt_id,))
        if not rows:
            raise self._not_found(prompt_id)
        container, sha256, content = rows[0]
        if content is None:
            raise NotFound(f"Prompt {prompt_id} has no audio yet.")
        return PromptAudio(container, sha256, bytes(content))

    async def all(self) -> list[Prompt]:
        """Return every Prompt, newest first."""
        return [prompt async for page in self.pages() for prompt in page]

    async def create(self, prompt: Prompt, hook: TransactionHook[Prompt] = NO_HOOK) -> Prompt:
        """Insert a Prompt without audio, run ``hook``, and return the Prompt as stored.

        Raises Conflict if its id is in use.
        """

        async def work(transaction: Transaction) -> Prompt:
            rows = await transaction.query(_INSERT, _COLUMNS.params(prompt))
            if not rows:
                raise self._collision([self._id_in_use(prompt.id)])
            stored = self._from_row(rows[0])
            await hook(transaction, stored)
            return stored

        return await self._database.transaction(work)

    async def update(
        self, prompt_id: UUID, change: Callable[[Prompt], Prompt], hook: TransactionHook[Prompt] = NO_HOOK
    ) -> Prompt:
        """Replace a Prompt by ``change(old)``, except for its audio, run ``hook``, and return it. Raises NotFound."""

        async def work(transaction: Transaction) -> Prompt:
            new = apply_change(change, await self._lock(transaction, prompt_id))
            await transaction.execute(_UPDATE, (*_COLUMNS.params(new), new.id))
            await hook(transaction, new)
            return new

        return await self._database.transaction(work)

    async def put_audio(
        self,
        prompt_id: UUID,
        audio: PromptAudio,
        change: Callable[[Prompt], Prompt],
        hook: TransactionHook[Prompt] = NO_HOOK,
    ) -> Prompt:
        """Replace a Prompt by ``change(old)``, and its audio; run ``hook``. Raises NotFound."""

        async def work(transaction: Transaction) -> Prompt:
            changed = apply_change(change, await self._lock(transaction, prompt_id))
            new = msgspec.structs.replace(changed, size=len(audio.content), sha256=audio.sha256)
            params = (*_COLUMNS.params(new), audio.container, audio.content, new.id)
            await transaction.execute(_UPDATE_WITH_AUDIO, params)
            await hook(transaction, new)
            return new

        return await self._database.transaction(work)

    async def delete_audio(self, prompt_id: UUID, change: Callable[[Prompt], Prompt]) -> Prompt:
        """Replace a Prompt by ``change(old)``, and delete its audio.

        Raises NotFound, and Conflict, naming them, if Profiles play the Prompt.
        """

        async def work(transaction: Transaction) -> Prompt:
            old = await self._lock(transaction, prompt_id)
            await _require_unused(transaction, old)
            new = msgspec.structs.replace(apply_change(change, old), duration=None, size=None, sha256=None)
            await transaction.execute(_UPDATE_WITH_AUDIO, (*_COLUMNS.params(new), None, None, new.id))
            return new

        return await self._database.transaction(work)

    async def delete(self, prompt_id: UUID, check: Callable[[Prompt], None] = no_check) -> None:
        """Delete a Prompt unless ``check`` raises. Raises NotFound, and Conflict, naming them, if Profiles play it."""

        async def work(transaction: Transaction) -> None:
            old = await self._lock(transaction, prompt_id)
            check(old)
            await _require_unused(transaction, old)
            await transaction.execute("DELETE FROM prompts WHERE id = %s", (prompt_id,))

        await self._database.transaction(work)

    async def _fetch_page(self, filters: PromptFilter, limit: int, after: Cursor | None) -> list[Row]:
        return await fetch_page(self._database, _SELECT, filters.conditions(), limit, after)

    def _select_by_id(self, resource_id: UUID) -> tuple[str, tuple[object, ...]]:
        return f"{_SELECT} WHERE id = %s", (resource_id,)

    def _from_row(self, row: Row) -> Prompt:
        return _COLUMNS.from_row(row)


async def _require_unused(transaction: Transaction, prompt: Prompt) -> None:
    """Raise Conflict if a Profile plays a Prompt. While the Prompt is locked, no further Profile can refer to it."""
    rows = await transaction.query(_SELECT_PROFILES, (prompt.id, _MAX_LISTED_PROFILES + 1))
    profile_ids = [profile_id for (profile_id,) in rows]
    if profile_ids:
        listed = ", ".join(map(str, profile_ids[:_MAX_LISTED_PROFILES]))
        more = " and more" if len(profile_ids) > _MAX_LISTED_PROFILES else ""
        noun = "profile" if len(profile_ids) == 1 else "profiles"
        detail = f"Prompt {prompt.id} is in use by the {noun} {listed}{more}."
        raise Conflict(detail, reason=ProblemReason.IN_USE)
