"""Item records: parse, check, and explain what is wrong.

``item`` knows the fields, ``parse`` the JSON of one record, ``lines`` a file of them, ``table`` a CSV file.
"""

from worker.catalogue.item import FIELDS, Item, ItemError, check, full_record
from worker.catalogue.lines import FORMATS, MAX_RECORD, Line, detect, read
from worker.catalogue.parse import parse

__all__ = [
    "FIELDS", "FORMATS", "MAX_RECORD", "Item", "ItemError", "Line", "check", "detect", "full_record", "parse", "read",
]
