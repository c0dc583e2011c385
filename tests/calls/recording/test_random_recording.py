"""Random sequences of what can happen to one recording while its caller's channel is replaced again and again.

`tests.calls.test_random` does this with whole calls, which seldom reach the states that last for one command only.
"""

from typing import Final

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.calls.model import Outcome
from tests.calls.recording.test_replaced_channel import RecordedChannel
from voxrec.errors import VoxrecError

_OUTCOMES: Final[st.SearchStrategy[Outcome]] = st.sampled_from(
    ["done", "late", "late", "late", "unsent", "lost before", "lost after", "executed later"]
)


class RecordedCaller(RuleBasedStateMachine):
    """One recording, which continues until its call ends."""

    version = 22
    replaced_in: set[str]

    def __init__(self) -> None:
        super().__init__()
        self.channel = RecordedChannel(self.version)
        self.paused = False  # whether the last change that was confirmed was a pause
        self.change: Deferred[None] | None = None
        self.begun = False

    @rule(outcomes=st.lists(_OUTCOMES, max_size=2))
    def commands_have_outcomes(self, outcomes: list[Outcome]) -> None:
        self.channel.model.action_outcomes.extend(outcomes)

    @rule()
    def recording_begins(self) -> None:
        if not self.begun:
            self.begun = True
            self.channel.monitor.begin()

    @rule(muted=st.booleans())
    def recording_is_paused_or_resumed(self, muted: bool) -> None:
        if self.change is not None or muted == self.paused or not self.begun:
            return

        def confirmed(_: None) -> None:
            self.change, self.paused = None, muted

        def refused(failure: Failure) -> None:
            failure.trap(VoxrecError)
            self.change = None

        self.change = Deferred()
        (self.channel.monitor.mute if muted else self.channel.monitor.unmute)(self.change)
        self.change.addCallbacks(confirmed, refused)

    @rule(hang_up=st.booleans())
    def caller_is_replaced(self, hang_up: bool) -> None:
        self.replaced_in.add(self.channel.state)
        self.channel.replace_caller(hang_up=hang_up)

    @rule(
        outcome=_OUTCOMES,
        command=st.sampled_from(["begin", "renew", "renew", "pause", "resume", "reconnect"]),
        hang_up=st.booleans(),
    )
    def caller_is_replaced_during_a_command(self, outcome: Outcome, command: str, hang_up: bool) -> None:
        self.channel.model.action_outcomes.append(outcome)
        match command:
            case "begin":
                self.recording_begins()
            case "renew":
                self.decoders_are_renewed()
            case "reconnect":
                self.ami_reconnects()
            case _:
                self.recording_is_paused_or_resumed(muted=command == "pause")
        self.caller_is_replaced(hang_up=hang_up)

    @rule()
    def decoders_are_renewed(self) -> None:
        self.channel.monitor.renew()

    @rule()
    def response_arrives(self) -> None:
        if self.channel.model.late_responses:
            self.channel.model.late_responses.pop(0)()

    @rule()
    def late_action_is_executed(self) -> None:
        if self.channel.model.late_actions:
            self.channel.model.late_actions.pop(0)()

    @rule()
    def ami_reconnects(self) -> None:
        self.channel.reconnect()

    @rule(seconds=st.sampled_from([0.01, 0.1, 2.0]))
    def time_passes(self, seconds: float) -> None:
        self.channel.pass_time(seconds)

    @rule()
    def asterisk_works(self) -> None:
        self.channel.let_tasks_run()

    @invariant()
    def nothing_is_recorded_during_a_pause(self) -> None:
        if self.paused and self.change is None:
            assert not self.channel.audible, self.channel.state

    @invariant()
    def no_command_is_wrong(self) -> None:
        assert not self.channel.model.violations, self.channel.model.violations

    def teardown(self) -> None:
        channel = self.channel
        self.recording_begins()
        for _ in range(5):
            channel.respond()
            while channel.model.late_actions:
                channel.model.late_actions.pop()()
            channel.reconnect()
            channel.pass_time(2.5)
        assert self.change is None
        assert channel.state == ("suspended" if channel.core.muted and not channel.model.monitors else "recording")
        expected = [] if self.paused else [channel.caller.id]
        assert [one.channel for one in channel.audible] == expected, (channel.state, channel.model.monitors)
        assert len(channel.model.monitors) <= 1, channel.model.monitors
        channel.monitor.call_ended()
        channel.model.hang_up(channel.caller, 16)
        channel.pass_time(11)
        assert channel.reported[-1] == "over"
        assert channel.clock.getDelayedCalls() == []
        self.no_command_is_wrong()


class RecordedCallerOnAsterisk16(RecordedCaller):
    """The same on Asterisk 16."""

    version = 16


class RandomRecordingTests(SynchronousTestCase):
    def test_a_recording_continues_whatever_happens(self) -> None:
        replaced_in: set[str] = set()
        for machine in (RecordedCaller, RecordedCallerOnAsterisk16):
            machine.replaced_in = replaced_in
            run_state_machine_as_test(
                machine,
                settings=settings(
                    max_examples=100,
                    stateful_step_count=50,
                    deadline=None,
                    derandomize=True,
                    database=None,
                    suppress_health_check=list(HealthCheck),
                ),
            )
        # not those that few commands lead to; see test_replaced_channel
        current = {
            "idle",
            "starting",
            "replaced",
            "waiting",
            "locating",
            "opening",
            "recording",
            "leaving",
            "moving",
            "suspended",
        }
        self.assertEqual(current - replaced_in, set())
