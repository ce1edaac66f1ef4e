"""Computes the costs of one allocation's candidates again, from the rows that history is made of.

Usage: recompute.py DATABASE ALLOCATION. Prints one JSON document: how many candidates were compared, and
every figure that does not agree. Written from the formula in the README, not from the service's code.
"""

import ipaddress
import json
import sqlite3
import sys

HALF_LIFE_MS = 3 * 24 * 3600 * 1000


def covers(group, address):
    """Whether whoever binds all of `group` has bound `address`."""
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


class History:
    """What was on record at a moment, for one group of addresses."""

    def __init__(self, database, allocation, group, now_ms):
        self.group, self.now_ms = group, now_ms
        self.tries = {}
        rows = database.execute(
            "select allocation, protocol, port, address, outcome, at_ms from attempt"
            " where allocation != ? and at_ms <= ? order by seq", (allocation, now_ms))
        for other, protocol, port, address, outcome, at_ms in rows:
            # The last try on each address counts.
            self.tries.setdefault((other, protocol, port), {})[address] = (outcome, at_ms)
        self.snapshots = dict(database.execute(
            "select seq, at_ms from snapshot where at_ms <= ?", (now_ms,)))
        self.sightings = database.execute(
            "select protocol, port, address, dual, first_seq, ifnull(last_seq, 1 << 60)"
            " from sighting").fetchall()
        self.late = database.execute(
            "select protocol, port, at_ms from late_conflict where at_ms <= ?", (now_ms,)).fetchall()
        self.ended = database.execute(
            "select protocol, port, ended_at_ms from lease where ended_at_ms <= ?", (now_ms,)).fetchall()

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


def cost(known):
    prior_free = (9 + known["block_good"]) / (10 + known["block_good"] + known["block_failed"])
    checks = min(known["checks"], 200)
    busy = known["busy"] * checks / known["checks"] if known["checks"] else 0
    p_busy = (3 * (1 - prior_free) + known["failed"] + 0.05 * busy) / (
        3 + known["good"] + known["failed"] + 0.05 * checks)
    return (p_busy + 0.5 * known["seen_now"] + 0.5 * min(known["late"], 2)
            + 0.05 * known["released"])


def main():
    database = sqlite3.connect(sys.argv[1])
    allocation = bytes.fromhex(sys.argv[2].replace("-", ""))
    text, at_ms = database.execute(
        "select explanation, at_ms from allocation where id = ?", (allocation,)).fetchone()
    explanation = json.loads(text)
    history = History(database, allocation, explanation["addresses"], at_ms)
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
                total += cost(known)
            total += sum(penalty["cost"] for penalty in candidate.get("penalties", []))
            check(port, "cost", candidate["cost"], total)
            compared += 1
        costs = [candidate["cost"] for candidate in candidates]
        if costs != sorted(costs):
            wrong.append({"port": candidates[0]["port"], "what": "not the cheapest"})
    print(json.dumps({"compared": compared, "wrong": wrong}))


main()
