"""Input from the network of any content: no event, name or number breaks the router, the log or a command."""

import io
import json
from collections.abc import Iterator
from typing import Any, Final

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.logger import LogEvent, globalLogPublisher, textFileLogObserver
from twisted.trial.unittest import SynchronousTestCase

from tests.calls.fake_asterisk import ProcessFixture, make_profile
from voxrec.ari import events
from voxrec.calls.channels.takeover_state import CALL_VARIABLE, decode_takeover_state
from voxrec.calls.signalling.stasis_args import display_name
from voxrec.model import Profile

FIXED = settings(derandomize=True, database=None, deadline=None, max_examples=150)
_CHANNEL: Final = {
    "id": "1700000000.1",
    "name": "PJSIP/trunk-00000001",
    "state": "Ring",
    "protocol_id": "c9a1",
    "caller": {"name": "Alice", "number": "+4930111"},
    "connected": {"name": "", "number": ""},
    "accountcode": "",
    "dialplan": {
        "context": "voxrec",
        "exten": "100",
        "priority": 3,
        "app_name": "Stasis",
        "app_data": "voxrec,incoming",
    },
    "creationtime": "2026-11-23T12:00:00.123+0000",
    "language": "en",
}
_COMMON_FIELDS: Final = {
    "timestamp": "2026-11-23T12:00:00.125+0000",
    "asterisk_id": "02:00:00:00:00:01",
    "application": "voxrec",
}
# As Asterisk 22.10 sends them, without the fields that all events have.
REAL: Final[dict[str, dict[str, Any]]] = {
    "StasisStart": {"channel": _CHANNEL, "args": ["incoming", "codecs=%28ulaw%29", "Diversion=%3Csip%3Aa%40b%3E"]},
    "StasisEnd": {"channel": _CHANNEL},
    "ChannelStateChange": {"channel": {**_CHANNEL, "state": "Up"}},
    "ChannelDestroyed": {"channel": _CHANNEL, "cause": 16, "cause_txt": "Normal Clearing", "tech_cause": 0},
    "ChannelUserevent": {
        "channel": _CHANNEL,
        "eventname": "voxrec-status",
        "userevent": {"status": "486", "eventname": "voxrec-status"},
    },
    "Dial": {
        "peer": _CHANNEL,
        "dialstring": "",
        "dialstatus": "CANCEL",
        "forward": "PJSIP/trunk/sip:boss@192.0.2.8:5062",
    },
    "ChannelDtmfReceived": {"channel": _CHANNEL, "digit": "5", "duration_ms": 100},
    "ChannelHold": {"channel": _CHANNEL, "musicclass": "default"},
    "ChannelUnhold": {"channel": _CHANNEL},
    "PlaybackStarted": {"playback": {"id": "p", "media_uri": "sound:x", "target_uri": "channel:1", "state": "playing"}},
    "PlaybackFinished": {"playback": {"id": "p", "media_uri": "sound:x", "target_uri": "channel:1", "state": "done"}},
    "BridgeBlindTransfer": {
        "channel": _CHANNEL,
        "exten": "target",
        "context": "voxrec-transfer",
        "result": "Invalid",
        "is_external": True,
        "bridge": {"id": "b", "technology": "simple_bridge", "channels": ["1700000000.1"]},
    },
    "BridgeAttendedTransfer": {
        "transferer_first_leg": _CHANNEL,
        "transferer_second_leg": _CHANNEL,
        "result": "Fail",
        "is_external": True,
        "destination_type": "fail",
    },
    "ApplicationReplaced": {},
    "RESTResponse": {"request_id": "1", "status_code": 200, "reason_phrase": "OK", "message_body": "{}"},
}
_SCALAR = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20)
)
_JSON = st.recursive(
    _SCALAR, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=6
)
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
_SPECIAL = st.sampled_from(
    [
        "voxrec-",
        "voxrec-10000000-0000-4000-8000-000000000009-leg",
        "voxrec-10000000-0000-4000-8000-000000000009-leg9",
        "voxrec-10000000-0000-4000-8000-000000000009-legx",
        "voxrec-10000000-0000-4000-8000-000000000009-",
        "voxrec-10000000-0000-4000-8000-000000000009-caller",
        "voxrec-10000000-0000-4000-8000-000000000009-unassigned",
        "incoming",
        "transferred",
        "transferred,%3Csip%3Aa%40b%3E",
        "100",
        "Up",
        "Ringing",
        "",
        "\r\nInjected: 1",
        "\x1b[2J",
    ]
)


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of each place in a JSON value."""
    if path:
        yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield from paths(one, (*path, key))


@st.composite
def mutated_events(draw: st.DrawFn) -> bytes:
    """Draw a real event of which a few values are missing or replaced, and to which an unknown field may be added."""
    kind = draw(st.sampled_from(sorted(REAL)))
    event = json.loads(json.dumps({"type": kind, **_COMMON_FIELDS, **REAL[kind]}))
    for _ in range(draw(st.integers(0, 3))):
        *above, last = draw(st.sampled_from([path for path in paths(event) if path != ("type",)]))
        holder = event
        for step in above:
            holder = holder[step]
        if draw(st.booleans()):
            holder[last] = draw(_SPECIAL | _JSON)
        else:
            del holder[last]
    if draw(st.booleans()):
        event[draw(st.text())] = draw(_JSON)
        event["type"] = kind
    return json.dumps(event).encode()


class AnyNumber:
    """A ProfileDirectory in which every number but one leads to a Profile."""

    confirmed = True

    def find(self, dialled: str) -> Profile | None:
        return make_profile(record_pause_code="*1") if dialled != "unassigned" else None


class HostileTestCase(SynchronousTestCase):
    def start_process(self) -> None:
        self.process = ProcessFixture(AnyNumber())
        self.process.asterisk.errors = {f"recordings/live/{role}": 404 for role in ("caller", "callee")}

    def logged(self, act: Any) -> list[str]:
        """Return the lines that ``act`` logs, as twistd writes them."""
        file = io.StringIO()
        observer = textFileLogObserver(file)
        failures: list[LogEvent] = []

        def observe(event: LogEvent) -> None:
            observer(event)
            if "log_failure" in event:
                failures.append(event)

        globalLogPublisher.addObserver(observe)  # type: ignore[arg-type] # any callable is one
        try:
            act()
        finally:
            globalLogPublisher.removeObserver(observe)  # type: ignore[arg-type]
        self.assertEqual(failures, [])
        return file.getvalue().split("\n")[:-1]


class EventTests(HostileTestCase):
    def test_real_events_are_decoded(self) -> None:
        for kind, fields in REAL.items():
            event = events.decode_message(json.dumps({"type": kind, **_COMMON_FIELDS, **fields}).encode())
            read = None if event is None else event.__struct_config__.tag
            self.assertEqual(read, kind if kind in events.handled_message_types() else None)
        self.assertEqual(
            events.handled_message_types() - set(REAL), {"ChannelHangupRequest"} & events.handled_message_types()
        )

    @given(st.lists(mutated_events(), min_size=1, max_size=8))
    @FIXED
    def test_router_handles_any_event(self, texts: list[bytes]) -> None:
        self.start_process()
        router = self.process.router

        def act() -> None:
            for text in texts:
                try:
                    event = events.decode_message(text)
                except events.InvalidMessage:
                    continue
                if event is not None and not isinstance(event, events.RestResponse):
                    router.handle(event)
            self.process.clock.advance(1)

        self.logged(act)

    @given(
        st.binary(max_size=60) | st.text(max_size=60).map(str.encode) | _JSON.map(lambda one: json.dumps(one).encode())
    )
    @FIXED
    def test_text_that_is_no_event_is_rejected(self, text: bytes) -> None:
        try:
            self.assertIsNone(events.decode_message(text))
        except events.InvalidMessage as error:
            self.assertTrue(str(error))

    def test_deep_nesting_is_rejected(self) -> None:
        for deep in (b'{"type": "StasisStart", "channel": ' + b"[" * 200_000, b"[" * 200_000):
            self.assertRaises(events.InvalidMessage, events.decode_message, deep)


class NameTests(HostileTestCase):
    @given(_TEXT, _TEXT, st.just("unassigned") | _TEXT, _TEXT)
    @FIXED
    def test_text_of_a_caller_is_one_line_of_the_log_and_unchanged_in_json(
        self, name: str, number: str, dialled: str, target: str
    ) -> None:
        self.start_process()
        router = self.process.router
        caller = events.Channel(
            id="1700.1",
            name="PJSIP/trunk-1",
            caller=events.CallerId(name=name, number=number),
            dialplan=events.Dialplan(exten=dialled),
        )

        def act() -> None:
            args = ("incoming", "presentation=allowed", f"Diversion={target}")
            router.handle(events.StasisStart(caller, args))
            for call in self.process.calls:
                leg = events.Channel(id=call.leg, name="PJSIP/trunk-2", state="Up")
                router.handle(events.StasisStart(leg, ("leg",)))
                router.handle(events.ChannelStateChange(leg))
                self.process.files.create(call)
                router.handle(events.ChannelDtmfReceived(leg, name))
                local = events.Channel(id="local;2", name=name)
                router.handle(events.StasisStart(local, ("transferred", target, "PJSIP/trunk-2")))
                router.handle(events.ChannelDestroyed(caller, 16))
                router.handle(events.ChannelDestroyed(leg, 16))
            self.process.clock.advance(20)

        for line in self.logged(act):
            self.assertTrue(line.isprintable(), line)
            self.assertRegex(line, r"^\d{4}-\d\d-\d\dT\S+ \[\S+\] ")
        for recording in self.process.sink.recordings:
            representation = msgspec.json.decode(msgspec.json.encode(recording))
            self.assertEqual(
                (representation.get("fromName"), representation.get("to")),
                (display_name(name)[:255] or None, dialled[:255]),
            )
        for body in self.process.asterisk.bodies.values():
            if isinstance(body, dict) and "variables" in body:
                state = decode_takeover_state(body["variables"][CALL_VARIABLE])
                assert state is not None
                self.assertEqual((state.name, state.number), (display_name(name)[:255], number[:255]))
                for variable in body["variables"]:
                    self.assertNotIn("\n", variable)
