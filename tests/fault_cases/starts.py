"""A1 to A7, A17, A18: kills, stops and signals, and the starts and commands after them."""

import os
import signal
import threading
import time

from place import CASES, MANY_FILES, Clients, bindable, case, eventually


@case("A1", "kill -9 under load, 12 rounds")
def killed_under_load(place):
    service, rounds, passed, all_seen = place.serve(), 12, 0, []
    clients = None
    for _ in range(rounds):
        following = Clients(place, 8)
        time.sleep(0.7)
        service.kill()
        following.end()
        service = place.serve()
        if clients:
            following.kept.update(clients.kept)
        clients = following
        good, seen = clients.verdict()
        passed += good
        all_seen.append(seen)
    return passed == rounds, f"{passed} of {rounds} rounds; the last: {all_seen[-1]}"


def starts(place, leases, how, times):
    """Kills or stops a service, and starts the next one without a wait between."""
    place.env["PORTBOOK_POOLS__DEFAULT__RANGES"] = "10000-31999"
    prefix = MANY_FILES
    service = place.serve(prefix=prefix)
    bare = time.monotonic()
    service.terminate()
    service.wait()
    service = place.serve(prefix=prefix)
    bare = time.monotonic() - bare
    # One socket a lease: on two families they would take more descriptors than some hosts allow.
    granted = place.grant(leases, interfaces=["127.0.0.1"]) if leases else {}
    worked, took = 0, []
    for _ in range(times):
        begun = time.monotonic()
        service.send_signal(how)
        following = place.serve(prefix=prefix)
        if following is None:
            service.wait()
            following = place.serve(prefix=prefix)
        else:
            worked += 1
            took.append(time.monotonic() - begun)
        service.wait()
        service = following
    lost = granted.items() - place.living().items()
    middle = sorted(took)[len(took) // 2] if took else 0
    seen = f"{worked} of {times} start, median {middle:.2f} s, longest {max(took, default=0):.2f} s "
    return worked == times and not lost, seen + f"(bare stop and start {bare:.2f} s), {len(lost)} lost"


for _leases in (0, 200, 2000, 10000):
    CASES[f"A2-{_leases}"] = (
        f"serve at once after kill -9, {_leases} leases, 50 times",
        lambda place, leases=_leases: starts(place, leases, signal.SIGKILL, 50),
    )
CASES["A4"] = ("serve at once after SIGTERM, 10 times", lambda place: starts(place, 200, signal.SIGTERM, 10))


@case("A3", "commands at once after kill -9 under load")
def commands_after_kill(place):
    failed = []
    for arguments in (["alloc"], ["list"], ["run", "--", "true"], ["status"], ["env"], ["exclude"]):
        service = place.serve()
        place.grant(100)
        clients = Clients(place)
        time.sleep(0.2)
        service.kill()
        done = place.run(*arguments)
        clients.end()
        # `status` says with 3 that no service runs, `env` with 2 that there is no project file.
        may = {"status": (0, 3), "env": (0, 2)}.get(arguments[0], (0,))
        if done.returncode not in may:
            failed.append((arguments, done.returncode, done.stderr.strip()))
        service.wait()
    return not failed, f"6 commands, failed: {failed}"


@case("A5", "200 alloc around a start")
def commands_during_start(place):
    place.serve().terminate()
    place.children[-1].wait()
    allocs = [place.spawn("alloc") for _ in range(20)]
    service = place.spawn("serve")
    for _ in range(9):
        allocs += [place.spawn("alloc") for _ in range(20)]
    ports = [alloc.communicate()[0].strip() for alloc in allocs]
    failed = sum(alloc.returncode != 0 for alloc in allocs)
    service.stdout.readline()
    words = [line for line in place.logged().splitlines() if "no service holds" not in line]
    seen = f"{len(set(ports) - {b''})} distinct ports, {failed} failed, the last with: {words[-1:]}"
    return not failed and len(set(ports)) == 200, seen


@case("A6", "service stopped for 20 s, 120 leases of 8 s that are renewed")
def stopped_beside_renewals(place):
    service = place.serve()
    leases = {}
    for _ in range(3):
        leases.update(place.grant(40, ttl="8s"))
    ends = threading.Event()

    def renew(ids):
        while not ends.is_set():
            for lease in ids:
                try:
                    place.api("POST", f"/api/v1/leases/{lease}/renew", {}, timeout=3)
                except OSError:
                    pass
            ends.wait(1)

    ids = list(leases)
    threads = [threading.Thread(target=renew, args=(ids[start::40],)) for start in range(40)]
    for thread in threads:
        thread.start()
    time.sleep(1)
    service.send_signal(signal.SIGSTOP)
    time.sleep(20)
    service.send_signal(signal.SIGCONT)
    time.sleep(6)
    ended = leases.keys() - place.living().keys()
    ends.set()
    for thread in threads:
        thread.join()
    return not ended, f"{len(ended)} of {len(leases)} expired"


@case("A7", "commands while the service is stopped")
def commands_of_a_stopped_service(place):
    service = place.serve()
    place.grant(3)
    service.send_signal(signal.SIGSTOP)
    wrong = []
    commands = [["alloc"], ["list"], ["run", "--", "true"], ["release", "x"], ["who", "21000"], ["doctor"]]
    commands += [["explain", "21000"], ["status"], ["wait", "x"], ["stats"], ["exclude", "21000"]]
    for arguments in commands:
        try:
            done = place.run(*arguments, timeout=20, PORTBOOK_CLIENT__TIMEOUT="2s")
        except OSError as error:
            wrong.append((arguments, repr(error)))
            continue
        said = done.stdout + done.stderr
        if done.returncode == 0 or str(service.pid) not in said:
            wrong.append((arguments, done.returncode, said.strip()[:200]))
    service.send_signal(signal.SIGCONT)
    return not wrong, f"{len(commands)} commands, not bounded or without the pid: {wrong}"


@case("A17", "ten signals under load")
def signals_under_load(place):
    names = "TERM INT QUIT PIPE USR1 USR2 ALRM WINCH TSTP XFSZ".split()
    service, kept, ended = place.serve(), {}, []
    for name in names:
        clients = Clients(place, 8)
        time.sleep(0.3)
        service.send_signal(getattr(signal, f"SIG{name}"))
        time.sleep(0.5)
        service.send_signal(signal.SIGCONT)
        time.sleep(0.3)
        clients.end()
        kept.update(clients.kept)
        if eventually(lambda: service.poll() is not None, 2 if name in ("TERM", "INT") else 0.5):
            ended.append(name)
            service = place.serve()
    lost = kept.items() - place.living().items()
    return not lost and not bindable(kept.values()), f"{len(kept)} kept, {len(lost)} lost; ended by {' '.join(ended)}"


@case("A18", "155 SIGHUPs in 5 s: configuration right, cut, random, a folder, gone")
def reloads_of_anything(place):
    config = os.path.join(place.folder, "config.toml")
    right = '[pools.default]\nranges = ["21000-23899"]\n[pools.extra]\nranges = ["24000-24010"]\n'
    with open(config, "w") as file:
        file.write(right)
    service = place.serve("--config", config)
    clients = Clients(place, 8)
    for turn in range(155):
        kind = turn % 5
        if os.path.isdir(config):
            os.rmdir(config)
        elif os.path.exists(config):
            os.remove(config)
        if kind == 3:
            os.mkdir(config)
        elif kind != 4:
            with open(config, "wb") as file:
                file.write([right.encode(), right.encode()[:25], os.urandom(400)][kind])
        service.send_signal(signal.SIGHUP)
        time.sleep(0.03)
    clients.end()
    good, seen = clients.verdict()
    _, pools = place.api("GET", "/api/v1/pools")
    extra = "extra" in str(pools)
    return good and extra and not clients.refused, f"{seen}; {len(clients.refused)} refused, last good file in force: {extra}"


@case("lock", "two services on one record, also with the lock file deleted or made anew")
def second_service(place):
    first, lock, started = place.serve(), os.path.join(place.data, "lock"), 0
    for deed in (lambda: None, lambda: os.truncate(lock, 0), lambda: os.remove(lock), lambda: open(lock, "w").close()):
        deed()
        second = place.spawn("serve")
        started += second.wait(60) == 0
    return not started and first.poll() is None, f"4 tries, {started} started"
