"""pytest plugin: ports for tests that nothing else takes, given back at the end of the test.

pytest finds it by its entry point. Each worker of pytest-xdist gets its own ports; they end with the worker,
however it ends.
"""

from __future__ import annotations

import errno
import socket
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from typing import Any, Optional, cast

import pytest

from ._errors import PortbookError
from ._source import Held, Source, Terms, choose

_HANDOVERS = ("gate", "release")
_SERVICES = ("auto", "always", "never")

#: Text of a failed bind in the output of a server that a test started.
_IN_USE = ("Address already in use", "EADDRINUSE", "Errno 98", "os error 98")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options, each on the command line and in the configuration file."""
    group = parser.getgroup("portbook", "ports for tests")
    for name, choices, text in (
        ("pool", None, "pool of the service to take ports from"),
        ("handover", _HANDOVERS, "gate (default), or release for servers that do not set SO_REUSEADDR"),
        ("service", _SERVICES, "auto (default), always (no run without a service) or never"),
    ):
        group.addoption(f"--portbook-{name}", choices=choices, default=None, help=text)
        parser.addini(f"portbook_{name}", text, default="")


def pytest_configure(config: pytest.Config) -> None:
    """Register the state of this run and the marker."""
    config.addinivalue_line(
        "markers", "portbook(pool=..., handover=...): settings for the ports of one test"
    )
    config.pluginmanager.register(_Run(config), "portbook-run")


@pytest.fixture
def ports(request: pytest.FixtureRequest) -> Iterator[Callable[[int], list[int]]]:
    """Return a function: `ports(3)` is a list of three free ports, this test's alone until it ends."""
    run = _Run.of(request.config)
    yield from _giver(run, run.terms(request.node), run.of_test(request.node))


@pytest.fixture(scope="session")
def session_ports(request: pytest.FixtureRequest) -> Iterator[Callable[[int], list[int]]]:
    """Return a function as `ports` does, for servers that serve the whole run. Markers do not count."""
    run = _Run.of(request.config)
    yield from _giver(run, run.terms(None), run.of_session)


@pytest.fixture
def port(ports: Callable[[int], list[int]]) -> int:
    """Return a free port, this test's alone until it ends."""
    return ports(1)[0]


@pytest.fixture
def listener(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    """Return a TCP socket that listens on 127.0.0.1. At no time could another program bind its port."""
    run = _Run.of(request.config)
    listening, held = run.guarded(lambda source: source.listen(run.terms(request.node)))
    run.count(1)
    try:
        with listening:
            yield listening
    finally:
        held.give_back()


def _giver(run: _Run, terms: Terms, all_held: list[Held]) -> Iterator[Callable[[int], list[int]]]:
    def give(count: int) -> list[int]:
        if count < 0:
            raise ValueError(f"{count} is not a number of ports")
        taken = run.guarded(lambda source: source.take(count, terms))
        all_held.extend(taken)
        run.count(count)
        return [held.port for held in taken]

    try:
        yield give
    finally:
        while all_held:
            all_held.pop().give_back()


class _Run:
    """The state of a test run in one process: settings, source of ports, number of ports given."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._source: Optional[Source] = None
        self._failure: Optional[PortbookError] = None
        #: Number of ports by the service's socket; "" for ports that pytest held itself.
        self._given: Counter[str] = Counter()
        self._by_test: dict[str, list[Held]] = {}
        #: Ports of the fixture for the whole run.
        self.of_session: list[Held] = []
        self._defaults = Terms(
            pool=self._option("pool") or None, handover=self._option("handover", _HANDOVERS) or "gate"
        )
        self._service = self._option("service", _SERVICES) or "auto"

    @classmethod
    def of(cls, config: pytest.Config) -> _Run:
        """Return the run of this process."""
        return cast(_Run, config.pluginmanager.getplugin("portbook-run"))

    def terms(self, node: Optional[pytest.Item]) -> Terms:
        """Return the settings of a test: its marker, the command line, the configuration file."""
        marker = node.get_closest_marker("portbook") if node is not None else None
        if marker is None:
            return self._defaults
        unknown = set(marker.kwargs) - {"pool", "handover"}
        handover = marker.kwargs.get("handover", self._defaults.handover)
        if marker.args or unknown or handover not in _HANDOVERS:
            pytest.fail(
                "the marker portbook takes pool='NAME' and handover='gate' or 'release', "
                f"not {marker.args or unknown or handover!r}",
                pytrace=False,
            )
        return Terms(marker.kwargs.get("pool", self._defaults.pool), handover)

    def of_test(self, node: pytest.Item) -> list[Held]:
        """Return the list of ports that a test has, for the fixture to fill and empty."""
        return self._by_test.setdefault(node.nodeid, [])

    def guarded(self, ask: Callable[[Source], Any]) -> Any:
        """Ask the source of this run; the test fails with one message and no traceback if it refuses."""
        try:
            return ask(self._chosen())
        except PortbookError as error:
            message = f"portbook: {error}{self._way_out(error)}"
        pytest.fail(message, pytrace=False)

    def count(self, number: int) -> None:
        """Add to the number of ports given."""
        if number and self._source is not None:
            self._given[self._source.service or ""] += number

    def _chosen(self) -> Source:
        # Chosen once: a service that goes away in the middle of a run is a failure. It may have granted
        # ports that have no socket yet, and a second giver would not know of them.
        if self._failure is not None:
            raise self._failure
        if self._source is None:
            try:
                self._source = choose(self._service)
            except PortbookError as error:
                self._failure = error
                raise
        return self._source

    def _way_out(self, error: PortbookError) -> str:
        code = getattr(error, "code", None)
        if code == "no_such_pool":
            return "; the option portbook_pool names it"
        if code in ("pool_exhausted", "quota_exceeded"):
            return "; `portbook list` shows the leases"
        if self._source is None and self._service != "always":
            return "; with portbook_service = never pytest holds the ports itself"
        return ""

    def _option(self, name: str, choices: tuple[str, ...] = ()) -> str:
        given = self._config.getoption(f"portbook_{name}") or self._config.getini(f"portbook_{name}")
        value = str(given or "")
        if value and choices and value not in choices:
            raise pytest.UsageError(f"portbook_{name} is {', '.join(choices[:-1])} or {choices[-1]}, not {value!r}")
        return value

    # Hooks of pytest. ------------------------------------------------------------------------------

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[Any]
    ) -> Generator[None, Any, None]:
        """Add advice to the report of a test that met an address in use."""
        outcome = yield
        report: pytest.TestReport = outcome.get_result()
        held = self._by_test.get(item.nodeid)
        if report.failed and held and _is_in_use(call, report):
            report.sections.append(("portbook", self._advice(held, self.terms(item))))
        if call.when == "teardown":
            self._by_test.pop(item.nodeid, None)

    def _advice(self, held: list[Held], terms: Terms) -> str:
        numbers = ", ".join(str(each.port) for each in held)
        lines = [f"This test has port {numbers}, and an address was in use."]
        for each in held:
            there = self._source.in_the_way(each.port) if self._source else None
            if there:
                lines.append(f"On {each.port}: {there}.")
        if terms.handover == "gate":
            lines.append(
                "A server that does not set SO_REUSEADDR cannot bind beside the socket that keeps the port. For "
                "such a server write @pytest.mark.portbook(handover='release'), or portbook_handover = release."
            )
        return "\n".join(lines)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Tell the controller of pytest-xdist the number of ports that this worker was given."""
        output = getattr(session.config, "workeroutput", None)
        if output is not None:
            output["portbook"] = dict(self._given)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """Add the number of a worker. One that crashed does not tell it."""
        self._given.update(getattr(node, "workeroutput", {}).get("portbook", {}))

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Name the holder of this run's ports, if a test used any."""
        for service, number in sorted(self._given.items()):
            noun = "port was" if number == 1 else "ports were"
            if service:
                holder = f"held by the service on {service}"
            elif self._service == "never":
                holder = "held by pytest itself (portbook_service = never)"
            else:
                holder = "held by pytest itself: no service answers"
            terminalreporter.write_line(f"portbook: {number} {noun} {holder}")


def _is_in_use(call: pytest.CallInfo[Any], report: pytest.TestReport) -> bool:
    error = call.excinfo.value if call.excinfo else None
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return True
    said = [report.longreprtext, *(text for _, text in report.sections)]
    return any(word in text for text in said for word in _IN_USE)
