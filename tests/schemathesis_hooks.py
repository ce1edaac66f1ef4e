"""What no description can say, and what takes too long to be tried."""

import os
import re

import schemathesis


def is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


@schemathesis.hook
def before_call(context, case, kwargs):
    body = case.body
    if not isinstance(body, dict):
        return
    # Which processes live: an owner that could be one is this one.
    owner = body.get("owner_pid")
    if is_number(owner) and 1 <= owner < 2**32:
        body["owner_pid"] = os.getpid()
    # A long wait for a port is a fine request, and this has no time for it.
    wait = body.get("wait")
    if is_number(wait) and wait >= 0 or isinstance(wait, str) and re.fullmatch("[0-9dhms]+", wait):
        body["wait"] = "1s"
