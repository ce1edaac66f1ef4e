"""The client against a real service."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from portbook import (
    Client,
    NoServiceError,
    RefusedError,
    ServiceError,
    SilentServiceError,
    UntrustedServiceError,
)

from conftest import PYTHON, Service, wait_until


def bind_beside(port: int) -> socket.socket:
    return socket.create_server(("127.0.0.1", port))


def test_lease_gives_a_port_that_a_server_can_bind_and_bind_zero_cannot_get(client: Client) -> None:
    with client.lease() as lease:
        assert lease.state == "handed" and lease.guard == "hold" and lease.name is None
        assert f"0.0.0.0:{lease.port}" in lease.addresses
        with socket.socket() as strict:
            with pytest.raises(OSError):
                strict.bind(("127.0.0.1", lease.port))
        bind_beside(lease.port).close()


@pytest.mark.parametrize("text", ["job=7.1, team=ci", '["job=7.1", "team=ci"]'])
def test_labels_of_the_environment_are_those_of_every_lease(
    client: Client, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("PORTBOOK_CLIENT__LABELS", text)
    with client.lease(labels={"team": "web"}) as lease:
        assert lease.labels == {"job": "7.1", "team": "web"}
    with client.lease() as lease:
        assert lease.labels == {"job": "7.1", "team": "ci"}


def test_block_releases_its_lease(client: Client) -> None:
    with client.lease() as lease:
        assert client.get(lease.id).state == "handed"
    assert client.get(lease.id).state == "released"


def test_named_lease_keeps_its_port_after_the_block(client: Client) -> None:
    with client.lease("kept") as first:
        pass
    with client.lease("kept") as second:
        assert second.port == first.port
    client.lease("kept").release()


def test_inner_block_of_one_name_leaves_the_lease_to_the_outer_one(client: Client) -> None:
    with client.lease("nested") as outer:
        with client.lease("nested") as inner:
            assert inner == outer and not inner.created
        assert client.get(outer.id).state == "handed"
    assert client.get(outer.id).state == "released"


def test_released_name_forgets_its_port_unless_it_is_to_remember(client: Client) -> None:
    first = client.lease("sticky")
    first.release(remember=True)
    second = client.lease("sticky")
    assert second.port == first.port
    second.release()
    third = client.lease("sticky")
    third.release()
    assert third.port != first.port


def test_options_reach_the_service(client: Client, tmp_path: Path) -> None:
    lease = client.lease(
        "web",
        prefer=19980,
        handover="release",
        interfaces=["127.0.0.1"],
        ttl=timedelta(hours=1),
        labels={"team": "shop"},
        scope="dir",
        directory=tmp_path,
        instance="2",
        wait=0.5,
        timeout="2s",
    )
    with lease:
        assert (lease.name, lease.port, lease.handover) == ("web@2", 19980, "release")
        assert lease.addresses == ("127.0.0.1:19980",) and lease.expires_at is not None
        assert lease.labels == {"team": "shop"}
        assert lease.document["directory"] == str(tmp_path)
        assert lease.document["owner"]["pid"] == os.getpid()
        assert [each.id for each in client.leases(label="team=shop")] == [lease.id]


def test_scope_of_a_folder_is_by_default_that_of_the_working_directory(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with client.lease("here", scope="dir") as lease:
        assert lease.document["directory"] == str(tmp_path)


def test_count_and_block_give_lists(client: Client) -> None:
    three = client.lease(count=3)
    row = client.lease(block=2)
    both = client.lease(count=1, protocol="both")
    try:
        assert len({lease.port for lease in three}) == 3
        assert row[1].port == row[0].port + 1
        assert {lease.protocol for lease in both} == {"tcp", "udp"}
    finally:
        for lease in [*three, *row, *both]:
            lease.release()


def test_two_leases_for_one_number_need_a_list(client: Client) -> None:
    with pytest.raises(TypeError, match="count=1"):
        client.lease(protocol="both")


def test_unknown_option_is_a_type_error(client: Client) -> None:
    with pytest.raises(TypeError, match="no option portt"):
        client.lease(portt=3000)  # type: ignore[call-overload]


def test_move_is_told_with_its_reason(client: Client) -> None:
    with socket.create_server(("127.0.0.1", 19960)):
        with client.lease(prefer=19960) as lease:
            assert lease.moved is not None
            assert (lease.moved.from_port, lease.moved.to_port) == (19960, lease.port)
            assert lease.moved.reason == "in_use" and lease.moved.by


def test_refusal_carries_the_problem_of_the_service(client: Client) -> None:
    with socket.create_server(("127.0.0.1", 19961)):
        with pytest.raises(RefusedError) as raised:
            client.lease(port=19961)
    error = raised.value
    assert (error.status, error.code, error.title) == (409, "port_in_use", "Port in use")
    assert "19961 is in use" in error.detail and "port_in_use" in str(error)
    assert error.problem["attempts"][0]["port"] == 19961
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.code, copy.problem) == (error.code, error.problem)


def test_second_release_is_not_found_unless_that_is_fine(client: Client) -> None:
    lease = client.lease()
    lease.release()
    with pytest.raises(RefusedError) as raised:
        client.release(lease)
    assert raised.value.code == "not_found"
    client.release(lease.id, missing_ok=True)


def test_renew_begins_the_time_anew(client: Client) -> None:
    with client.lease(ttl="1m") as lease:
        renewed = client.renew(lease, "2h")
        assert renewed.expires_at is not None and lease.expires_at is not None
        assert renewed.expires_at > lease.expires_at


def test_leases_follow_every_page(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    three = client.lease(count=3, labels={"page": "yes"})
    pages = client._pages("/leases?label=page%3Dyes&limit=2")
    found = [document["id"] for page in pages for document in page["leases"]]
    assert sorted(found) == sorted(lease.id for lease in three)
    for lease in three:
        lease.release()


def test_who_names_the_lease_and_the_program(client: Client) -> None:
    with client.lease() as lease, bind_beside(lease.port):
        report = client.who(lease.port)
        assert [each.id for each in report.leases] == [lease.id]
        [program] = [each for each in report.occupants if each.pid == os.getpid()]
        assert program.state == "listening" and program.relation == "owner"


def test_passed_sockets_listen_and_are_not_inherited(client: Client) -> None:
    with client.lease(handover="fd", interfaces=["127.0.0.1"]) as lease:
        [server] = client.sockets(lease)
        with server:
            assert server.getsockname() == ("127.0.0.1", lease.port)
            assert not server.get_inheritable()
            with socket.create_connection(server.getsockname()):
                server.accept()[0].close()


def test_sockets_of_a_lease_without_them_are_refused(client: Client) -> None:
    with client.lease() as lease, pytest.raises(RefusedError):
        client.sockets(lease)


def test_end_of_the_process_frees_its_port(client: Client) -> None:
    program = (
        "import portbook, sys, time\n"
        f"print(portbook.Client({client.socket!r}).lease().id, flush=True)\n"
        "time.sleep(60)"
    )
    with subprocess.Popen([PYTHON, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        id = process.stdout.readline().strip()
        assert client.get(id).state == "handed"
        process.send_signal(signal.SIGKILL)
    wait_until(lambda: client.get(id).state == "owner_gone")


def test_owner_none_leaves_the_port_to_the_first_listener(client: Client) -> None:
    with client.lease(owner_pid=None) as lease:
        assert lease.document["owner"] is None and lease.document["claim_by"]


def test_reserved_name_has_no_owner(client: Client) -> None:
    lease = client.lease("later", reserve=True)
    assert lease.state == "reserved"
    lease.release()


def test_wait_extends_the_limit_for_the_answer(own_service: Service) -> None:
    client = Client(own_service.socket, timeout=0.5)
    held = client.lease(count=2, pool="tiny")
    timer = threading.Timer(1.2, held[0].release)
    timer.start()
    with client.lease(pool="tiny", wait="20s") as lease:
        assert lease.port == held[0].port
    timer.join()


def test_missing_service_says_how_to_start_one() -> None:
    with pytest.raises(NoServiceError, match="Start one with `portbook serve`"):
        Client()
    with pytest.raises(NoServiceError, match="/nowhere/s.sock: No such file"):
        Client("/nowhere/s.sock")


def test_stopped_service_is_an_error_of_its_own(own_service: Service) -> None:
    client = Client(own_service.socket)
    own_service.stop()
    with pytest.raises(NoServiceError, match="portbook serve"):
        client.lease()
    with pytest.raises(ServiceError, match="passes no sockets"):
        client.sockets("01")


def test_silent_service_is_told_within_the_limit(own_service: Service) -> None:
    client = Client(own_service.socket, timeout=0.3)
    own_service.pause()
    with pytest.raises(SilentServiceError, match=r"does not answer within 0\.3 s"):
        client.leases()


def test_client_serves_many_threads(client: Client) -> None:
    ports: list[int] = []

    def take() -> None:
        ports.extend(client.lease(labels={"many": "yes"}).port for _ in range(5))

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(ports)) == 40
    for lease in client.leases(label="many=yes"):
        lease.release()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_server_of_another_user_counts_only_if_it_is_trusted(own_service: Service) -> None:
    path = own_service.folder / "other.sock"
    program = (
        "import os, socket, sys\n"
        "s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); os.setuid(65534); s.listen()\n"
        "print('ready', flush=True)\n"
        "while True: s.accept()[0].close()"
    )
    with subprocess.Popen([PYTHON, "-c", program, str(path)], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None and process.stdout.readline()
            with pytest.raises(UntrustedServiceError, match="uid 65534"):
                Client(path)
            with pytest.raises(ServiceError, match="broke off"):
                Client(path, trusted_uids=[65534]).status()
        finally:
            process.kill()


def test_server_that_is_not_portbook_is_told(tmp_path: Path, own_service: Service) -> None:
    path = str(own_service.folder / "web.sock")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()

        def answer() -> None:
            for _ in range(2):
                connection, _ = server.accept()
                with connection:
                    if connection.recv(4096):
                        connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n<html>")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(ServiceError, match="is it portbook"):
            Client(path).status()
        thread.join()
