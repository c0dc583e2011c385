"""Expiring links: a browser opens the page of one Recording without a token."""

import enum
from datetime import datetime
from typing import Annotated
from uuid import UUID

from msgspec import Meta, Struct

from voxrec.model.fields import Text255, Timestamp, doc

UseLimit = Annotated[int, Meta(ge=1, le=1_000_000)]


class LinkOrigin(enum.StrEnum):
    """What a link was created for.

    - ``rest``: a client, by `POST /recordings/{id}/links`
    - ``mail``: the mail about the recording
    - ``webhook``: messages to webhooks
    """

    REST = "rest"
    MAIL = "mail"
    WEBHOOK = "webhook"


class LinkState(enum.StrEnum):
    """Whether a link can be opened.

    - ``active``: it can
    - ``expired``: `expiresAt` has passed
    - ``used-up``: it was opened `maxUses` times; who opened it before can still listen
    - ``revoked``: it was revoked
    """

    ACTIVE = "active"
    EXPIRED = "expired"
    USED_UP = "used-up"
    REVOKED = "revoked"


class Link(Struct, frozen=True, kw_only=True, rename="camel"):
    """An expiring link to the page of one recording, which a browser opens without a token."""

    id: Annotated[UUID, doc("Id of the link.")]
    recording_id: Annotated[UUID, doc("Id of the recording.")]
    url: Annotated[str | None, doc("URL of the page. Null unless the link is active.")]
    state: LinkState
    origin: LinkOrigin
    created_by: Annotated[
        str, doc("Name of the token or user that created the link; mail or webhook for links in deliveries.")
    ]
    description: Annotated[Text255 | None, doc("Description for people, such as the receiver of the link.")] = None
    expires_at: Annotated[Timestamp, doc("Time after which neither page nor audio are available.")]
    max_uses: Annotated[UseLimit | None, doc("How often the page can be opened. Null: any number of times.")] = None
    uses: Annotated[int, doc("How often the page was opened.")] = 0
    last_used_at: Annotated[Timestamp | None, doc("Time at which the page was opened last.")] = None
    revoked_at: Annotated[Timestamp | None, doc("Time at which the link was revoked.")] = None
    created_at: Annotated[Timestamp, doc("Time of creation.")]


class LinkUse(Struct, frozen=True, kw_only=True, rename="camel"):
    """One opening of the page of a link."""

    id: Annotated[UUID, doc("Id of the opening.")]
    created_at: Annotated[datetime, doc("Time of the opening.")]
    address: Annotated[str, doc("IP address of the browser.")]
    user_agent: Annotated[str, doc("Beginning of the User-Agent header of the browser.")]
