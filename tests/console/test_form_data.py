"""Tests of voxrec.console.form_data."""

import tempfile
from typing import Any
from unittest.mock import Mock
from uuid import uuid4

from twisted.trial.unittest import SynchronousTestCase

from tests.subtest import subtest
from voxrec.console import form_data
from voxrec.console.form_data import UploadedFile, form_entries, has_files, uploaded_files
from voxrec.web.auth import Principal
from voxrec.web.dispatcher import ANONYMOUS
from voxrec.web.errors import BadRequest, TooLarge
from voxrec.web.request import Request

URLENCODED, MULTIPART = "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"
PART = b'--x\r\nContent-Disposition: form-data; name="%s"\r\n\r\n'
FILE = b'--x\r\nContent-Disposition: form-data; name="files"; filename="%s"\r\n\r\n'
END = b"\r\n--x--\r\n"


def request(content_type: str, body: bytes, principal: Principal = ANONYMOUS) -> Request:
    return Request(
        method="POST",
        path=f"/console/{uuid4()}",
        ids={},
        name="",
        headers={"content-type": content_type},
        raw_query=b"",
        raw_body=body,
        principal=principal,
        address="127.0.0.1",
    )


def fields(number: int) -> bytes:
    """Return a form in parts with some empty fields."""
    return b"\r\n".join([PART % b"a"] * number) + END


class FormDataTests(SynchronousTestCase):
    def test_fields(self) -> None:
        entries = [("a", "1"), ("b", "ä\r\n&="), ("a", "")]
        self.assertEqual(form_entries(request(URLENCODED, b"a=1&b=%C3%A4%0D%0A%26%3D&a=")), entries)
        body = b"\r\n".join([PART % b"a" + b"1", PART % b"b" + "ä\r\n&=".encode(), PART % b"a"]) + END
        self.assertEqual(form_entries(request(MULTIPART, body)), entries)
        self.assertEqual(uploaded_files(request(URLENCODED, b"files=a"), "files"), [])

    def test_files(self) -> None:
        name = "Zertifikat für מ <b>.pem"
        body = b"\r\n".join([PART % b"a" + b"1", FILE % name.encode() + b"\x00\xff\r\n--", FILE % b"empty"]) + END
        form = request(MULTIPART, body)
        self.assertEqual(form_entries(form), [("a", "1")])
        self.assertEqual(
            uploaded_files(form, "files"), [UploadedFile(name, b"\x00\xff\r\n--"), UploadedFile("empty", b"")]
        )
        self.assertEqual(uploaded_files(form, "others"), [])
        self.assertTrue(has_files(form))
        none = request(MULTIPART, FILE % b"" + END)
        self.assertEqual((uploaded_files(none, "files"), has_files(none)), ([], False))

    def test_each_form_is_parsed_once(self) -> None:
        for content_type, body, parser in (
            (URLENCODED, b"a=1&b=2", "parse_qsl"),
            (MULTIPART, PART % b"a" + b"1\r\n" + FILE % b"f" + b"x" + END, "MultipartParser"),
        ):
            with subtest(content_type):
                parse = Mock(wraps=getattr(form_data, parser))
                self.patch(form_data, parser, parse)
                form = request(content_type, body)
                for _ in range(2):
                    self.assertEqual(form_entries(form)[0], ("a", "1"))
                    uploaded_files(form, "files")
                    has_files(form)
                self.assertEqual(parse.call_count, 1)
                self.assertRaises(TooLarge, form_entries, form, 0)  # the limit applies nevertheless

    def test_files_are_on_no_disk(self) -> None:
        def refuse(*_: Any, **_options: Any) -> None:
            raise AssertionError("a temporary file was created")

        self.patch(tempfile, "TemporaryFile", refuse)
        (file,) = uploaded_files(request(MULTIPART, FILE % b"a" + b"x" * 1_000_000 + END), "files")
        self.assertEqual(len(file.content), 1_000_000)

    def test_what_is_refused(self) -> None:
        self.assertEqual(len(form_entries(request(MULTIPART, fields(64)))), 64)
        for content_type, body, error in (
            (URLENCODED, b"a=\xff", BadRequest),
            (URLENCODED, b"a=1&" * 1101, BadRequest),
            (URLENCODED, b"a=" + b"1" * 262_143, TooLarge),
            ("multipart/form-data", PART % b"a" + END, BadRequest),
            (MULTIPART, b"", BadRequest),
            (MULTIPART, b"x" * 1000, BadRequest),
            (MULTIPART, PART % b"a", BadRequest),
            (MULTIPART, PART % b"a" + b"\xff" + END, BadRequest),
            (MULTIPART, fields(65), TooLarge),
            (MULTIPART, b"--x\r\nContent-Disposition: form-data; " + b'a="b"; ' * 100_000 + b"\r\n" + END, TooLarge),
            (MULTIPART, b"--x\r\n" + b"a: b\r\n" * 100_000 + END, TooLarge),
        ):
            with subtest((content_type, body[:60])):
                self.assertRaises(error, form_entries, request(content_type, body))
        self.assertRaises(TooLarge, form_entries, request(URLENCODED, b"a=" + b"1" * 100), 100)

    def test_size_of_fields_of_a_form_with_files(self) -> None:
        def form(*sizes: int) -> Request:
            texts = [PART % b"a" + b"1" * size for size in sizes]
            return request(MULTIPART, b"\r\n".join([*texts, FILE % b"f" + b"x" * 1000]) + END)

        self.assertEqual(len(form_entries(form(50, 50), 100)), 2)
        for sizes in ((101,), (50, 51)):
            self.assertRaises(TooLarge, form_entries, form(*sizes), 100)

    def test_encoding_that_a_part_names(self) -> None:
        """It is ignored: browsers send UTF-8, and some of Python's decoders take minutes or are no decoders of text."""
        for charset in (b"hex", b"punycode", b"utf-16", b"x", b"undefined"):
            with subtest(charset):
                part = (
                    b'--x\r\nContent-Disposition: form-data; name="a"\r\n'
                    b"Content-Type: text/plain; charset=" + charset + b"\r\n\r\n"
                )
                form = request(MULTIPART, part + "ä".encode() + END)
                self.assertEqual(form_entries(form), [("a", "ä")])
                self.assertFalse(has_files(form))
