"""Tests of voxrec.web.response."""

from twisted.trial.unittest import SynchronousTestCase

from voxrec.web.conditions import Conditions, etag_of
from voxrec.web.errors import PreconditionFailed
from voxrec.web.response import conditional_get, created, no_content, updated

BODY = b'{"name":"x"}'


class ResponseTests(SynchronousTestCase):
    def test_conditional_get(self) -> None:
        etag = etag_of(BODY)
        complete = conditional_get(Conditions(), BODY)
        self.assertEqual((complete.status, complete.headers["ETag"], complete.body), (200, etag, BODY))
        unchanged = conditional_get(Conditions(if_none_match=etag), BODY)
        self.assertEqual((unchanged.status, unchanged.headers, unchanged.body), (304, {"ETag": etag}, b""))
        self.assertRaises(PreconditionFailed, conditional_get, Conditions(if_match='"other"'), BODY)

    def test_changes(self) -> None:
        self.assertEqual((updated(BODY).status, updated(BODY).headers["ETag"]), (200, etag_of(BODY)))
        response = created("https://rec.example/x/1", BODY)
        self.assertEqual((response.status, response.headers["Location"]), (201, "https://rec.example/x/1"))
        self.assertEqual((no_content().status, no_content().body), (204, b""))
