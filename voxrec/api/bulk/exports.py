"""/exports: bulk exports of Recordings, and the download of their files."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Final

import msgspec

from voxrec.api.audio.audio_files import REVALIDATED, FileSection
from voxrec.api.audit_entries import begun_entry
from voxrec.api.bulk.stored_queries import validate_query
from voxrec.api.field_validation import ProfileExists
from voxrec.api.transaction_hooks import transaction_hook
from voxrec.clock import UtcNow
from voxrec.error_codes import ProblemReason
from voxrec.errors import Conflict, NodeUnreachable
from voxrec.exports.files import ExportDirectory
from voxrec.files import open_regular
from voxrec.model import AuditOutcome, Export, ExportFormat, ExportQuery, ExportState
from voxrec.model.fields import Text255, doc
from voxrec.store.audit import Audit
from voxrec.store.exports import Exports, NewExport
from voxrec.store.profiles import Profiles
from voxrec.threads import DeferToThread
from voxrec.web.auth import Role, Scoped
from voxrec.web.body import JsonBody
from voxrec.web.errors import RangeNotSatisfiable, RestError, TooManyRequests
from voxrec.web.pagination import LINK, PAGINATION, Paginator
from voxrec.web.ranges import ByteRange, requested_range
from voxrec.web.request import Request
from voxrec.web.response import Response, json_response, no_content, not_modified
from voxrec.web.route import CONDITIONAL, Route

MEDIA_TYPES: Final = {ExportFormat.ZIP: "application/zip", ExportFormat.TAR: "application/x-tar"}
_FILE_PATH: Final = "/exports/<id>/file"
_UNFINISHED: Final = (ExportState.PENDING, ExportState.RUNNING)


class ExportNotReady(Conflict):
    """The file is not complete yet. Try again once the state of the export is `completed`."""

    code = "export-not-ready"


class ExportGone(RestError):
    """The export has no file: it failed, or has expired."""

    status = 410
    code = "export-gone"


class ExportDamaged(RestError):
    """The file of the export is missing or damaged."""

    status = 500
    code = "export-damaged"


class ExportRequest(ExportQuery, frozen=True, kw_only=True, rename="camel"):
    """A bulk export to create: the filter of `GET /recordings`, and what the file contains."""

    description: Annotated[Text255 | None, doc("Description for people.")] = None
    format: ExportFormat = ExportFormat.ZIP
    audio: Annotated[bool, doc("Whether the file contains the audio.")] = True


@dataclass(frozen=True, slots=True)
class ExportAccess:
    """How the routes reach the files, and the worker: ``wake`` begins with what is due.

    ``max_unfinished`` is the number of exports that may be pending or running. ``node`` is the name of this node.
    """

    directory: ExportDirectory
    wake: Callable[[], None]
    node: str
    max_unfinished: int = 20


class ExportRoutes:
    """Bulk exports: the recordings of a filter in one file, with audio, JSON Lines and CSV."""

    def __init__(
        self,
        exports: Scoped[Exports],
        profiles: Scoped[Profiles],
        audit: Audit,
        access: ExportAccess,
        public_url: str,
        now: UtcNow,
        defer_to_thread: DeferToThread,
    ) -> None:
        self._exports = exports
        self._profiles = profiles
        self._audit = audit
        self._access = access
        self._public_url = public_url
        self._now = now
        self._defer_to_thread = defer_to_thread

    def routes(self) -> tuple[Route, ...]:
        """Return the routes."""
        route = partial(Route, profile_scoped=True)
        return (
            route(
                *("GET", "/exports", Role.READ, self._list),
                response_model=list[Export],
                query=PAGINATION,
                response_headers=LINK,
            ),
            route(
                *("POST", "/exports", Role.READ, self._create),
                body=JsonBody(
                    ExportRequest, validators=(validate_query,), value_validators=(ProfileExists(self._profiles),)
                ),
                status=201,
                response_model=Export,
                response_headers=("Location",),
                idempotent=True,
                audit_in_transaction=True,
                summary="Create an export",
            ),
            route("GET", "/exports/<id>", Role.READ, self._get, response_model=Export),
            route(
                *("DELETE", "/exports/<id>", Role.READ, self._delete),
                summary="Delete an export and its file",
            ),
            route(
                *("GET", _FILE_PATH, Role.READ, self._download, None),
                response_model=tuple(MEDIA_TYPES.values()),
                responses={206: None},
                request_headers=(*CONDITIONAL, "Range", "If-Range"),
                response_headers=("ETag", "Accept-Ranges", "Content-Disposition"),
                errors=(ExportNotReady, ExportGone, ExportDamaged, RangeNotSatisfiable, NodeUnreachable),
                summary="Download the file of an export",
            ),
        )

    async def _list(self, request: Request) -> Response:
        """A token that is limited to some profiles sees the exports of tokens with these profiles, or some of them."""
        exports = self._exports.visible_to(request.principal)
        return await Paginator(exports, msgspec.json.encode, self._public_url).respond(request, None)

    async def _create(self, request: Request) -> Response:
        """The file is written in the background; webhooks receive `export.completed` or `export.failed`.

        It contains the recordings that exist now. With a token that is limited to some profiles, it contains those of
        these profiles only.
        """
        wanted: ExportRequest = request.body
        exports = self._exports.visible_to(request.principal)
        if await exports.count_unfinished() >= self._access.max_unfinished:
            raise TooManyRequests(
                f"{self._access.max_unfinished} exports are unfinished, which is the maximum. Retry later.",
                {"Retry-After": "60"},
                reason=ProblemReason.TOO_MANY_EXPORTS,
                params={"maximum": self._access.max_unfinished},
            )
        values = {name: getattr(wanted, name) for name in ExportQuery.__struct_fields__}
        new = NewExport(
            created_by=request.principal.name,
            user_id=request.principal.user_id,
            token_id=request.principal.token_id,
            profile_ids=request.principal.profile_ids,
            description=wanted.description,
            format=wanted.format,
            audio=wanted.audio,
            query=ExportQuery(**values),
        )
        response = self._created(await exports.create(new, transaction_hook(request, self._created)))
        self._access.wake()
        return response

    def _created(self, export: Export) -> Response:
        location = f"{self._public_url}/exports/{export.id}"
        return json_response(export, 201, {"Location": location})

    async def _get(self, request: Request) -> Response:
        return json_response(await self._exports.visible_to(request.principal).get(request.id))

    async def _delete(self, request: Request) -> Response:
        """An export that is not complete is canceled. Those of others require the role `provision`."""
        exports = self._exports.visible_to(request.principal)
        if (await exports.get(request.id)).creator_key != request.principal.key:
            request.principal.require_role(Role.PROVISION)
        await exports.delete(request.id)
        await self._defer_to_thread(self._access.directory.delete, request.id)
        return no_content()

    async def _download(self, request: Request) -> Response:
        """Byte ranges are supported, so that an interrupted download can be continued. Each request is audited."""
        export = await self._exports.visible_to(request.principal).get(request.id)
        self._require_file(export)
        etag, size = f'"{export.sha256}"', export.size or 0
        if (unchanged := not_modified(request.conditions, etag, REVALIDATED)) is not None:
            return unchanged
        requested = requested_range(request, etag, size)
        sent = requested or ByteRange(0, size, size)
        descriptor: int = await self._defer_to_thread(self._open, export)
        status = 200 if requested is None else 206
        if request.method == "GET":
            try:
                entry = begun_entry(request, _FILE_PATH, self._now())
                await self._audit.begin(msgspec.structs.replace(entry, outcome=AuditOutcome.DONE, status=status))
            except BaseException:
                os.close(descriptor)
                raise
        headers = {
            **REVALIDATED,
            "Accept-Ranges": "bytes",
            "Content-Disposition": f'attachment; filename="voxrec-export-{export.id}.{export.format}"',
            "Content-Length": str(sent.length),
            "Content-Type": MEDIA_TYPES[export.format],
            "ETag": etag,
        }
        if requested is not None:
            headers["Content-Range"] = requested.content_range
        return Response(status, headers, FileSection(descriptor, sent.start, sent.length, self._defer_to_thread))

    def _require_file(self, export: Export) -> None:
        if export.state in _UNFINISHED:
            raise ExportNotReady(f"Export {export.id} is {export.state}; its file is not complete yet.")
        if export.state is not ExportState.COMPLETED or export.expires_at is None or export.expires_at <= self._now():
            state = ExportState.EXPIRED if export.state is ExportState.COMPLETED else export.state
            raise ExportGone(f"Export {export.id} has no file: it is {state}.")

    def _open(self, export: Export) -> int:
        """Open the file. Raises NodeUnreachable if another node has it, ExportDamaged if it is lost."""
        try:
            descriptor = open_regular(self._access.directory.file_of(export))
        except OSError as error:
            if export.node not in (None, self._access.node):
                raise NodeUnreachable(
                    f"The file of export {export.id} is on node {export.node!r}; download it there."
                ) from error
            raise ExportDamaged(f"The file of export {export.id} cannot be opened.") from error
        if os.fstat(descriptor).st_size != export.size:
            os.close(descriptor)
            raise ExportDamaged(f"The file of export {export.id} has another size than it had when it was written.")
        return descriptor
