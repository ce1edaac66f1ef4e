"""An hour of random faults under load, beside a thief."""

import os
import random
import signal
import subprocess
import time

from disks import fill
from place import Clients, bindable, case, doubled, eventually
from takeovers import Thief

MINUTES = float(os.environ.get("PORTBOOK_SOAK_MINUTES", "60"))


class Soak:
    """A service under random faults, and the record of an oracle: what clients were told."""

    def __init__(self, place):
        self.place, self.rng = place, random.Random(60)
        self.service = place.serve()
        self.counts, self.gone = {}, 0

    def again(self):
        self.service.wait()
        self.service = self.place.serve()

    def kill(self):
        self.service.kill()
        self.again()

    def stop(self):
        self.service.terminate()
        self.again()

    def stall(self):
        self.service.send_signal(signal.SIGSTOP)
        time.sleep(self.rng.uniform(0.5, 4))
        self.service.send_signal(signal.SIGCONT)

    def take_over(self):
        following = self.place.serve("--takeover")
        assert following is not None, "the take-over failed"
        self.service.wait(60)
        self.service = following

    def broken_take_over(self):
        asker = self.place.spawn("serve", "--takeover", PORTBOOK_POOLS__DEFAULT__RANGES="no")
        asker.wait(60)

    def fill_disk(self):
        filler = fill(self.place)
        time.sleep(self.rng.uniform(1, 5))
        os.remove(filler)

    def full_and_killed(self):
        filler = fill(self.place)
        time.sleep(1)
        self.service.kill()
        self.again()
        os.remove(filler)

    def delete_record(self):
        os.remove(os.path.join(self.place.data, "portbook.db"))

    def delete_socket(self):
        os.remove(self.place.socket)

    def reload(self):
        for _ in range(20):
            self.service.send_signal(signal.SIGHUP)

    def failing_writes(self):
        rule = "inject=pwrite64,fdatasync:error=EIO"
        tracer = self.place.helper(
            "strace", "-f", "-o", "/dev/null", "-e", rule, "-p", str(self.service.pid), stderr=subprocess.DEVNULL
        )
        time.sleep(2)
        tracer.send_signal(signal.SIGINT)
        tracer.wait(20)

    def fault(self):
        kinds = [self.kill, self.stop, self.stall, self.take_over, self.broken_take_over, self.fill_disk]
        kinds += [self.full_and_killed, self.delete_record, self.delete_socket, self.reload, self.failing_writes]
        kind = self.rng.choice(kinds)
        self.counts[kind.__name__] = self.counts.get(kind.__name__, 0) + 1
        self.place.note(f"fault {sum(self.counts.values())}: {kind.__name__}, service {self.service.pid}")
        kind()
        return eventually(lambda: self.place.ready()[0], 60)

    def size(self, leases):
        """Resident memory in MiB, and descriptors beside the two of each lease."""
        with open(f"/proc/{self.service.pid}/status") as status:
            memory = next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024
        return memory, len(os.listdir(f"/proc/{self.service.pid}/fd")) - 2 * leases


def grew(early, late):
    """Whether memory or descriptors are clearly more at the end than early: a third, and what a moment takes."""
    return late[0] > early[0] * 4 / 3 + 8 or late[1] > early[1] * 4 / 3 + 32


@case("soak", f"{MINUTES:g} minutes of random faults under load, beside a thief")
def soak(place):
    # The record must not fill the volume by itself: an hour of this load is millions of attempts.
    place.volume("1g")
    place.env["PORTBOOK_HISTORY__ATTEMPTS_MAX"] = "50000"
    # No program comes to listen on what the clients keep.
    place.env["PORTBOOK_POOLS__DEFAULT__CLAIM_WITHIN"] = "12h"
    run = Soak(place)
    names = place.name(*[f"n{number}" for number in range(50)])
    begun, early, stuck, lost, twice, undone = time.monotonic(), None, 0, set(), 0, 0
    clients, stolen = Clients(place, 4), 0
    # The first trouble ends it: the log's last lines are about that, and later ones would follow from it.
    while time.monotonic() - begun < MINUTES * 60 and not (lost or twice or stolen or stuck):
        end = time.monotonic() + run.rng.uniform(3, 15)
        thief = Thief(names.values(), reuse=True)
        time.sleep(max(0, end - time.monotonic()))
        # Nothing holds a port between the death of a service and the next: the thief rests then.
        stolen += thief.end()
        stuck += not run.fault()
        kept = dict(clients.kept)
        living = eventually(place.leases, 60)
        if living is None:
            place.note("no list of leases within a minute")
            stuck += 1
            break
        lost |= kept.items() - {lease["id"]: lease["port"] for lease in living}.items()
        lost |= names.items() - {lease["name"]: lease["port"] for lease in living if lease["name"]}.items()
        twice += doubled(lease["port"] for lease in living)
        if lost or twice or stolen or stuck:
            place.note(f"trouble: {len(lost)} lost, {twice} twice, {stolen} stolen, {stuck} stuck; {place.api('GET', '/readyz')}")
        if early is None and time.monotonic() - begun > min(300, MINUTES * 6):
            early = run.size(len(living))
    clients.end()
    living = place.living()
    late = run.size(len(living))
    undone = len(clients.gone & living.keys())
    free = bindable(clients.kept.values())
    early = early or late
    sizes = f"{early[0]:.0f} MiB and {early[1]} descriptors early, {late[0]:.0f} and {late[1]} at the end"
    seen = f"{sum(run.counts.values())} faults ({', '.join(f'{name} {count}' for name, count in sorted(run.counts.items()))}); "
    seen += f"{clients.served} served, {len(clients.refused)} refused; {len(lost)} lost, {undone} releases undone, {twice} twice, "
    seen += f"{stolen} stolen, {len(free)} bindable, {stuck} times not ready within a minute; {sizes}"
    return not (lost or undone or twice or stolen or free or stuck or grew(early, late)), seen
