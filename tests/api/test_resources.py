"""Tests of voxrec.api.resources: representations, versions and conditional updates."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from voxrec.api.resources import Representation, apply_update, initial_values, touched
from voxrec.errors import FieldError, InvalidInput
from voxrec.model import Prompt, Role
from voxrec.web.auth import Principal
from voxrec.web.errors import PreconditionFailed
from voxrec.web.partial_update import PartialUpdate
from voxrec.web.request import Request

CREATED_AT: Final = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
LATER: Final = CREATED_AT + timedelta(hours=1)
PROMPT: Final = Prompt(id=UUID(int=1), name="old", created_at=CREATED_AT, updated_at=CREATED_AT)
REPRESENTATION: Final[Representation[Prompt]] = Representation(msgspec.json.encode)
ETAG: Final = REPRESENTATION.updated(PROMPT).headers["ETag"]


def make_request(**headers: str) -> Request:
    return Request(
        method="POST",
        path="/prompts",
        ids={},
        headers={name.replace("_", "-"): value for name, value in headers.items()},
        raw_query=b"",
        raw_body=b"",
        principal=Principal("test", Role.ADMIN),
    )


def make_update(*errors: FieldError, **values: Any) -> PartialUpdate[Prompt]:
    return PartialUpdate(values=values, conversion_errors=errors, read_only={}, value_errors=(), validators=())


class InitialValuesTests(SynchronousTestCase):
    def test_random_id_and_equal_timestamps(self) -> None:
        values = initial_values(lambda: CREATED_AT)
        self.assertEqual(values["id"].version, 4)
        self.assertEqual((values["created_at"], values["updated_at"]), (CREATED_AT, CREATED_AT))


class TouchedTests(SynchronousTestCase):
    def test_time_never_goes_back(self) -> None:
        self.assertEqual(touched(PROMPT, lambda: LATER).updated_at, LATER)
        self.assertEqual(touched(PROMPT, lambda: CREATED_AT - timedelta(hours=1)).updated_at, CREATED_AT)


class RepresentationTests(SynchronousTestCase):
    def test_all_responses_have_the_same_etag(self) -> None:
        created = REPRESENTATION.created(PROMPT, "https://rec.example/prompts/1")
        retrieved = REPRESENTATION.retrieved(make_request(), PROMPT)
        self.assertEqual((created.status, retrieved.status), (201, 200))
        self.assertEqual({created.headers["ETag"], retrieved.headers["ETag"]}, {ETAG})
        self.assertEqual(created.headers["Location"], "https://rec.example/prompts/1")

    def test_not_modified(self) -> None:
        self.assertEqual(REPRESENTATION.retrieved(make_request(if_none_match=ETAG), PROMPT).status, 304)

    def test_require_version(self) -> None:
        REPRESENTATION.require_version(make_request(if_match=ETAG), PROMPT)
        with self.assertRaises(PreconditionFailed):
            REPRESENTATION.require_version(make_request(if_match='"other"'), PROMPT)


class ApplyUpdateTests(SynchronousTestCase):
    def apply(self, request: Request, update: PartialUpdate[Prompt]) -> Prompt:
        return apply_update(request, update, PROMPT, REPRESENTATION, lambda: LATER)

    def test_change(self) -> None:
        request = make_request(if_match=ETAG)
        changed = self.apply(request, make_update(name="new"))
        self.assertEqual((changed.name, changed.updated_at), ("new", LATER))
        self.assertEqual(request.audit_details.fields, ("name",))

    def test_update_without_effect_keeps_the_version(self) -> None:
        request = make_request()
        self.assertEqual(self.apply(request, make_update(name="old")), PROMPT)
        self.assertEqual(request.audit_details.fields, ())

    def test_version_is_checked_before_the_fields(self) -> None:
        update = make_update(FieldError("name", "is invalid"))
        with self.assertRaises(PreconditionFailed):
            self.apply(make_request(if_match='"other"'), update)
        with self.assertRaises(InvalidInput):
            self.apply(make_request(if_match=ETAG), update)
