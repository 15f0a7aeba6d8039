"""What goes wrong with Redis, for those who catch it and need nothing else: this imports no client library."""

from __future__ import annotations


class StoreError(Exception):
    """Redis cannot be reached, or refused a command; the message says which and what to do."""
