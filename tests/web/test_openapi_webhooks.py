"""Tests of voxrec.web.openapi_webhooks, with the requests that voxrec sends."""

import msgspec
from openapi_spec_validator import validate
from twisted.trial.unittest import SynchronousTestCase

from voxrec.api.deliveries.webhooks import WEBHOOK_OPERATIONS
from voxrec.model import WebhookEvent
from voxrec.web.openapi import ApiInfo, openapi_document


class OpenApiWebhooksTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.document = openapi_document([], ApiInfo("voxrec", "1", "text", ""), WEBHOOK_OPERATIONS)

    def test_the_document_is_valid(self) -> None:
        validate(msgspec.json.decode(msgspec.json.encode(self.document)))

    def test_every_event_is_a_webhook(self) -> None:
        self.assertEqual(set(self.document["x-webhooks"]), {*WebhookEvent})
        operation = self.document["x-webhooks"]["recording.completed"]["post"]
        self.assertEqual(operation["operationId"], "onRecordingCompleted")
        self.assertEqual(operation["summary"], "The audio is stored and can be downloaded")
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        self.assertEqual(schema, {"$ref": "#/components/schemas/RecordingMessage"})
        self.assertIn("RecordingMessage", self.document["components"]["schemas"])

    def test_a_document_without_webhooks_has_no_such_field(self) -> None:
        self.assertNotIn("x-webhooks", openapi_document([], ApiInfo("voxrec", "1", "text", "")))
