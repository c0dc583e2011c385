"""Tests of voxrec.api.field_validation."""

from uuid import UUID, uuid4

from twisted.trial.unittest import SynchronousTestCase

from voxrec.api.field_validation import format_errors, uuid4_errors


class FormatErrorsTests(SynchronousTestCase):
    def test_error_names_the_allowed_formats(self) -> None:
        self.assertEqual(format_errors("format", None, ("wav",)), [])
        self.assertEqual(format_errors("format", "wav", ("wav",)), [])
        (error,) = format_errors("format", "xyz", ("wav", "mp3"))
        self.assertEqual(str(error), "format: unknown format 'xyz'; expected one of wav, mp3")


class Uuid4ErrorsTests(SynchronousTestCase):
    def test_only_version_4_is_allowed(self) -> None:
        self.assertEqual(uuid4_errors("id", None), [])
        self.assertEqual(uuid4_errors("id", uuid4()), [])
        (error,) = uuid4_errors("id", UUID("1b4e28ba-2fa1-11d2-883f-0016d3cca427"))
        self.assertEqual(str(error), "id: must be a UUID of version 4")
