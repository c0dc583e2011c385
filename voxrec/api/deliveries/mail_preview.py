"""/profiles/<id>/mail-preview: what the mail about a Recording says, by the templates that apply to the Profile."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Final
from uuid import UUID

from msgspec import Struct

from voxrec.errors import NotFound
from voxrec.mail.templates import Texts
from voxrec.model import Profile, Recording
from voxrec.model.fields import doc
from voxrec.store.profiles import Profiles
from voxrec.store.recordings import Recordings
from voxrec.web.auth import Role, Scoped
from voxrec.web.concurrency import ConcurrencyLimit
from voxrec.web.parameters import uuid
from voxrec.web.request import Request
from voxrec.web.response import Response, json_response
from voxrec.web.route import Route

PreviewMail = Callable[[Profile, Recording | None, str], Awaitable[Texts]]
"""Returns the texts of a mail; see `voxrec.mail.mailer.Mailer.preview`. The last argument is the URL in it."""

_RECORDING_ID: Final = uuid("A recording of this profile.")
_CONCURRENT: Final = 1  # of a token: each is a process


class MailPreview(Struct, frozen=True, kw_only=True, rename="camel"):
    """The texts of a mail."""

    subject: Annotated[str, doc("Subject.")]
    text: Annotated[str, doc("Text for mail programs without HTML.")]
    html: Annotated[str, doc("HTML page. The picture has a URL with the scheme cid, which only a mail resolves.")]
    problem: Annotated[
        str | None, doc("Why the built-in form is used instead of templates: the file, the line and the reason.")
    ] = None


class MailPreviewRoutes:
    """The preview of the mails of a Profile."""

    def __init__(
        self, profiles: Scoped[Profiles], recordings: Scoped[Recordings], preview: PreviewMail, public_url: str
    ) -> None:
        self._profiles = profiles
        self._recordings = recordings
        self._preview = preview
        self._public_url = public_url
        self._concurrency = ConcurrencyLimit(_CONCURRENT, "previews of mails")

    def routes(self) -> tuple[Route, ...]:
        """Return the route."""
        return (
            Route(
                *("GET", "/profiles/<id>/mail-preview", Role.READ, self._get),
                profile_scoped=True,
                tag="profiles",
                query={"recordingId": _RECORDING_ID},
                response_model=MailPreview,
                summary="Get the text of the mail about a recording, without sending it",
            ),
        )

    async def _get(self, request: Request) -> Response:
        """Without `recordingId`, the mail is about an example. The link is replaced by the URL of the audio."""
        profile = await self._profiles.visible_to(request.principal).get(request.id)
        recording = await self._recording(request, profile)
        shown = "example" if recording is None else recording.id
        url = f"{self._public_url}/recordings/{shown}/audio"
        with self._concurrency.operation(request.principal.key):
            texts = await self._preview(profile, recording, url)
        return json_response(
            MailPreview(subject=texts.subject, text=texts.text, html=texts.html, problem=texts.problem or None)
        )

    async def _recording(self, request: Request, profile: Profile) -> Recording | None:
        recording_id: UUID | None = request.query.get("recordingId")
        if recording_id is None:
            return None
        recording = await self._recordings.visible_to(request.principal).get(recording_id)
        if recording.profile_id != profile.id:
            raise NotFound(f"Profile {profile.id} has no recording {recording_id}.")
        return recording
