"""What repositories have in common: reading by id, locking, pages, and limits to the resources of some Profiles."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from typing import ClassVar, Generic, Self, TypeVar
from uuid import UUID

import msgspec

from voxrec.cursor import Cursor, PageItem
from voxrec.error_codes import FieldErrorCode
from voxrec.errors import Conflict, FieldError, NotFound
from voxrec.model import Profile, Prompt, RecipientCertificate, Recording, User, Webhook
from voxrec.postgres.database import Database
from voxrec.postgres.statement import Row
from voxrec.postgres.transaction import Transaction
from voxrec.store.keyset import iterate_pages

T = TypeVar("T", bound=PageItem)
F = TypeVar("F")
R = TypeVar("R", Profile, Prompt, RecipientCertificate, Recording, User, Webhook)


class PagedTable(ABC, Generic[T, F]):
    """A table that is read in pages, newest first. F is the type of its filters.

    Methods raise StoreUnavailable while PostgreSQL cannot be reached.
    """

    _no_filters: F

    def __init__(self, database: Database) -> None:
        self._database = database

    def pages(self, filters: F | None = None, size: int = 500) -> AsyncIterator[list[T]]:
        """Iterate over all matching items, newest first, in pages of ``size``."""
        return iterate_pages(lambda after: self.page(filters, size, after), size)

    async def page(self, filters: F | None = None, limit: int = 500, after: Cursor | None = None) -> list[T]:
        """Return at most ``limit`` matching items after a cursor, newest first."""
        rows = await self._fetch_page(self._no_filters if filters is None else filters, limit, after)
        return [self._from_row(row) for row in rows]

    @abstractmethod
    async def _fetch_page(self, filters: F, limit: int, after: Cursor | None) -> list[Row]:
        """Return the rows of a page."""

    @abstractmethod
    def _from_row(self, row: Row) -> T:
        """Return the item for a row."""


class Repository(PagedTable[T, F]):
    """A table of resources with an id."""

    _resource: ClassVar[str]
    """The name of the resource in error messages."""

    async def get(self, resource_id: UUID) -> T:
        """Return a resource. Raises NotFound."""
        return self._require_found(await self._database.query(*self._select_by_id(resource_id)), resource_id)

    async def _lock(self, transaction: Transaction, resource_id: UUID) -> T:
        """Return a resource and lock its row until the transaction ends. Raises NotFound."""
        sql, params = self._select_by_id(resource_id)
        return self._require_found(await transaction.query(f"{sql} FOR UPDATE", params), resource_id)

    @abstractmethod
    def _select_by_id(self, resource_id: UUID) -> tuple[str, tuple[object, ...]]:
        """Return the statement that selects one resource, and its parameters."""

    def _in_scope(self, _resource: T) -> bool:
        """Return whether the repository may return a resource."""
        return True

    def _require_found(self, rows: list[Row], resource_id: UUID) -> T:
        if rows and self._in_scope(resource := self._from_row(rows[0])):
            return resource
        raise self._not_found(resource_id)

    def _not_found(self, resource_id: UUID) -> NotFound:
        return NotFound(f"There is no {self._resource} {resource_id}.")

    def _collision(self, field_errors: list[FieldError]) -> Conflict:
        return Conflict(f"The {self._resource} collides with another one.", field_errors)

    def _id_in_use(self, resource_id: UUID) -> FieldError:
        message = f"{resource_id} is in use by another {self._resource}"
        return FieldError("id", message, FieldErrorCode.IN_USE, {"value": str(resource_id)})


class ScopedRepository(Repository[T, F]):
    """A repository that can be limited to the resources of some Profiles."""

    def __init__(self, database: Database, profile_ids: frozenset[UUID] | None = None) -> None:
        super().__init__(database)
        self._profile_ids = profile_ids

    def scoped_to(self, profile_ids: frozenset[UUID] | None) -> Self:
        """Return a repository in which only the resources of these Profiles exist; None stands for all Profiles."""
        return self if profile_ids is None else type(self)(self._database, profile_ids)


def no_check(_: object) -> None:
    """Accept any resource; the default for the precondition of a change."""


def apply_change(change: Callable[[R], R], old: R) -> R:
    """Return what ``change`` makes of a resource, with the id and the creation time of the old one."""
    return msgspec.structs.replace(change(old), id=old.id, created_at=old.created_at)
