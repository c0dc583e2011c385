"""Compare what a chaos run should have produced with what was found. Pure functions over the phones' observations.

The expected results follow from what the phones observed; the found ones are in the archive and in the mailbox. What
voxrec itself reports is not used, except for which Recording belongs to which call.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from voxrec.sandbox.chaos.outages import TAKEOVER, AllowedEffects, Outage
from voxrec.sandbox.chaos.phones import ObservedCall

START_SECONDS: Final = 0.3
"""Seconds of each side that may be missing at the ends of a call: recording starts after the caller received its 200,
and packets in transit at the end are not recorded."""
PACKET_SECONDS: Final = 0.02
UNWRITTEN_SECONDS: Final = 2.1
"""Seconds of each file that Asterisk buffers and loses in a crash: 32 KiB of 16-bit samples at 8 kHz, and a packet."""
HANGUP_SECONDS: Final = 1.0
"""Maximum time from the caller's hangup to the far end's."""
TAKEOVER_SECONDS: Final = 5.0
"""Maximum time from the end of an outage to the far end's hangup: voxrec looks twice before it ends an orphaned leg."""
STANDBY_SECONDS: Final = 2.0
"""Maximum time in which a standby takes over (docs/scaling.md)."""
DISK_CHECK_SECONDS: Final = 12.0
"""Time after the end of a full disk in which voxrec, which checks every 10 s, may still not record."""
INVITE_SECONDS: Final = 32.0
"""Maximum time for which an INVITE waits for a response: timer B (RFC 3261, section 17.1.1.2)."""
NEAR_SECONDS: Final = 2.0
"""A violation names the faults within this many seconds of its call."""

KILLED: Final = "seconds not written when Asterisk was killed"
FULL: Final = "seconds without disk space"
STALLED: Final = "seconds while Asterisk was suspended"
DELAYED: Final = "seconds without AMI, as the timeline says"
ALLOWED_LOSSES: Final = (KILLED, FULL, STALLED, DELAYED)


class FoundRecording(NamedTuple):
    """A Recording: its id, its caller's number, its state, and the seconds of each side's tone in its file.

    ``unrecorded``: the seconds from the answer that were not recorded, as its timeline says.
    """

    id: str
    number: str
    state: str
    caller: float = 0.0
    callee: float = 0.0
    unrecorded: float = 0.0


class SideAudio(NamedTuple):
    """Seconds of one side of a call: ``expected``, ``found`` in the file, and ``allowed_losses`` by reason."""

    number: str
    side: str
    expected: float
    found: float
    allowed_losses: Mapping[str, float]

    @property
    def missing(self) -> float:
        """Missing seconds, except at the ends of the call."""
        return max(0.0, self.expected - self.found - START_SECONDS)

    @property
    def lost(self) -> float:
        """Missing seconds that no fault explains, 0 if they are less than a packet."""
        lost = self.missing - sum(self.allowed_losses.values())
        return lost if lost >= PACKET_SECONDS else 0.0

    def explained(self) -> dict[str, float]:
        """Return the missing seconds that a fault explains, by reason; earlier reasons take precedence."""
        remaining, explained = self.missing, {}
        for reason, seconds in self.allowed_losses.items():
            explained[reason] = min(remaining, seconds)
            remaining -= explained[reason]
        return explained


@dataclass(frozen=True, slots=True)
class Report:
    """The figures of a run by name, and one line for each violation."""

    figures: Mapping[str, float]
    violations: Sequence[str]


@dataclass
class Verification:
    """The observations of a run; times are seconds since the epoch, and reports count from ``began``."""

    began: float
    calls: Sequence[ObservedCall]
    recordings: Sequence[FoundRecording]
    mails: Counter[str]
    outages: Sequence[Outage]
    allowed_effects: AllowedEffects
    mailed_at: Mapping[str, Sequence[float]] = field(default_factory=dict)
    other_violations: Sequence[str] = ()
    """Violations that were found during the run itself."""
    nodes: Mapping[int, str] = field(default_factory=dict)
    """The names of several nodes, each of which can take any call, by the SIP port of their Asterisk."""
    stored: Mapping[str, str] | None = None
    """What is wrong with the object of each completed Recording in the S3 store; empty: nothing. None: no store."""

    def report(self) -> Report:
        """Compare expected and found results."""
        by_number: dict[str, list[FoundRecording]] = {}
        for recording in self.recordings:
            by_number.setdefault(recording.number, []).append(recording)
        answered = [
            call for call in self.calls if call.answered is not None and self._connected_seconds(call) > START_SECONDS
        ]
        rejected = [call for call in self.calls if call.answered is None]
        unexplained = [call for call in rejected if not self._rejection_is_allowed(call)]
        killed = {call.number for call in answered if self._killed_at(call) is not None}
        dropped = [call for call in answered if not call.by_caller and call.number not in killed]
        abandoned = [
            call
            for call in answered
            if call.number not in killed and call not in dropped and self._far_end_differs(call)
        ]
        sides = [side for call in answered for side in self._sides(call, by_number.get(call.number, []))]
        recorded = [call for call in answered if any(r.state == "completed" for r in by_number.get(call.number, []))]
        may_be_absent = {
            call.number
            for call in answered
            if call not in recorded and self._may_be_absent(call, by_number.get(call.number, []))
        }
        takeovers = [outage.end - outage.begin for outage in self.outages if outage.fault == TAKEOVER]
        figures = {
            "calls placed": len(self.calls),
            "calls answered": len(answered),
            "calls rejected during an outage": len(rejected) - len(unexplained),
            "calls rejected without an outage": len(unexplained),
            "calls ended by a kill of Asterisk": len(killed),
            "calls dropped": len(dropped) + len(abandoned),
            **{
                f"calls of node {name}": sum(call.node_port == port for call in self.calls)
                for port, name in self.nodes.items()
            },
            "recordings expected": len({call.number for call in answered}),
            "recordings found": len(recorded),
            "recordings allowed to be absent": len(may_be_absent),
            **_store_figures(self.stored),
            **_audio_figures(sides),
            "mails expected": len(recorded),
            "mails sent": len(self.mails),
            "mails sent more than once": sum(count > 1 for count in self.mails.values()),
            "take-overs by a standby": len(takeovers),
            "seconds of the slowest one": max(takeovers, default=0.0),
        }
        violations = [
            *(self._violation(call, f"rejected with {call.code or 'no response'}") for call in unexplained),
            *(self._violation(call, "the far end was called twice") for call in self.calls if call.far_end_calls > 1),
            *(self._violation(call, f"dropped after {self._connected_seconds(call):.1f} s") for call in dropped),
            *(self._violation(call, "the far end was not hung up together with the caller") for call in abandoned),
            *(
                self._violation(call, f"no recording: {_states(by_number.get(call.number, []))}")
                for call in answered
                if call not in recorded and call.number not in may_be_absent
            ),
            *self._surplus_recordings(by_number, {call.number for call in answered}),
            *self._audio_losses(answered, sides, {call.number for call in recorded}),
            *self._mail_violations(by_number, recorded),
            *(f"recording {each}: {problem}" for each, problem in (self.stored or {}).items() if problem),
            *self._slow_takeovers(),
            *self.other_violations,
        ]
        return Report(figures, violations)

    # Calls.

    def _during(self, faults: frozenset[str], begin: float, end: float, node: str = "") -> Iterator[Outage]:
        """Return the outages that affect ``node``; all of them if it is empty."""
        return (
            each
            for each in self.outages
            if each.fault in faults and each.begin < end and begin < each.end and _affects(each, node)
        )

    def _node(self, call: ObservedCall) -> str:
        """Return the node of a call; empty if there is one only, or if it is not known."""
        return self.nodes.get(call.node_port, "")

    def _is_kill(self, outage: Outage) -> bool:
        """Return whether Asterisk was killed."""
        return outage.fault in self.allowed_effects.call_dropped

    def _killed_at(self, call: ObservedCall) -> float | None:
        """Return when Asterisk was killed during a call, or None."""
        assert call.answered is not None, "the caller passes answered calls only"
        end = call.ended if call.ended is not None else float("inf")
        kills = (each.begin for each in self.outages if self._is_kill(each) and _affects(each, self._node(call)))
        return min((kill for kill in kills if call.invited <= kill <= end), default=None)

    def _connection_end(self, call: ObservedCall) -> float:
        """Return when the two parties were disconnected."""
        assert call.answered is not None, "the caller passes answered calls only"
        ends = [end for end in (call.ended, self._killed_at(call)) if end is not None]
        return max(min(ends, default=call.answered), call.answered)

    def _connected_seconds(self, call: ObservedCall) -> float:
        assert call.answered is not None, "the caller passes answered calls only"
        return self._connection_end(call) - call.answered

    def _rejection_is_allowed(self, call: ObservedCall) -> bool:
        settled = call.settled if call.settled is not None else call.invited + INVITE_SECONDS
        effects = self.allowed_effects
        rejecting = effects.call_rejected | effects.call_dropped if self.nodes else effects.call_rejected
        outages = list(self._during(rejecting, call.invited, settled + 0.1))
        if not self.nodes or not all(each.node for each in outages):
            return bool(outages)
        # Another node takes a call, unless Asterisk was killed when it had the call already.
        killed = any(call.invited <= each.begin and each.fault in effects.call_dropped for each in outages)
        return killed or {each.node for each in outages} >= {*self.nodes.values()}

    def _far_end_differs(self, call: ObservedCall) -> bool:
        """Return whether the far end was hung up before the caller, or too late after it."""
        if call.ended is None:
            return False
        node = self._node(call)
        latest = self._latest_hangup(call.ended, node)
        if call.far_ended is None:  # an Asterisk that was killed before it was to hang up sends no BYE
            kills = (each for each in self.outages if self._is_kill(each) and _affects(each, node))
            return not any(call.ended <= each.begin <= latest for each in kills)
        return not call.ended - HANGUP_SECONDS <= call.far_ended <= latest

    def _latest_hangup(self, caller_ended: float, node: str) -> float:
        """Return when the far end must have been hung up after the caller.

        An outage that begins before voxrec had the time to do it after an earlier one delays it further.
        """
        effects = self.allowed_effects
        delaying = effects.call_rejected | effects.asterisk_stalled | effects.hangup_delayed
        outages = self._during(delaying, caller_ended - HANGUP_SECONDS, float("inf"), node)
        delayed_until = caller_ended + 0.1
        for outage in sorted(outages, key=lambda outage: outage.begin):
            if outage.begin < delayed_until:
                delayed_until = max(delayed_until, outage.end + TAKEOVER_SECONDS)
        return max(caller_ended + HANGUP_SECONDS, delayed_until)

    # Audio.

    def _sides(self, call: ObservedCall, recordings: Sequence[FoundRecording]) -> Iterator[SideAudio]:
        expected, allowed_losses = self._connected_seconds(call), self._allowed_losses(call, recordings)
        if self._disk_seemed_full(call) and not any(recording.state == "completed" for recording in recordings):
            allowed_losses[FULL] = expected
        for side in ("caller", "callee"):
            found = max((getattr(recording, side) for recording in recordings), default=0.0)
            yield SideAudio(call.number, side, expected, found, allowed_losses)

    def _allowed_losses(self, call: ObservedCall, recordings: Sequence[FoundRecording]) -> dict[str, float]:
        """Return the seconds of each side that Asterisk cannot have written, by reason."""
        assert call.answered is not None, "the caller passes answered calls only"
        begin, end, node = call.answered, self._connection_end(call), self._node(call)
        effects = self.allowed_effects
        full = [max(begin, outage.begin) for outage in self._during(effects.recording_disk_full, begin, end, node)]
        stalls = self._during(effects.asterisk_stalled, begin, end, node)
        return {
            KILLED: UNWRITTEN_SECONDS if self._killed_at(call) is not None else 0.0,
            # Asterisk stops writing a file at the first write that fails, even if there is space again later.
            FULL: end - min(full) + UNWRITTEN_SECONDS if full else 0.0,
            STALLED: sum(min(end, outage.end) - max(begin, outage.begin) for outage in stalls),
            DELAYED: self._delay(call, recordings),
        }

    def _delay(self, call: ObservedCall, recordings: Sequence[FoundRecording]) -> float:
        """Return the seconds from the answer that the timeline calls unrecorded, if an outage explains them."""
        assert call.answered is not None, "the caller passes answered calls only"
        delay = min(self._connected_seconds(call), max((each.unrecorded for each in recordings), default=0.0))
        faults, begin = self.allowed_effects.recording_delayed, call.answered
        outages = self._during(faults, begin - 0.1, begin + delay, self._node(call))
        return delay if any(outages) else 0.0

    def _may_be_absent(self, call: ObservedCall, recordings: Sequence[FoundRecording]) -> bool:
        written = self._connected_seconds(call) - sum(self._allowed_losses(call, recordings).values())
        return written <= START_SECONDS or self._disk_seemed_full(call)

    def _disk_seemed_full(self, call: ObservedCall) -> bool:
        """Return whether voxrec may have considered the disk full when the call was answered."""
        assert call.answered is not None, "the caller passes answered calls only"
        faults = self.allowed_effects.recording_disk_full
        return any(self._during(faults, call.answered - DISK_CHECK_SECONDS, call.answered, self._node(call)))

    def _audio_losses(
        self, answered: Sequence[ObservedCall], sides: Sequence[SideAudio], recorded: set[str]
    ) -> Iterator[str]:
        calls = {call.number: call for call in answered}
        for side in sides:
            if side.lost > 0 and side.number in recorded:
                call = calls[side.number]
                yield self._violation(call, f"{side.lost:.2f} s of the {side.side} lost, of {side.expected:.2f} s")

    # Recordings and mails.

    def _surplus_recordings(
        self, by_number: Mapping[str, Sequence[FoundRecording]], expected: set[str]
    ) -> Iterator[str]:
        placed = {call.number for call in self.calls}
        for number, recordings in by_number.items():
            if number in expected and len(recordings) > 1:
                yield f"call {number}: {len(recordings)} recordings: {_states(recordings)}"
            if number not in placed:
                yield f"recording {recordings[0].id} belongs to no call: {number!r}"

    def _mail_violations(
        self, by_number: Mapping[str, Sequence[FoundRecording]], recorded: Sequence[ObservedCall]
    ) -> Iterator[str]:
        for call in recorded:
            for recording in by_number[call.number]:
                if recording.state == "completed" and not self.mails[recording.id]:
                    yield self._violation(call, f"no mail with recording {recording.id}")
        for recording_id, count in self.mails.items():
            if count > 1 and not self._duplicates_are_allowed(recording_id):
                yield f"recording {recording_id}: mailed {count} times without an outage that explains it"

    # Standbys.

    def _slow_takeovers(self) -> Iterator[str]:
        """Return the take-overs that took too long, unless Asterisk did not respond."""
        effects = self.allowed_effects
        for outage in self.outages:
            seconds = outage.end - outage.begin
            if outage.fault != TAKEOVER or seconds <= STANDBY_SECONDS:
                continue
            if not any(self._during(effects.call_dropped | effects.asterisk_stalled, outage.begin, outage.end)):
                yield f"the standby took over after {seconds:.2f} s, at {outage.begin - self.began:.1f} s"

    def _duplicates_are_allowed(self, recording_id: str) -> bool:
        """Return whether, at each mail but the last, an outage could prevent that its delivery was stored."""
        faults = self.allowed_effects.mail_duplicated
        times = sorted(self.mailed_at.get(recording_id, ()))[:-1]
        return bool(times) and all(any(self._during(faults, at - NEAR_SECONDS, at + NEAR_SECONDS)) for at in times)

    # Texts.

    def _violation(self, call: ObservedCall, problem: str) -> str:
        begin = call.invited - NEAR_SECONDS
        end = max(at for at in (call.invited, call.settled, call.ended) if at is not None) + NEAR_SECONDS
        near = [
            f"{each.fault} {each.node and f'of {each.node} '}"
            f"{each.begin - self.began:.1f}-{each.end - self.began:.1f} s"
            for each in self.outages
            if each.begin < end and begin < each.end
        ]
        faults = f"faults near it: {', '.join(near)}" if near else "no fault near it"
        where = f" of node {node}" if (node := self._node(call)) else ""
        return f"call {call.number}{where} at {call.invited - self.began:.1f} s: {problem} ({faults})"


def _affects(outage: Outage, node: str) -> bool:
    return not outage.node or not node or outage.node == node


def _store_figures(stored: Mapping[str, str] | None) -> dict[str, float]:
    figures = ("recordings owed to the store", "recordings found in the store")
    return {} if stored is None else dict(zip(figures, (len(stored), list(stored.values()).count("")), strict=True))


def _audio_figures(sides: Sequence[SideAudio]) -> dict[str, float]:
    return {
        "seconds of audio expected": sum(side.expected for side in sides),
        "seconds of audio found": sum(min(side.found, side.expected) for side in sides),
        "seconds at call start and end, not counted": sum(
            max(0.0, side.expected - side.found - side.missing) for side in sides
        ),
        **{reason: sum(side.explained()[reason] for side in sides) for reason in ALLOWED_LOSSES},
        "seconds of audio lost": sum(side.lost for side in sides),
    }


def _states(recordings: Sequence[FoundRecording]) -> str:
    return ", ".join(f"{each.id} {each.state}" for each in recordings) or "none found"
