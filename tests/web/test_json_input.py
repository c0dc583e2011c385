"""Tests of voxrec.web.json_input: decoding within limits."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.subtest import subtest
from voxrec.web.errors import BadRequest, TooLarge
from voxrec.web.json_input import MAX_DEPTH, MAX_VALUES, decode_json, depth_errors, duplicate_key_errors, is_shallow


def nested(levels: int) -> Any:
    value: Any = 1
    for level in range(levels):
        value = [value] if level % 2 else {"a": value}
    return value


class DecodeTests(SynchronousTestCase):
    def test_as_many_values_as_allowed(self) -> None:
        text = b"[" + b",".join([b"1"] * MAX_VALUES) + b"]"
        self.assertEqual(decode_json(text), [1] * MAX_VALUES)

    def test_too_many_values(self) -> None:
        for unit in (b"1,", b"[],", b"{},", b'"",', b"[[]],"):
            with subtest(unit):
                self.assertRaises(TooLarge, decode_json, b"[" + unit * (MAX_VALUES + 1) + b"1]")
        keys = b",".join(b'"%d":1' % n for n in range(MAX_VALUES))
        self.assertRaises(TooLarge, decode_json, b"{" + keys + b"}")

    def test_long_numbers(self) -> None:
        self.assertRaises(TooLarge, decode_json, b"[" + b",".join([b"9" * 4000] * 20) + b"]")
        self.assertEqual(len(decode_json(b"[" + b",".join([b"9" * 999] * 20) + b"]")), 20)

    def test_empty_body(self) -> None:
        for text in (b"", b" \r\n"):
            self.assertIn("is empty", self.assertRaises(BadRequest, decode_json, text).detail)

    def test_duplicate_keys(self) -> None:
        for text, keys in (
            (b'{"a":1,"b":{"a":1},"c":[{"a":1},{"a":2}]}', []),
            (b'{"a":1,"a":1}', ["a"]),
            (b'{"a":1,"\\u0061":2}', ["a"]),
            (b'{"a":[{"b":1,"c":2,"b":3,"b":4}],"d":1,"a":2}', ["a", "a[0].b"]),
            (b'{"a":{"x":1,"x":2},"b":[1,{"x":1,"x":2}],"c":{"a":{"x":1,"x":2}}}', ["a.x", "b[1].x", "c.a.x"]),
            (b'{"a":[[{"x":1,"x":{"y":1,"y":2}}]]}', ["a[0][0].x", "a[0][0].x.y"]),
            (b'{"a":' + b"9" * 5000 + b',"a":1e9999}', ["a"]),
            (b'{"\xc3\xa4":1,"a\xcc\x88":2}', []),  # two names, although they look the same
        ):
            with subtest(text[:40]):
                errors = duplicate_key_errors(text)
                self.assertEqual([error.field for error in errors], keys)
                self.assertEqual({error.message for error in errors} - {"duplicate key"}, set())

    def test_many_values_below_a_long_key(self) -> None:
        text = b'{"%s":[%s{"a":1,"a":2}]}' % (b"k" * 900_000, b"{}," * 15_000)
        self.assertEqual([error.params for error in duplicate_key_errors(text)], [{"value": "a"}])

    def test_any_depth_below_a_duplicate_key(self) -> None:
        for levels in range(1, 1100):  # the interpreter's limit of recursion is 1000 functions
            text = b'{"a":' + b"[" * levels + b"]" * levels + b',"a":1}'
            try:
                decode_json(text)
                keys = [error.field for error in duplicate_key_errors(text)]
            except BadRequest:
                keys = ["a"]
            self.assertEqual(keys, ["a"], levels)

    def test_invalid_json(self) -> None:
        for text in (b"", b"{", b'"\xff"', b'"\\ud800"', b"[" * 100_000, b"1" * 5000, b"NaN"):
            with subtest(text[:20]):
                self.assertRaises((BadRequest, TooLarge), decode_json, text)


class DepthTests(SynchronousTestCase):
    def test_levels(self) -> None:
        for levels in (0, 1, 2, 5):
            self.assertTrue(is_shallow(nested(levels), levels))
            self.assertFalse(is_shallow(nested(levels + 1), levels))
        self.assertFalse(is_shallow([], 0))
        self.assertTrue(is_shallow([], 1))

    def test_the_body_is_the_first_level(self) -> None:
        self.assertEqual(depth_errors({"a": nested(MAX_DEPTH - 1), "b": 1}), [])
        self.assertEqual([error.field for error in depth_errors({"a": nested(MAX_DEPTH), "b": 1})], ["a"])
