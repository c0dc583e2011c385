"""Tests of voxrec.web.request_target."""

from twisted.trial.unittest import SynchronousTestCase

from tests.subtest import subtest
from voxrec.errors import NotFound, VoxrecError
from voxrec.web.errors import BadRequest
from voxrec.web.request_target import canonical_path, decoded_path, origin_form


class OriginFormTests(SynchronousTestCase):
    def test_forms(self) -> None:
        for target, expected in (
            (b"/profiles?limit=1", b"/profiles?limit=1"),
            (b"http://rec.example/profiles?limit=1", b"/profiles?limit=1"),
            (b"HTTPS://rec.example:8443/a/b", b"/a/b"),
            (b"http://rec.example", b"/"),
            (b"http://rec.example?a=/b", b"/?a=/b"),
            (b"http://", b"/"),
            (b"/http://rec.example/", b"/http://rec.example/"),
            (b"ftp://rec.example/a", b"ftp://rec.example/a"),
            (b"*", b"*"),
        ):
            with subtest(target):
                self.assertEqual(origin_form(target), expected)


class DecodedPathTests(SynchronousTestCase):
    def test_paths(self) -> None:
        for path, expected in (
            (b"/profiles", "/profiles"),
            (b"/%70rofiles/%C3%A4", "/profiles/ä"),
            (b"/nodes/a%20b%00%zz", "/nodes/a b\0%zz"),
            (b"/a//b/", "/a//b/"),
        ):
            with subtest(path):
                self.assertEqual(decoded_path(path), expected)

    def test_refused(self) -> None:
        errors: tuple[tuple[bytes, type[VoxrecError]], ...] = (
            (b"//profiles", NotFound),
            (b"/profiles%2Fa", NotFound),
            (b"/profiles%2fa", NotFound),
            (b"/%ff", BadRequest),
            (b"xprofiles", BadRequest),
            (b"", BadRequest),
            (b"*", BadRequest),
            (b"/%ED%A0%80", BadRequest),
            (b"/\xc3\xa4", BadRequest),
        )
        for path, error in errors:
            with subtest(path):
                self.assertRaises(error, decoded_path, path)


class CanonicalPathTests(SynchronousTestCase):
    def test_paths(self) -> None:
        for path, expected in (
            (b"/profiles/a-b_c.d~e", "/profiles/a-b_c.d~e"),
            (b"/%70rofiles/%41", "/profiles/A"),
            (b"/nodes/a:b@c", "/nodes/a:b@c"),
            (b"/nodes/a%3Ab%40c", "/nodes/a:b@c"),
            (b"/nodes/%c3%a4%0d%0a%00", "/nodes/%C3%A4%0D%0A%00"),
        ):
            with subtest(path):
                self.assertEqual(canonical_path(path), expected)

    def test_refused(self) -> None:
        self.assertRaises(NotFound, canonical_path, b"/profiles%2Fa")
