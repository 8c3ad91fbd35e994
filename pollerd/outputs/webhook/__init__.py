"""The vendor's webhook, played to local receivers."""

from pollerd.outputs.webhook.output import WebhookOutput

__all__ = ["WebhookOutput"]
