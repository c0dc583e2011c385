"""``voxrec doctor`` on a working installation, and on one that is broken in one way for each check."""

import json
import os
import shutil
import socket
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import psycopg2
import yaml
from psycopg2.sql import SQL, Identifier
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SkipTest

from tests.database import administer, cluster
from tests.live.live_test_case import LiveTestCase, make_stack
from tests.temporary import temporary_directory
from voxrec.doctor.diagnosis import diagnose
from voxrec.doctor.finding import Finding, Status
from voxrec.postgres.migrate import migrate
from voxrec.sandbox.asterisk import free_port
from voxrec.sandbox.process import Process
from voxrec.sandbox.rootfs import ASTERISK_16
from voxrec.sandbox.stack import Stack

OTHER_ACCOUNT: Final = 64124
_stacks: dict[object, Stack] = {}


class DoctorTestCase(LiveTestCase):
    """One running stack for all tests; each test runs the command with settings of its own."""

    async def start_stack(self) -> Stack:
        if self.recipe not in _stacks:
            stack = make_stack(recipe=self.recipe)
            await stack.start()
            _stacks[self.recipe] = stack
        return _stacks[self.recipe]

    async def diagnose(self, stack: Stack, changes: Mapping[str, Any] | None = None) -> dict[str, Finding]:
        """Check the installation with changed settings, and return the findings by the name of their check."""
        settings = yaml.safe_load(stack.config_file.read_text())
        for section, values in (changes or {}).items():
            if isinstance(values, dict):
                settings.setdefault(section, {}).update(values)
            else:
                settings[section] = values
        file = self.directory / "doctor.yaml"
        file.write_text(yaml.safe_dump(settings))
        findings = await deferToThread(lambda: list(diagnose(file)))
        for finding in findings:
            self.assertNotIn("\n", finding.detail)
            self.assertEqual(bool(finding.remedy), finding.status in (Status.FAILED, Status.WARNING), finding)
        return {finding.check: finding for finding in findings}

    async def run_doctor(self, file: Path, *options: str) -> tuple[int, str]:
        log = self.directory / f"doctor-{os.urandom(3).hex()}.log"
        program = str(Path(sys.executable).with_name("voxrec"))
        process = Process([program, "doctor", "--config", str(file), *options], log)
        status = await process.wait_until_ended(self.reactor, 60)
        return status, log.read_text()

    async def assert_found(self, check: str, words: str, changes: Mapping[str, Any], status: str = "failed") -> None:
        """Assert that a check has a finding with these words, after these changes of settings."""
        findings = await self.diagnose(await self.start_stack(), changes)
        self.assertIn(check, findings)
        self.assertEqual(findings[check].status.value, status, findings[check])
        self.assertIn(words, f"{findings[check].detail} {findings[check].remedy}")


class GoodInstallationTests(DoctorTestCase):
    async def test_every_condition_is_met(self) -> None:
        stack = await self.start_stack()
        findings = await self.diagnose(stack)
        failed = [each for each in findings.values() if each.status is Status.FAILED]
        self.assertEqual(failed, [])
        for check in (
            *("settings", "secrets", "data directory", "archive", "recording directory", "announcement file"),
            *("database", "database version", "database encoding", "database writable", "database schema"),
            *("database privileges", "database notifications", "database migrations", "database clock"),
            *("asterisk", "application", "modules", "endpoint", "endpoint identify_by", "endpoint codecs"),
            *("SIP transport", "trunk addresses", "ami", "ami module", "ami privileges"),
            *("daemon", "daemon postgresql", "daemon asterisk", "daemon ami"),
            *("mail relay", "mail tls", "mail sender", "group"),
        ):
            self.assertIs(findings[check].status, Status.OK, findings[check])
        self.assertIn("127.0.0.1", findings["trunk addresses"].detail)

    async def test_the_priority_of_asterisk(self) -> None:
        stack = await self.start_stack()
        self.assertIs((await self.diagnose(stack))["asterisk priority"].status, Status.WARNING)
        try:
            os.sched_setscheduler(stack.asterisk.pid, os.SCHED_RR, os.sched_param(10))
        except PermissionError as error:
            raise SkipTest("this machine denies real-time priority") from error
        self.addCleanup(os.sched_setscheduler, stack.asterisk.pid, os.SCHED_OTHER, os.sched_param(0))
        self.assertIs((await self.diagnose(stack))["asterisk priority"].status, Status.OK)

    async def test_without_a_terminal_each_finding_is_one_plain_line(self) -> None:
        stack = await self.start_stack()
        status, output = await self.run_doctor(stack.config_file)
        self.assertEqual(status, 0, output)
        self.assertNotIn("\x1b", output)
        *lines, summary = output.splitlines()
        self.assertRegex(summary, r"^\d+ ok, \d+ warning, 0 failed, \d+ skipped$")
        for line in lines:
            self.assertRegex(line, r"^(ok|warning|skipped) +\S")

    async def test_json_and_exit_status(self) -> None:
        stack = await self.start_stack()
        status, output = await self.run_doctor(stack.config_file, "--json")
        report = json.loads(output)
        self.assertEqual((status, report["ok"]), (0, True))
        self.assertEqual(report["checks"][0]["check"], "settings")
        self.assertEqual(report["checks"][0]["status"], "ok")
        broken = self.directory / "broken.yaml"
        broken.write_text("mail: {port: 0}\n")
        status, output = await self.run_doctor(broken, "--json")
        self.assertEqual((status, json.loads(output)["ok"]), (1, False))


class Asterisk16GoodInstallationTests(GoodInstallationTests):
    recipe = ASTERISK_16


class BrokenInstallationTests(DoctorTestCase):
    async def test_invalid_settings(self) -> None:
        await self.assert_found("settings", "mail.port", {"mail": {"port": 99999}})

    async def test_a_secret_that_cannot_be_read(self) -> None:
        changes = {"asterisk": {"password": "", "password_file": "/nowhere/secret"}}
        await self.assert_found("settings", "/nowhere/secret", changes)

    async def test_a_credential_of_the_unit(self) -> None:
        changes = {"mail": {"user": "", "password_file": "${CREDENTIALS_DIRECTORY}/mail"}}
        await self.assert_found("secrets", "exists only in the unit", changes, "warning")

    async def test_directories_that_do_not_exist(self) -> None:
        for check, changes in (
            ("archive", {"archive": {"directory": "/nowhere"}}),
            ("recording directory", {"asterisk": {"recordings": "/nowhere"}}),
            ("announcement file", {"asterisk": {"sounds": "/nowhere"}}),
            ("data directory", {"data_directory": "/nowhere", "database": {"dsn": "host=/nowhere"}}),
        ):
            await self.assert_found(check, "/nowhere", changes)

    async def test_a_full_file_system(self) -> None:
        await self.assert_found("recording directory", "bytes free", {"asterisk": {"recordings_floor": 2**60}})

    async def test_directories_that_an_account_may_not_use(self) -> None:
        if os.geteuid() != 0:
            self.skipTest("only root can act as other accounts")
        stack = await self.start_stack()
        recordings = self.directory_of_another_account()
        sounds = self.directory / "sounds"
        shutil.copytree(stack.asterisk.sounds_directory, sounds)
        sounds.chmod(0o700)
        changes = {"asterisk": {"recordings": str(recordings), "sounds": str(sounds)}}
        await self.assert_found("announcement file", f"{OTHER_ACCOUNT} may not read", changes)
        await self.assert_found("recording by Asterisk", "chmod 2770", changes, "warning")

    def directory_of_another_account(self) -> Path:
        """Create a recording directory; its owner counts as the account of Asterisk."""
        directory = temporary_directory("doctor")
        os.chown(directory, OTHER_ACCOUNT, OTHER_ACCOUNT)
        return directory

    async def test_an_unreachable_database(self) -> None:
        await self.assert_found("database", "cannot connect", {"database": {"dsn": "host=127.0.0.1 port=1"}})

    async def test_an_unsuitable_database(self) -> None:
        name = f"doctor_{os.urandom(4).hex()}"
        cluster()
        options = " ENCODING 'SQL_ASCII' LOCALE_PROVIDER libc LOCALE 'C' TEMPLATE template0"
        administer(SQL("CREATE DATABASE {}" + options).format(Identifier(name)))
        self.addCleanup(administer, SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))
        await self.assert_found("database encoding", "SQL_ASCII", {"database": {"dsn": cluster().dsn(name)}})

    async def test_a_database_without_migrations(self) -> None:
        name = f"doctor_{os.urandom(4).hex()}"
        cluster()
        administer(SQL("CREATE DATABASE {}").format(Identifier(name)))
        self.addCleanup(administer, SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))
        changes = {"database": {"dsn": cluster().dsn(name)}}
        await self.assert_found("database migrations", "pending", changes, "warning")

    async def test_certificates_of_webhooks_that_do_not_exist(self) -> None:
        changes = {"webhooks": {"ca_file": "/nowhere/ca.pem"}}
        await self.assert_found("webhooks ca_file", "/nowhere/ca.pem cannot be read", changes)

    async def test_a_webhook_that_was_disabled(self) -> None:
        name = f"doctor_{os.urandom(4).hex()}"
        administer(SQL("CREATE DATABASE {}").format(Identifier(name)))
        self.addCleanup(administer, SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))
        migrate(cluster().dsn(name))
        with closing(psycopg2.connect(cluster().dsn(name))) as connection, connection, connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO webhooks (url, enabled, disabled_reason) VALUES ('https://crm.example', FALSE, 'gone')"
            )
        changes = {"database": {"dsn": cluster().dsn(name)}}
        await self.assert_found("webhooks", "1 of 1 were disabled", changes, "warning")

    async def test_an_unreachable_asterisk(self) -> None:
        url = f"http://127.0.0.1:{free_port(socket.SOCK_STREAM)}/ari"
        await self.assert_found("asterisk", "does not respond", {"asterisk": {"url": url}})

    async def test_a_wrong_password_of_ari(self) -> None:
        await self.assert_found("asterisk", "does not accept", {"asterisk": {"password": "wrong"}})

    async def test_ari_is_not_at_that_path(self) -> None:
        stack = await self.start_stack()
        url = stack.asterisk.ari_url.replace("/ari", "/nowhere")
        await self.assert_found("asterisk", "status 404", {"asterisk": {"url": url}})

    async def test_an_application_that_is_not_registered(self) -> None:
        await self.assert_found("application", "no program has registered", {"asterisk": {"app": "other"}})

    async def test_an_endpoint_that_does_not_exist(self) -> None:
        await self.assert_found("endpoint", "no PJSIP endpoint other", {"asterisk": {"endpoint": "other"}})
        await self.assert_found("trunk addresses", "other-identify", {"asterisk": {"endpoint": "other"}})

    async def test_a_trunk_that_anyone_can_act_as(self) -> None:
        stack = await self.start_stack()
        configuration = stack.asterisk.directory / "etc" / "pjsip.conf"
        text = configuration.read_text()
        configuration.write_text(
            text + "\n[open]\ntype=endpoint\ncontext=from-trunk\ndirect_media=no\nallow=!all,gsm\n"
            "[open-identify]\ntype=identify\nendpoint=open\n"
        )
        await stack.asterisk.run_console_command(self.reactor, "module reload res_pjsip.so")
        try:
            changes = {"asterisk": {"endpoint": "open"}}
            await self.assert_found("endpoint identify_by", "anyone", changes)
            await self.assert_found("endpoint codecs", "gsm", changes)
            await self.assert_found("endpoint message_context", "not voxrec-nowhere", changes, "warning")
            await self.assert_found("endpoint redirect_method", "not uri_core", changes, "warning")
        finally:
            configuration.write_text(text)
            await stack.asterisk.run_console_command(self.reactor, "module reload res_pjsip.so")

    async def test_an_unreachable_ami(self) -> None:
        url = f"tcp://127.0.0.1:{free_port(socket.SOCK_STREAM)}"
        await self.assert_found("ami", "does not respond", {"asterisk": {"ami_url": url}})

    async def test_a_port_that_is_not_amis(self) -> None:
        stack = await self.start_stack()
        url = f"tcp://127.0.0.1:{urlsplit(stack.asterisk.ari_url).port}"  # it waits for a request
        await self.assert_found("ami", "does not respond", {"asterisk": {"ami_url": url}})

    async def test_a_wrong_secret_of_ami(self) -> None:
        for changes, setting in (({"ami_password": "wrong"}, "ami_password"), ({"ami_password": ""}, "password")):
            words = f"refuses the login of voxrec with asterisk.{setting}: Authentication failed"
            await self.assert_found("ami", words, {"asterisk": changes})

    async def test_privileges_of_ami_that_do_not_fit(self) -> None:
        stack = await self.start_stack()
        configuration = stack.asterisk.directory / "etc" / "manager.conf"
        text = configuration.read_text()
        secret = stack.asterisk.ami_password
        configuration.write_text(
            f"{text}\n[few]\nsecret = {secret}\nwrite = call\n[many]\nsecret = {secret}\nwrite = all\n"
        )
        await stack.asterisk.run_console_command(self.reactor, "manager reload")
        try:
            await self.assert_found("ami module", "does not have the class system", {"asterisk": {"ami_user": "few"}})
            words = "many also has the classes originate, command, config, call, message"
            await self.assert_found("ami privileges", words, {"asterisk": {"ami_user": "many"}}, "warning")
        finally:
            configuration.write_text(text)
            await stack.asterisk.run_console_command(self.reactor, "manager reload")

    async def test_the_module_of_ami_is_not_loaded(self) -> None:
        stack = await self.start_stack()
        await stack.asterisk.run_console_command(self.reactor, "module unload app_mixmonitor.so")
        try:
            await self.assert_found("ami module", "app_mixmonitor.so is not loaded", {})
        finally:
            await stack.asterisk.run_console_command(self.reactor, "module load app_mixmonitor.so")

    async def test_a_codec_is_not_loaded(self) -> None:
        stack = await self.start_stack()
        await stack.asterisk.run_console_command(self.reactor, "module unload codec_alaw.so")
        try:
            await self.assert_found("endpoint codecs", "not running: codec_alaw.so", {})
        finally:
            await stack.asterisk.run_console_command(self.reactor, "module load codec_alaw.so")

    async def test_the_daemon_does_not_run(self) -> None:
        listen = f"tcp:{free_port(socket.SOCK_STREAM)}:interface=127.0.0.1"
        await self.assert_found("daemon", "does not respond", {"rest": {"listen": listen}})
        await self.assert_found("REST port", "is free", {"rest": {"listen": listen}}, "ok")

    async def test_another_program_has_the_port_of_rest(self) -> None:
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            listen = f"tcp:{other.getsockname()[1]}:interface=127.0.0.1"
            await self.assert_found("REST port", "Address already in use", {"rest": {"listen": listen}})

    async def test_the_daemon_is_not_ready(self) -> None:
        stack = await self.start_stack()
        archive = stack.archive_directory
        hidden = archive.with_name("hidden")
        archive.rename(hidden)
        self.addCleanup(hidden.rename, archive)
        await self.assert_found("daemon archive", "does not exist", {})

    async def test_an_unreachable_relay(self) -> None:
        await self.assert_found("mail relay", "refused", {"mail": {"port": free_port(socket.SOCK_STREAM)}})

    async def test_a_relay_without_tls(self) -> None:
        await self.assert_found("mail tls", "STARTTLS", {"mail": {"tls": "starttls"}})
        await self.assert_found("mail tls", "SSL", {"mail": {"tls": "implicit"}})

    async def test_a_relay_without_authentication(self) -> None:
        changes = {"mail": {"user": "someone", "password": "secret"}}
        await self.assert_found("mail authentication", "AUTH", changes)

    async def test_a_relay_that_refuses_the_sender(self) -> None:
        port, stop = await deferToThread(start_refusing_relay)
        self.addCleanup(stop)
        await self.assert_found("mail sender", "550", {"mail": {"port": port}})


def start_refusing_relay() -> tuple[int, Any]:
    """Start a real SMTP server that refuses every sender; return its port and a function that stops it."""
    from aiosmtpd.controller import Controller

    class Refuse:
        async def handle_MAIL(self, *_: object) -> str:  # noqa: N802 - aiosmtpd's name
            return "550 5.7.1 sender refused"

    controller = Controller(Refuse(), hostname="127.0.0.1", port=free_port(socket.SOCK_STREAM))
    controller.start()
    return controller.port, controller.stop
