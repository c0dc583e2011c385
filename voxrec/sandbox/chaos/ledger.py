"""What was owed against what was found: pure functions, from what the phones saw to a table and broken promises.

Owed is what the phones witnessed, found is what stands in the archive and in the mailbox; nothing that voxrec says
of itself counts, except which Recording is whose.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from voxrec.sandbox.chaos.phones import Witnessed

START_SECONDS: Final = 0.3
"""What a side of a call may lack without being missed: the first packets travel, and the recorders are being started,
while the caller has its 200 already; at the end the packets on their way stay unheard."""
PACKET_SECONDS: Final = 0.02
UNWRITTEN_SECONDS: Final = 2.1
"""What Asterisk keeps in memory of each file: 32 KiB of 16 bit at 8 kHz, and a packet. A crash takes it along."""
CLOSING_SECONDS: Final = 1.0
"""So much later than the caller hung up may the far end be, before it counts as left alone."""
TIDYING_SECONDS: Final = 5.0
"""And so much later after somebody was away: a voxrec that comes back looks twice before it ends what is nobody's."""
NOTICED_SECONDS: Final = 12.0
"""So long after a disk has room again voxrec, which looks every ten seconds, may go on not to record."""
INVITE_SECONDS: Final = 32.0
"""Timer B (RFC 3261, 17.1.1.2): for so long an INVITE may wait for whoever is away."""
NEAR_SECONDS: Final = 2.0
"""Faults within so many seconds of a call are named with it."""

KILLED: Final = "seconds unwritten as Asterisk was killed"
FULL: Final = "seconds for which the disk had no room"
STALLED: Final = "seconds during which Asterisk stood still"
REASONS: Final = (KILLED, FULL, STALLED)


class Outage(NamedTuple):
    """A fault as it really was: from ``begin`` until what it befell was well again, in seconds since the epoch."""

    fault: str
    begin: float
    end: float


class Excuses(NamedTuple):
    """Which faults excuse what.

    ``refused``: nobody was there to take the call. ``cut``: Asterisk was killed, and the call with it.
    ``unwritable``: what Asterisk recorded had no room. ``stalled``: Asterisk itself stood still.
    ``late``: whoever hangs up on the far end stood still.
    ``resend``: whoever was told that a mail had gone could not write it down.
    """

    refused: frozenset[str] = frozenset()
    cut: frozenset[str] = frozenset()
    unwritable: frozenset[str] = frozenset()
    stalled: frozenset[str] = frozenset()
    late: frozenset[str] = frozenset()
    resend: frozenset[str] = frozenset()


class Found(NamedTuple):
    """A Recording: its id, its caller's number, its state, and the seconds of each side's tone in its file."""

    id: str
    number: str
    state: str
    caller: float = 0.0
    callee: float = 0.0


class Side(NamedTuple):
    """Seconds of one side of a call: ``owed`` by the phones, ``found`` in the file, ``excused`` of the rest."""

    number: str
    name: str
    owed: float
    found: float
    excused: Mapping[str, float]

    @property
    def missing(self) -> float:
        """Seconds that are not there, without those at the ends."""
        return max(0.0, self.owed - self.found - START_SECONDS)

    @property
    def lost(self) -> float:
        """Seconds that nothing explains; less than a packet cannot be told from none."""
        lost = self.missing - sum(self.excused.values())
        return lost if lost >= PACKET_SECONDS else 0.0

    def forgiven(self) -> dict[str, float]:
        """Seconds that are not there for a reason outside voxrec, by reason; the first reason has the first claim."""
        left, told = self.missing, {}
        for reason, seconds in self.excused.items():
            told[reason] = min(left, seconds)
            left -= told[reason]
        return told


@dataclass(frozen=True, slots=True)
class Judgement:
    """All that the table says, and each broken promise as one line in ``violations``."""

    figures: Mapping[str, float]
    violations: Sequence[str]


@dataclass
class Ledger:
    """The books of a run; moments are seconds since the epoch, ``began`` is what the lines count from."""

    began: float
    calls: Sequence[Witnessed]
    recordings: Sequence[Found]
    mails: Counter[str]
    outages: Sequence[Outage]
    excuses: Excuses
    mailed_at: Mapping[str, Sequence[float]] = field(default_factory=dict)
    others: Sequence[str] = ()
    """Promises that somebody else found broken."""

    def judge(self) -> Judgement:
        """Compare."""
        answered = [call for call in self.calls if call.answered is not None and self._talked(call) > START_SECONDS]
        refused = [call for call in self.calls if call.answered is None]
        killed = {call.number for call in answered if self._killed_at(call) is not None}
        cut = [call for call in answered if not call.by_caller and call.number not in killed]
        alone = [call for call in answered if call.number not in killed and call not in cut and self._left_alone(call)]
        by_number: dict[str, list[Found]] = {}
        for recording in self.recordings:
            by_number.setdefault(recording.number, []).append(recording)
        sides = [side for call in answered for side in self._sides(call, by_number.get(call.number, []))]
        owed = {call.number for call in answered}
        kept = [call for call in answered if any(r.state == "completed" for r in by_number.get(call.number, []))]
        missing_ok = {call.number for call in answered if call not in kept and self._may_be_absent(call)}
        unexplained = [call for call in refused if not self._refusal_is_excused(call)]
        figures = {
            "calls placed": len(self.calls),
            "calls answered": len(answered),
            "calls refused while nobody was there": len(refused) - len(unexplained),
            "calls refused without a reason": len(unexplained),
            "calls ended by a kill of Asterisk": len(killed),
            "calls cut": len(cut) + len(alone),
            "recordings owed": len(owed),
            "recordings found": len(kept),
            "recordings without audio, excused": len(missing_ok),
            "seconds of audio owed": sum(side.owed for side in sides),
            "seconds of audio found": sum(min(side.found, side.owed) for side in sides),
            "seconds at the ends, not counted": sum(max(0.0, side.owed - side.found - side.missing) for side in sides),
            **{reason: sum(side.forgiven()[reason] for side in sides) for reason in REASONS},
            "seconds of audio lost": sum(side.lost for side in sides),
            "mails owed": len(kept),
            "mails sent": len(self.mails),
            "mails sent twice": sum(count > 1 for count in self.mails.values()),
        }
        violations = [
            *(self._line(call, f"refused with {call.code or 'no response'}") for call in unexplained),
            *(self._line(call, f"cut after {self._talked(call):.1f} s") for call in cut),
            *(self._line(call, "the far end was left, or went, alone") for call in alone),
            *(
                self._line(call, f"no recording: {_states(by_number.get(call.number, []))}")
                for call in answered
                if call not in kept and call.number not in missing_ok
            ),
            *self._doubles(by_number, owed),
            *self._losses(answered, sides, {call.number for call in kept}),
            *self._mail_faults(by_number, kept),
            *self.others,
        ]
        return Judgement(figures, violations)

    # Calls.

    def _during(self, faults: frozenset[str], begin: float, end: float) -> Iterator[Outage]:
        return (each for each in self.outages if each.fault in faults and each.begin < end and begin < each.end)

    def _killed_at(self, call: Witnessed) -> float | None:
        """When Asterisk was killed under a call; None where it was not."""
        assert call.answered is not None, "only answered calls are asked about"
        end = call.ended if call.ended is not None else float("inf")
        kills = (each.begin for each in self.outages if each.fault in self.excuses.cut)
        return min((kill for kill in kills if call.invited <= kill <= end), default=None)

    def _end(self, call: Witnessed) -> float:
        """When the talking was over."""
        assert call.answered is not None, "only answered calls are asked about"
        ends = [end for end in (call.ended, self._killed_at(call)) if end is not None]
        return max(min(ends, default=call.answered), call.answered)

    def _talked(self, call: Witnessed) -> float:
        assert call.answered is not None, "only answered calls are asked about"
        return self._end(call) - call.answered

    def _refusal_is_excused(self, call: Witnessed) -> bool:
        settled = call.settled if call.settled is not None else call.invited + INVITE_SECONDS
        return any(self._during(self.excuses.refused | self.excuses.cut, call.invited, settled + 0.1))

    def _left_alone(self, call: Witnessed) -> bool:
        """Whether the far end went before the caller, or stayed though somebody was there to hang it up."""
        if call.ended is None:
            return False
        absent = self.excuses.refused | self.excuses.stalled | self.excuses.late
        away = self._during(absent, call.ended - CLOSING_SECONDS, call.ended + 0.1)
        latest = max([call.ended + CLOSING_SECONDS, *(outage.end + TIDYING_SECONDS for outage in away)])
        return call.far_ended is None or not call.ended - CLOSING_SECONDS <= call.far_ended <= latest

    # Audio.

    def _sides(self, call: Witnessed, recordings: Sequence[Found]) -> Iterator[Side]:
        owed, excused = self._talked(call), self._excused(call)
        if self._room_unnoticed(call) and not any(recording.state == "completed" for recording in recordings):
            excused[FULL] = owed
        for name in ("caller", "callee"):
            found = max((getattr(recording, name) for recording in recordings), default=0.0)
            yield Side(call.number, name, owed, found, excused)

    def _excused(self, call: Witnessed) -> dict[str, float]:
        """Seconds of each side that Asterisk cannot have written, by reason."""
        assert call.answered is not None, "only answered calls are asked about"
        begin, end = call.answered, self._end(call)
        full = [max(begin, outage.begin) for outage in self._during(self.excuses.unwritable, begin, end)]
        stalls = self._during(self.excuses.stalled, begin, end)
        return {
            KILLED: UNWRITTEN_SECONDS if self._killed_at(call) is not None else 0.0,
            # the write that fails ends the file: nothing comes after it, though there be room again
            FULL: end - min(full) + UNWRITTEN_SECONDS if full else 0.0,
            STALLED: sum(min(end, outage.end) - max(begin, outage.begin) for outage in stalls),
        }

    def _may_be_absent(self, call: Witnessed) -> bool:
        return self._talked(call) - sum(self._excused(call).values()) <= START_SECONDS or self._room_unnoticed(call)

    def _room_unnoticed(self, call: Witnessed) -> bool:
        """Whether voxrec could believe, when the call was answered, that the disk was full."""
        assert call.answered is not None, "only answered calls are asked about"
        return any(self._during(self.excuses.unwritable, call.answered - NOTICED_SECONDS, call.answered))

    def _losses(self, answered: Sequence[Witnessed], sides: Sequence[Side], kept: set[str]) -> Iterator[str]:
        calls = {call.number: call for call in answered}
        for side in sides:
            if side.lost > 0 and side.number in kept:
                call = calls[side.number]
                yield self._line(call, f"{side.lost:.2f} s of the {side.name} lost, of {side.owed:.2f} s")

    # Recordings and mails.

    def _doubles(self, by_number: Mapping[str, Sequence[Found]], owed: set[str]) -> Iterator[str]:
        known = {call.number for call in self.calls}
        for number, recordings in by_number.items():
            if number in owed and len(recordings) > 1:
                yield f"call {number}: {len(recordings)} recordings: {_states(recordings)}"
            if number not in known:
                yield f"recording {recordings[0].id} belongs to no call: {number!r}"

    def _mail_faults(self, by_number: Mapping[str, Sequence[Found]], kept: Sequence[Witnessed]) -> Iterator[str]:
        for call in kept:
            for recording in by_number[call.number]:
                if recording.state == "completed" and not self.mails[recording.id]:
                    yield self._line(call, f"no mail about recording {recording.id}")
        for recording_id, count in self.mails.items():
            if count > 1 and not self._resending_is_excused(recording_id):
                yield f"recording {recording_id}: mailed {count} times though everybody was there to write it down"

    def _resending_is_excused(self, recording_id: str) -> bool:
        """Whether, as each copy but the last arrived, somebody was away who had to write it down."""
        moments = sorted(self.mailed_at.get(recording_id, ()))[:-1]
        return bool(moments) and all(
            any(self._during(self.excuses.resend, moment - NEAR_SECONDS, moment + NEAR_SECONDS)) for moment in moments
        )

    # Words.

    def _line(self, call: Witnessed, what: str) -> str:
        begin = call.invited - NEAR_SECONDS
        end = max(moment for moment in (call.invited, call.settled, call.ended) if moment is not None) + NEAR_SECONDS
        near = [
            f"{each.fault} {each.begin - self.began:.1f}-{each.end - self.began:.1f} s"
            for each in self.outages
            if each.begin < end and begin < each.end
        ]
        faults = f"meanwhile {', '.join(near)}" if near else "with no fault near"
        return f"call {call.number} at {call.invited - self.began:.1f} s: {what} ({faults})"


def _states(recordings: Sequence[Found]) -> str:
    return ", ".join(f"{each.id} {each.state}" for each in recordings) or "there is none"
