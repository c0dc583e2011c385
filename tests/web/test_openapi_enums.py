"""Tests of voxrec.web.openapi_enums."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.api.rest_test_case import RestTestCase
from voxrec.web.openapi_enums import normalize_enums


def normalized(schema: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the schema of a parameter, and the named schemas, afterwards."""
    document: dict[str, Any] = {"paths": {"/a": [schema]}, "components": {"schemas": {}}}
    normalize_enums(document)
    return document["paths"]["/a"][0], document["components"]["schemas"]


class NormalizeTests(SynchronousTestCase):
    def test_single_value_is_a_constant(self) -> None:
        self.assertEqual(normalized({"enum": [True]})[0], {"type": "boolean", "const": True})
        self.assertEqual(normalized({"enum": ["a"]})[0], {"type": "string", "const": "a"})

    def test_type(self) -> None:
        self.assertEqual(normalized({"enum": [1, 2]})[0], {"type": "integer", "enum": [1, 2]})

    def test_values_that_differ_in_case_have_names(self) -> None:
        names = normalized({"enum": ["wav", "g726-32", "WAV"]})[0]["x-enum-varnames"]
        self.assertEqual(names, ["WAV", "G726_32", "UPPER_WAV"])
        self.assertNotIn("x-enum-varnames", normalized({"enum": ["wav", "mp3"]})[0])

    def test_title_names_the_schema(self) -> None:
        schema, schemas = normalized({"title": "Form", "enum": ["a", "b"], "description": "x"})
        self.assertEqual(schema, {"$ref": "#/components/schemas/Form", "description": "x"})
        self.assertEqual(schemas, {"Form": {"title": "Form", "type": "string", "enum": ["a", "b"]}})


class DocumentTests(RestTestCase):
    async def test_every_reference_is_resolved(self) -> None:
        document = (await self.request("GET", "/openapi.json", token="")).json
        schemas = document["components"]["schemas"]
        references = [reference.rpartition("/")[2] for reference in _references(document) if "/schemas/" in reference]
        self.assertEqual(set(references) - schemas.keys(), set())
        self.assertEqual(len(schemas["AudioFormat"]["x-enum-varnames"]), len(schemas["AudioFormat"]["enum"]))


def _references(value: object) -> list[str]:
    match value:
        case {"$ref": str(reference)}:
            return [reference]
        case dict():
            return [reference for item in value.values() for reference in _references(item)]
        case list():
            return [reference for item in value for reference in _references(item)]
    return []
