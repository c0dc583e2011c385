"""Tests of voxrec.web.sse."""

from twisted.trial.unittest import SynchronousTestCase

from voxrec.web.sse import encode_event, encode_retry


class EncodingTests(SynchronousTestCase):
    def test_event(self) -> None:
        self.assertEqual(encode_event("call.ended", b"{}", 7), b"id: 7\nevent: call.ended\ndata: {}\n\n")

    def test_event_without_id(self) -> None:
        self.assertEqual(encode_event("reset", b"{}"), b"event: reset\ndata: {}\n\n")

    def test_retry(self) -> None:
        self.assertEqual(encode_retry(2000), b"retry: 2000\n\n")
