"""Tests of voxrec.model.fields."""

import re

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from tests.subtest import subtest
from voxrec.model.fields import (
    E164,
    HTTP_URL,
    METADATA_LIMIT,
    TRIMMED_TEXT,
    DtmfCode,
    Language,
    doc,
    duplicates,
    metadata_errors,
    tag_errors,
)


class PatternTests(SynchronousTestCase):
    """Each row: a pattern, texts that match it, texts that do not."""

    ROWS = (
        (E164, ("+4930123456", "+10"), ("030123456", "+0123", "+1", "+1234567890123456")),
        (TRIMMED_TEXT, ("crm", "a b", "ü"), ("", " a", "a ", "a\n", "a\x07b", "\u00a0a")),
        (HTTP_URL.pattern, ("http://a", "https://a/b?c=d"), ("ftp://a", "http://a b", "https://")),
    )

    def test_patterns(self) -> None:
        for pattern, matching, other in self.ROWS:
            for text in matching:
                self.assertIsNotNone(re.search(pattern, text), f"{pattern} {text!r}")
            for text in other:
                self.assertIsNone(re.search(pattern, text), f"{pattern} {text!r}")

    def test_types(self) -> None:
        for type_, valid, invalid in ((DtmfCode, "*1", "a"), (Language, "pt_BR", "portuguese")):
            self.assertEqual(msgspec.convert(valid, type_), valid)
            self.assertRaises(msgspec.ValidationError, msgspec.convert, invalid, type_)


class MetadataErrorsTests(SynchronousTestCase):
    def test_the_limit_is_the_size_as_json(self) -> None:
        overhead = len('{"a":""}')
        self.assertEqual(metadata_errors({"a": "x" * (METADATA_LIMIT - overhead)}), [])
        [error] = metadata_errors({"a": "x" * (METADATA_LIMIT - overhead + 1)})
        self.assertEqual(str(error), "metadata: is 8193 bytes as JSON; at most 8192 are allowed")

    def test_numbers_count_as_they_are_read(self) -> None:
        self.assertEqual(metadata_errors({"a": [1.5, 0.0, -2e10, 1e300], "b": {"c": 1e-300}}), [])
        self.assertEqual(len(metadata_errors({"a": [{"b": 1e300}] * 30})), 1)
        self.assertEqual(len(metadata_errors({"a": [-1e-300] * 30})), 1)


class DuplicatesTests(SynchronousTestCase):
    def test_each_once_in_order(self) -> None:
        self.assertEqual(duplicates("cabacbb"), ["c", "a", "b"])
        self.assertEqual(duplicates(range(100_000)), [])


class DocTests(SynchronousTestCase):
    def test_it_is_the_description_of_the_field(self) -> None:
        self.assertEqual(doc("Seconds."), msgspec.Meta(description="Seconds."))


class TagErrorsTests(SynchronousTestCase):
    def test_allowed(self) -> None:
        self.assertEqual(tag_errors(("a", "A", "a b", "ü", "x" * 64, "😀" * 64)), [])
        self.assertEqual(tag_errors([str(number) for number in range(50)]), [])

    def test_errors(self) -> None:
        for tags, messages in (
            ((" a", "b"), ["a tag must have 1 to 64 characters, without control characters, commas"]),
            (("a,b", "\t"), ["a tag must", "a tag must"]),
            (("a", "b", "a", "b"), ["duplicate tag 'a'", "duplicate tag 'b'"]),
            ((" ",) * 51, ["has 51 tags; at most 50 are allowed"]),
        ):
            with subtest(tags):
                found = tag_errors(tags)
                self.assertEqual({error.field for error in found}, {"tags"})
                self.assertEqual(
                    [error.message[: len(text)] for error, text in zip(found, messages, strict=True)], messages
                )
