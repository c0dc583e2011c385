"""/events: what happens to calls and Recordings, as Server-Sent Events (HTML standard, section 9.2).

All daemons' events come from PostgreSQL, which tells each daemon that there are new ones. A daemon reads them once for
all its clients and keeps the last ones in memory; a client is no more than the id of the event that it has had. So one
that reads slowly costs nothing beside the bytes under way to it: it falls behind, and takes up what it missed from
PostgreSQL. One that takes nothing at all is dropped by the way out, and can resume.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, Protocol
from uuid import UUID

import msgspec
from twisted.internet.defer import CancelledError, Deferred, TimeoutError  # noqa: A004
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from voxrec.errors import FieldError, InvalidInput, StoreUnavailable, Unavailable
from voxrec.model import Event, EventType
from voxrec.store.events import RetainedRange
from voxrec.web import query
from voxrec.web.auth import Principal, Role
from voxrec.web.request import Request
from voxrec.web.response import Response
from voxrec.web.route import Route

EVENT_STREAM: Final = "text/event-stream"
HEARTBEAT: Final = 15.0  # seconds of silence after which a comment is sent, so that nobody takes it for a dead link
REMEMBERED: Final = 1000  # events in memory
_AT_ONCE: Final = 100  # events read, and sent, at once
_PAUSE: Final = 1.0  # seconds after PostgreSQL has failed
_RETRY: Final = b"retry: 2000\n\n"  # milliseconds until a client that was cut off comes again
_DIGITS: Final = 18  # of an id; as many fit into a bigint, whatever they are
_TYPES: Final = "|".join(EventType).replace(".", "[.]")
_HEADERS: Final = {"Content-Type": EVENT_STREAM, "X-Accel-Buffering": "no"}  # nginx would hold events back


class Source(Protocol):
    """Where events are kept, as voxrec.store has it. Everything may raise StoreUnavailable."""

    async def retained_range(self) -> RetainedRange:
        """The ids of the oldest and the newest there are."""

    async def after(self, last: int, limit: int, /) -> list[Event]:
        """At most ``limit`` of those behind the one with the id ``last``, oldest first."""


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events a client wants: all where nothing is given."""

    types: Collection[EventType] = ()
    profiles: Collection[UUID] | None = None

    def takes(self, event: Event) -> bool:
        """Whether it wants this one."""
        return (not self.types or event.type in self.types) and (
            self.profiles is None or event.profile_id in self.profiles
        )


class EventBroadcaster:
    """All events, read once for all who follow.

    ``followed`` is told when the first one begins to follow (True) and when the last one has left (False). In between,
    ``poke`` wants to hear of EVENTS_CHANNEL, and of a Listener's recovery: while nobody follows, who calls whom should
    wake nobody here.
    """

    _log = Logger()

    def __init__(
        self, clock: IReactorTime, source: Source, followed: Callable[[bool], object] = lambda _anybody: None
    ) -> None:
        self._clock = clock
        self._source = source
        self._followed = followed
        self._recent: deque[tuple[Event, bytes]] = deque()
        self._low = 0  # all events with greater ids, up to _high, are remembered
        self._high = 0
        self._followers: set[Subscriber] = set()
        self._reader: Deferred[None] | None = None
        self._stale = False
        self._stopped = False

    def __len__(self) -> int:
        """How many follow."""
        return len(self._followers)

    async def follow(self, wanted: EventFilter, last: int | None) -> "Subscriber":
        """Follow from behind the event ``last``, or from now on.

        Where ``last`` is older than what is kept, or was never told, a `reset` comes first and then all that is kept.
        """
        kept = await self._source.retained_range()
        if self._stopped:
            raise Unavailable("voxrec is stopping")
        beginning = [_RETRY]
        if last is None:
            last = kept.newest
        elif not kept.oldest - 1 <= last <= kept.newest:
            beginning.append(_reset(last))
            last = 0
        if not self._followers:
            self._recent.clear()
            self._low = self._high = kept.newest
            self._followed(True)
        follower = Subscriber(self, self._clock, wanted, last, b"".join(beginning))
        self._followers.add(follower)
        self.poke()  # there may have been one since
        return follower

    def poke(self) -> None:
        """Look for new events now."""
        self._stale = True
        if self._reader is None and self._followers:
            self._reader = reader = Deferred.fromCoroutine(self._read())
            reader.addErrback(self._failed).addCallback(self._rest)

    def dismiss(self) -> None:
        """End all streams, for tokens have changed: who may still follow comes again, and loses nothing."""
        for follower in tuple(self._followers):
            follower.leave()

    async def stop(self) -> None:
        """End all streams; their clients will look for another daemon, or for this one again."""
        self._stopped = True
        self.dismiss()
        if self._reader is not None:
            self._reader.cancel()

    async def behind(self, last: int) -> list[tuple[Event, bytes]]:
        """Some of the events behind ``last``, as they are sent; none where there is nothing yet."""
        if last >= self._high:
            return []
        if last >= self._low:
            begin = bisect_right(self._recent, last, key=_id)
            return list(islice(self._recent, begin, begin + _AT_ONCE))
        return [(event, _frame(event)) for event in await self._source.after(last, _AT_ONCE)]

    def forget(self, follower: "Subscriber") -> None:
        """It follows no more."""
        if follower in self._followers:
            self._followers.discard(follower)
            if not self._followers:
                self._followed(False)

    async def _read(self) -> None:
        while self._stale and self._followers:
            self._stale = False
            behind = self._high
            try:
                fresh = await self._source.after(behind, _AT_ONCE)
            except StoreUnavailable:
                self._stale = True
                await deferLater(self._clock, _PAUSE)
                continue
            if behind != self._high:  # all left meanwhile, and others came
                self._stale = True
            elif fresh:
                self._stale = True  # there may be more than were asked for
                self._take(fresh)

    def _take(self, fresh: list[Event]) -> None:
        self._recent.extend((event, _frame(event)) for event in fresh)
        self._high = fresh[-1].id
        while len(self._recent) > REMEMBERED:
            self._low = self._recent.popleft()[0].id
        for follower in tuple(self._followers):
            follower.wake()

    def _failed(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self._log.failure("events cannot be read", failure)

    def _rest(self, _: None) -> None:
        self._reader = None


class Subscriber:
    """One client's stream: the body of an answer that ends when the client leaves, or the daemon."""

    def __init__(
        self, feed: EventBroadcaster, clock: IReactorTime, wanted: EventFilter, last: int, beginning: bytes
    ) -> None:
        self._feed = feed
        self._clock = clock
        self._wanted = wanted
        self._last = last
        self._beginning = beginning
        self._left = False
        self._waiting: Deferred[None] | None = None

    def __aiter__(self) -> "Subscriber":
        return self

    async def __anext__(self) -> bytes:
        """What is sent next: events, or after a silence a heartbeat."""
        beginning, self._beginning = self._beginning, b""
        if beginning:
            return beginning
        end = self._clock.seconds() + HEARTBEAT
        while not self._left:
            found = await self._found()
            if found:
                return found
            if (rest := end - self._clock.seconds()) <= 0 or not await self._woken_within(rest):
                return b":\n\n"
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Follow no more."""
        self.leave()
        self._feed.forget(self)

    def leave(self) -> None:
        """End the stream: nobody takes it any more."""
        self._left = True
        self.wake()

    def wake(self) -> None:
        """Look again."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    async def _found(self) -> bytes:
        """Those that are wanted, from where we are as far as there are any."""
        try:
            while not self._left and (events := await self._feed.behind(self._last)):
                self._last = events[-1][0].id
                if frames := [frame for event, frame in events if self._wanted.takes(event)]:
                    return b"".join(frames)
        except StoreUnavailable:
            await self._woken_within(_PAUSE)
        return b""

    async def _woken_within(self, seconds: float) -> bool:
        if self._left:
            return True
        self._waiting = Deferred()
        try:
            await self._waiting.addTimeout(seconds, self._clock)
        except TimeoutError:
            self._waiting = None
            return False
        return True


class EventRoutes:
    """The route of the events."""

    def __init__(self, feed: EventBroadcaster) -> None:
        self._feed = feed

    def routes(self) -> tuple[Route, ...]:
        """The route table."""
        return (
            Route(
                *("GET", "/events", Role.READ, self._follow, EVENT_STREAM),
                profile_scoped=True,
                response_model=(EVENT_STREAM,),
                query=_PARAMETERS,
                request_headers=("Last-Event-ID",),
                summary="Follow what happens to calls and Recordings",
            ),
        )

    async def _follow(self, request: Request) -> Response:
        values = query.read(request.query(), _PARAMETERS)
        wanted = EventFilter(values.get("type", ()), _visible(request.principal, values.get("profileId")))
        return Response(200, _HEADERS, await self._feed.follow(wanted, _last(request, values)))


def _visible(principal: Principal, asked: frozenset[UUID] | None) -> frozenset[UUID] | None:
    """Of the Profiles that are asked for, those that the token may see; None: all."""
    if principal.profile_ids is None or asked is None:
        return principal.profile_ids if asked is None else asked
    return principal.profile_ids & asked


def _last(request: Request, values: Mapping[str, Any]) -> int | None:
    """Where to resume. The header goes first: a browser that reconnects sends it along with the address as it was."""
    last: int | None = values.get("lastEventId")
    try:
        if given := request.headers.get("last-event-id", "").strip():
            last = event_id(given)
    except ValueError as error:
        raise InvalidInput("A header does not fit.", [FieldError("Last-Event-ID", str(error))]) from None
    return last


@query.shaped(type="string", pattern="^[0-9]{1,18}$", examples=["4711"])
def event_id(given: str) -> int:
    """The id of an event."""
    if not (given.isascii() and given.isdigit() and len(given) <= _DIGITS):
        raise ValueError("must be the id of an event, a number")
    return int(given)


@query.shaped(type="string", pattern=f"^({_TYPES})(,({_TYPES}))*$", examples=["call.answered,call.ended"])
def event_types(given: str) -> frozenset[EventType]:
    """One or several types."""
    try:
        return frozenset(EventType(one) for one in given.split(","))
    except ValueError:
        raise ValueError(f"must be one, or several separated by commas, of {', '.join(EventType)}") from None


_PARAMETERS: Final[dict[str, query.Reader]] = {
    "lastEventId": event_id,
    "profileId": query.profile_ids,
    "type": event_types,
}


def _id(remembered: tuple[Event, bytes]) -> int:
    return remembered[0].id


def _frame(event: Event) -> bytes:
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (event.id, event.type.encode(), msgspec.json.encode(event))


def _reset(last: int) -> bytes:
    """No id, so that a client that is cut off now asks for the same again."""
    return b'event: reset\ndata: {"type":"reset","lastEventId":%d}\n\n' % last
