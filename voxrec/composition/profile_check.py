"""The test of Profiles: what each check uses."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from voxrec.api.operations.health import Probe
from voxrec.ari.options_request import OptionsRequests
from voxrec.calls.admission import is_trusted
from voxrec.clock import utc_now
from voxrec.composition.calls import Calls
from voxrec.composition.database import Database
from voxrec.composition.environment import Environment
from voxrec.composition.mail import make_relay
from voxrec.composition.readiness import AmiProbe, AnnouncementProbe, AsteriskProbe, SpoolProbe
from voxrec.composition.recordings import RecordingFiles
from voxrec.composition.webhooks import WebhookServices
from voxrec.config import Config
from voxrec.mail import smtp
from voxrec.model import CheckName, EffectiveProfile, MailEncryption, Profile
from voxrec.profile_check.archive import ArchiveCheck
from voxrec.profile_check.audio import PromptCheck, RecordingCheck
from voxrec.profile_check.deliveries import MailboxCheck, WebhookCheck
from voxrec.profile_check.effective import effective_settings
from voxrec.profile_check.encryption import EncryptionCheck
from voxrec.profile_check.runner import TIME_LIMIT, ProfileChecker
from voxrec.profile_check.target import TargetCheck
from voxrec.threads import DeferToThread

_RELAY_MARGIN: Final = 1.0  # seconds: the relay's time limit ends first, with a more exact reason


@dataclass
class ProfileChecks:
    """Tests Profiles, and names their effective settings. ``config``: the settings that are valid now."""

    config: Config
    calls: Calls
    checker: ProfileChecker
    encryption: EncryptionCheck

    def effective(self, profile: Profile) -> EffectiveProfile:
        """Return the settings of the next call of a Profile."""
        uri = profile.remote_sip_uri
        trusted = uri is not None and is_trusted(uri, self.config.calls.trusted_hosts)
        return effective_settings(profile, self.config, self.calls.announcements.media_for(profile), trusted)


def build_profile_checks(
    env: Environment,
    database: Database,
    files: RecordingFiles,
    calls: Calls,
    webhooks: WebhookServices,
    defer_to_thread: DeferToThread,
) -> ProfileChecks:
    """Build the checks; ``defer_to_thread`` uses threads that no call depends on."""

    async def verify(recipients: list[str]) -> smtp.SendResult:
        settings = checks.config.mail
        limit = TIME_LIMIT - _RELAY_MARGIN
        relay = replace(make_relay(settings), timeout=min(settings.timeout, limit), deadline=limit)
        return await smtp.verify(env.reactor, relay, settings.sender, recipients)

    def endpoint_of(uri: str) -> str:
        trusted = is_trusted(uri, checks.config.calls.trusted_hosts)
        return checks.config.asterisk.trusted_endpoint if trusted else checks.config.asterisk.endpoint

    encryption = EncryptionCheck(
        database.recipient_certificates,
        lambda: MailEncryption(checks.config.mail.encryption),
        partial(utc_now, env.reactor),
    )
    spool_problem: Probe = SpoolProbe(files.spool, lambda: calls.disk_space.floor, defer_to_thread)
    checker = ProfileChecker(
        env.reactor,
        env.config.node_name,
        {
            CheckName.TARGET: TargetCheck(
                OptionsRequests(env.reactor, calls.asterisk),
                calls.admission.is_allowed,
                endpoint_of,
                calls.unreachable.reason,
            ),
            CheckName.PROMPT: PromptCheck(
                database.prompts,
                calls.announcements.media_for,
                AnnouncementProbe(calls.announcement_check),
                defer_to_thread,
            ),
            CheckName.RECORDING: RecordingCheck(
                (
                    AsteriskProbe(calls.session, lambda: calls.lease.standby),
                    AmiProbe(calls.ami.connection),
                    spool_problem,
                ),
                files.work_directory,
                defer_to_thread,
            ),
            CheckName.MAILBOX: MailboxCheck(verify),
            CheckName.ENCRYPTION: encryption,
            CheckName.WEBHOOK: WebhookCheck(database.webhooks, webhooks.sender.send_test),
            CheckName.ARCHIVE: ArchiveCheck(
                files.archive,
                files.work_directory,
                partial(utc_now, env.reactor),
                defer_to_thread,
                None if files.s3 is None else files.s3.check,
            ),
        },
    )
    checks = ProfileChecks(env.config, calls, checker, encryption)
    return checks
