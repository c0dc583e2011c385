"""Tests of voxrec.strict_yaml."""

import yaml
from twisted.trial.unittest import SynchronousTestCase

from voxrec.strict_yaml import load_yaml


class LoadYamlTests(SynchronousTestCase):
    def test_a_document(self) -> None:
        self.assertEqual(load_yaml("a: {b: 1}\nc: {b: [x]}"), {"a": {"b": 1}, "c": {"b": ["x"]}})
        self.assertIsNone(load_yaml(""))

    def test_a_duplicate_key_at_any_depth(self) -> None:
        for text in ("a: 1\na: 2", "a: {b: 1, b: 2}", "- {1: x, 1: y}"):
            with self.assertRaisesRegex(yaml.YAMLError, "duplicate key"):
                load_yaml(text)

    def test_no_objects_of_python(self) -> None:
        with self.assertRaises(yaml.YAMLError):
            load_yaml("!!python/object/apply:os.getcwd []")
