"""Tests of voxrec.web.openapi_schemas, with the schemas of the REST API."""

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
            {"metadata", "legalHold", "state", "pauseBehavior", "resumeAfter"},
        )
        self.assertFalse(schemas["NewProfile"]["additionalProperties"])

    async def test_keywords_that_a_body_declares(self) -> None:
        schemas = await self.schemas()
        self.assertEqual(schemas["NewProfile"]["properties"]["recordFormat"]["enum"], ["wav", "mp3", "gsm"])
        self.assertEqual(schemas["NewProfile"]["then"]["required"], ["recordPromptCustomId"])
        self.assertNotIn("then", schemas["ProfileChange"])

    async def test_response_types_have_all_fields(self) -> None:
        schemas = await self.schemas()
        self.assertNotIn("path", schemas["Recording"]["properties"])
        self.assertIn("audioUrl", schemas["Recording"]["required"])
