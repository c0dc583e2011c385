"""An Asterisk that says yes, remembers what it was asked, and can be told to refuse."""

import re
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from voxrec.ari.client import AriClient
from voxrec.ari.transport import AriResponseError
from voxrec.calls.core import CallSettings, InboundCall
from voxrec.calls.ids import owner_of
from voxrec.calls.live_call import LiveCall
from voxrec.model import Profile, RecordChannels, Recording, RecordPrompt

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
# by the id of a custom one; None: it is not there
ANNOUNCEMENTS: dict[UUID | None, str | None] = {UUID(int=1): "sound:own", UUID(int=2): None}
SETTINGS = CallSettings(
    endpoint="trunk",
    ring_timeout=20,
    setup_timeout=5,
    max_call=7200,
    announcement=lambda profile: ANNOUNCEMENTS.get(profile.record_prompt_custom_id, "sound:announcement"),
    beep="sound:beep",
)
INCOMING = InboundCall(channel="1700.1", number="+4930111", name="Alice", dialled="+4930222")


class WillingAsterisk:
    """A Transport that answers at once.

    ``refuse`` maps the end of a path to a status, ``meanwhile`` a request to what happens before its answer comes.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.queries: dict[str, Mapping[str, str]] = {}
        self.bodies: dict[str, object] = {}
        self.refuse: dict[str, int] = {}
        self.answers: dict[str, bytes] = {}
        self.meanwhile: dict[str, Callable[[], object]] = {}
        self.snoop_entered: Callable[[str], object] = lambda _channel: None

    def request(
        self, method: str, path: tuple[str, ...], query: Mapping[str, str], body: object | None = None
    ) -> Deferred[bytes]:
        """See `voxrec.ari.transport.Transport`."""
        return Deferred.fromCoroutine(self.answered(method, path, query, body))

    async def answered(
        self, method: str, path: tuple[str, ...], query: Mapping[str, str], body: object | None
    ) -> bytes:
        request = f"{method} {'/'.join(path)}"
        self.asked.append(request)
        self.queries[request] = query
        self.bodies[request] = body
        self.meanwhile.pop(request, lambda: None)()
        for end, status in self.refuse.items():
            if request.endswith(end):
                raise AriResponseError(request, status, "told to")
        if path[2:3] == ("snoop",):
            self.snoop_entered(path[3])  # the event comes before the answer as often as after it
        return self.answers.get(request, b"{}")

    def taken(self) -> list[str]:
        """What was asked since the last look."""
        asked, self.asked[:] = list(self.asked), []
        return asked


class Notebook:
    """A Ledger in memory."""

    def __init__(self) -> None:
        self.entries: list[Recording] = []

    def append(self, recording: Recording) -> None:
        self.entries.append(recording)


async def nothing_known(_: Collection[UUID]) -> dict[UUID, Recording]:
    """A Recall while PostgreSQL is away."""
    return {}


def profile(**fields: Any) -> Profile:
    """A Profile that records, with what is given changed."""
    given: dict[str, Any] = {
        "id": UUID("10000000-0000-4000-8000-000000000001"),
        "remote_sip_uri": "sip:desk@192.0.2.7:5070",
        "record": True,
        "record_channels": RecordChannels.DUAL,
        "record_prompt": RecordPrompt.NONE,
        "record_beep_at_start": False,
        "created_at": NOW,
        "updated_at": NOW,
    }
    return Profile(**{**given, **fields})


class Stage:
    """One call with all that it depends on, driven by hand."""

    def __init__(self, **profile_fields: Any) -> None:
        self.clock = Clock()
        self.clock.advance(1_700_000_000)
        self.asterisk = WillingAsterisk()
        self.ledger = Notebook()
        self.ended: list[LiveCall] = []
        self.call = LiveCall(
            self.clock,
            AriClient(self.asterisk, "voxrec"),
            self.ledger,
            SETTINGS,
            INCOMING,
            profile(**profile_fields),
            over=self.ended.append,
        )
        self.asterisk.snoop_entered = self.entered

    def entered(self, channel: str) -> None:
        """A channel of the call's own is there."""
        owner = owner_of(channel)
        assert owner is not None
        self.call.helper_entered(owner[1])

    def named(self, requests: list[str]) -> list[str]:
        """Requests with the ids replaced by names, so that they read like the journey."""
        return [
            re.sub(r"beep-\d+", "beep", request)
            .replace(str(self.call.recording_id), "REC")
            .replace(str(self.call.id), "CALL")
            .replace(INCOMING.channel, "CALLER")
            for request in requests
        ]

    def took(self) -> list[str]:
        return self.named(self.asterisk.taken())

    @property
    def events(self) -> list[tuple[float, str]]:
        """The timeline as last written down."""
        return [(entry.at, entry.event) for entry in self.ledger.entries[-1].timeline]
