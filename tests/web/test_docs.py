"""Tests of voxrec.web.docs."""

from tests.api.rest_test_case import RestTestCase
from tests.subtest import subtest


class DocsTests(RestTestCase):
    async def test_files_are_complete_and_refer_to_no_other_host(self) -> None:
        for path, content_type in (
            ("/docs", "text/html; charset=utf-8"),
            ("/docs/page.css", "text/css; charset=utf-8"),
            ("/docs/page.js", "text/javascript; charset=utf-8"),
        ):
            with subtest(path):
                response = await self.request("GET", path, token="")
                self.assertEqual((response.status, response.headers["content-type"]), (200, content_type))
                self.assertNotRegex(response.body.decode(), r"(src|href|url\()\W*(https?:)?//")
                policy = response.headers["content-security-policy"]
                self.assertIn("script-src 'self'", policy)
                self.assertNotIn("unsafe", policy)

    async def test_no_inline_script_or_style(self) -> None:
        page = (await self.request("GET", "/docs", token="")).body.decode()
        self.assertNotRegex(page, r"<style|\bstyle=|\bon\w+=|<script(?![^>]*\bsrc=)")
        script = (await self.request("GET", "/docs/page.js", token="")).body.decode()
        self.assertNotRegex(
            script, r"innerHTML|insertAdjacentHTML|document\.write|eval\(|localStorage|sessionStorage|cookie"
        )

    async def test_accept_header_of_browsers(self) -> None:
        response = await self.request("GET", "/docs", token="", headers={"Accept": "text/html,*/*;q=0.8"})
        self.assertEqual(response.status, 200)

    async def test_document_is_revalidated(self) -> None:
        etag = (await self.request("GET", "/openapi.json", token="")).etag
        response = await self.request("GET", "/openapi.json", token="", headers={"If-None-Match": etag})
        self.assertEqual((response.status, response.body), (304, b""))
