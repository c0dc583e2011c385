"""Tests of voxrec.api.auth.passwords."""

from argon2 import extract_parameters
from argon2.exceptions import VerifyMismatchError
from argon2.profiles import RFC_9106_LOW_MEMORY
from twisted.trial.unittest import TestCase

from voxrec.api.auth.passwords import _HASHER, _NO_HASH, Passwords, hash_password
from voxrec.threads import run_in_this_thread


class PasswordsTests(TestCase):
    def setUp(self) -> None:
        self.passwords = Passwords(run_in_this_thread)

    def test_hashes_are_as_slow_as_rfc_9106_recommends(self) -> None:
        for hashed in (hash_password("correct horse"), _NO_HASH):
            self.assertEqual(extract_parameters(hashed), RFC_9106_LOW_MEMORY)

    def test_the_hash_of_no_password_is_verified_like_others(self) -> None:
        """argon2 computes the hash of the password to compare it: a malformed one would be refused at once."""
        for password in ("", "of no user"):
            self.assertRaises(VerifyMismatchError, _HASHER.verify, _NO_HASH, password)

    async def test_only_the_same_password_matches(self) -> None:
        hashed = await self.passwords.hash("correct horse")
        self.assertNotEqual(hashed, await self.passwords.hash("correct horse"), "it has a salt")
        self.assertTrue(await self.passwords.matches("correct horse", hashed))
        self.assertFalse(await self.passwords.matches("Correct horse", hashed))

    async def test_a_password_matches_in_each_unicode_normalization(self) -> None:
        composed, decomposed = "p\u00e4ssw\u00f6rter", "pa\u0308sswo\u0308rter"
        for password in (composed, decomposed):
            for hashed in (await self.passwords.hash(password), hash_password(password)):
                for entered in (composed, decomposed):
                    self.assertTrue(await self.passwords.matches(entered, hashed), (password, entered))
                self.assertFalse(await self.passwords.matches("passworter", hashed))

    async def test_a_hash_of_an_earlier_version_still_matches(self) -> None:
        decomposed = "pa\u0308sswo\u0308rter"
        self.assertTrue(await self.passwords.matches(decomposed, _HASHER.hash(decomposed)))

    async def test_no_password_matches_no_hash_or_a_broken_one(self) -> None:
        for hashed in (None, "", "$argon2id$v=19$broken"):
            self.assertFalse(await self.passwords.matches("of no user", hashed), hashed)
