"""What the stack's gunicorn needs beyond its command line; names that an older gunicorn lacks are ignored by it."""

import json
import logging
import re

from gunicorn import util

# It would be one socket for all stacks of a user, in the home directory.
control_socket_disable = True

_PERSON = re.compile(r"(/api/users/)[^\s'\"]+")
_UNREADABLE = "the request cannot be read: check its line and headers"
_FAILED = "something failed here that should not: the log of the API has the details"


class _NobodyNamed(logging.Filter):
    """Leaves out of the log whom a request was about."""

    def filter(self, record):
        record.msg, record.args = _PERSON.sub(r"\1…", record.getMessage()), ()
        return True


def on_starting(server):
    """Before the first worker is forked."""
    server.log.error_log.addFilter(_NobodyNamed())


def _write_problem(sock, status_int, reason, mesg):
    """What gunicorn answers by itself, before or beside the application: a problem like every other error."""
    problem = {"type": "about:blank", "title": reason, "status": status_int,
               "detail": _UNREADABLE if status_int < 500 else _FAILED}  # fmt: skip
    body = json.dumps(problem).encode()
    head = (f"HTTP/1.1 {status_int} {reason}\r\nConnection: close\r\nContent-Type: application/problem+json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n")  # fmt: skip
    util.write_nonblock(sock, head.encode("latin-1") + body)


# Its own is a page of HTML.
util.write_error = _write_problem
