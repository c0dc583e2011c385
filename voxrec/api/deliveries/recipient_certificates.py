"""/recipient-certificates: the certificates to which mails are encrypted."""

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from msgspec import Struct

from voxrec.api.parameters import mail_address, search_text
from voxrec.api.resources import Representation, encode_resource, initial_values, require_visible, touched
from voxrec.api.transaction_hooks import transaction_hook
from voxrec.clock import UtcNow
from voxrec.error_codes import FieldErrorCode
from voxrec.errors import Conflict, FieldError, invalid_field
from voxrec.mail.certificate_facts import CertificateFacts, InvalidCertificateError
from voxrec.mail.certificate_upload import read_certificate
from voxrec.model import CertificateValidity, RecipientCertificate
from voxrec.model.fields import doc
from voxrec.model.recipient_certificate import CertificateText, MailAddress, address_errors
from voxrec.store.recipient_certificates import CertificateFilter, RecipientCertificates
from voxrec.threads import DeferToThread
from voxrec.web.auth import Role, Scoped
from voxrec.web.body import JsonBody
from voxrec.web.pagination import LINK, PAGINATION, Paginator
from voxrec.web.parameters import one_of, uuid
from voxrec.web.query import QueryParameter
from voxrec.web.request import Request
from voxrec.web.response import Response, no_content
from voxrec.web.route import CONDITIONAL, ETAG, Route

_FILTERS: Final[dict[str, QueryParameter[Any]]] = {
    "profileId": uuid("Only certificates of this profile."),
    "address": mail_address.described_as(
        "Only certificates of this mail address, in any letter case; the domain in Unicode or as xn--."
    ),
    "search": search_text.described_as(
        "Only certificates with this text in the mail address, the subject or the issuer, in any letter case, or at "
        "the beginning of the fingerprint or the serial number."
    ),
    "validity": one_of(
        [*CertificateValidity],
        "Only certificates that are valid for longer than 30 days, that expire within 30 days, or that have expired.",
        title="CertificateValidity",
    ),
}
_SECRET: Final = frozenset({"certificate"})  # it may be a private key, by mistake


class NewRecipientCertificate(Struct, frozen=True, kw_only=True, rename="camel"):
    """A recipient certificate to store."""

    profile_id: Annotated[UUID | None, doc("Profile whose mails use it. Null: the mails of all Profiles.")] = None
    address: Annotated[
        MailAddress | None, doc("Mail address of the recipient. Null: the one in the certificate, if it has only one.")
    ] = None
    certificate: CertificateText
    other_address_allowed: Annotated[
        bool, doc("Whether the certificate may name other mail addresses than that of the recipient.")
    ] = False


class ReplacementCertificate(Struct, frozen=True, kw_only=True, rename="camel"):
    """The certificate that replaces a stored one, such as after its renewal."""

    certificate: CertificateText
    other_address_allowed: Annotated[
        bool, doc("Whether the certificate may name other mail addresses than that of the recipient.")
    ] = False


_REPRESENTATION: Final[Representation[RecipientCertificate]] = Representation(encode_resource)


class RecipientCertificateRoutes:
    """Recipient certificates: mails to their mail addresses are encrypted by S/MIME."""

    def __init__(
        self,
        certificates: Scoped[RecipientCertificates],
        public_url: str,
        now: UtcNow,
        defer_to_thread: DeferToThread,
    ) -> None:
        self._certificates = certificates
        self._public_url = public_url
        self._now = now
        self._defer_to_thread = defer_to_thread

    def routes(self) -> tuple[Route, ...]:
        """Return the routes."""
        route = partial(Route, profile_scoped=True)
        with_representation = partial(
            route, response_model=RecipientCertificate, request_headers=CONDITIONAL, response_headers=ETAG
        )
        collection, item = "/recipient-certificates", "/recipient-certificates/<id>"
        return (
            route(
                *("GET", collection, Role.READ, self._list),
                response_model=list[RecipientCertificate],
                query=_FILTERS | PAGINATION,
                response_headers=LINK,
            ),
            route(
                *("PUT", collection, Role.PROVISION, self._create),
                body=JsonBody(
                    NewRecipientCertificate,
                    required=frozenset({"certificate"}),
                    secret=_SECRET,
                    validators=(_validate_address,),
                ),
                response_model=RecipientCertificate,
                idempotent=True,
                audit_in_transaction=True,
                response_headers=("ETag", "Location"),
                errors=(Conflict,),
            ),
            with_representation("GET", item, Role.READ, self._get),
            with_representation(
                *("POST", item, Role.PROVISION, self._replace),
                guard=require_visible(self._certificates),
                body=JsonBody(ReplacementCertificate, required=frozenset({"certificate"}), secret=_SECRET),
                idempotent=True,
                audit_in_transaction=True,
                errors=(Conflict,),
                summary="Replace a recipient certificate",
            ),
            route(*("DELETE", item, Role.PROVISION, self._delete), request_headers=CONDITIONAL),
        )

    async def _list(self, request: Request) -> Response:
        """A token that is limited to some profiles sees the certificates of these."""
        certificates = self._certificates.visible_to(request.principal)
        filters = CertificateFilter(
            profile_id=request.query.get("profileId"),
            address=request.query.get("address"),
            search=request.query.get("search"),
            validity=request.query.get("validity"),
        )
        return await Paginator(certificates, encode_resource, self._public_url).respond(request, filters)

    async def _create(self, request: Request) -> Response:
        """A recipient may have several certificates, such as before and after a renewal; mails are encrypted to all."""
        wanted: NewRecipientCertificate = request.body
        facts = await self._read(wanted.certificate)
        certificate = RecipientCertificate(
            profile_id=wanted.profile_id,
            address=_address_of(wanted, facts),
            other_address_allowed=wanted.other_address_allowed,
            **asdict(facts),
            **initial_values(self._now),
        )
        certificates = self._certificates.visible_to(request.principal)
        return self._created(await certificates.create(certificate, transaction_hook(request, self._created)))

    def _created(self, stored: RecipientCertificate) -> Response:
        return _REPRESENTATION.created(stored, f"{self._public_url}/recipient-certificates/{stored.id}")

    async def _get(self, request: Request) -> Response:
        return _REPRESENTATION.retrieved(
            request, await self._certificates.visible_to(request.principal).get(request.id)
        )

    async def _replace(self, request: Request) -> Response:
        """The recipient and the profile stay the same."""
        certificates = self._certificates.visible_to(request.principal)
        wanted: ReplacementCertificate = request.body
        current = await certificates.get(request.id)
        facts = await self._read(wanted.certificate)
        if not wanted.other_address_allowed:
            _require_address(facts, current.address)

        def change(locked: RecipientCertificate) -> RecipientCertificate:
            _REPRESENTATION.require_version(request, locked)
            changed = msgspec.structs.replace(
                locked, other_address_allowed=wanted.other_address_allowed, **asdict(facts)
            )
            request.audit_details.changed(locked, changed)
            return touched(changed, self._now)

        hook = transaction_hook(request, _REPRESENTATION.updated)
        return _REPRESENTATION.updated(await certificates.update(request.id, change, hook))

    async def _delete(self, request: Request) -> Response:
        """Mails to the recipient are not encrypted to this certificate any more."""
        certificates = self._certificates.visible_to(request.principal)
        await certificates.delete(request.id, partial(_REPRESENTATION.require_version, request))
        return no_content()

    async def _read(self, certificate: str) -> CertificateFacts:
        """Return what the certificate says. Raises InvalidInput."""
        try:
            facts: CertificateFacts = await self._defer_to_thread(read_certificate, certificate, self._now())
        except InvalidCertificateError as error:
            raise invalid_field(FieldError.of("certificate", error)) from None
        return facts


def _address_of(wanted: NewRecipientCertificate, facts: CertificateFacts) -> str:
    """Return the mail address of the recipient. Raises InvalidInput."""
    if wanted.address is not None:
        if not wanted.other_address_allowed:
            _require_address(facts, wanted.address)
        return wanted.address
    if len(facts.addresses) == 1:
        return facts.addresses[0]
    message = f"is required: the certificate names {', '.join(facts.addresses) or 'no mail address'}"
    params = {"addresses": list(facts.addresses)}
    raise invalid_field(FieldError("address", message, FieldErrorCode.CERTIFICATE_ADDRESS_REQUIRED, params))


def _require_address(facts: CertificateFacts, address: str) -> None:
    try:
        facts.require_address(address)
    except InvalidCertificateError as error:
        raise invalid_field(FieldError.of("certificate", error)) from None


def _validate_address(wanted: NewRecipientCertificate, _values: Mapping[str, Any]) -> list[FieldError]:
    return [] if wanted.address is None else address_errors(wanted.address)
