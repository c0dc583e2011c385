"""Tests of voxrec.sandbox.stack without running programs: voxrec's settings file and the mailbox directory."""

import socket
from pathlib import Path
from urllib.parse import urlsplit

import yaml
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from voxrec.config import load
from voxrec.sandbox.stack import Stack


class ConfigurationTests(SynchronousTestCase):
    def stack(self, **settings: dict[str, object]) -> Stack:
        stack = Stack(Clock(), Path(self.mktemp()), None, settings)
        stack.directory.mkdir(parents=True)
        stack.write_configuration()
        return stack

    def test_the_settings_are_valid_and_private(self) -> None:
        stack = self.stack()
        self.assertEqual(load(stack.config_file).rest.public_url, stack.url)
        self.assertEqual(stack.config_file.stat().st_mode & 0o077, 0)

    def test_given_settings_override_the_sandboxs_by_section(self) -> None:
        settings = yaml.safe_load(self.stack(mail={"timeout": 3}, calls={"grace": 1}).config_file.read_text())
        self.assertEqual((settings["mail"]["timeout"], settings["mail"]["host"]), (3, "127.0.0.1"))
        self.assertEqual(settings["calls"], {"grace": 1})

    def test_a_later_run_in_the_directory_has_the_same_address(self) -> None:
        former = self.stack()
        self.assertEqual(Stack(Clock(), former.directory, None).url, former.url)
        with socket.create_server(("127.0.0.1", urlsplit(former.url).port or 0)):
            self.assertNotEqual(Stack(Clock(), former.directory, None).url, former.url)

    def test_a_settings_file_that_cannot_be_read_has_no_address(self) -> None:
        former = self.stack()
        for text in ("", "rest: 1", "rest: {public_url: 'http://127.0.0.1:none'}", "rest: {"):
            former.config_file.write_text(text)
            self.assertNotEqual(Stack(Clock(), former.directory, None).url, former.url)


class MailTests(SynchronousTestCase):
    def test_mails_are_sorted_by_time(self) -> None:
        stack = Stack(Clock(), Path(self.mktemp()), None)
        stack.mailbox_directory.mkdir(parents=True)
        for name in ("2.eml", "1.eml"):
            (stack.mailbox_directory / name).write_bytes(f"Subject: {name}\r\n\r\n".encode())
        subjects = [mail["Subject"] for _, mail in stack.mails()]
        self.assertEqual(subjects, ["2.eml", "1.eml"])
