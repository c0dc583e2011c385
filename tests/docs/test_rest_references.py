"""The requests that texts name, such as `GET /recordings?search=`, exist in the REST API."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl

from docs.extensions.sections import text_files
from tests.api.rest_test_case import RestTestCase, send_request

ROOT: Final = Path(__file__).parents[2]
_REQUEST: Final = re.compile(
    r"\b(GET|POST|PUT|DELETE|PATCH)(?: |\n\W*)(/[\w/<>{}.:%-]*)(?:\?([\w=.&%:+-]*))?(?![\w/?]| HTTP/)"
)
_PLACEHOLDER: Final = re.compile(r"<\w+>|\{\w+\}|:\w+|\b[A-Z]+\b|\bberlin\b")
# Asterisk's and Kamailio's own APIs; the requests of old versions in NEWS.md are those of the present one.
_OTHER_APIS: Final = ("docs/asterisk.md", "voxrec/ari", "voxrec/sandbox", "bench", "tests", "docs/architecture.md")


def requests_in(text: str) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Yield method, path with "*" for each variable part, and names of query parameters of the requests in a text."""
    for method, path, query in _REQUEST.findall(text):
        shape = _PLACEHOLDER.sub("*", path.rstrip(".:/")) or "/"
        yield method, shape, tuple(name for name, _ in parse_qsl(query.rstrip(".:"), keep_blank_values=True))


class RestReferenceTests(RestTestCase):
    def test_requests_in_a_text(self) -> None:
        text = "see `GET /calls/<id>/audio?side=caller`; DELETE\n  # /jobs/:id. A receiver gets POST /hook HTTP/1.1"
        self.assertEqual(list(requests_in(text)), [("GET", "/calls/*/audio", ("side",)), ("DELETE", "/jobs/*", ())])

    async def test_every_request_exists(self) -> None:
        document = (await send_request(self.port, "GET", "/openapi.json")).json
        routes = {
            (method.upper(), re.sub(r"\{\w+\}", "*", path)): operation
            for path, operations in document["paths"].items()
            for method, operation in operations.items()
        }
        unknown, checked = [], 0
        for file in text_files(ROOT):
            name = str(file.relative_to(ROOT))
            if name.startswith(_OTHER_APIS) or file.suffix == ".sql":
                continue
            for method, path, parameters in requests_in(file.read_text(encoding="utf-8")):
                checked += 1
                operation = routes.get((method, path))
                if operation is None or set(parameters) - query_parameters(operation):
                    unknown.append(f"{name}: {method} {path} {' '.join(parameters)}")
        self.assertEqual(unknown, [])
        self.assertGreater(checked, 100)


def query_parameters(operation: Any) -> set[str]:
    return {each["name"] for each in operation.get("parameters", ()) if each["in"] == "query"}
