"""The compared part of voxrec's REST API, as an experienced user of FastAPI would write it.

It has the same tables, tokens, validation, problem documents, entity tags and audit, by FastAPI's own means: pydantic
models, dependencies, exception handlers, FileResponse, and asyncpg's connection pool. uvicorn runs it in one process
with uvloop and httptools. In its favour, it counts no metrics, and an audit entry is one row in the transaction of the
change.

The settings are the environment variables DATABASE_URL, ARCHIVE (a directory) and PUBLIC_URL.
"""

# ruff: noqa: ARG001, D101, D102, D103, PTH118, PTH119, S608 - another program for comparison, not a module of voxrec
# mypy: ignore-errors

import hashlib
import hmac
import json
import os
import re
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal
from urllib.parse import urlencode
from uuid import UUID, uuid4

import asyncpg
from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, field_validator, model_validator
from pydantic.alias_generators import to_camel
from starlette.exceptions import HTTPException as StarletteHTTPException

PUBLIC_URL = os.environ["PUBLIC_URL"]
ARCHIVE = os.environ["ARCHIVE"]
REMEMBER = 1.0  # seconds for which a token is cached
ROLES = ("read", "provision", "admin")
ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?")
SIP_URI = r"^sips?:([A-Za-z0-9_.!~*'()%&=+$,;?/-]+@)?([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(;[^?\s]*)?$"


# Models.


class Shape(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid")


class RecordPrompt(StrEnum):
    NONE = "none"
    DEFAULT = "default"
    CUSTOM = "custom"


class NewProfile(Shape):
    id: UUID = Field(default_factory=uuid4)
    name: Annotated[str, Field(max_length=255)] | None = None
    email: Annotated[str, Field(max_length=255)] | None = None
    remote_sip_uri: Annotated[str, Field(max_length=255, pattern=SIP_URI)] | None = None
    numbers: list[Annotated[str, Field(pattern=r"^\+[1-9][0-9]{1,14}$")]] = []
    record: bool = False
    record_format: Literal["wav", "flac", "ogg", "opus", "mp3", "ulaw", "alaw"] = "wav"
    record_channels: Literal["mono", "dual"] = "mono"
    record_beep_at_start: bool = True
    record_beep_interval: Annotated[int, Field(ge=0, le=86400)] = 0
    record_prompt: RecordPrompt = RecordPrompt.NONE
    record_prompt_custom_id: UUID | None = None
    webhook_url: Annotated[str, Field(max_length=2048, pattern=r"^https?://[!-~]+$")] | None = None
    retention_days: Annotated[int, Field(ge=1, le=36500)] | None = None
    metadata: dict[str, Any] = {}

    @field_validator("email")
    @classmethod
    def addresses(cls, value: str | None) -> str | None:
        if value is not None and not all(ADDRESS.fullmatch(part.strip()) for part in value.split(",")):
            raise ValueError("is one mail address, or several separated by commas")
        return value

    @field_validator("metadata")
    @classmethod
    def small(cls, value: dict[str, Any]) -> dict[str, Any]:
        if len(json.dumps(value)) > 8192:
            raise ValueError("is larger than 8192 bytes")
        return value

    @model_validator(mode="after")
    def prompt(self) -> "NewProfile":
        if self.record_prompt is RecordPrompt.CUSTOM and self.record_prompt_custom_id is None:
            raise ValueError("recordPromptCustomId is required where recordPrompt is custom")
        return self


class Profile(NewProfile):
    created_at: datetime
    updated_at: datetime


class Recording(Shape):
    id: UUID
    profile_id: UUID
    call_id: UUID | None
    state: str
    format: str
    channels: int
    started_at: datetime | None
    ended_at: datetime | None
    duration: float | None
    size: int | None
    sha256: str | None
    from_: str | None = Field(alias="from")
    from_name: str | None
    to: str | None
    remote_sip_uri: str | None
    hangup_cause: int | None
    timeline: list[dict[str, Any]]
    verdict: dict[str, Any] | None
    metadata: dict[str, Any]
    legal_hold: bool
    expires_at: datetime | None
    created_at: datetime
    updated_at: datetime
    audio_url: str | None


PROFILE_COLUMNS = [name for name in Profile.model_fields if name != "numbers"]
PROFILE_SELECT = f"""
    SELECT {", ".join(PROFILE_COLUMNS)},
           ARRAY(SELECT number FROM profile_numbers WHERE profile_id = profiles.id ORDER BY position) AS numbers
    FROM profiles
"""
PROFILE_INSERT = f"""
    INSERT INTO profiles ({", ".join(PROFILE_COLUMNS)})
    VALUES ({", ".join(f"${n}" for n in range(1, len(PROFILE_COLUMNS) + 1))})
"""
PROFILE_UPDATE = f"""
    UPDATE profiles SET {", ".join(f"{name} = ${n}" for n, name in enumerate(PROFILE_COLUMNS[1:], 2))} WHERE id = $1
"""
RECORDING_COLUMNS = ", ".join(
    '"from" AS from_' if name == "from_" else '"to"' if name == "to" else name
    for name in Recording.model_fields
    if name != "audio_url"
)
RECORDINGS = TypeAdapter(list[Recording])


# The application and its database.


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with asyncpg.create_pool(os.environ["DATABASE_URL"], init=set_up) as pool:
        app.state.pool = pool
        yield


async def set_up(connection: asyncpg.Connection) -> None:
    await connection.set_type_codec("jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")


app = FastAPI(lifespan=lifespan)


def database(request: Request) -> asyncpg.Pool:
    return request.app.state.pool


Database = Annotated[asyncpg.Pool, Depends(database)]


# Errors as problem documents (RFC 9457).


def problem(status: int, code: str, detail: str, errors: list[dict[str, str]] | None = None) -> JSONResponse:
    body: dict[str, Any] = {"type": f"urn:voxrec:problem:{code}", "status": status, "detail": detail, "code": code}
    if errors:
        body["errors"] = errors
    return JSONResponse(body, status, media_type="application/problem+json")


@app.exception_handler(RequestValidationError)
async def invalid(request: Request, error: RequestValidationError) -> Response:
    faults = error.errors()
    if any(fault["type"] == "json_invalid" for fault in faults):
        return problem(400, "bad-request", "The body is not JSON.")
    if any(fault["loc"][0] == "path" for fault in faults):
        return problem(404, "not-found", "There is nothing by this name.")
    errors = [{"field": ".".join(map(str, fault["loc"][1:])), "message": fault["msg"]} for fault in faults]
    return problem(422, "invalid", f"{len(errors)} fields do not fit.", errors)


@app.exception_handler(StarletteHTTPException)
async def refused(request: Request, error: StarletteHTTPException) -> Response:
    answer = problem(error.status_code, "refused", str(error.detail))
    answer.headers.update(error.headers or {})
    return answer


# Authentication.


class Principal(BaseModel):
    id: UUID
    name: str
    role: str
    profile_ids: frozenset[UUID] | None
    expires_at: datetime | None

    def require(self, role: str) -> None:
        if ROLES.index(self.role) < ROLES.index(role):
            raise HTTPException(403, f"This needs the role {role}.")

    def sees(self, profile_id: UUID) -> bool:
        return self.profile_ids is None or profile_id in self.profile_ids


KNOWN: dict[bytes, tuple[Principal, float]] = {}
bearer = HTTPBearer(auto_error=False)


async def authenticated(
    pool: Database, given: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]
) -> Principal:
    if given is None:
        raise HTTPException(401, "A token is needed.", {"WWW-Authenticate": 'Bearer realm="voxrec"'})
    digest = hashlib.sha256(given.credentials.encode()).digest()
    principal, until = KNOWN.get(digest, (None, 0.0))
    if principal is None or until <= time.monotonic():
        row = await pool.fetchrow("SELECT * FROM tokens WHERE hash = $1 AND revoked_at IS NULL", digest)
        if row is None or not hmac.compare_digest(row["hash"], digest):
            raise HTTPException(401, "This token is not valid.", {"WWW-Authenticate": 'Bearer realm="voxrec"'})
        principal = Principal.model_validate(dict(row))
        KNOWN[digest] = principal, time.monotonic() + REMEMBER
    if principal.expires_at is not None and principal.expires_at <= datetime.now(UTC):
        raise HTTPException(401, "This token expired.", {"WWW-Authenticate": 'Bearer realm="voxrec"'})
    return principal


def reader(principal: Annotated[Principal, Depends(authenticated)]) -> Principal:
    principal.require("read")
    return principal


def provisioner(principal: Annotated[Principal, Depends(authenticated)]) -> Principal:
    principal.require("provision")
    return principal


Reader = Annotated[Principal, Depends(reader)]
Provisioner = Annotated[Principal, Depends(provisioner)]


# Representations and their tags.


def shown(body: bytes, status: int = 200, **headers: str) -> Response:
    return Response(body, status, {"ETag": etag(body), **headers}, "application/json")


def etag(body: bytes) -> str:
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def represented(profile: BaseModel) -> bytes:
    return profile.model_dump_json(by_alias=True).encode()


def names(header: str, tag: str) -> bool:
    return header == "*" or tag in (part.strip() for part in header.split(","))


async def audited(
    connection: asyncpg.Connection, request: Request, principal: Principal, target: UUID, status: int, fields: list[str]
) -> None:
    await connection.execute(
        """INSERT INTO audit (id, created_at, who, token_id, address, method, path, kind, target_id, outcome, status,
                              fields)
           VALUES ($1, $2, $3, $4, $5, $6, $7, 'profile', $8, 'done', $9, $10)""",
        *(uuid4(), datetime.now(UTC), principal.name, principal.id, request.client.host if request.client else ""),
        *(request.method, request.url.path, target, status, fields),
    )


# Profiles.


async def stored(pool: asyncpg.Pool | asyncpg.Connection, principal: Principal, profile_id: UUID) -> Profile:
    row = await pool.fetchrow(f"{PROFILE_SELECT} WHERE id = $1", profile_id) if principal.sees(profile_id) else None
    if row is None:
        raise HTTPException(404, f"There is no profile {profile_id}.")
    return Profile.model_validate(dict(row))


@app.get("/profiles/{profile_id}")
async def show_profile(request: Request, pool: Database, principal: Reader, profile_id: UUID) -> Response:
    body = represented(await stored(pool, principal, profile_id))
    if names(request.headers.get("if-none-match", ""), etag(body)):
        return Response(status_code=304, headers={"ETag": etag(body)})
    return shown(body)


@app.put("/profiles")
async def create_profile(request: Request, pool: Database, principal: Provisioner, given: NewProfile) -> Response:
    if not principal.sees(given.id):
        raise HTTPException(404, f"There is no profile {given.id}.")
    now = datetime.now(UTC)
    profile = Profile(**dict(given), created_at=now, updated_at=now)
    try:
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute(PROFILE_INSERT, *(getattr(profile, name) for name in PROFILE_COLUMNS))
            if profile.numbers:
                await connection.execute(
                    """INSERT INTO profile_numbers (number, profile_id, position)
                       SELECT number, $1, position FROM unnest($2::text[]) WITH ORDINALITY AS g (number, position)""",
                    *(profile.id, profile.numbers),
                )
            await audited(connection, request, principal, profile.id, 201, [])
    except asyncpg.UniqueViolationError as error:
        field = "numbers" if error.constraint_name == "profile_numbers_pkey" else "id"
        faults = [{"field": field, "message": "is in use by another profile"}]
        return problem(409, "conflict", "The profile collides with another one.", faults)
    return shown(represented(profile), 201, Location=f"{PUBLIC_URL}/profiles/{profile.id}")


@app.post("/profiles/{profile_id}")
async def change_profile(
    request: Request, pool: Database, principal: Provisioner, profile_id: UUID, given: dict[str, Any]
) -> Response:
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT FROM profiles WHERE id = $1 FOR UPDATE", profile_id)
        before = await stored(connection, principal, profile_id)
        tag = etag(represented(before))
        if (condition := request.headers.get("if-match")) is not None and not names(condition, tag):
            raise HTTPException(412, "If-Match does not name the present version.", {"ETag": tag})
        try:
            edited = NewProfile.model_validate(
                {**before.model_dump(by_alias=True, exclude={"created_at", "updated_at"}), **given}
            )
        except ValueError as error:
            raise RequestValidationError([{**e, "loc": ("body", *e["loc"])} for e in error.errors()]) from error
        after = Profile(
            **{**dict(edited), "id": profile_id}, created_at=before.created_at, updated_at=datetime.now(UTC)
        )
        await connection.execute(PROFILE_UPDATE, *(getattr(after, name) for name in PROFILE_COLUMNS))
        await audited(connection, request, principal, profile_id, 200, sorted(given))
    return shown(represented(after))


# Recordings.


def cursor_of(text: str) -> tuple[datetime, UUID]:
    try:
        moment, key = urlsafe_b64decode(text).decode().split(" ")
        return datetime.fromisoformat(moment), UUID(key)
    except ValueError as error:
        raise HTTPException(422, "cursor is not one; take the Link of the page before.") from error


class Page(BaseModel):
    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=1000)]
    cursor: str | None = None
    state: str | None = None
    from_: str | None = Field(None, alias="from")
    to: str | None = None
    since: datetime | None = None
    until: datetime | None = None


FILTERS = {
    "state": "state = ANY(string_to_array(${}, ','))",
    "from_": '"from" = ${}',
    "to": '"to" = ${}',
    "since": "created_at >= ${}",
    "until": "created_at < ${}",
}


@app.get("/recordings")
async def list_recordings(pool: Database, principal: Reader, page: Annotated[Page, Query()]) -> Response:
    conditions, values = ["TRUE"], []
    for name, condition in FILTERS.items():
        if (value := getattr(page, name)) is not None:
            values.append(value)
            conditions.append(condition.format(len(values)))
    if principal.profile_ids is not None:
        values.append(principal.profile_ids)
        conditions.append(f"profile_id = ANY(${len(values)})")
    if page.cursor is not None:
        values += cursor_of(page.cursor)
        conditions.append(f"(created_at, id) < (${len(values) - 1}, ${len(values)})")
    rows = await pool.fetch(
        f"""SELECT {RECORDING_COLUMNS}, path FROM recordings WHERE {" AND ".join(conditions)}
            ORDER BY created_at DESC, id DESC LIMIT {page.limit + 1}""",
        *values,
    )
    found = [recording_of(row) for row in rows[: page.limit]]
    headers = {}
    if len(rows) > page.limit:
        last = found[-1]
        cursor = urlsafe_b64encode(f"{last.created_at.isoformat()} {last.id}".encode()).decode()
        given = page.model_dump(by_alias=True, exclude_none=True, exclude={"cursor"})
        headers["Link"] = f'<{PUBLIC_URL}/recordings?{urlencode({**given, "cursor": cursor})}>; rel="next"'
    return Response(RECORDINGS.dump_json(found, by_alias=True), 200, headers, "application/json")


def recording_of(row: asyncpg.Record) -> Recording:
    values = dict(row)
    path = values.pop("path")
    return Recording(**values, audio_url=None if path is None else f"{PUBLIC_URL}/recordings/{row['id']}/audio")


@app.get("/recordings/{recording_id}/audio")
async def show_audio(pool: Database, principal: Reader, recording_id: UUID) -> Response:
    row = await pool.fetchrow("SELECT profile_id, state, path, sha256 FROM recordings WHERE id = $1", recording_id)
    if row is None or not principal.sees(row["profile_id"]):
        raise HTTPException(404, f"There is no recording {recording_id}.")
    if row["path"] is None:
        raise HTTPException(409, f"The audio of recording {recording_id} is still to come.")
    return FileResponse(
        os.path.join(ARCHIVE, row["path"]),
        headers={"ETag": f'"{row["sha256"]}"', "Cache-Control": "private, no-cache"},
        media_type="audio/wav",
        filename=os.path.basename(row["path"]),
    )
