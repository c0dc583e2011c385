"""Tests of voxrec.web.openapi, with the document of the REST API."""

import re
from typing import Any

from openapi_spec_validator import OpenAPIV31SpecValidator

from tests.api.rest_test_case import PUBLIC_URL, RestTestCase
from tests.subtest import subtest


class DocumentTests(RestTestCase):
    async def document(self) -> Any:
        response = await self.request("GET", "/openapi.json", token="")
        self.assertEqual((response.status, response.headers["content-type"]), (200, "application/json"))
        return response.json

    async def test_document_is_valid(self) -> None:
        OpenAPIV31SpecValidator(await self.document()).validate()

    async def test_every_route_is_documented(self) -> None:
        document = await self.document()
        documented = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
        registered = {(route.method, re.sub(r"<(\w+)>", r"{\1}", route.path)) for route in self.app.routes}
        self.assertEqual(documented, registered)
        self.assertIn(("PUT", "/profiles/{profileId}/recordings"), documented)
        self.assertIn("/recordings", document["paths"])

    async def test_security_and_status_codes(self) -> None:
        document = await self.document()
        for route in self.app.routes:
            operation = document["paths"][re.sub(r"<(\w+)>", r"{\1}", route.path)][route.method.lower()]
            with subtest(f"{route.method} {route.path}"):
                self.assertEqual(operation["security"], [{"token": [str(route.role)]}] if route.role else [])
                self.assertTrue(operation["summary"])
                codes = set(operation["responses"])
                self.assertTrue(codes & {"200", "201", "204", "303"})
                self.assertLessEqual(
                    {"400", "422", "500"} | ({"401", "403", "429", "503"} if route.role else set()), codes
                )
                self.assertEqual("404" in codes, "<" in route.path or "404" in codes)
                self.assertEqual("415" in codes, route.body is not None)

    async def test_operation_ids_are_unique(self) -> None:
        document = await self.document()
        ids = [operation["operationId"] for methods in document["paths"].values() for operation in methods.values()]
        self.assertEqual(len(ids), len(set(ids)))

    async def test_every_tag_is_described(self) -> None:
        for tag in (await self.document())["tags"]:
            with subtest(tag["name"]):
                self.assertTrue(tag["description"])

    async def test_example_is_accepted(self) -> None:
        document = await self.document()
        content = document["paths"]["/profiles"]["put"]["requestBody"]["content"]["application/json"]
        body = {**content["example"], "recordPromptCustomId": None}
        self.assertEqual((await self.request("PUT", "/profiles", json=body)).status, 201)

    async def test_server_url(self) -> None:
        self.assertEqual((await self.document())["servers"], [{"url": PUBLIC_URL}])
