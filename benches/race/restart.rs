//! The third part: one named port, restarted again and again.
//!
//! Its program is killed with a client's connection open. In one half the client then closes its
//! end too, so that a TIME_WAIT is left on the port; in the other it keeps it open for longer than
//! the next program lives. The next one is started at once.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use anyhow::{Context, Result, ensure};

use crate::common::place::Place;
use crate::common::role::{self, Role};
use crate::rivals::Kind;
use crate::{Arguments, POOL, rounds, table};

/// Maximum number of open connections.
const KEPT_OPEN: usize = 100;

/// Connections left behind by a client.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leaves {
    TimeWait,
    OpenConnection,
}

/// Measures and prints.
pub fn measure(arguments: &Arguments) -> Result<()> {
    table::head(
        "One named port, its program killed and started again at once; rivals that do not aim",
        &[
            "left behind by a client",
            "restarts",
            "each",
            "on the same port",
            "on another",
            "refused",
        ],
    );
    for (leaves, what) in [
        (Leaves::TimeWait, "a closed connection (TIME_WAIT)"),
        (Leaves::OpenConnection, "an open connection"),
    ] {
        let begin = crate::common::now();
        let seen = restart(arguments, leaves)?;
        let each = begin.elapsed().as_secs_f64() * 1e3 / f64::from(arguments.restarts);
        let counts = [seen.same, seen.moved, seen.refused].map(|count| count.to_string());
        let [same, moved, refused] = counts;
        let (restarts, each) = (arguments.restarts.to_string(), format!("{each:.0} ms"));
        table::row(&[what.to_owned(), restarts, each, same, moved, refused]);
    }
    Ok(())
}

/// Port of the restarted program.
#[derive(Default)]
struct Seen {
    same: u32,
    moved: u32,
    refused: u32,
}

fn restart(arguments: &Arguments, leaves: Leaves) -> Result<Seen> {
    let place = Place::new(&format!("{}-{}", POOL.start(), POOL.end()))?;
    let _service = place.serve()?;
    let rivals = rounds::start(&Kind::NOT_AIMED, arguments.clients)?;
    let (mut seen, mut kept) = (Seen::default(), VecDeque::new());
    let mut first = None;
    for _ in 0..=arguments.restarts {
        match visit(&place) {
            Ok((port, stream)) => {
                match first {
                    None => first = Some(port),
                    Some(first) if first == port => seen.same += 1,
                    Some(_) => seen.moved += 1,
                }
                if leaves == Leaves::OpenConnection {
                    kept.push_back(stream);
                }
            }
            Err(error) => {
                eprintln!("  {error:#}");
                seen.refused += 1;
            }
        }
        if kept.len() > KEPT_OPEN {
            kept.pop_front();
        }
    }
    rounds::dismiss(rivals)?;
    Ok(seen)
}

/// Starts the program under its name, connects, and kills it.
fn visit(place: &Place) -> Result<(u16, TcpStream)> {
    let program = std::env::current_exe()?;
    let mut command = place.command();
    command.args(["run", "--name", "web", "--"]).arg(program);
    let mut role = Role::start(command.args(["serve", "{port}"]))?;
    let port = role.hear()?.parse().context("no port")?;
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    let mut greeting = [0; 5];
    stream.read_exact(&mut greeting)?;
    ensure!(&greeting == b"hello", "another process serves on {port}");
    // Killed and reaped.
    drop(role);
    Ok((port, stream))
}

/// Serves on a port as std does, greets each client, and keeps every connection.
pub fn serve(port: u16) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
    role::ready();
    println!("{port}");
    let mut kept = Vec::new();
    for stream in listener.incoming() {
        let mut stream = stream?;
        stream.write_all(b"hello")?;
        kept.push(stream);
    }
    Ok(())
}
