"""A8 to A15: take-overs that go wrong, or happen under load."""

import os
import random
import signal
import socket
import threading
import time
from collections import Counter

from place import CASES, Clients, bindable, case, eventually


def unchanged(place, first, leases):
    """Whether the first service goes on with all its leases, and can be succeeded."""
    free = bindable(leases.values())
    lost = leases.items() - place.living().items()
    ended = first.poll() is not None
    second = place.serve("--takeover")
    succeeded = second is not None and first.wait(20) == 0
    lost_then = leases.items() - place.living().items()
    seen = f"{len(free)} of {len(leases)} ports bindable, {len(lost)} lost, first {'ended' if ended else 'goes on'}; "
    seen += f"next take-over {'done' if succeeded else 'FAILED'}, {len(lost_then)} lost"
    return not (free or lost or ended or lost_then) and succeeded, seen


def broken(change):
    def try_it(place):
        first = place.serve()
        leases = place.grant(20)
        change(place, first)
        return unchanged(place, first, leases)

    return try_it


def gone_asker(place, first):
    for question in (b'{"takeover":true}\n', b'{"succeed":true}\n', b'{"succeed":true}\n', b'{"succeed":true}\n'):
        with socket.socket(socket.AF_UNIX) as asker:
            asker.connect(os.path.join(place.data, "portbook.fds.sock"))
            asker.sendall(question)


def stopped(place, first):
    first.send_signal(signal.SIGSTOP)
    asker = place.spawn("serve", "--takeover")
    time.sleep(0.5)
    asker.kill()
    asker.wait()
    first.send_signal(signal.SIGCONT)


def taken_console(place, _):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        place.spawn("serve", "--takeover", "--listen", "127.0.0.1:%d" % other.getsockname()[1]).wait(30)


CASES["A8"] = ("take-over: asker gives up while the service is stopped", broken(stopped))
CASES["A9"] = ("take-over: asker gone at once", broken(gone_asker))
CASES["A10"] = (
    "take-over: bad configuration",
    broken(lambda place, _: place.spawn("serve", "--takeover", PORTBOOK_POOLS__DEFAULT__RANGES="no").wait(30)),
)
CASES["A11"] = ("take-over: console port taken", broken(taken_console))
CASES["A12"] = (
    "take-over: 40 descriptors",
    broken(lambda place, _: place.spawn("serve", "--takeover", prefix=("prlimit", "--nofile=40:40")).wait(30)),
)


@case("A13", "successor killed at 200 random moments under load, beside a thief that binds")
def killed(place, moments=200):
    first = place.serve()
    leases, clients, rng = place.grant(50), Clients(place), random.Random(13)
    thief = Thief(leases.values())
    longest, answered = 0.3, 0
    for _ in range(moments):
        second = place.spawn("serve", "--takeover")
        time.sleep(rng.uniform(0, longest))
        second.send_signal(signal.SIGSTOP)
        with open(os.path.join(place.data, "lock")) as lock:
            signed = lock.readline().strip() == str(second.pid)
        if signed:
            # It was told that its predecessor answers no more: a kill now is that of a service.
            second.send_signal(signal.SIGCONT)
            first.wait(30)
            first, answered, longest = second, answered + 1, longest * 0.8
        else:
            second.kill()
            second.wait()
            longest *= 1.1
    clients.end()
    stolen = thief.end()
    lost = {**leases, **clients.kept}.items() - place.living().items()
    seen = f"{moments - answered} killed, {answered} answered; {clients.served} served, {len(clients.refused)} refused, "
    seen += f"{stolen} of {thief.tries} binds stole, {len(lost)} lost"
    for answer, count in Counter(clients.refused).most_common(5):
        place.note(f"{count} times: {answer}")
    return not (clients.refused or stolen or lost) and first.poll() is None, seen


class Thief:
    """Binds ports in turn, strictly and with SO_REUSEADDR, until it is told to end."""

    def __init__(self, ports, reuse=False):
        self.ports, self.reuse, self.tries, self.stolen = list(ports), reuse, 0, 0
        self.ends = threading.Event()
        self.thread = threading.Thread(target=self.work)
        self.thread.start()

    def work(self):
        while not self.ends.is_set():
            for port in self.ports:
                with socket.socket() as taker:
                    if self.reuse and self.tries % 2:
                        taker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    self.tries += 1
                    try:
                        taker.bind(("0.0.0.0", port))
                        self.stolen += 1
                    except OSError:
                        pass

    def end(self):
        self.ends.set()
        self.thread.join()
        return self.stolen


@case("A14", "6 take-overs under load")
def under_load(place):
    service = place.serve()
    clients, longest = Clients(place), 0
    for _ in range(6):
        begun = time.monotonic()
        following = place.serve("--takeover")
        longest = max(longest, time.monotonic() - begun)
        service.wait(30)
        service = following
    clients.end()
    lost = clients.kept.items() - place.living().items()
    seen = f"{clients.served} served, {len(clients.refused)} refused, {len(lost)} lost; longest {longest:.2f} s"
    return not (clients.refused or lost), seen


@case("A15", "thief beside 42 take-overs, strict and with SO_REUSEADDR, on 100 shut holds")
def stolen_at_takeovers(place):
    service = place.serve()
    names = place.name(*[f"n{number}" for number in range(100)])
    thief = Thief(names.values(), reuse=True)
    for _ in range(42):
        following = place.serve("--takeover")
        service.wait(30)
        service = following
    stolen = thief.end()
    kept = {lease["name"]: lease["port"] for lease in place.leases()}
    moved = names.items() - kept.items()
    return not (stolen or moved), f"{stolen} of {thief.tries} binds stole, {len(moved)} of 100 names moved"


@case("A16", "thief beside 20 kills: names are on their ports afterwards")
def killed_beside_a_thief(place):
    service = place.serve()
    names = place.name(*[f"n{number}" for number in range(100)])
    thief = Thief(names.values(), reuse=True)
    for _ in range(20):
        service.kill()
        service = place.serve()
    thief.end()

    def are_back():
        kept = {lease["name"]: lease["port"] for lease in place.leases()}
        return not names.items() - kept.items() and not bindable(names.values())

    held = bool(eventually(are_back))
    return held, f"{thief.stolen} of {thief.tries} binds in the gaps; all 100 names on their ports: {held}"
