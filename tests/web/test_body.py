"""Tests of voxrec.web.body."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from msgspec import Struct
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.api.rest_test_case import BODY_LIMIT, RestTestCase
from tests.subtest import subtest
from voxrec.errors import FieldError, InvalidInput
from voxrec.web.auth import Principal, Role
from voxrec.web.body import FileBody, JsonBody, PartialUpdateBody
from voxrec.web.errors import UnsupportedMedia
from voxrec.web.request import Request
from voxrec.web.uploads import UploadFile

JSON_HEADERS: Final = {"Content-Type": "application/json"}
REFUSED: Final[tuple[tuple[str, bytes, dict[str, str], int, str], ...]] = (
    ("not JSON", b"nonsense", JSON_HEADERS, 400, "bad-request"),
    ("empty", b"", JSON_HEADERS, 400, "bad-request"),
    ("truncated", b'{"name": "x', JSON_HEADERS, 400, "bad-request"),
    ("two objects", b"{}{}", JSON_HEADERS, 400, "bad-request"),
    ("trailing comma", b'{"name": "x",}', JSON_HEADERS, 400, "bad-request"),
    ("not UTF-8", b'{"name": "\xff"}', JSON_HEADERS, 400, "bad-request"),
    ("lone surrogate", b'{"name": "\\ud800"}', JSON_HEADERS, 400, "bad-request"),
    ("infinite number", b'{"metadata": {"a": 1e999}}', JSON_HEADERS, 400, "bad-request"),
    ("NaN", b'{"metadata": {"a": NaN}}', JSON_HEADERS, 400, "bad-request"),
    ("deep nesting", b'{"metadata":' + b"[" * 9000, JSON_HEADERS, 400, "bad-request"),
    ("array", b"[]", JSON_HEADERS, 422, "invalid"),
    ("string", b'"x"', JSON_HEADERS, 422, "invalid"),
    ("null", b"null", JSON_HEADERS, 422, "invalid"),
    ("number", b"5", JSON_HEADERS, 422, "invalid"),
    ("duplicate key", b'{"metadata": {"a": 1, "a": 2}}', JSON_HEADERS, 422, "invalid"),
    ("no Content-Type", b"{}", {}, 415, "unsupported-media-type"),
    ("form", b"name=x", {"Content-Type": "application/x-www-form-urlencoded"}, 415, "unsupported-media-type"),
    ("invalid form", b"--", {"Content-Type": "multipart/form-data; boundary=x"}, 415, "unsupported-media-type"),
    ("text", b"{}", {"Content-Type": "text/plain"}, 415, "unsupported-media-type"),
    ("latin-1", b"{}", {"Content-Type": "application/json; charset=latin-1"}, 415, "unsupported-media-type"),
    ("gzip", b"{}", {**JSON_HEADERS, "Content-Encoding": "gzip"}, 415, "unsupported-media-type"),
    ("too large", b"{}" + b" " * BODY_LIMIT, JSON_HEADERS, 413, "too-large"),
)


class JsonTests(RestTestCase):
    async def test_refused(self) -> None:
        profile = await self.add_profile()
        for name, body, headers, status, code in REFUSED:
            for method, path in (("PUT", "/profiles"), ("POST", f"/profiles/{profile.id}"), ("PUT", "/recordings")):
                with subtest((name, method, path)):
                    response = await self.request(method, path, data=body, headers=headers)
                    self.assertEqual((response.status, response.json["code"]), (status, code), response.body)
                    self.assertEqual(response.headers["content-type"], "application/problem+json")
        self.assertEqual(await self.profiles.all(), [profile])

    async def test_position_of_a_syntax_error(self) -> None:
        response = await self.request("PUT", "/profiles", data=b'{"name": "x",}', headers=JSON_HEADERS)
        self.assertIn("byte 13", response.json["detail"])

    async def test_accepted_content_types(self) -> None:
        for content_type in ("application/json", "Application/JSON; charset=UTF-8", 'application/json;charset="utf-8"'):
            with subtest(content_type):
                response = await self.request("PUT", "/profiles", data=b" {} ", headers={"Content-Type": content_type})
                self.assertEqual(response.status, 201, response.body)


class Item(Struct, frozen=True, kw_only=True, rename="camel"):
    id: UUID
    parent_id: UUID
    count: int = 0
    note: str | None = None


async def _odd_count(_request: Request, values: Mapping[str, Any]) -> list[FieldError]:
    return [FieldError("count", "must be even")] if values.get("count", 0) % 2 else []


def _note_is_short(item: Item, _values: Mapping[str, Any]) -> list[FieldError]:
    return [FieldError("note", "is too long")] if len(item.note or "") > 3 else []


def make_request(body: bytes, upload: UploadFile | None = None, **headers: str) -> Request:
    return Request(
        method="PUT",
        path="/items",
        ids={"parentId": UUID(int=2)},
        headers={"content-type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}},
        raw_query=b"",
        raw_body=body,
        principal=Principal("x", Role.READ),
        upload=upload,
    )


class JsonBodyTests(SynchronousTestCase):
    BODY: Final = JsonBody(
        Item,
        read_only=frozenset({"id"}),
        required=frozenset({"parentId"}),
        initial_values=lambda: {"id": UUID(int=1), "note": "new"},
        value_validators=(_odd_count,),
        validators=(_note_is_short,),
    )

    def errors(self, body: bytes, declared: JsonBody[Item] = BODY) -> list[tuple[str, str]]:
        failed = Deferred.fromCoroutine(declared.bind(make_request(body)))
        error = self.failureResultOf(failed, InvalidInput).value
        assert isinstance(error, InvalidInput)
        return [(field_error.field, field_error.message) for field_error in error.field_errors]

    def test_instance(self) -> None:
        body = b'{"parentId": "00000000-0000-0000-0000-000000000003", "count": 2}'
        item = self.successResultOf(Deferred.fromCoroutine(self.BODY.bind(make_request(body))))
        self.assertEqual(item, Item(id=UUID(int=1), parent_id=UUID(int=3), count=2, note="new"))

    def test_every_error_is_reported_at_once(self) -> None:
        body = b'{"parentId": "00000000-0000-0000-0000-000000000003", "count": 1, "note": "long", "id": "x", "b": 1}'
        self.assertEqual({field for field, _ in self.errors(body)}, {"count", "note", "id", "b"})

    def test_required_keys(self) -> None:
        self.assertEqual(self.errors(b'{"count": 1}'), [("parentId", "is required"), ("count", "must be even")])

    def test_keys_that_default_to_the_path(self) -> None:
        declared = JsonBody(
            Item, path_keys=frozenset({"parentId"}), initial_values=lambda: {"id": UUID(int=1), "note": None}
        )
        item = self.successResultOf(Deferred.fromCoroutine(declared.bind(make_request(b"{}"))))
        self.assertEqual(item.parent_id, UUID(int=2))

    def test_nul_is_refused_with_the_name_of_its_field(self) -> None:
        self.assertEqual(
            self.errors(b'{"note": "\\u0000", "count": 2}'), [("note", "must not contain the character U+0000")]
        )

    def test_duplicate_keys_do_not_hide_other_errors(self) -> None:
        self.assertEqual(
            self.errors(b'{"count": 1, "count": 2, "note": "\\u0000"}'),
            [("count", "duplicate key"), ("note", "must not contain the character U+0000")],
        )


class PartialUpdateBodyTests(SynchronousTestCase):
    BODY: Final = PartialUpdateBody(
        Item,
        read_only=frozenset({"id"}),
        value_validators=(_odd_count,),
        validators=(_note_is_short,),
    )
    CURRENT: Final = Item(id=UUID(int=1), parent_id=UUID(int=2), count=4)
    REPRESENTATION: Final = b'{"id": "00000000-0000-0000-0000-000000000001", "count": 4}'

    def apply(self, body: bytes) -> Item:
        update = self.successResultOf(Deferred.fromCoroutine(self.BODY.bind(make_request(body))))
        return update.apply(self.CURRENT, self.REPRESENTATION)

    def test_given_fields_replace_the_current_values(self) -> None:
        self.assertEqual(self.apply(b'{"note": "a"}'), Item(id=UUID(int=1), parent_id=UUID(int=2), count=4, note="a"))

    def test_read_only_fields_may_be_repeated_unchanged(self) -> None:
        self.assertEqual(self.apply(self.REPRESENTATION), self.CURRENT)

    def test_errors_are_raised_when_it_is_applied(self) -> None:
        with self.assertRaises(InvalidInput) as caught:
            self.apply(b'{"id": "x", "count": 3, "note": "long", "parentId": 5}')
        self.assertEqual([error.field for error in caught.exception.field_errors], ["parentId", "id", "count", "note"])


class FileBodyTests(SynchronousTestCase):
    BODY: Final = FileBody(("application/octet-stream", "audio/*"), 10)

    def bind(self, content_type: str, **headers: str) -> object:
        upload = UploadFile(Path(self.mktemp()), 10)
        self.addCleanup(upload.discard)
        request = make_request(b"", upload, content_type=content_type, **headers)
        bound = Deferred.fromCoroutine(self.BODY.bind(request))
        return bound.addErrback(lambda failure: failure.trap(UnsupportedMedia)).result

    def test_media_types(self) -> None:
        for content_type in ("audio/wav", "AUDIO/x-anything; codecs=1", "application/octet-stream"):
            with subtest(content_type):
                self.assertIsInstance(self.bind(content_type), UploadFile)
        for content_type in ("text/plain", "audio", "application/json", ""):
            with subtest(content_type):
                self.assertIs(self.bind(content_type), UnsupportedMedia)

    def test_compressed(self) -> None:
        self.assertIs(self.bind("audio/wav", content_encoding="gzip"), UnsupportedMedia)
