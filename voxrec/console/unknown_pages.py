"""Addresses of the console that are no pages. The address of a form leads to the page with the form."""

import re
from collections.abc import Iterable
from http import HTTPStatus

from voxrec.console.visit import START, Visit, redirect
from voxrec.web.response import Response
from voxrec.web.route import Route


class UnknownPages:
    """Handles what no route of ``routes`` does, such as the address in the browser after a form was sent."""

    def __init__(self, routes: Iterable[Route]) -> None:
        listed = [*routes]
        self._pages = [_pattern(route) for route in listed if route.method == "GET"]
        self._forms = [_pattern(route) for route in listed if route.method == "POST"]

    async def show(self, visit: Visit) -> Response:
        """Show the page of a form, or say that there is no such page."""
        path = visit.request.path
        if visit.request.method == "GET" and any(form.fullmatch(path) for form in self._forms):
            return redirect(self._page_of(path))
        text = visit.language.text
        values = {"title": text("not_found"), "detail": text("not_found_help"), "errors": ()}
        return visit.page("error.html", status=HTTPStatus.NOT_FOUND, back=START, **values)

    def _page_of(self, path: str) -> str:
        """Return the path of the page below which a form is."""
        while path := path.rpartition("/")[0]:
            if any(page.fullmatch(path) for page in self._pages):
                return path
        return START


def _pattern(route: Route) -> re.Pattern[str]:
    return re.compile(re.sub("<[^>]*>", "[^/]+", route.path))
