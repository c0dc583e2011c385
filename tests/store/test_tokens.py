"""Tests of voxrec.store.tokens."""

from twisted.trial.unittest import SynchronousTestCase

from voxrec.store.tokens import SECRET_PREFIX, generate_secret


class GenerateSecretTests(SynchronousTestCase):
    def test_secrets_differ_and_have_the_same_length(self) -> None:
        self.assertEqual(len({generate_secret() for _ in range(1000)}), 1000)
        self.assertEqual(len(generate_secret()), len(SECRET_PREFIX) + 43)
