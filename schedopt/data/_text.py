"""Names of files in messages: `schedopt.errors` has them."""

from schedopt.errors import reason, shown

__all__ = ["reason", "shown"]
