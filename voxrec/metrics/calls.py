"""The metrics of calls, their recordings, and listening to them."""

from functools import partial
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram

from voxrec.model import Call, EventType

_CALL_SETUP_BUCKETS: Final = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0)


class CallMetrics:
    """The metrics of calls."""

    def __init__(self, registry: CollectorRegistry) -> None:
        counter = partial(Counter, registry=registry)
        self._calls = counter(
            "voxrec_calls",
            "Calls that ended, by outcome (answered, unanswered, or refused before the far end was called) and Q.850 "
            "cause code.",
            ["outcome", "cause"],
        )
        self._setup_seconds = Histogram(
            "voxrec_call_setup_seconds",
            "Time from the arrival of a call to its answer, including the ringing of the far end.",
            registry=registry,
            buckets=_CALL_SETUP_BUCKETS,
        )
        self._unreachable_far_ends = counter(
            "voxrec_far_ends_unreachable",
            "Calls whose far end Asterisk could not call, by reason: dns (no address) or transport (none configured).",
            ["reason"],
        )
        self._dropped_events = counter(
            "voxrec_events_dropped",
            "Events of calls that were discarded because they could not be stored in PostgreSQL.",
        )
        self._inexact_limits = counter(
            "voxrec_max_calls_inexact",
            "Calls of Profiles with maxCalls for which only those of this node were counted, because PostgreSQL did "
            "not respond.",
        )
        self._failed_announcements = counter(
            "voxrec_announcements_failed",
            "Announcements that were not played completely to the parties of a call.",
        )
        self._pause_codes = counter(
            "voxrec_pause_codes",
            "DTMF codes with which parties paused and resumed recordings, by action (pause, resume) and outcome (done, "
            "not_recording, failed).",
            ["action", "outcome"],
        )
        self._failed_recordings = counter(
            "voxrec_recordings_failed",
            "Failures to record a call, or one party of it, when it was due (AMI not connected, file not opened).",
        )
        self._decoder_restarts = counter(
            "voxrec_recordings_decoder_restarts",
            "Restarts of the decoders of a recording because Asterisk recorded silence instead of a party.",
        )
        self._listenings = counter("voxrec_listenings", "Listenings to live calls that have ended.")
        self._listening_dropped_seconds = counter(
            "voxrec_listening_dropped_seconds",
            "Audio of live calls that listeners did not receive because their connections were too slow.",
        )

    def call_changed(self, happened: EventType, call: Call) -> None:
        """Count an event of a call; a listener of the router calls this."""
        if happened is EventType.CALL_ANSWERED and call.answered_at is not None:
            self._setup_seconds.observe((call.answered_at - call.started_at).total_seconds())
        if happened is EventType.CALL_ENDED:
            outcome = "unanswered" if call.answered_at is None else "answered"
            self._calls.labels(outcome, str(call.hangup_cause)).inc()

    def call_refused(self, cause: int) -> None:
        """Count a call that was refused with a Q.850 cause before the far end was called."""
        self._calls.labels("refused", str(int(cause))).inc()

    def count_unreachable_far_end(self, reason: str) -> None:
        """Count a call whose far end Asterisk could not call."""
        self._unreachable_far_ends.labels(reason).inc()

    def count_dropped_events(self, count: int) -> None:
        """Count events of calls that are discarded."""
        self._dropped_events.inc(count)

    def count_inexact_limit(self) -> None:
        """Count a call for which the maximum of its Profile did not count the calls of other nodes."""
        self._inexact_limits.inc()

    def count_failed_announcement(self) -> None:
        """Count an announcement that was not played completely."""
        self._failed_announcements.inc()

    def count_pause_code(self, action: str, outcome: str) -> None:
        """Count a DTMF code of a party, by what it was to do and its outcome."""
        self._pause_codes.labels(action, outcome).inc()

    def count_failed_recording(self) -> None:
        """Count a call, or one party of it, that was not recorded when it was due."""
        self._failed_recordings.inc()

    def count_decoder_restart(self) -> None:
        """Count a recording that contained silence instead of a party until its decoders were restarted."""
        self._decoder_restarts.inc()

    def count_listening(self, dropped_seconds: float) -> None:
        """Count a listening that has ended, and the audio that the client was too slow to receive."""
        self._listenings.inc()
        self._listening_dropped_seconds.inc(dropped_seconds)
