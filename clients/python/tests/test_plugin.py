"""The pytest plugin, by test runs within the tests: with a service, without one, with pytest-xdist."""

from __future__ import annotations

import os
import re

import pytest

from portbook import Client, RefusedError

from conftest import PYTHON, Service

#: A test that binds three ports as most servers do, and strictly sees that they are kept.
THREE_PORTS = """
    import socket, pytest

    @pytest.mark.parametrize("number", range({tests}))
    def test_ports(ports, number):
        mine = ports(3)
        assert len(set(mine)) == 3
        for port in mine:
            with socket.socket() as strict, pytest.raises(OSError):
                strict.bind(("127.0.0.1", port))
            with socket.create_server(("127.0.0.1", port)) as server:
                socket.create_connection(server.getsockname()).close()
"""

ONE_PORT = """
    import socket

    def test_port(port):
        socket.create_server(("127.0.0.1", port)).close()
"""

STRICT_SERVER = """
    import socket

    def test_strict(port):
        with socket.socket() as server:
            server.bind(("127.0.0.1", port))
"""


def run(pytester: pytest.Pytester, text: str, *arguments: str) -> pytest.RunResult:
    pytester.makepyfile(text)
    return pytester.runpytest_subprocess("-p", "no:cacheprovider", *arguments)


@pytest.fixture(params=["service", "own"])
def either(request: pytest.FixtureRequest) -> str:
    """The socket of the service, or "" for a run without one: a test runs with both."""
    if request.param == "own":
        return ""
    service: Service = request.getfixturevalue("with_service")
    return service.socket


def held_by(socket: str) -> str:
    return f"held by the service on {socket}" if socket else "held by pytest itself: no service answers"


def test_port_can_be_bound_and_its_holder_is_told_once(pytester: pytest.Pytester, either: str) -> None:
    result = run(pytester, ONE_PORT)
    result.assert_outcomes(passed=1)
    told = [line for line in result.outlines if line.startswith("portbook:")]
    assert told == [f"portbook: 1 port was {held_by(either)}"]


def test_run_without_ports_says_nothing(pytester: pytest.Pytester, either: str) -> None:
    result = run(pytester, "def test_nothing(): pass")
    result.assert_outcomes(passed=1)
    assert "portbook:" not in result.stdout.str()


def test_workers_get_ports_of_their_own(pytester: pytest.Pytester, either: str) -> None:
    result = run(pytester, THREE_PORTS.format(tests=40), "-n4")
    result.assert_outcomes(passed=40)
    assert f"portbook: 120 ports were {held_by(either)}" in result.outlines


def test_port_is_the_tests_own_until_it_ends(pytester: pytest.Pytester, either: str) -> None:
    result = run(
        pytester,
        """
        import socket
        taken = []

        def is_free(port):
            with socket.socket() as strict:
                try:
                    strict.bind(("127.0.0.1", port))
                except OSError:
                    return False
            return True

        def test_first(port, ports):
            taken.extend([port, *ports(2)])
            assert not any(map(is_free, taken))

        def test_second():
            assert all(map(is_free, taken)) and len(taken) == 3
        """,
    )
    result.assert_outcomes(passed=2)


def test_ports_come_back_from_a_test_that_fails(
    pytester: pytest.Pytester, with_service: Service
) -> None:
    before = len(Client(with_service.socket).leases())
    run(pytester, "def test_it(ports, session_ports, listener): ports(5); session_ports(2); 1 / 0")
    assert len(Client(with_service.socket).leases()) == before


def test_listener_listens_on_a_port_that_nothing_can_bind(pytester: pytest.Pytester, either: str) -> None:
    result = run(
        pytester,
        """
        import socket, pytest
        numbers = []

        def test_listens(listener):
            host, port = listener.getsockname()
            numbers.append(port)
            assert host == "127.0.0.1" and listener.family == socket.AF_INET
            with socket.create_connection((host, port)) as client:
                listener.accept()[0].close()
                assert client.recv(1) == b""
            for reuse in (0, 1):
                for address in ("127.0.0.1", "0.0.0.0", "::1"):
                    family = socket.AF_INET6 if ":" in address else socket.AF_INET
                    with socket.socket(family) as other:
                        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse)
                        with pytest.raises(OSError):
                            other.bind((address, port))
                            other.listen()

        def test_is_gone_after_the_test():
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", numbers[0]))

        def test_may_be_closed_by_the_test(listener):
            listener.close()
        """,
    )
    result.assert_outcomes(passed=3)


def test_session_ports_stay_for_the_whole_run(pytester: pytest.Pytester, either: str) -> None:
    result = run(
        pytester,
        """
        import socket, pytest

        @pytest.fixture(scope="session")
        def server(session_ports):
            with socket.create_server(("127.0.0.1", session_ports(1)[0])) as server:
                yield server

        @pytest.mark.parametrize("number", range(3))
        def test_server(server, number):
            socket.create_connection(server.getsockname()).close()
        """,
    )
    result.assert_outcomes(passed=3)


def test_strict_server_needs_the_handover_release(pytester: pytest.Pytester, either: str) -> None:
    result = run(pytester, STRICT_SERVER)
    result.assert_outcomes(failed=1)
    output = result.stdout.str()
    assert re.search(r"This test has port \d+, and an address was in use", output)
    assert "portbook_handover = release" in output
    run(pytester, STRICT_SERVER, "--portbook-handover=release").assert_outcomes(passed=1)
    pytester.makeini("[pytest]\nportbook_handover = release")
    run(pytester, STRICT_SERVER).assert_outcomes(passed=1)
    run(pytester, STRICT_SERVER, "--portbook-handover=gate").assert_outcomes(failed=1)


def test_marker_sets_the_handover_of_one_test(pytester: pytest.Pytester, either: str) -> None:
    marked = STRICT_SERVER.replace("def ", "@__import__('pytest').mark.portbook(handover='release')\n    def ")
    run(pytester, marked, "--strict-markers").assert_outcomes(passed=1)
    result = run(pytester, marked.replace("release", "relaese"))
    result.assert_outcomes(errors=1)
    assert "handover='gate' or 'release', not 'relaese'" in result.stdout.str()


def test_advice_is_given_for_the_output_of_a_server_too(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
        import subprocess, sys

        def test_server(port):
            bind = f"import socket; socket.socket().bind(('127.0.0.1', {port}))"
            assert subprocess.run([sys.executable, "-c", bind]).returncode == 0
        """,
    )
    result.assert_outcomes(failed=1)
    assert "This test has port" in result.stdout.str()


def test_advice_names_the_program_on_the_port(pytester: pytest.Pytester, with_service: Service) -> None:
    result = run(
        pytester,
        """
        import socket

        servers = []

        def test_twice(port):
            servers.append(socket.create_server(("127.0.0.1", port)))
            socket.create_server(("127.0.0.1", port))
        """,
    )
    result.assert_outcomes(failed=1)
    assert re.search(r"On \d+: py\S+ \(pid \d+\) listening on 127\.0\.0\.1", result.stdout.str())


def test_other_failures_get_no_advice(pytester: pytest.Pytester) -> None:
    result = run(pytester, "def test_it(port): assert port == 0")
    result.assert_outcomes(failed=1)
    assert "This test has port" not in result.stdout.str()


def test_pool_is_an_option_and_a_full_one_fails_with_a_message(
    pytester: pytest.Pytester, own_service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PORTBOOK_SOCKET", own_service.socket)
    text = "def test_it(ports): assert set(ports(2)) == {19990, 19991}"
    pytester.makeini("[pytest]\nportbook_pool = tiny")
    run(pytester, text).assert_outcomes(passed=1)
    result = run(pytester, "def test_it(ports): ports(3)")
    result.assert_outcomes(failed=1)
    assert "pool_exhausted" in result.stdout.str() and "portbook list" in result.stdout.str()
    # One message, and no lines of this package's code.
    assert "_source.py" not in result.stdout.str() and "run.guarded" not in result.stdout.str()
    result = run(pytester, text, "--portbook-pool=none")
    assert "the option portbook_pool names it" in result.stdout.str()


def test_search_of_a_busy_service_has_more_time_than_usual(
    pytester: pytest.Pytester, own_service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RefusedError) as raised:
        Client(own_service.socket).lease(pool="hasty")
    assert raised.value.code == "timed_out"
    monkeypatch.setenv("PORTBOOK_SOCKET", own_service.socket)
    run(pytester, ONE_PORT, "--portbook-pool=hasty").assert_outcomes(passed=1)


def test_wrong_options_end_the_run_at_its_start(pytester: pytest.Pytester) -> None:
    assert run(pytester, ONE_PORT, "--portbook-handover=fd").ret == pytest.ExitCode.USAGE_ERROR
    pytester.makeini("[pytest]\nportbook_service = sometimes")
    result = run(pytester, ONE_PORT)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "portbook_service is auto, always or never, not 'sometimes'" in result.stderr.str()


def test_service_always_fails_without_one(pytester: pytest.Pytester) -> None:
    result = run(pytester, ONE_PORT, "--portbook-service=always")
    result.assert_outcomes(errors=1)
    assert "Start one with `portbook serve`" in result.stdout.str()


def test_service_never_asks_none(pytester: pytest.Pytester, with_service: Service) -> None:
    result = run(pytester, ONE_PORT, "--portbook-service=never")
    result.assert_outcomes(passed=1)
    assert "held by pytest itself (portbook_service = never)" in result.stdout.str()


def test_named_service_must_answer(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTBOOK_SOCKET", "/nowhere/s.sock")
    result = run(pytester, ONE_PORT)
    result.assert_outcomes(errors=1)
    assert "/nowhere/s.sock" in result.stdout.str() and "portbook_service = never" in result.stdout.str()


def test_service_that_goes_away_is_a_failure_and_the_end_of_the_run_is_quiet(
    pytester: pytest.Pytester, own_service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PORTBOOK_SOCKET", own_service.socket)
    monkeypatch.setenv("SERVICE_PID", str(own_service.pid))
    result = run(
        pytester,
        """
        import os, signal, time

        def test_first(port):
            os.kill(int(os.environ["SERVICE_PID"]), signal.SIGKILL)
            time.sleep(0.5)

        def test_second(port): pass
        """,
    )
    result.assert_outcomes(passed=1, errors=1)
    assert "portbook serve" in result.stdout.str()


def test_killed_worker_frees_its_ports(pytester: pytest.Pytester, either: str) -> None:
    result = run(
        pytester,
        """
        import os, signal, socket, time, pathlib

        def test_dies(ports):
            pathlib.Path("taken").write_text(" ".join(map(str, ports(3))))
            os.kill(os.getpid(), signal.SIGKILL)

        def is_free(port):
            with socket.socket() as strict:
                try:
                    strict.bind(("127.0.0.1", port))
                except OSError:
                    return False
            return True

        def test_other_worker():
            # Either worker may come first.
            deadline = time.monotonic() + 60
            file = pathlib.Path("taken")
            while not file.exists() or len(file.read_text().split()) < 3:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            taken = [int(port) for port in file.read_text().split()]
            while not all(map(is_free, taken)):
                assert time.monotonic() < deadline
                time.sleep(0.05)
        """,
        "-n2",
    )
    result.assert_outcomes(passed=1, failed=1)
    assert "crashed" in result.stdout.str()


def test_service_of_another_network_counts_as_none(
    pytester: pytest.Pytester, with_service: Service
) -> None:
    pytester.makepyfile(ONE_PORT)
    if os.geteuid() != 0 or pytester.run("unshare", "-n", "true").ret != 0:
        pytest.skip("only root can make a network")
    command = f"ip link set lo up; exec {PYTHON} -m pytest -p no:cacheprovider"
    result = pytester.run("unshare", "-n", "sh", "-c", command)
    result.assert_outcomes(passed=1)
    assert "held by pytest itself" in result.stdout.str()
