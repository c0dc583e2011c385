"""/console/certificates: the certificates of mail recipients, their upload, and the Profiles that use them."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final

from voxrec.console.form_data import uploaded_files
from voxrec.console.forms import FormState, rejected
from voxrec.console.profile_form import display
from voxrec.console.rest_client import Page, RestFailed
from voxrec.console.visit import Visit, form, profile_label, query, redirect_after
from voxrec.mail.certificate_upload import certificate_text
from voxrec.mailaddress import caseless_mailbox_key
from voxrec.model import CertificateValidity, MailProtection, mail_addresses
from voxrec.model.recipient_certificate import MAX_CERTIFICATE_LENGTH, validity_at
from voxrec.web.auth import Role
from voxrec.web.response import Response

CERTIFICATES: Final = "/console/certificates"
_REST: Final = "/recipient-certificates"
_PAGE_SIZE: Final = 25
_LISTED_SENDERS: Final = 3  # Profiles of each certificate in the list
_MAX_SENDERS: Final = 200  # Profiles that one call returns for the list
_SENDERS: Final = 20  # on the page of a certificate
_FILTERS: Final = ("search", "validity")
_ATTENTION: Final = (CertificateValidity.EXPIRED, CertificateValidity.EXPIRING)
_FIELDS: Final = ("address", "profileId", "certificate", "otherAddressAllowed")
_FILES: Final = "files"
_MAX_SIZE: Final = MAX_CERTIFICATE_LENGTH + 16_384  # bytes of a form, without files
_MAX_FILES: Final = 50  # each is encrypted to, which takes about a millisecond


class CertificatePages:
    """The list, and the page of one certificate. ``now`` returns the current time, from which the validity follows."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now

    async def show_certificates(self, visit: Visit) -> Response:
        """Show the newest certificates that match the filter in the query, and the Profiles that use them."""
        given = query(visit.request)
        filters = {name: given.get(name, "").strip() for name in _FILTERS}
        state, status = FormState(filters), 200
        try:
            page = await visit.rest.page(_REST, limit=_PAGE_SIZE, cursor=given.get("cursor"), **filters)
        except RestFailed as failed:
            state, status = rejected(visit, failed, filters, _FILTERS), failed.problem.status
            page = Page([], "")
        return visit.page(
            "certificates.html",
            "certificates",
            status,
            form=state,
            filtered=any(filters.values()),
            certificates=page.items,
            senders=await _senders_of_list(visit, page.items),
            label=profile_label,
            profiles=await visit.profile_names(),
            validities=[*CertificateValidity],
            attention=[each for each in _ATTENTION if await _exists(visit, each)] if not any(filters.values()) else [],
            may_change=visit.may(Role.PROVISION),
            next_url=page.next_url(CERTIFICATES, filters),
            **self._about_validity(visit),
        )

    async def show_certificate(self, visit: Visit) -> Response:
        """Show a certificate: what it says, the Profiles that send to its holder, and the form that replaces it."""
        return await self._page(visit)

    async def _page(
        self, visit: Visit, state: FormState | None = None, status: int = 200, opened_version: str = ""
    ) -> Response:
        """Return the page; ``state`` is that of the form after a refusal.

        ``opened_version`` is that of the certificate when the form was opened: sending it again must not replace
        another certificate than the user has seen.
        """
        certificate, version = await visit.rest.versioned(_path(visit))
        senders = await _senders(visit, certificate, _SENDERS)
        return visit.page(
            "certificate.html",
            "certificates",
            status,
            certificate=certificate,
            version=opened_version or version,
            form=state or FormState({"otherAddressAllowed": certificate["otherAddressAllowed"]}),
            senders=[(one, *await _use(visit, certificate, one)) for one in senders.items],
            more_senders=bool(senders.next_cursor),
            label=profile_label,
            profiles=await visit.profile_names(),
            may_change=visit.may(Role.PROVISION),
            may_audit=visit.may(Role.ADMIN),
            **self._about_validity(visit),
        )

    async def replace(self, visit: Visit) -> Response:
        """Replace a certificate, such as after its renewal."""
        fields = form(visit.request, _MAX_SIZE)
        texts = _texts(visit, fields)
        entered = {**fields, "otherAddressAllowed": "otherAddressAllowed" in fields}
        if len(texts) != 1:
            state = FormState(_repeatable(entered), {"certificate": [visit.language.text("certificate_missing")]})
            return await self._page(visit, state, HTTPStatus.UNPROCESSABLE_ENTITY, fields.get("version", "*"))
        document = {"certificate": texts[0][1], "otherAddressAllowed": entered["otherAddressAllowed"]}
        version = fields.get("version", "*")
        try:
            await visit.rest.send("POST", _path(visit), document, **{"if-match": version})
        except RestFailed as failed:
            state = rejected(visit, failed, _repeatable(entered), _FIELDS)
            return await self._page(visit, state, failed.problem.status, version)
        return redirect_after("certificate_replaced", f"{CERTIFICATES}/{visit.request.id}")

    async def delete(self, visit: Visit) -> Response:
        """Delete a certificate, unless another user has changed it since the page was opened."""
        version = form(visit.request).get("version", "*")
        try:
            await visit.rest.send("DELETE", _path(visit), None, **{"if-match": version})
        except RestFailed as failed:
            state = rejected(visit, failed, {}, ())
            return await self._page(visit, state, failed.problem.status)
        return redirect_after("certificate_deleted", CERTIFICATES)

    def _about_validity(self, visit: Visit) -> dict[str, Any]:
        now = self._now()

        def validity(certificate: Mapping[str, Any]) -> CertificateValidity:
            return validity_at(_expiry(certificate), now)

        def remaining(certificate: Mapping[str, Any]) -> str:
            days = (_expiry(certificate) - now).days
            key = {0: "expires_today", 1: "expires_in_day"}.get(days, "expires_in_days")
            return visit.language.text(key, days=days)

        return {"validity": validity, "remaining": remaining}


def _expiry(certificate: Mapping[str, Any]) -> datetime:
    return datetime.fromisoformat(certificate["expiresAt"])


def _path(visit: Visit) -> str:
    return f"{_REST}/{visit.request.id}"


async def _exists(visit: Visit, validity: CertificateValidity) -> bool:
    return bool((await visit.rest.page(_REST, validity=validity, limit=1)).items)


async def _senders(visit: Visit, certificate: Mapping[str, Any], limit: int) -> Page:
    """Return the Profiles whose mails go to the recipient of a certificate, and which may use it."""
    if certificate["profileId"] is None:
        return await visit.rest.page("/profiles", email=certificate["address"], limit=limit)
    profile = await visit.rest.get(f"/profiles/{certificate['profileId']}")
    recipients = map(caseless_mailbox_key, mail_addresses(profile["email"]))
    return Page([profile] if caseless_mailbox_key(certificate["address"]) in recipients else [], "")


async def _senders_of_list(visit: Visit, certificates: Sequence[Mapping[str, Any]]) -> dict[str, Page]:
    """Return the first senders of each certificate by its id, from one list of Profiles unless it is very long."""
    if not certificates:
        return {}
    addresses = ",".join(dict.fromkeys(certificate["address"] for certificate in certificates))
    profiles = await visit.rest.page("/profiles", email=addresses, limit=_MAX_SENDERS)
    if profiles.next_cursor:
        return {one["id"]: await _senders(visit, one, _LISTED_SENDERS) for one in certificates}
    by_recipient: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for profile in profiles.items:
        for mailbox in {caseless_mailbox_key(address) for address in mail_addresses(profile["email"])}:
            by_recipient[mailbox].append(profile)
    return {one["id"]: _first_senders(one, by_recipient) for one in certificates}


def _first_senders(certificate: Mapping[str, Any], by_recipient: Mapping[str, list[dict[str, Any]]]) -> Page:
    senders = [
        profile
        for profile in by_recipient.get(caseless_mailbox_key(certificate["address"]), [])
        if certificate["profileId"] in (None, profile["id"])
    ]
    return Page(senders[:_LISTED_SENDERS], "more" if len(senders) > _LISTED_SENDERS else "")


async def _use(visit: Visit, certificate: Mapping[str, Any], profile: Mapping[str, Any]) -> tuple[str, str]:
    """Return in words when a Profile encrypts mails, and what happens to its mails to the holder of a certificate.

    The latter is ``other`` if they are encrypted, but to other certificates.
    """
    path = f"/profiles/{profile['id']}"
    settings = (await visit.rest.get(f"{path}/effective"))["settings"]
    mode = next(each["value"] for each in settings if each["name"] == "mailEncryption")
    mailbox = caseless_mailbox_key(certificate["address"])
    protection = ""
    for recipient in await visit.rest.get(f"{path}/recipients"):
        if caseless_mailbox_key(recipient["address"]) == mailbox:
            is_used = (
                recipient["protection"] != MailProtection.ENCRYPTED or certificate["id"] in recipient["certificateIds"]
            )
            protection = recipient["protection"] if is_used else "other"
    return display(visit.language, "mailEncryption", mode), protection


async def show_new(visit: Visit) -> Response:
    """Show the form for new certificates."""
    given = query(visit.request)
    return await _new_page(visit, FormState({name: given.get(name, "") for name in ("address", "profileId")}))


@dataclass
class _Upload:
    """The result of an upload: the certificates that were stored, and what was refused."""

    stored: list[dict[str, Any]] = field(default_factory=list)
    errors: dict[str, list[str]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    status: int = HTTPStatus.OK

    def refuse(self, name: str, state: FormState, status: int) -> None:
        """Add why a file, or what was pasted if ``name`` is empty, was refused."""
        prefix = f"{name}: " if name else ""
        for of_field, messages in state.errors.items():
            self.errors.setdefault(of_field, []).extend(f"{prefix}{message}" for message in messages)
        if state.problem:
            self.problems.append(f"{prefix}{state.problem}")
        self.status = status


async def create(visit: Visit) -> Response:
    """Store the certificates of files, and the one that was pasted. Those that are refused do not affect the others."""
    fields = form(visit.request, _MAX_SIZE)
    texts = _texts(visit, fields)
    entered = {**fields, "otherAddressAllowed": "otherAddressAllowed" in fields}
    if not 1 <= len(texts) <= _MAX_FILES:
        key = "too_many_files" if texts else "certificate_missing"
        state = FormState(_repeatable(entered), {"certificate": [visit.language.text(key, number=_MAX_FILES)]})
        return await _new_page(visit, state, status=HTTPStatus.UNPROCESSABLE_ENTITY)
    upload = _Upload()
    for name, text in texts:
        document = {
            "address": fields.get("address", "").strip() or None,
            "profileId": fields.get("profileId") or None,
            "otherAddressAllowed": entered["otherAddressAllowed"],
            "certificate": text,
        }
        try:
            upload.stored.append(await visit.rest.result("PUT", _REST, document))
        except RestFailed as failed:
            upload.refuse(name, rejected(visit, failed, {}, _FIELDS), failed.problem.status)
    if upload.errors or upload.problems:
        state = FormState(_repeatable(entered), upload.errors, "; ".join(upload.problems))
        return await _new_page(visit, state, upload.stored, upload.status)
    if len(upload.stored) == 1:
        return redirect_after("certificate_added", f"{CERTIFICATES}/{upload.stored[0]['id']}")
    return redirect_after("certificates_added", CERTIFICATES)


async def _new_page(
    visit: Visit, state: FormState, stored: Sequence[Mapping[str, Any]] = (), status: int = 200
) -> Response:
    """Return the page with the form; ``stored`` are the certificates of the same upload that were not refused."""
    return visit.page(
        "certificate_new.html",
        "certificates",
        status,
        form=state,
        stored=stored,
        profiles=await visit.profile_choices("all_profiles"),
    )


def _texts(visit: Visit, fields: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the names and contents of the files that were chosen, and what was pasted, without a name."""
    files = [(file.name, certificate_text(file.content)) for file in uploaded_files(visit.request, _FILES)]
    pasted = fields.get("certificate", "").strip()
    return [*files, ("", pasted)] if pasted else files


def _repeatable(entered: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries that the form shows again: a private key that was pasted by mistake is not among them."""
    certificate = str(entered.get("certificate", ""))
    is_public = "BEGIN CERTIFICATE" in certificate and "PRIVATE" not in certificate
    return {**entered, "certificate": certificate if is_public else ""}
