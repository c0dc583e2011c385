"""Tests of voxrec.calls.steps."""

from uuid import UUID

from twisted.internet.defer import fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from voxrec.calls.steps import Steps
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
