"""/recordings/<id>/accesses: who has played or downloaded a Recording; and the entries of the audit log about that."""

from collections import OrderedDict
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid4, uuid5

import msgspec

from voxrec.api.audit_entries import begun_entry
from voxrec.api.resources import require_visible
from voxrec.clock import UtcNow
from voxrec.model import AccessPurpose, AuditOutcome, Recording, RecordingAccess
from voxrec.store.accesses import Accesses
from voxrec.store.recordings import Recordings
from voxrec.web.auth import Role, Scoped
from voxrec.web.pagination import LINK, PAGINATION, Paginator
from voxrec.web.parameters import one_of, uuid
from voxrec.web.query import QueryParameter
from voxrec.web.request import Request
from voxrec.web.response import Response
from voxrec.web.route import Route

AUDIO_PATH: Final = "/recordings/<id>/audio"
ACCESS_PARAMETERS: Final[Mapping[str, QueryParameter[Any]]] = {
    "purpose": one_of(
        [AccessPurpose.DOWNLOAD, AccessPurpose.PLAY, AccessPurpose.VERIFY],
        "What the audio is for, in the history of accesses. Without it: download.",
        title="AudioPurpose",
    ),
    "hearing": uuid(
        "An id that the client chooses for one hearing: all requests with it are one entry in the history of accesses."
    ),
}
"""Query parameters of requests for audio."""
_NAMESPACE: Final = UUID("5d0f5c3e-4c0b-4f0e-9f0e-6b6b0b7f6c11")
_HEARING: Final = timedelta(hours=12)  # a hearing that lasts longer is listed again
_RANGES: Final = timedelta(hours=1)  # requests for parts of a file in an hour are one download
_MAX_RECENT: Final = 10_000  # ids, of some 100 bytes each


class AccessLog:
    """Stores who plays or downloads audio: once for a hearing or a download, however many requests that takes.

    The requests of one hearing have the same parameter ``hearing``. Without it, those of one client that ask for a part
    of a file within an hour are one access, and every request for a whole file is one. The id of an entry is derived
    from what the requests have in common, so that all nodes together store one entry.
    """

    def __init__(self, accesses: Accesses, now: UtcNow) -> None:
        self._accesses = accesses
        self._now = now
        self._recent: OrderedDict[UUID, None] = OrderedDict()

    async def record(self, request: Request, recording: Recording, status: int) -> None:
        """Store the access of a request for audio. Raises StoreUnavailable."""
        now = self._now()
        access_id = _access_id(request, recording, now)
        if access_id in self._recent:
            self._recent.move_to_end(access_id)
            return
        await self._accesses.record(
            msgspec.structs.replace(
                begun_entry(request, AUDIO_PATH, now),
                id=access_id,
                outcome=AuditOutcome.DONE,
                status=status,
                user_agent=request.user_agent,
                access=purpose_of(request),
            )
        )
        self._recent[access_id] = None
        if len(self._recent) > _MAX_RECENT:
            self._recent.popitem(last=False)


def purpose_of(request: Request) -> AccessPurpose:
    """Return what a request for audio says that it is for."""
    purpose: AccessPurpose = request.query.get("purpose", AccessPurpose.DOWNLOAD)
    return purpose


def _access_id(request: Request, recording: Recording, now: datetime) -> UUID:
    """Return the id that the requests of one access have in common."""
    hearing: UUID | None = request.query.get("hearing")
    if hearing is None and "range" not in request.headers:
        return uuid4()
    period = int(now.timestamp() // (_RANGES if hearing is None else _HEARING).total_seconds())
    client = (request.principal.key, request.address, request.user_agent)
    parts = (recording.id, purpose_of(request), *client, hearing, period)
    return uuid5(_NAMESPACE, "\n".join(map(str, parts)))


class AccessRoutes:
    """The accesses to the audio of a recording."""

    def __init__(self, accesses: Accesses, recordings: Scoped[Recordings], public_url: str) -> None:
        self._accesses = accesses
        self._recordings = recordings
        self._public_url = public_url

    def routes(self) -> tuple[Route, ...]:
        """Return the route. It requires the role provision, as the uses of expiring links do."""
        return (
            Route(
                *("GET", "/recordings/<id>/accesses", Role.PROVISION, self._list),
                profile_scoped=True,
                guard=require_visible(self._recordings),
                response_model=list[RecordingAccess],
                query=PAGINATION,
                response_headers=LINK,
                tag="recordings",
                summary="List who has played or downloaded a recording",
            ),
        )

    async def _list(self, request: Request) -> Response:
        """Each hearing and each download is listed once, and each opening of an expiring link; the newest first.

        The audit log keeps these entries also when the recording has been deleted. The audio in mails and in exports is
        not listed here: see the deliveries of the recording, and the audit log.
        """
        accesses = self._accesses.of_recording(request.id)
        return await Paginator(accesses, msgspec.json.encode, self._public_url).respond(request, None)
