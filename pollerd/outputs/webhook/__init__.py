"""The vendor's webhook, played to local receivers: events enter, signed HTTP requests leave."""
