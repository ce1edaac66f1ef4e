"""Computes the costs of one allocation's candidates again, from exported history.

Usage: recompute.py FOLDER, with what these print:

    portbook --json explain ALLOCATION > FOLDER/allocation.json
    portbook history export --format jsonl --kind KIND > FOLDER/KIND.jsonl
                            for each KIND of attempts, snapshots, sightings, conflicts, endings

Prints one JSON document: how many candidates were compared, and every figure that does not agree. Written
from the formula in docs/how-it-works.md, not from the service's code.
"""

import datetime
import ipaddress
import json
import os
import sys

HALF_LIFE_MS = 3 * 24 * 3600 * 1000


def covers(group, address):
    """Whether a bind of all of `group` includes `address`."""
    ip = ipaddress.ip_address(address)
    own = [ipaddress.ip_address(text.split("%")[0]) for text in group]
    return any(mine.version == ip.version and (mine.is_unspecified or mine == ip) for mine in own)


def overlaps(group, address, dual):
    """Whether a socket on `address` is in the way of `group`."""
    ip = ipaddress.ip_address(address)
    for text in group:
        mine = ipaddress.ip_address(text.split("%")[0])
        if mine.version != ip.version:
            if dual and mine.version == 4:
                return True
        elif mine.is_unspecified or ip.is_unspecified or mine == ip:
            return True
    return False


def milliseconds(time):
    return datetime.datetime.fromisoformat(time).timestamp() * 1000


class History:
    """What was on record at a moment, for one group of addresses."""

    def __init__(self, folder, allocation, group, now_ms):
        def rows(kind):
            return [json.loads(line) for line in open(os.path.join(folder, kind + ".jsonl"))]

        self.group, self.now_ms = group, now_ms
        self.tries = {}
        for row in sorted(rows("attempts"), key=lambda row: row["seq"]):
            at_ms = milliseconds(row["at"])
            if row["allocation"] != allocation and at_ms <= now_ms:
                # The last try on each address counts.
                tried = (row["allocation"], row["protocol"], row["port"])
                self.tries.setdefault(tried, {})[row["address"]] = (row["outcome"], at_ms)
        self.snapshots = {row["seq"]: row["at_ms"] for row in rows("snapshots") if row["at_ms"] <= now_ms}
        self.sightings = [
            (row["protocol"], row["port"], row["address"], row["dual"], row["first_seq"],
             row["last_seq"] if row["last_seq"] is not None else 1 << 60)
            for row in rows("sightings")]
        self.late = [(row["protocol"], row["port"], row["at_ms"])
                     for row in rows("conflicts") if row["at_ms"] <= now_ms]
        self.ended = [(row["protocol"], row["port"], row["ended_at_ms"])
                      for row in rows("endings") if row["ended_at_ms"] <= now_ms]

    def worth(self, at_ms):
        return 2.0 ** (-(self.now_ms - at_ms) / HALF_LIFE_MS)

    def binds(self, protocol, fits):
        good = failed = 0.0
        for (_, other, port), tries in self.tries.items():
            if other != protocol or not fits(port):
                continue
            outcomes = [outcome for outcome, _ in tries.values()]
            at_ms = next(iter(tries.values()))[1]
            if all(outcome in ("bound", "lingering") for outcome in outcomes):
                if all(covers(tries, address) for address in self.group):
                    good += self.worth(at_ms)
            elif "in_use" in outcomes:
                address = next(a for a, (outcome, _) in tries.items() if outcome == "in_use")
                if covers(self.group, address):
                    failed += self.worth(at_ms)
        return good, failed

    def of(self, protocol, port):
        seen = set()
        for other, number, address, dual, first, last in self.sightings:
            if (other, number) == (protocol, port) and overlaps(self.group, address, dual):
                seen.update(seq for seq in self.snapshots if first <= seq <= last)
        good, failed = self.binds(protocol, lambda number: number == port)
        block_good, block_failed = self.binds(protocol, lambda number: number // 64 == port // 64)
        ended = [at for other, number, at in self.ended if (other, number) == (protocol, port)]
        latest = max(self.snapshots, default=None)
        return {
            "good": good,
            "failed": failed,
            "busy": sum(self.worth(self.snapshots[seq]) for seq in seen),
            "checks": sum(self.worth(at_ms) for at_ms in self.snapshots.values()),
            "late": sum(self.worth(at) for other, number, at in self.late
                        if (other, number) == (protocol, port)),
            "block_good": block_good,
            "block_failed": block_failed,
            "seen_now": latest in seen,
            "released": bool(ended) and self.now_ms - max(ended) < 60_000,
        }


def cost(known, hosts=0, busy=0):
    """The cost by the formula of docs/how-it-works.md. hosts, busy: hosts of a fleet that were looked at."""
    weight = min(hosts / 5, 10)
    good = weight * (1 - busy / hosts) if hosts else 0
    prior_free = (9 + known["block_good"] + good) / (10 + known["block_good"] + known["block_failed"] + weight)
    checks = min(known["checks"], 200)
    busy = known["busy"] * checks / known["checks"] if known["checks"] else 0
    p_busy = (3 * (1 - prior_free) + known["failed"] + 0.05 * busy) / (
        3 + known["good"] + known["failed"] + 0.05 * checks)
    return (p_busy + 0.5 * known["seen_now"] + 0.5 * min(known["late"], 2)
            + 0.05 * known["released"])


def main():
    folder = sys.argv[1]
    record = json.load(open(os.path.join(folder, "allocation.json")))
    explanation = record["explanation"]
    history = History(folder, record["id"], explanation["addresses"], milliseconds(record["at"]))
    compared, wrong = 0, []

    def check(port, what, told, computed, within=1e-3):
        if abs(float(told) - float(computed)) > within:
            wrong.append({"port": port, "what": what, "told": told, "computed": computed})

    for candidates in explanation["choices"]:
        for candidate in candidates:
            port, total = candidate["port"], 0.0
            for told in candidate["weighed"]:
                known = history.of(told["protocol"], port)
                for what in ("good", "failed", "busy", "checks", "late", "block_good", "block_failed"):
                    check(port, what, told.get(what, 0.0), known[what])
                check(port, "seen_now", told.get("seen_now", False), known["seen_now"])
                total += cost(known, told.get("fleet_hosts", 0), told.get("fleet_busy", 0))
            total += sum(penalty["cost"] for penalty in candidate.get("penalties", []))
            check(port, "cost", candidate["cost"], total)
            compared += 1
        costs = [candidate["cost"] for candidate in candidates]
        if costs != sorted(costs):
            wrong.append({"port": candidates[0]["port"], "what": "not the cheapest"})
    print(json.dumps({"compared": compared, "wrong": wrong}))


main()
