"""Tests of voxrec.web.problems."""

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from werkzeug.exceptions import MethodNotAllowed, NotFound

from tests.subtest import subtest
from voxrec.error_codes import FieldErrorCode, ProblemReason
from voxrec.errors import Conflict, FieldError, InvalidInput, StoreUnavailable, VoxrecError
from voxrec.web.errors import RangeNotSatisfiable, RestError
from voxrec.web.problems import MAX_ERRORS, problem_response


class ServerError(RestError):
    status = 500
    code = "server-error"


class ProblemTests(SynchronousTestCase):
    def problem(self, error: BaseException) -> dict[str, Any]:
        response = problem_response(error)
        assert isinstance(response.body, bytes)
        document: dict[str, Any] = json.loads(response.body)
        self.assertEqual(document["status"], response.status)
        self.assertEqual(document["type"], f"urn:voxrec:problem:{document['code']}")
        self.assertEqual(response.headers["Content-Type"], "application/problem+json")
        return document

    def test_errors_of_the_client(self) -> None:
        field_errors = [FieldError("name", "is too long", FieldErrorCode.TOO_LONG, {"maximum": 3})]
        listed = {"field": "name", "message": "is too long", "code": "too-long", "params": {"maximum": 3}}
        for error in (InvalidInput("Invalid.", field_errors), Conflict("In use.", field_errors)):
            with subtest(error):
                problem = self.problem(error)
                self.assertEqual((problem["status"], problem["detail"]), (error.status, error.detail))
                self.assertEqual(problem["errors"], [listed])
                self.assertNotIn("reference", problem)
                self.assertNotIn("reason", problem)

    def test_the_reason_of_a_conflict(self) -> None:
        problem = self.problem(Conflict("In use.", reason=ProblemReason.TOO_MANY_PREVIEWS, params={"maximum": 3}))
        self.assertEqual((problem["code"], problem["reason"]), ("conflict", "too-many-previews"))
        self.assertEqual(problem["params"], {"maximum": 3})

    def test_values_of_the_client_in_parameters_are_abbreviated(self) -> None:
        field_error = FieldError("name", "is in use", FieldErrorCode.IN_USE, {"value": "n" * 100_000})
        (listed,) = self.problem(InvalidInput("Invalid.", [field_error]))["errors"]
        self.assertLess(len(listed["params"]["value"]), 300)

    def test_the_size_is_bounded(self) -> None:
        field_errors = [FieldError("n" * 100_000, "m" * 100_000) for _ in range(MAX_ERRORS + 3)]
        problem = self.problem(InvalidInput("Invalid.", field_errors))
        self.assertEqual(len(problem["errors"]), MAX_ERRORS)
        self.assertEqual(problem["detail"], "Invalid. The first 100 errors are listed; there are 3 more.")
        self.assertLess(len(json.dumps(problem)), MAX_ERRORS * 3000)

    def test_headers_of_an_error(self) -> None:
        response = problem_response(RangeNotSatisfiable("Too far.", {"Content-Range": "bytes */3"}))
        self.assertEqual((response.status, response.headers["Content-Range"]), (416, "bytes */3"))

    def test_unavailable_dependency(self) -> None:
        error = StoreUnavailable("connection to db.internal refused")
        problem = self.problem(error)
        self.assertEqual((problem["status"], problem["code"]), (503, "store-unavailable"))
        self.assertNotIn("db.internal", problem["detail"])
        self.assertTrue(problem["reference"])
        self.assertEqual(problem_response(error).headers["Retry-After"], "2")

    def test_unexpected_errors_are_logged_and_not_disclosed(self) -> None:
        for error in (ValueError("/secret/path"), VoxrecError("/secret/path")):
            with subtest(error):
                problem = self.problem(error)
                self.assertEqual((problem["status"], problem["code"]), (500, "internal"))
                self.assertNotIn("secret", json.dumps(problem))
                self.assertTrue(problem["reference"])
                self.assertEqual(len(self.flushLoggedErrors(type(error))), 1)

    def test_protocol_error_of_the_server_keeps_its_detail(self) -> None:
        problem = self.problem(ServerError("The archive lacks the file."))
        self.assertEqual(problem["detail"], "The archive lacks the file.")
        self.assertEqual(len(self.flushLoggedErrors(ServerError)), 1)

    def test_routing_errors(self) -> None:
        self.assertEqual(self.problem(NotFound())["code"], "not-found")
        self.assertEqual(self.problem(MethodNotAllowed(["PUT", "GET"]))["code"], "method-not-allowed")
        response = problem_response(MethodNotAllowed(["PUT", "GET"]))
        self.assertEqual(response.headers["Allow"], "GET, OPTIONS, PUT")
