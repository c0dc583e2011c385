"""The metrics of jobs, and of the deliveries, uploads and exports that they make."""

from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge


class JobMetrics:
    """The metrics of jobs."""

    def __init__(self, registry: CollectorRegistry) -> None:
        counter = partial(Counter, registry=registry)
        self._attempts = counter(
            "voxrec_jobs_ended",
            "Attempts of jobs, by kind and outcome (done, retry, dead).",
            ["kind", "outcome"],
        )
        self._mail_recipients = counter(
            "voxrec_mail_recipients",
            "Responses of the mail relay to recipients, by state: accepted, deferred, refused, or unconfirmed (none, "
            "after the relay had received the mail).",
            ["state"],
        )
        self._mail_protection = counter(
            "voxrec_mail_protection",
            "Recipients of attempts to send a mail, by its protection: smime, none (not encrypted), notice "
            "(without audio and link, not encrypted) or refused (not sent, since it could not be encrypted).",
            ["protection"],
        )
        self._signing_certificate = Gauge(
            "voxrec_mail_signing_certificate_expiry_timestamp_seconds",
            "Time at which the certificate expires that signs mails, in seconds since 1970; 0: mails are not signed.",
            registry=registry,
        )
        self._returned_mails = counter(
            "voxrec_mails_returned",
            "Messages to the bounce address, by outcome: failed (a delivery has failed), noted (in the history only), "
            "duplicate, deleted (with the Recording) and ignored (automatic replies).",
            ["outcome"],
        )
        self._webhook_attempts = counter(
            "voxrec_webhook_attempts",
            "Requests to webhooks, by outcome (delivered, refused by the HTTP status, or failed without a response).",
            ["outcome"],
        )
        self._uploads = counter(
            "voxrec_uploads",
            "Uploads of Recordings to S3, by outcome (stored or failed).",
            ["outcome"],
        )
        self._uploaded_bytes = counter("voxrec_uploaded_bytes", "Bytes of Recordings that were stored in S3.")
        self._exports = counter(
            "voxrec_exports_ended",
            "Attempts of bulk exports, by outcome: done, retry (failed, or interrupted by a stop), dead.",
            ["outcome"],
        )
        self._exported_bytes = counter(
            "voxrec_exported_bytes", "Bytes of audio that were written to the files of exports."
        )

    def count_attempt(self, kind: str, outcome: str) -> None:
        """Count an attempt of a job."""
        self._attempts.labels(kind, outcome).inc()

    def count_mail_recipient(self, state: str) -> None:
        """Count the response of the mail relay to one recipient."""
        self._mail_recipients.labels(state).inc()

    def set_signing_certificate(self, expires_at: float) -> None:
        """Set the time at which the certificate expires that signs mails, in seconds since 1970."""
        self._signing_certificate.set(expires_at)

    def count_mail_protection(self, protection: str) -> None:
        """Count a recipient of an attempt to send a mail."""
        self._mail_protection.labels(protection).inc()

    def count_returned_mail(self, outcome: str) -> None:
        """Count a message to the bounce address."""
        self._returned_mails.labels(outcome).inc()

    def count_webhook_attempt(self, outcome: str) -> None:
        """Count a request to a webhook."""
        self._webhook_attempts.labels(outcome).inc()

    def count_upload(self, outcome: str, size: int) -> None:
        """Count an upload to S3 of ``size`` bytes."""
        self._uploads.labels(outcome).inc()
        if outcome == "stored":
            self._uploaded_bytes.inc(size)

    def count_export(self, outcome: str) -> None:
        """Count an attempt of a bulk export."""
        self._exports.labels(outcome).inc()

    def count_exported_bytes(self, count: int) -> None:
        """Count bytes of audio that were written to the file of an export."""
        self._exported_bytes.inc(count)
