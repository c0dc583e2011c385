"""Tests of voxrec.web.openapi_schemas, with the schemas of the REST API."""

import re
from typing import Any

from tests.api.rest_test_case import RestTestCase


class SchemaTests(RestTestCase):
    async def schemas(self) -> Any:
        return (await self.request("GET", "/openapi.json", token="")).json["components"]["schemas"]

    async def test_bodies_have_the_keys_that_clients_may_send(self) -> None:
        schemas = await self.schemas()
        self.assertNotIn("createdAt", schemas["NewProfile"]["properties"])
        self.assertNotIn("id", schemas["ProfileChange"]["properties"])
        self.assertEqual(
            set(schemas["RecordingChange"]["properties"]),
            {"metadata", "tags", "legalHold", "state", "pauseBehavior", "resumeAfter"},
        )
        self.assertFalse(schemas["NewProfile"]["additionalProperties"])

    async def test_keywords_that_a_body_declares(self) -> None:
        schemas = await self.schemas()
        self.assertEqual(
            schemas["NewProfile"]["properties"]["recordFormat"]["$ref"], "#/components/schemas/RecordingFormat"
        )
        self.assertEqual(schemas["NewProfile"]["then"]["required"], ["recordPromptCustomId"])
        self.assertNotIn("then", schemas["ProfileChange"])

    async def test_response_types_have_all_fields(self) -> None:
        schemas = await self.schemas()
        self.assertNotIn("path", schemas["Recording"]["properties"])
        self.assertIn("audioUrl", schemas["Recording"]["required"])

    async def test_names_are_those_of_the_model(self) -> None:
        schemas = await self.schemas()
        self.assertEqual([name for name in schemas if not re.fullmatch("([A-Z][a-z]+)+", name)], [])
        self.assertIn("NewProfileRecording", schemas)

    async def test_no_field_of_a_body_has_a_default(self) -> None:
        """Generators of clients make such a field required, or send the default."""
        schemas = await self.schemas()
        for name in schemas:
            if name.startswith("New") or name.endswith("Change"):
                for field in schemas[name]["properties"].values():
                    self.assertNotIn("default", field, name)
        self.assertIn("Default: `true`.", schemas["NewProfile"]["properties"]["recordBeepAtStart"]["description"])
