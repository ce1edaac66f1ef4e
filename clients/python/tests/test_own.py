"""Ports without a service, with real sockets."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from portbook import NoFreePortError, hold_port, listen
from portbook import _own
from portbook._numbers import candidates

from conftest import PYTHON, wait_until


def strict_bind(port: int, address: str = "127.0.0.1") -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as other:
        other.bind((address, port))


def assert_in_use(port: int, address: str = "127.0.0.1") -> None:
    with pytest.raises(OSError) as raised:
        strict_bind(port, address)
    assert raised.value.errno == errno.EADDRINUSE


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers that are drawn, from the first one on, for a test to fill."""
    numbers: list[int] = []
    drawn = _own._Numbers()
    drawn._pid = os.getpid()
    drawn._all = numbers
    monkeypatch.setattr(_own, "_numbers", drawn)
    return numbers


def test_hold_keeps_strict_binders_out_and_lets_a_server_in() -> None:
    with hold_port() as held:
        assert_in_use(held.port)
        assert_in_use(held.port, "::1")
        for address in ("127.0.0.1", "0.0.0.0"):
            with socket.create_server((address, held.port)):
                socket.create_connection(("127.0.0.1", held.port)).close()
    # Nothing was accepted, so nothing lingers on ::1.
    strict_bind(held.port, "::1")


def test_hold_accepts_no_connection() -> None:
    with hold_port() as held, pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", held.port))


def test_server_can_restart_beside_the_hold_with_a_connection_open() -> None:
    with hold_port() as held:
        for _ in range(3):
            server = socket.create_server(("127.0.0.1", held.port))
            client = socket.create_connection(("127.0.0.1", held.port))
            server.accept()[0].close()
            server.close()
            client.close()


def test_dual_stack_server_binds_beside_both_holds() -> None:
    with hold_port() as held:
        server = socket.create_server(("", held.port), family=socket.AF_INET6, dualstack_ipv6=True)
        with server:
            for address in ("127.0.0.1", "::1"):
                socket.create_connection((address, held.port)).close()


def test_release_lets_strict_servers_in_and_keeps_the_number_from_other_holds(only: list[int]) -> None:
    only.append(19900)
    with hold_port("release") as held:
        strict_bind(held.port)
        with pytest.raises(NoFreePortError):
            hold_port()
    hold_port().release()


def test_ports_taken_on_either_address_are_passed_over(only: list[int]) -> None:
    only.extend([19901, 19902, 19903])
    with socket.socket() as four, socket.socket(socket.AF_INET6) as six:
        four.bind(("127.0.0.1", 19901))
        six.bind(("::1", 19902))
        with hold_port() as held:
            assert held.port == 19903
            strict_bind(19902)


def test_server_that_is_about_to_listen_is_passed_over(only: list[int]) -> None:
    only.extend([19907, 19908])
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", 19907))
        with hold_port() as held:
            assert held.port == 19908


def test_attempts_are_bounded_and_the_error_is_clear(
    only: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    only.extend(range(19900, 19910))
    monkeypatch.setattr(_own, "MAX_ATTEMPTS", 4)
    bound: list[int] = []

    def refuse(number: int) -> None:
        bound.append(number)

    monkeypatch.setattr(_own, "_bind", refuse)
    with pytest.raises(NoFreePortError, match="none of 4 numbers.*ip_local_port_range.*portbook serve"):
        hold_port()
    assert len(bound) == 4


def test_host_without_ipv6_holds_ipv4_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    bind = _own._bind_strictly

    def without_ipv6(family: socket.AddressFamily, address: str, number: int) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EADDRNOTAVAIL, "no IPv6")
        return bind(family, address, number)

    monkeypatch.setattr(_own, "_bind_strictly", without_ipv6)
    with hold_port() as held:
        assert_in_use(held.port)


def test_failed_bind_closes_what_it_bound(only: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    only.extend([19905, 19906])
    claims: list[socket.socket] = []
    claim = _own._claim

    def noted(number: int) -> socket.socket:
        claims.append(claim(number))
        return claims[-1]

    monkeypatch.setattr(_own, "_claim", noted)
    with socket.socket(socket.AF_INET6) as six:
        six.bind(("::1", 19905))
        with hold_port() as held:
            assert held.port == 19906
            assert [each.fileno() == -1 for each in claims] == [True, False]


def test_unknown_handover_is_refused() -> None:
    with pytest.raises(ValueError, match="'fd' needs a service"):
        hold_port("fd")


def test_listener_listens_and_no_other_program_can_bind_its_port() -> None:
    listener, kept = listen()
    with listener, kept:
        assert listener.getsockname() == ("127.0.0.1", kept.port)
        socket.create_connection(listener.getsockname()).close()
        assert_in_use(kept.port, "::1")
        assert not listener.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
        with pytest.raises(OSError):
            socket.create_server(("127.0.0.1", kept.port))


def test_listener_was_bound_before_its_number_was_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """No second bind: there is no moment in which the port is free again."""
    bound: list[socket.socket] = []
    bind = _own._bind_strictly

    def noted(family: socket.AddressFamily, address: str, number: int) -> socket.socket:
        bound.append(bind(family, address, number))
        return bound[-1]

    monkeypatch.setattr(_own, "_bind_strictly", noted)
    listener, kept = listen()
    with listener, kept:
        assert any(listener is each for each in bound)


def test_sockets_are_not_inherited_by_programs() -> None:
    with hold_port() as held:
        assert not any(each.get_inheritable() for each in held._sockets)


def test_threads_get_ports_of_their_own() -> None:
    held: list[_own.OwnPort] = []

    def take() -> None:
        held.extend(hold_port() for _ in range(20))

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({each.port for each in held}) == 160
    for each in held:
        each.release()


def test_processes_start_at_different_numbers() -> None:
    program = "import random, portbook; random.seed(1); print(portbook.hold_port().port)"
    ports = {subprocess.check_output([PYTHON, "-c", program]) for _ in range(3)}
    assert len(ports) == 3


def test_forked_child_draws_a_start_of_its_own() -> None:
    with hold_port() as held:
        program = (
            "import os, portbook\n"
            "first = portbook.hold_port().port\n"
            "reader, writer = os.pipe()\n"
            "if os.fork() == 0:\n"
            "    os.write(writer, str(portbook.hold_port().port).encode()); os._exit(0)\n"
            "os.wait()\n"
            "print(abs(int(os.read(reader, 9)) - first))"
        )
        distances = [int(subprocess.check_output([PYTHON, "-c", program])) for _ in range(3)]
    assert max(distances) > 1
    assert held.port


def test_end_of_the_process_frees_its_port() -> None:
    program = "import portbook, time; held = portbook.hold_port(); print(held.port, flush=True); time.sleep(60)"
    with subprocess.Popen([PYTHON, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        assert_in_use(port)
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    wait_until(lambda: is_free(port))


def is_free(port: int) -> bool:
    try:
        strict_bind(port)
    except OSError:
        return False
    return True


def proc(folder: Path, ephemeral: str, reserved: str) -> Path:
    (folder / "ip_local_port_range").write_text(ephemeral + "\n")
    (folder / "ip_local_reserved_ports").write_text(reserved + "\n")
    return folder


def test_candidates_avoid_ephemeral_and_reserved_ports(tmp_path: Path) -> None:
    found = set(candidates(proc(tmp_path, "32768\t60999", "10000-10050,61000,30000-30005")))
    assert found.isdisjoint(range(32768, 61000))
    assert found.isdisjoint([10000, 10050, 10080, 61000, 30003, 20000, 29999, 15000])
    assert {10051, 14999, 30006, 32767, 61001, 65535} <= found


def test_candidates_of_this_host_are_outside_its_ephemeral_range() -> None:
    first, last = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    assert not [number for number in candidates() if first <= number <= last]


def test_wide_ephemeral_range_leaves_the_lower_ports(tmp_path: Path) -> None:
    found = candidates(proc(tmp_path, "10000 65535", ""))
    assert found == list(range(1024, 10000))
    assert candidates(proc(tmp_path, "1024 65535", "")) == []


def test_unreadable_settings_stand_for_the_usual_ones(tmp_path: Path) -> None:
    assert candidates(tmp_path / "missing") == candidates(proc(tmp_path, "32768 60999", ""))


def test_no_candidate_at_all_is_a_clear_error(only: list[int]) -> None:
    with pytest.raises(NoFreePortError, match="none of 0 numbers"):
        hold_port()
    assert only == []
