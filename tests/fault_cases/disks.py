"""B2 to B19: full, failing and read-only disks, and records that vanish or are damaged."""

import glob
import os
import random
import shutil
import signal
import subprocess
import time
from functools import partial

from place import CASES, Clients, Place, bindable, case, eventually, with_clients


def fill(place):
    """Fills the volume to its last byte, as somebody else may."""
    path = os.path.join(place.data, "filler")
    with open(path, "wb", buffering=0) as filler:
        for size in (1 << 20, 4096, 1):
            try:
                while filler.write(b"\0" * size):
                    pass
            except OSError:
                pass
    return path


def granted(place):
    try:
        return place.api("POST", "/api/v1/leases", {"ttl": "1h"})[0] == 201
    except OSError:
        return False


def has_room(place):
    found = os.statvfs(place.data)
    return found.f_bavail * found.f_frsize


def fill_by_a_stranger(place):
    """Fills the volume; how to make room again."""
    filler = fill(place)
    return partial(os.remove, filler)


def fill_by_the_log(place):
    """Has the service's own log fill what is left of the volume; how to make room again."""
    filler, log = os.path.join(place.data, "filler"), os.path.join(place.data, "log")
    with open(filler, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, has_room(place) - (16 << 20))
    clients = Clients(place, keep=0)
    is_full = eventually(lambda: has_room(place) < 4096, 90)
    clients.end()
    assert is_full, f"{has_room(place)} bytes are left, the log has {os.path.getsize(log)}"

    def make_room():
        os.truncate(log, 0)
        os.remove(filler)

    return make_room


def restart_on_a_full_disk(place, size, fill_it):
    place.volume(size)
    if fill_it is fill_by_the_log:
        place.log = open(os.path.join(place.data, "log"), "ab")
        place.env["PORTBOOK_TELEMETRY__LOG"] = "trace"
    service = place.serve()
    leases = place.grant(200)
    make_room = fill_it(place)
    refused = eventually(lambda: not granted(place), 10)
    service.kill()
    service.wait()
    service = place.serve()
    if service is None:
        return False, "refuses to start"
    free = bindable(leases.values())
    lost = leases.items() - place.living().items()
    _, answer = place.api("POST", "/api/v1/leases", {})
    named = place.data in str(answer)
    make_room()
    again = eventually(lambda: granted(place) and place.ready()[0], 20)
    lost_then = leases.items() - place.living().items()
    seen = f"refused while full: {refused}; {len(free)} bindable, {len(lost)} lost; error names the folder: {named}; "
    seen += f"grants again with room: {bool(again)}, {len(lost_then)} lost"
    return bool(refused and again and named) and not (free or lost or lost_then), seen


for _size in ("64m", "1g"):
    for _who, _fill, _name in (
        ("a stranger", fill_by_a_stranger, f"B2-{_size}"),
        ("the service's log", fill_by_the_log, f"B2-{_size}-log"),
    ):
        CASES[_name] = (
            f"volume of {_size} that {_who} filled: kill -9 and restart, then room",
            partial(restart_on_a_full_disk, size=_size, fill_it=_fill),
        )


@case("B4", "size of the logs: 8 clients, 16 s")
def size_of_logs(place):
    place.serve()
    clients, most = Clients(place, 8), 0

    def logs():
        files = glob.glob(os.path.join(place.data, "ledger-*")) + glob.glob(os.path.join(place.data, "*-wal"))
        return sum(os.path.getsize(file) for file in files if os.path.exists(file)) / 1e6

    end = time.monotonic() + 16
    while time.monotonic() < end:
        most = max(most, logs())
        time.sleep(0.05)
    clients.end()
    time.sleep(8)
    seen = f"at most {most:.1f} MB for {2 * clients.served} requests, {logs():.1f} MB 8 s later"
    return most <= 16 and logs() <= most, seen


INJECTIONS = {
    "fsync": "fsync,fdatasync:error=EIO",
    "pwrite-EIO": "pwrite64,pwritev,pwritev2:error=EIO",
    "pwrite-EROFS": "pwrite64,pwritev,pwritev2:error=EROFS",
    "pread": "pread64:error=EIO",
    "pwrite-ENOSPC": "pwrite64,pwritev,pwritev2:error=ENOSPC",
    "mmap": "mmap:error=ENOMEM:when=3+5",
    "ftruncate": "ftruncate:error=EIO",
    "slow": "fdatasync,fsync:delay_enter=700000",
}


def injected(place, rule):
    service = place.serve()
    clients = Clients(place, 8)
    time.sleep(0.5)
    tracer = place.helper("strace", "-f", "-o", "/dev/null", "-e", f"inject={rule}", "-p", str(service.pid))
    time.sleep(2.5)
    tracer.send_signal(signal.SIGINT)
    tracer.wait(20)
    alive = service.poll() is None
    begun = time.monotonic()
    back = eventually(lambda: granted(place), 20)
    took = time.monotonic() - begun
    clients.end()
    service.kill()
    service.wait()
    place.serve()
    good, seen = clients.verdict()
    sound = place.is_sound()
    seen = f"lives: {alive}, grants {took:.2f} s after it, {len(clients.refused)} refused; {seen}; sound: {sound}"
    return bool(alive and back and good and sound), seen


for _name, _rule in INJECTIONS.items():
    CASES[f"B5-{_name}"] = (
        f"system calls fail for 2.5 s under load ({_rule}), kill -9 after",
        lambda place, rule=_rule: injected(place, rule),
    )


@case("B7", "read-only file system at the start")
def read_only(place):
    place.volume("64m")
    service = place.serve()
    leases = place.grant(54)
    service.terminate()
    service.wait()
    subprocess.run(["mount", "-o", "remount,ro", place.data], check=True)
    start = place.spawn("serve")
    time.sleep(3)
    named = place.data in place.logged()
    holds = start.poll() is None and not bindable(leases.values())
    subprocess.run(["mount", "-o", "remount,rw", place.data], check=True)
    if start.poll() is not None:
        place.serve()
    back = eventually(lambda: leases.items() <= place.living().items() and granted(place), 30)
    return bool(named and back), f"named: {named}, holds meanwhile: {holds}; all back and granting: {bool(back)}"


def tells_damage(place, since):
    """Whether the log names damage, from this position on."""
    said = place.logged()[since:].lower()
    return any(word in said for word in ("damage", "not a database", "cannot", "malformed"))


@case("B9", "record cut or overwritten in 40 ways while no service runs")
def damaged(place):
    service = place.serve()
    leases = place.grant(60)
    clients = with_clients(place, 2)
    leases.update(clients.kept)
    service.terminate()
    service.wait()
    whole = place.data + ".whole"
    shutil.copytree(place.data, whole)
    rng, told, right, silent = random.Random(9), 0, 0, []
    for way in range(40):
        shutil.rmtree(place.data)
        shutil.copytree(whole, place.data)
        file = os.path.join(place.data, "portbook.db")
        size = os.path.getsize(file)
        with open(file, "r+b") as record:
            if way % 4 == 0:
                record.truncate(rng.randrange(1, size) if way % 8 else 0)
            else:
                record.seek(rng.randrange(0, size) if way % 4 < 3 else rng.randrange(0, 4096))
                record.write(rng.randbytes(rng.choice([1, 64, 5000])))
        before = len(place.logged())
        service = place.serve()
        if service is None:
            names = tells_damage(place, before)
            told += names
            if not names:
                silent.append(way)
                place.note(f"way {way}: does not start, and does not say why")
            continue
        lost = leases.items() - place.living().items()
        # The pages are looked through while it serves.
        names = lost and eventually(partial(tells_damage, place, before), 5)
        right += not lost
        told += bool(lost and names)
        if lost and not names:
            silent.append(way)
            place.note(f"way {way}: lost without a word: {sorted(lost)[:5]}, {len(lost)} in all")
        service.kill()
        service.wait()
    return not silent, f"{right} start with all leases, {told} say the damage, silent losses: {silent}"


def vanished(place, deed, restart=True):
    service = place.serve()
    leases = place.grant(200)
    deed(place)
    noticed = eventually(lambda: "record" in place.logged().lower() and not place.ready()[0], 2)
    well = eventually(lambda: place.ready()[0] and granted(place), 20)
    kept = not leases.items() - place.living().items()
    service.kill()
    service.wait()
    service = place.serve()
    lost = leases.items() - place.living().items() if service else leases
    seen = f"readyz failed meanwhile: {bool(noticed)}; grants again: {bool(well)}, kept: {kept}; {len(lost)} lost at the restart"
    return bool(well and kept and not lost), seen


def delete_all(place):
    for path in glob.glob(os.path.join(place.data, "*")):
        os.remove(path) if not os.path.isdir(path) else shutil.rmtree(path)


def replace(place):
    record = os.path.join(place.data, "portbook.db")
    shutil.copy(record, record + ".copy")
    os.rename(record + ".copy", record)


def delete_folder(place):
    shutil.rmtree(place.data)


CASES["B14"] = ("content of the data directory deleted under the service", lambda place: vanished(place, delete_all))
CASES["B15"] = (
    "database file deleted under the service",
    lambda place: vanished(place, lambda place: os.remove(os.path.join(place.data, "portbook.db"))),
)
CASES["B16"] = ("database replaced by a copy under the service", lambda place: vanished(place, replace))


@case("B18", "API socket file deleted")
def deleted_socket(place):
    place.serve()
    place.grant(3)
    os.remove(place.socket)
    back = eventually(lambda: os.path.exists(place.socket), 10)
    done = place.run("list")
    return bool(back) and done.returncode == 0, f"made again: {bool(back)}; list: {done.returncode} {done.stderr.strip()}"


@case("B19", "power loss: 10 copies of the record under load, 5 of them with a torn end")
def power_loss(place):
    place.serve()
    clients, lost_all, sound, started = Clients(place, 8, keep=2000), 0, 0, 0
    rng, copies = random.Random(19), []
    for number in range(10):
        time.sleep(0.4)
        acknowledged = dict(clients.kept)
        copy = Place()
        shutil.copytree(place.data, copy.data, ignore=shutil.ignore_patterns("*.sock", "lock", "console"))
        copies.append((copy, acknowledged, number % 2))
    clients.end()
    for copy, acknowledged, torn in copies:
        if torn:
            # What was not written to the disk yet: zeros or nothing after the last whole commit.
            newest = max(glob.glob(os.path.join(copy.data, "ledger-*")), key=os.path.getmtime)
            with open(newest, "ab") as ledger:
                ledger.write(rng.randbytes(rng.randrange(1, 600)))
        copy.env["PORTBOOK_POOLS__DEFAULT__RANGES"] = place.env["PORTBOOK_POOLS__DEFAULT__RANGES"]
        place.children[0].kill()
        place.children[0].wait()
        service = copy.serve()
        started += service is not None
        if service:
            lost_all += len(acknowledged.keys() - copy.living().keys())
            service.kill()
            service.wait()
            sound += copy.is_sound()
        copy.close()
    total = sum(len(acknowledged) for _, acknowledged, _ in copies)
    return not lost_all and sound == 10, f"{started} starts, {lost_all} of {total} lost, {sound} sound"
