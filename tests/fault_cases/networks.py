"""F3 to F7, I1, I2: interfaces that change, and namespaces."""

import os
import signal
import socket
import subprocess
import time

from place import bindable, case, eventually


def ip(*words):
    return subprocess.run(["ip", *words], capture_output=True, text=True, check=True).stdout


def interface(name="v0", address="10.9.0.1/24"):
    ip("link", "add", name, "type", "veth", "peer", "name", f"{name}p")
    ip("address", "add", address, "dev", name)
    ip("link", "set", name, "up")
    ip("link", "set", f"{name}p", "up")


def held(port, address):
    """Whether a strict bind of an address is refused."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as taker:
        try:
            taker.bind((address, port))
            return False
        except OSError:
            return True


def needs_a_namespace():
    return (None, "needs root, for a network namespace") if os.geteuid() != 0 else None


@case("F3", "IPv6 switched off and on, live")
def without_ipv6(place):
    if needs_a_namespace():
        return needs_a_namespace()
    place.serve()
    leases = place.grant(50)
    setting = "/proc/sys/net/ipv6/conf/all/disable_ipv6"
    for value in "10":
        with open(setting, "w") as file:
            file.write(value)
        time.sleep(2)
    lost = leases.items() - place.living().items()
    free = bindable(leases.values())
    six = eventually(lambda: all(held(port, "::") for port in leases.values()), 10)
    return not lost and not free and bool(six), f"{len(lost)} lost, {len(free)} bindable, IPv6 held again: {bool(six)}"


@case("F4", "interface deleted, restart meanwhile, interface back")
def interface_gone(place):
    if needs_a_namespace():
        return needs_a_namespace()
    interface()
    service = place.serve()
    done = place.run("alloc", "--name", "n", "--interface", "v0")
    port = int(done.stdout)
    ip("link", "del", "v0")
    degraded = eventually(lambda: [lease["state"] for lease in place.leases()] == ["degraded"], 10)
    service.kill()
    service.wait()
    service = place.serve()
    kept = [lease["port"] for lease in place.leases()] == [port]
    interface()
    back = eventually(lambda: held(port, "10.9.0.1"), 10)
    same = place.run("alloc", "--name", "n", "--interface", "v0").stdout.strip() == str(port)
    seen = f"degraded: {bool(degraded)}, kept over a restart: {kept}, held again: {bool(back)}, name on its port: {same}"
    return bool(degraded and kept and back and same), seen


def name_after(place, change):
    interface()
    place.serve()
    first = place.run("alloc", "--name", "n", "--interface", "v0")
    named = change()
    time.sleep(1)
    again = place.run("alloc", "--name", "n", "--interface", named)
    address = "10.9.0.7" if named == "v0" else "10.9.0.1"
    good = again.returncode == 0 and held(int(again.stdout), address)
    return good, f"first {first.stdout.strip()}, then {again.returncode} {(again.stdout + again.stderr).strip()[:200]}"


@case("F5", "interface has another address: its name finds a port")
def readdressed(place):
    def change():
        ip("address", "flush", "dev", "v0")
        ip("address", "add", "10.9.0.7/24", "dev", "v0")
        return "v0"

    return needs_a_namespace() or name_after(place, change)


@case("F6", "interface renamed, same address: its name finds its port")
def renamed(place):
    def change():
        ip("link", "set", "v0", "down")
        ip("link", "set", "v0", "name", "w0")
        ip("link", "set", "w0", "up")
        return "w0"

    return needs_a_namespace() or name_after(place, change)


@case("F7", "12,000 address changes while the service is stopped")
def many_changes(place):
    if needs_a_namespace():
        return needs_a_namespace()
    interface()
    service = place.serve()
    place.run("alloc", "--name", "n", "--interface", "v0")
    service.send_signal(signal.SIGSTOP)
    batch = "".join(
        f"address {verb} 10.8.{number // 250}.{number % 250 + 1}/32 dev v0\n"
        for number in range(6000)
        for verb in ("add", "del")
    )
    subprocess.run(["ip", "-batch", "-"], input=batch, text=True, check=True)
    ip("address", "add", "10.7.0.1/32", "dev", "v0")
    service.send_signal(signal.SIGCONT)
    seen = eventually(lambda: "10.7.0.1" in str(place.api("GET", "/api/v1/interfaces")), 10)
    ready, _ = place.ready()
    return bool(seen) and ready, f"new address seen: {bool(seen)}, ready: {ready}"


@case("I1", "namespaces of users, networks and processes; hidepid; no /proc")
def namespaces(place):
    if os.geteuid() != 0:
        return None, "needs root, for namespaces"
    place.serve()
    seen, fine = [], True

    def attempt(name, prefix, *arguments, good=True, words=""):
        nonlocal fine
        done = place.run(*arguments, prefix=prefix)
        said = done.stdout + done.stderr
        right = (done.returncode == 0) == good and words in said
        fine &= right
        seen.append(f"{name}: {'right' if right else said.strip()[:160]}")

    attempt("user namespace", ["unshare", "--user", "--map-root-user"], "alloc")
    attempt("network namespace", ["unshare", "--net"], "alloc", good=False, words="another network namespace")
    attempt("pid namespace, alloc", ["unshare", "--pid", "--fork", "--mount-proc"], "alloc")
    hidden = "mount -t proc -o hidepid=2 proc /proc && exec \"$@\""
    attempt("hidepid", ["unshare", "--mount", "sh", "-c", hidden, "sh"], "alloc")
    bare = "mount -t tmpfs none /proc && exec \"$@\""
    done = place.run("alloc", prefix=["unshare", "--mount", "sh", "-c", bare, "sh"])
    named = done.returncode == 0 or "/proc" in done.stderr
    seen.append(f"no /proc: {done.returncode} {done.stderr.strip()[:120]}")
    return fine and named, "; ".join(seen)


@case("I2", "run in a pid namespace")
def run_in_a_pid_namespace(place):
    if os.geteuid() != 0:
        return None, "needs root, for namespaces"
    place.serve()
    prefix = ["unshare", "--pid", "--fork", "--mount-proc"]
    done = place.run("run", "--name", "inside", "--", "sh", "-c", "echo $PORT", prefix=prefix)
    ended = eventually(lambda: [lease["state"] for lease in place.leases()] == ["reserved"], 10)
    good = done.returncode == 0 and done.stdout.strip().isdigit() and ended
    return bool(good), f"exit {done.returncode} {(done.stdout + done.stderr).strip()[:200]}, reserved after its end: {bool(ended)}"
