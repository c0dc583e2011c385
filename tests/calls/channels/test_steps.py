"""Tests of voxrec.calls.channels.steps."""

from uuid import UUID

from twisted.internet.defer import fail, succeed
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from voxrec.ami.protocol import AmiResponseError
from voxrec.ari.transport import AriResponseError
from voxrec.calls.channels.steps import Steps
from voxrec.errors import AsteriskUnavailable


class StepsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.steps = Steps(UUID(int=1))
        self.inputs: list[object] = []

    def failed(self) -> None:
        self.inputs.append("failed")

    def test_success(self) -> None:
        self.steps.run(succeed("result"), succeeded=self.inputs.append, failed=self.failed)
        self.steps.attempt(succeed("result"), succeeded=self.inputs.append)
        self.assertEqual(self.inputs, ["result", "result"])

    def test_failure(self) -> None:
        self.steps.run(fail(AsteriskUnavailable("lost")), succeeded=self.inputs.append, failed=self.failed)
        self.assertEqual(self.inputs, ["failed"])

    def test_failure_of_an_attempt_is_only_logged(self) -> None:
        self.steps.attempt(fail(AsteriskUnavailable("lost")), succeeded=self.inputs.append)
        self.assertEqual(self.inputs, [])

    def test_a_party_that_hangs_up_is_no_error_of_the_log(self) -> None:
        refusals = [
            AriResponseError("POST channels/1/answer", 404, "Channel not found"),
            AriResponseError("POST channels/1/answer", 500, "Failed to answer channel"),
            AriResponseError("POST bridges/b/addChannel", 400, "Channel not found"),
            AriResponseError("POST bridges/b/addChannel", 422, "Channel not in Stasis application"),
            AmiResponseError("MixMonitor", "No such channel"),
        ]
        with capturedLogs() as entries:
            for refusal in refusals:
                self.steps.run(fail(refusal), failed=self.failed)
                self.steps.attempt(fail(refusal))
        self.assertEqual({entry["log_level"] for entry in entries}, {LogLevel.debug})
        self.assertEqual(self.inputs, ["failed"] * len(refusals))

    def test_other_refusals_are_errors(self) -> None:
        with capturedLogs() as entries:
            self.steps.run(fail(AriResponseError("POST channels/create", 500, "Internal")), failed=self.failed)
            self.steps.attempt(fail(AriResponseError("DELETE channels/1", 500, "Internal")))
        self.assertEqual([entry["log_level"] for entry in entries], [LogLevel.error, LogLevel.warn])

    def test_unexpected_exception_is_logged_and_a_failure(self) -> None:
        async def step() -> None:
            raise ZeroDivisionError

        self.steps.run(step(), failed=self.failed)
        self.assertEqual((self.inputs, len(self.flushLoggedErrors(ZeroDivisionError))), (["failed"], 1))

    def test_exception_of_an_input_is_logged(self) -> None:
        def raises(_result: object) -> None:
            raise ZeroDivisionError

        self.steps.attempt(succeed(None), succeeded=raises)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
