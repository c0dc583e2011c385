"""The controls of the forms of a page."""

from collections.abc import Iterator
from html.parser import HTMLParser


class Controls(HTMLParser):
    """The controls of a page, and the messages by id."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.controls: list[dict[str, str | None]] = []
        self.form = ""
        self.details: list[bool] = []  # those that are begun: whether each is open
        self.ids: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if values.get("id"):
            self.ids.append(str(values["id"]))
        if tag == "form":
            self.form = str(values["action"])
        elif tag == "details":
            self.details.append("open" in values)
        elif tag in ("input", "textarea", "select"):
            self.controls.append({**values, "form": self.form, "open": str(all(self.details))})

    def handle_endtag(self, tag: str) -> None:
        if tag == "details":
            self.details.pop()

    def invalid(self) -> Iterator[dict[str, str | None]]:
        """Return the controls that are marked as invalid."""
        return (control for control in self.controls if control.get("aria-invalid") == "true")
