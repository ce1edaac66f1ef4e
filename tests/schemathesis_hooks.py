"""What no description can say, and what takes too long to be tried."""

import os
import re

import schemathesis


def is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def upwards(value):
    is_ports = isinstance(value, str) and re.fullmatch("[1-9][0-9]{0,4}([-,][1-9][0-9]{0,4})*", value)
    return "20000-59999" if is_ports else value


def ordered(value):
    """The same range, not ending before it begins."""
    ends = value.split("-") if isinstance(value, str) else []
    numbers = [int(end) for end in ends if re.fullmatch(" *[0-9]+ *", end)]
    is_range = len(numbers) == len(ends) == 2
    return f"{min(numbers)}-{max(numbers)}" if is_range else value


def is_name(value):
    return isinstance(value, str) and re.fullmatch("[A-Za-z0-9][A-Za-z0-9._-]{0,63}", value)


def is_instance(value):
    """A name, alone or with an instance behind it."""
    return isinstance(value, str) and all(is_name(part) for part in value.split("@", 1))


def is_plain_name(value):
    """A name, short enough for an instance behind it."""
    return is_name(value) and len(value) <= 40


def are_plain_names(values):
    return isinstance(values, list) and values and all(is_plain_name(value) for value in values)


# The filters that each kind of history has, beside those of how much and how.
FILTERS = {
    "snapshots": {"since", "until"},
    "sightings": {"port", "protocol", "uid", "since", "until"},
}


@schemathesis.hook
def before_call(context, case, kwargs):
    query = case.query
    if isinstance(query, dict) and "port" in query:
        query["port"] = ordered(query["port"])
    # Which row an export went up to: only an answer tells.
    if isinstance(query, dict):
        query.pop("after", None)
        # Which filters a kind has.
        kind = (case.path_parameters or {}).get("kind")
        for name in set(query) - FILTERS.get(kind, set(query)) - {"format", "limit"}:
            del query[name]
        if "ports" in query:
            query["ports"] = upwards(query["ports"])
    body = case.body
    if not isinstance(body, dict):
        return
    # Which processes live: an owner that could be one is this one.
    owner = body.get("owner_pid")
    if is_number(owner) and 1 <= owner < 2**32:
        body["owner_pid"] = os.getpid()
    # That no two names give one variable.
    names = body.get("names")
    if isinstance(names, list) and all(is_instance(name) for name in names):
        folded = [re.sub("[^A-Z0-9]", "_", name.split("@")[0].upper()) for name in names]
        for index, name in enumerate(names):
            if folded[index] in folded[:index] and name not in names[:index]:
                names[index] = f"other{index}"
    # That a name is short where numbers are put behind it.
    several = any(is_number(body.get(key)) and body[key] >= 2 for key in ("count", "block"))
    if several and is_name(body.get("name")):
        body["name"] = body["name"][:60]
    if several and isinstance(names, list) and len(names) == 1 and is_name(names[0]):
        names[0] = names[0][:60]
    # A long wait for a port is a fine request, and this has no time for it.
    wait = body.get("wait")
    if is_number(wait) and wait >= 0 or isinstance(wait, str) and re.fullmatch("[0-9dhms]+", wait):
        body["wait"] = "1s"
    # That a range goes upwards, and what is beyond the last port.
    for key in ("ranges", "ports"):
        ranges = body.get(key)
        if isinstance(ranges, list):
            body[key] = [upwards(value) for value in ranges]
        elif isinstance(ranges, str):
            body[key] = upwards(ranges)
    # That a map is for one TCP port of a process, handed over by bind. It would move this process to a cgroup.
    body.pop("map", None)
    # That a block is no count.
    if body.get("block") is not None:
        body.pop("count", None)
    # That a span goes with a preference, and no search is over before it begins.
    if body.get("prefer") is None:
        body.pop("prefer_span", None)
    timeout = body.get("timeout")
    if is_number(timeout) and timeout >= 0 or isinstance(timeout, str) and re.fullmatch("[0-9dhms]+", timeout):
        body["timeout"] = "1s"
    # An instance needs a name, and one that is no instance itself. Both stand in words.
    if not is_plain_name(body.get("name")) and not are_plain_names(names):
        body.pop("instance", None)
    elif is_name(body.get("instance")):
        body["instance"] = body["instance"][:20]
    # The leases of a dry run cannot be requested later.
    if case.meta is not None and case.meta.phase.name == "stateful":
        body.pop("dry_run", None)
