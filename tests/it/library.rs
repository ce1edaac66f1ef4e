//! portbook as a library: the examples, as real processes, and the facade in this process.

use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use portbook::{Code, Error, Portbook, State};
use serde_json::{Value, json};

use crate::support::{PORTBOOK, Place, occupant, ports, ports_in_a_row, text};
use crate::tools::eventually;

/// An example of this crate; cargo builds them with the tests.
fn example(name: &str) -> PathBuf {
    let built = Path::new(PORTBOOK).parent().unwrap().join("examples");
    let path = built.join(name);
    assert!(path.exists(), "{name} is missing: cargo build --examples");
    path
}

/// An example with the settings of a place.
fn of(place: &Place, name: &str) -> Command {
    let mut command = Command::new(example(name));
    command.env_clear();
    for (variable, value) in place.command().get_envs() {
        command.envs(value.map(|value| (variable, value)));
    }
    command
}

/// A running example that has printed its address.
struct Serving {
    child: Child,
    port: u16,
}

impl Serving {
    fn start(command: Command) -> Self {
        let mut started = Self::begin(command);
        started.wait();
        started
    }

    /// Started; its address is not known yet.
    fn begin(mut command: Command) -> Self {
        let child = command.stdout(Stdio::piped()).spawn().unwrap();
        Self { child, port: 0 }
    }

    fn wait(&mut self) {
        let mut line = String::new();
        let stdout = self.child.stdout.as_mut().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let port = line.trim().rsplit(':').next().unwrap().parse();
        self.port = port.unwrap_or_else(|_| panic!("no address: {line:?}"));
    }

    fn kill(mut self) -> u16 {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.port
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The answer to a request for `/`.
fn visit(port: u16) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let request = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
    let mut answer = String::new();
    // Closed with the request unread, it may end in a reset.
    let _ = stream.read_to_string(&mut answer);
    answer
}

#[test]
fn example_console_moves_up_and_returns() {
    let place = Place::with_ports(1);
    let first = ports_in_a_row(3);
    let taken = occupant(first);
    let start = || {
        let mut console = of(&place, "console");
        console.arg(first.to_string());
        Serving::start(console)
    };
    let console = start();
    assert_eq!(console.port, first + 1);
    assert!(visit(console.port).contains("hello from the console"));
    assert_eq!(console.kill(), first + 1);
    // A connection of its visitor lingers on the port.
    let console = start();
    assert_eq!(console.port, first + 1);
    assert_eq!(console.kill(), first + 1);
    drop(taken);
    assert_eq!(start().port, first);
}

#[test]
fn explicit_port_is_granted_or_names_its_occupant() {
    let place = Place::with_ports(1);
    let (free, busy) = (ports(1)[0], ports(1)[0]);
    let mut console = of(&place, "console");
    console.args(["--port", &free.to_string()]);
    assert_eq!(Serving::start(console).port, free);

    let taken = occupant(busy);
    let refused = of(&place, "console")
        .args(["--port", &busy.to_string()])
        .output()
        .unwrap();
    let said = text(&refused.stderr);
    assert!(!refused.status.success());
    let expected = format!(
        "console: port {busy} is in use by python3 (pid {})",
        taken.0.id()
    );
    assert!(said.contains(&expected), "{said}");
}

#[test]
fn a_program_that_crashed_has_no_port_any_more() {
    let place = Place::with_ports(1);
    let port = ports(1)[0];
    let start = || {
        let mut console = of(&place, "console");
        console.args(["--port", &port.to_string()]);
        Serving::start(console)
    };
    start().kill();
    assert!(TcpListener::bind(("127.0.0.1", port)).is_ok());
    assert_eq!(start().port, port);
    // The lease of the first has ended in the books as well.
    assert_eq!(place.json(&["list"])["leases"].as_array().unwrap().len(), 0);
}

#[test]
fn servers_of_actix_and_axum_answer_on_their_ports() {
    let place = Place::with_ports(1);
    let first = ports_in_a_row(3);
    for name in ["actix", "axum"] {
        let mut server = of(&place, name);
        server.arg(first.to_string());
        let server = Serving::start(server);
        assert!((first..first + 3).contains(&server.port));
        let answer = visit(server.port);
        assert!(answer.contains(&format!("hello from {name}")), "{answer}");
    }
}

#[test]
fn axum_example_releases_its_name_on_shutdown() {
    let place = Place::with_ports(1);
    let mut server = of(&place, "axum");
    server.arg(ports(1)[0].to_string());
    let mut server = Serving::start(server);
    // From its first answer on it waits for the signal.
    visit(server.port);
    let pid = rustix::process::Pid::from_child(&server.child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert!(server.child.wait().unwrap().success());
    let leases = place.json(&["list"]);
    assert_eq!(leases["leases"].as_array().unwrap().len(), 0, "{leases}");
}

fn ran(mut command: Command) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    assert!(status.success(), "{}", text(&stderr));
    text(&stdout)
}

#[test]
fn client_behaves_alike_with_and_without_a_service() {
    let place = Place::with_ports(4);
    let client = || {
        let mut client = of(&place, "client");
        client.arg("web");
        ran(client)
    };
    let alone = client();
    assert!(alone.starts_with("no service"), "{alone}");
    let server = place.serve();
    let asked = client();
    let socket = server.socket();
    assert!(asked.starts_with(&format!("asking the service at {}", socket.display())));
    for said in [&alone, &asked] {
        for part in [
            "web has port",
            "Chose",
            "the child was told",
            "would last until Some",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }
}

#[test]
fn service_passes_a_listener_and_frees_its_dropped_port() {
    let place = Place::with_ports(4);
    let server = place.serve();
    let book = Portbook::connect(server.socket()).unwrap();
    assert_eq!(book.service().unwrap(), Some(server.socket()));

    let listener = book.prefer(place.ports[0]).listen().unwrap();
    let address = listener.local_addr().unwrap();
    assert_eq!(address.port(), place.ports[0]);
    let client = TcpStream::connect(address).unwrap();
    assert_eq!(listener.accept().unwrap().1, client.local_addr().unwrap());
    let lease = &book.leases().unwrap()[0];
    assert_eq!(lease.state, State::Active);
    assert_eq!(lease.owner.as_ref().unwrap().pid, std::process::id());
    // Held beneath the listener: even a binder with SO_REUSEADDR stays out.
    assert!(TcpListener::bind(address).is_err());

    let (id, why) = (lease.id, listener.lease().explain().unwrap());
    assert_eq!(why.explanation.granted[0].get(), address.port());
    drop(listener);
    assert_eq!(book.lease(id).unwrap().state, State::Released);
}

#[test]
fn leases_have_the_labels_of_the_settings() {
    let mut place = Place::with_ports(4);
    place.set("PORTBOOK_CLIENT__LABELS", "job=7");
    let _server = place.serve();
    let mut console = of(&place, "console");
    console.arg(place.ports[0].to_string());
    let console = Serving::start(console);
    let list = place.json(&["list", "--label", "job=7"]);
    assert_eq!(list["leases"][0]["port"], console.port, "{list}");
}

#[test]
fn name_keeps_its_port_within_one_process() {
    let place = Place::with_ports(4);
    let again = |book: &Portbook| {
        let port = || book.request().name("web").listen().unwrap().lease().port();
        assert_eq!(port(), port());
    };
    again(&Portbook::embedded(place.data_dir()).unwrap());
    let server = place.serve();
    again(&Portbook::connect(server.socket()).unwrap());
}

#[test]
fn program_started_without_a_service_continues_with_one() {
    let place = Place::with_ports(2);
    let book = Portbook::embedded(place.data_dir()).unwrap();
    let listener = book.prefer(place.ports[0]).listen().unwrap();
    let id = listener.lease().id();
    let server = place.serve();
    assert_eq!(book.service().unwrap(), Some(server.socket()));
    assert_eq!(book.lease(id).unwrap().state, State::Active);
    drop(listener);
    assert_eq!(book.lease(id).unwrap().state, State::Released);
    server.stop();
    assert_eq!(book.service().unwrap(), None);
    assert_eq!(book.lease(id).unwrap().state, State::Released);
}

#[test]
fn eight_processes_at_once_get_eight_ports() {
    let place = Place::with_ports(1);
    let first = ports(1)[0];
    // All of them under way before the first has answered.
    let mut consoles: Vec<Serving> = (0..8)
        .map(|number| {
            let mut console = of(&place, "console");
            console.args([first.to_string(), format!("console-{number}")]);
            Serving::begin(console)
        })
        .collect();
    consoles.iter_mut().for_each(Serving::wait);
    let mut got: Vec<u16> = consoles.iter().map(|console| console.port).collect();
    got.sort_unstable();
    got.dedup();
    assert_eq!(got.len(), 8, "{got:?}");
    for port in got {
        assert!(visit(port).contains("hello"));
    }
}

#[test]
fn udp_and_several_addresses_have_their_sockets() {
    let folder = tempfile::tempdir().unwrap();
    let book = Portbook::embedded(folder.path()).unwrap();
    let wanted = ports(2);
    let request = book.port(wanted[0]).interfaces(["127.0.0.1", "127.0.0.2"]);
    let listeners = request.clone().listen_all().unwrap();
    assert_eq!(listeners.len(), 2);
    assert_eq!(listeners.lease().addresses().len(), 2);
    listeners.release().unwrap();
    let error = request.listen().unwrap_err();
    assert!(matches!(error, Error::SeveralAddresses(_)), "{error}");
    assert!(book.leases().unwrap().is_empty(), "refused, yet leased");

    let socket = book.port(wanted[1]).bind_udp().unwrap();
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    sender.send_to(b"hello", ("127.0.0.1", wanted[1])).unwrap();
    assert_eq!(socket.recv_from(&mut [0; 8]).unwrap().0, 5);
}

#[test]
fn inside_a_runtime_both_ways_work_and_outside_none_panics() {
    let folder = tempfile::tempdir().unwrap();
    let book = Portbook::embedded(folder.path()).unwrap();
    let (one, other) = (ports(1)[0], ports(1)[0]);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let serving = runtime.block_on(async {
        let blocking = book.port(one).listen().unwrap().into_tokio().unwrap();
        // On a task, so the future can move between threads.
        let asked = tokio::spawn(book.port(other).listen_async());
        let asynchronous = asked.await.unwrap().unwrap();
        for listener in [&blocking, &asynchronous] {
            let address = listener.local_addr().unwrap();
            let (client, served) =
                tokio::join!(tokio::net::TcpStream::connect(address), listener.accept());
            assert_eq!(client.unwrap().local_addr().unwrap(), served.unwrap().1);
        }
        let udp = book.port(one).bind_udp_async().await.unwrap();
        udp.send_to(b"x", udp.local_addr().unwrap()).await.unwrap();
        blocking
    });
    let outside = book.request().listen().unwrap().into_tokio();
    assert!(outside.is_err(), "a socket without a runtime");
    drop(serving);
}

#[test]
fn cancelled_request_leaves_no_lease() {
    let folder = tempfile::tempdir().unwrap();
    let book = Portbook::embedded(folder.path()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let asking = tokio::spawn(book.request().lease_async());
        tokio::task::yield_now().await;
        asking.abort();
        drop(asking.await);
    });
    eventually("no lease", || {
        book.leases().unwrap().is_empty().then_some(())
    });
}

#[test]
fn invalid_library_request_fails_before_it_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    let book = Portbook::embedded(folder.path()).unwrap();
    let any = || book.request();
    for (request, said) in [
        (any().name("../etc"), "is not a name"),
        (any().interfaces(["a b"]), "neither an address"),
        (any().attempts(0), "0 attempts"),
        (any().range(RangeInclusive::new(9000, 8000)), "reversed"),
        (any().port(8000).prefer(8001), "exclude each other"),
        (any().pool("nowhere"), "there is no pool"),
    ] {
        let error = request.lease().unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
        assert!(error.code().is_some(), "{error:?}");
    }
}

#[test]
fn bounded_attempts_name_every_occupant() {
    let folder = tempfile::tempdir().unwrap();
    let book = Portbook::embedded(folder.path()).unwrap();
    let first = ports_in_a_row(3);
    let _taken = [occupant(first), occupant(first + 1)];
    let error = book.prefer(first).attempts(2).listen().unwrap_err();
    assert_eq!(error.code(), Some(Code::AttemptsExhausted));
    let tried: Vec<u16> = error.attempts().iter().map(|tried| tried.port).collect();
    assert_eq!(tried, [first, first + 1]);
    let message = error.to_string();
    assert_eq!(
        message.matches("is held by python3 (pid").count(),
        2,
        "{message}"
    );
    let listener = book.prefer(first).listen().unwrap();
    assert_eq!(listener.lease().port(), first + 2);
    assert_eq!(listener.lease().conflicts().len(), 2);
    drop(listener);
    // The refused bind was learned: without a preference the port is not tried again.
    let listener = book.request().range(first..=first + 2).listen().unwrap();
    assert_eq!(listener.lease().port(), first + 2);
    assert!(listener.lease().conflicts().is_empty());
}

#[test]
fn requested_ranges_replace_those_of_the_pool() {
    let place = Place::with_ports(1);
    let server = place.serve();
    let outside = ports(1)[0];
    let ask = |ranges: Value| {
        let wanted = json!({"ranges": ranges, "interfaces": ["127.0.0.1"]});
        server.allocate(&wanted)
    };
    let granted = ask(json!(outside.to_string())).json();
    assert_eq!(granted["leases"][0]["port"], outside, "{granted}");
    let exhausted = ask(json!(outside.to_string())).json();
    assert_eq!(exhausted["code"], "pool_exhausted", "{exhausted}");
    assert_eq!(ask(json!([])).status, 400);
}

#[test]
fn the_readme_shows_what_the_examples_do() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let section = readme.split("## As a library").nth(1).expect("the section");
    let section = section.split("\n## ").next().unwrap();
    let mut examples = String::new();
    for entry in std::fs::read_dir(root.join("examples")).unwrap() {
        examples += &std::fs::read_to_string(entry.unwrap().path()).unwrap();
    }
    let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let examples = squeezed(&examples);
    let blocks: Vec<&str> = section.split("```rust\n").skip(1).collect();
    assert!(!blocks.is_empty());
    for block in blocks {
        for part in block.split("```").next().unwrap().split("\n\n") {
            assert!(examples.contains(&squeezed(part)), "in no example:\n{part}");
        }
    }
}
