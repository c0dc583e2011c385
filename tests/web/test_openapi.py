"""The OpenAPI document: valid, complete, and of what is there."""

import re
from typing import Any, Final

from openapi_spec_validator import OpenAPIV31SpecValidator

from tests.api.rest_test_case import PUBLIC_URL, RestTestCase
from tests.subtest import subtest
from voxrec.web.dispatcher import Dispatcher
from voxrec.web.route import Route

VERBS: Final = ("get", "put", "post", "delete", "patch")


class DocumentTests(RestTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        self.registered: list[Route] = []
        register = Dispatcher.register

        def noted(dispatcher: Dispatcher, routes: Any) -> None:
            routes = list(routes)
            self.registered += routes
            register(dispatcher, routes)

        self.patch(Dispatcher, "register", noted)
        await super().setUp()

    async def document(self) -> Any:
        response = await self.request("GET", "/openapi.json", token="")
        self.assertEqual((response.status, response.headers["content-type"]), (200, "application/json"))
        return response.json

    async def test_it_is_valid(self) -> None:
        OpenAPIV31SpecValidator(await self.document()).validate()

    async def test_no_route_is_missing(self) -> None:
        told = await self.document()
        found = {(verb.upper(), path) for path, verbs in told["paths"].items() for verb in verbs}
        there = {(route.method, re.sub(r"<(\w+)>", r"{\1}", route.path)) for route in self.registered}
        self.assertEqual(found, there)
        self.assertIn(("PUT", "/profiles/{profileId}/recordings"), found)

    async def test_every_route_says_what_it_needs_and_what_can_come_of_it(self) -> None:
        told = await self.document()
        for route in self.registered:
            operation = told["paths"][re.sub(r"<(\w+)>", r"{\1}", route.path)][route.method.lower()]
            with subtest(f"{route.method} {route.path}"):
                self.assertEqual(operation["security"], [{"token": [str(route.role)]}] if route.role else [])
                self.assertTrue(operation["summary"])
                codes = set(operation["responses"])
                self.assertTrue(codes & {"200", "201", "204"})
                self.assertLessEqual(
                    {"400", "422", "500"} | ({"401", "403", "429", "503"} if route.role else set()), codes
                )
                self.assertEqual("404" in codes, "<" in route.path or "404" in codes)
                self.assertEqual("415" in codes, route.body is not None)

    async def test_operations_have_names_of_their_own(self) -> None:
        told = await self.document()
        names = [verbs[verb]["operationId"] for verbs in told["paths"].values() for verb in verbs]
        self.assertEqual(len(names), len(set(names)))

    async def test_every_tag_is_described(self) -> None:
        for tag in (await self.document())["tags"]:
            with subtest(tag["name"]):
                self.assertTrue(tag["description"])

    async def test_bodies_have_what_clients_may_give(self) -> None:
        schemas = (await self.document())["components"]["schemas"]
        self.assertNotIn("createdAt", schemas["NewProfile"]["properties"])
        self.assertNotIn("id", schemas["ProfileChange"]["properties"])
        self.assertEqual(
            set(schemas["RecordingChange"]["properties"]),
            {"metadata", "legalHold", "state", "pauseBehavior", "resumeAfter"},
        )
        self.assertEqual(schemas["NewProfile"]["properties"]["recordFormat"]["enum"], ["wav", "mp3", "gsm"])
        self.assertNotIn("path", schemas["Recording"]["properties"])
        self.assertIn("audioUrl", schemas["Recording"]["required"])
        self.assertIn("/recordings", (await self.document())["paths"])
        self.assertFalse(schemas["NewProfile"]["additionalProperties"])

    async def test_an_example_is_accepted(self) -> None:
        told = await self.document()
        content = told["paths"]["/profiles"]["put"]["requestBody"]["content"]["application/json"]
        given = {**content["example"], "recordPromptCustomId": None}
        self.assertEqual((await self.request("PUT", "/profiles", json=given)).status, 201)

    async def test_the_server_is_where_clients_reach_it(self) -> None:
        self.assertEqual((await self.document())["servers"], [{"url": PUBLIC_URL}])

    async def test_a_client_that_has_it(self) -> None:
        etag = (await self.request("GET", "/openapi.json", token="")).etag
        again = await self.request("GET", "/openapi.json", token="", headers={"If-None-Match": etag})
        self.assertEqual((again.status, again.body), (304, b""))


class PageTests(RestTestCase):
    async def test_the_page_is_whole_and_needs_no_other_host(self) -> None:
        for path, kind in (
            ("/docs", "text/html; charset=utf-8"),
            ("/docs/page.css", "text/css; charset=utf-8"),
            ("/docs/page.js", "text/javascript; charset=utf-8"),
        ):
            with subtest(path):
                response = await self.request("GET", path, token="")
                self.assertEqual((response.status, response.headers["content-type"]), (200, kind))
                self.assertNotRegex(response.body.decode(), r"(src|href|url\()\W*(https?:)?//")
                policy = response.headers["content-security-policy"]
                self.assertIn("script-src 'self'", policy)
                self.assertNotIn("unsafe", policy)

    async def test_nothing_is_inline(self) -> None:
        page = (await self.request("GET", "/docs", token="")).body.decode()
        self.assertNotRegex(page, r"<style|\bstyle=|\bon\w+=|<script(?![^>]*\bsrc=)")
        script = (await self.request("GET", "/docs/page.js", token="")).body.decode()
        self.assertNotRegex(
            script, r"innerHTML|insertAdjacentHTML|document\.write|eval\(|localStorage|sessionStorage|cookie"
        )

    async def test_it_can_be_asked_for_by_a_browser(self) -> None:
        response = await self.request("GET", "/docs", token="", headers={"Accept": "text/html,*/*;q=0.8"})
        self.assertEqual(response.status, 200)
