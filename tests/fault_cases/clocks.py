"""C1 to C5: clocks, boots, pids, stopped and dead owners, renewals beside expiry."""

import glob
import os
import signal
import subprocess
import threading
import time

from place import case, eventually


def faketime(place):
    """Variables that give a service a wall clock of its own, and the file that sets it."""
    found = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")
    if not found:
        return None, None
    shift = os.path.join(place.folder, "shift")
    with open(shift, "w") as file:
        file.write("+0")
    env = {"LD_PRELOAD": found[0], "FAKETIME_TIMESTAMP_FILE": shift}
    return {**env, "FAKETIME_NO_CACHE": "1", "DONT_FAKE_MONOTONIC": "1"}, shift


@case("C1", "wall clock moved by an hour and 400 days, live and over a restart")
def wall_clock(place):
    env, shift = faketime(place)
    if env is None:
        return None, "faketime is not installed"
    right, wrong = 0, []
    for restarts in (False, True):
        for hours in ("+1h", "-1h", "+400d", "-400d"):
            with open(shift, "w") as file:
                file.write("+0")
            service = place.serve(**env)
            long, short = place.grant(ttl="1h"), place.grant(ttl="4s")
            with open(shift, "w") as file:
                file.write(hours)
            if restarts:
                service.kill()
                service.wait()
                service = place.serve(**env)
            early = short.keys() - place.living().keys()
            ended = eventually(lambda: not short.keys() & place.living().keys(), 12)
            lives = long.keys() <= place.living().keys()
            good = lives and ended and not early
            right += bool(good)
            wrong += [] if good else [f"{hours} restart {restarts}: long lives {lives}, short ends {bool(ended)}, early {early}"]
            place.api("DELETE", f"/api/v1/leases/{next(iter(long))}")
            service.kill()
            service.wait()
    return not wrong, f"{right} of 8 right {wrong}"


@case("C2", "another boot id; boot-time clock 11 days forward")
def another_boot(place):
    service = place.serve()
    owner = place.helper("sleep", "600")
    owned = place.grant(owner_pid=owner.pid, ttl=None)
    timed = place.grant(ttl="1h")
    service.kill()
    service.wait()
    boot = os.path.join(place.folder, "boot_id")
    with open(boot, "w") as file:
        file.write("11111111-2222-4333-8444-555555555555\n")
    target = "/proc/sys/kernel/random/boot_id"
    subprocess.run(["mount", "--bind", boot, target], check=True)
    place.mounts.append(target)
    service = place.serve()
    living = place.living()
    kept = timed.keys() <= living.keys()
    service.kill()
    service.wait()
    # The clock since the boot, as after a suspension of eleven days.
    service = place.serve(prefix=("unshare", "--time", "--boottime", "950000", "--fork", "--kill-child"))
    starts = service is not None
    if starts:
        forward = place.ready()[0]
    seen = f"another boot: timed lease kept {kept}, owned one {'kept' if owned.keys() <= living.keys() else 'rechecked'}; "
    return bool(kept and starts and forward), seen + f"11 days later: starts {starts}, ready {starts and forward}"


@case("C3", "pid used again while the service is stopped")
def pid_used_again(place):
    service = place.serve()
    owner = place.helper("sleep", "600")
    lease = place.grant(owner_pid=owner.pid, ttl=None)
    service.send_signal(signal.SIGSTOP)
    owner.kill()
    owner.wait()
    again = None
    for _ in range(2000):
        with open("/proc/sys/kernel/ns_last_pid", "w") as last:
            last.write(str(owner.pid - 1))
        again = place.helper("sleep", "600")
        if again.pid == owner.pid:
            break
        again.kill()
        again.wait()
    service.send_signal(signal.SIGCONT)
    freed = eventually(lambda: not lease.keys() & place.living().keys(), 20)
    return bool(freed) and again.pid == owner.pid, f"pid {owner.pid} again: {again.pid == owner.pid}; freed: {bool(freed)}"


@case("C4", "owner stopped; owner a zombie")
def stopped_and_dead_owners(place):
    place.serve()
    owner = place.helper("sleep", "600")
    lease = place.grant(owner_pid=owner.pid, ttl=None)
    owner.send_signal(signal.SIGSTOP)
    time.sleep(3)
    kept = lease.keys() <= place.living().keys()
    owner.kill()  # not waited for: a zombie
    freed = eventually(lambda: not lease.keys() & place.living().keys(), 20)
    return bool(kept and freed), f"stopped: kept {kept}; zombie: freed {bool(freed)}"


@case("C5", "60 clients renew leases of one second at 0.3 to 1.2 s")
def renewals_beside_expiry(place):
    place.serve()
    early, renewed, expired, turn = [], [0], [0], threading.Lock()

    def client(number):
        for _ in range(6):
            lease = next(iter(place.grant(ttl="1s")))
            for step in range(4):
                time.sleep(0.3 + 0.9 * ((number * 7 + step * 13) % 60) / 60)
                status, _ = place.api("POST", f"/api/v1/leases/{lease}/renew", {"ttl": "1s"})
                answered = time.monotonic()
                if status != 200:
                    with turn:
                        expired[0] += 1
                    break
                _, found = place.api("GET", f"/api/v1/leases/{lease}")
                late = time.monotonic() - answered > 0.9
                with turn:
                    renewed[0] += 1
                    if found.get("state") in ("expired", None) and not late:
                        early.append(lease)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return not early, f"{renewed[0]} renewals, {expired[0]} expiries, {len(early)} early"
