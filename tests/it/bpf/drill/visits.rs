//! Servers that are visited, by others and by themselves.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::Duration;

use socket2::SockRef;

use super::Fault;
use crate::tools::Running;

/// Serves its own pid on the port of its argument, and checks all the time that it reaches itself there. For each line
/// it says whether it does now, and how often it did not and did since the last line.
pub(super) const CARE: &str = r#"
import os, socket, struct, sys, threading, time
asked, own, counts = int(sys.argv[1]), b"%d" % os.getpid(), [0, 0]
def serve(s):
    while True:
        with s.accept()[0] as client:
            try:
                client.sendall(own)
                client.recv(1)
            except OSError:
                pass
def reaches():
    try:
        with socket.create_connection(("127.0.0.1", asked), 5) as s:
            # Closed by reset, so that nothing lingers.
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return s.recv(20) == own
    except OSError:
        return False
def check():
    while True:
        counts[reaches()] += 1
        time.sleep(0.005)
s = socket.socket()
s.bind(("0.0.0.0", asked))
s.listen(64)
threading.Thread(target=serve, args=[s], daemon=True).start()
threading.Thread(target=check, daemon=True).start()
print(os.getpid(), s.getsockname()[1], flush=True)
for _ in sys.stdin:
    print(reaches(), *counts, flush=True)
    counts[:] = 0, 0
"#;

/// Interval of the visits to a server.
const EVERY: Duration = Duration::from_millis(2);

/// A running server.
pub(super) struct Copy {
    running: Running,
    pub(super) pid: String,
    pub(super) port: u16,
}

impl Copy {
    pub(super) fn start(command: Command) -> Self {
        let mut running = Running::piped(command);
        let line = running.line();
        let (pid, port) = line.split_once(' ').expect("the server listens");
        Self {
            pid: pid.to_owned(),
            port: port.parse().unwrap(),
            running,
        }
    }

    /// Asserts that it reaches itself now, and if `always` that it did since the last time. Returns the number of its
    /// checks.
    pub(super) fn assert_reaches_itself(&mut self, always: bool, fault: Fault) -> u64 {
        writeln!(self.running.0.stdin.as_mut().unwrap()).unwrap();
        let line = self.running.line();
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!(words[0], "True", "after {fault:?}: {line}");
        assert!(!always || words[1] == "0", "during {fault:?}: {line}");
        words[2].parse().unwrap()
    }
}

/// Visits to servers, all the time. None may fail.
pub(super) struct Visits<'s> {
    is_over: Arc<AtomicBool>,
    visitors: Vec<ScopedJoinHandle<'s, u64>>,
}

impl<'s> Visits<'s> {
    pub(super) fn begin(scope: &'s Scope<'s, '_>, copies: &[Copy]) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let visitors = copies.iter().map(|copy| {
            let (port, pid, is_over) = (copy.port, copy.pid.clone(), Arc::clone(&is_over));
            scope.spawn(move || {
                let mut count = 0;
                while !is_over.load(Ordering::Relaxed) {
                    assert_eq!(visit(port).unwrap(), pid);
                    count += 1;
                    thread::sleep(EVERY);
                }
                count
            })
        });
        let visitors = visitors.collect();
        Self { is_over, visitors }
    }

    /// Ends them, and returns their number.
    pub(super) fn end(mut self) -> u64 {
        self.is_over.store(true, Ordering::Relaxed);
        let visitors = std::mem::take(&mut self.visitors).into_iter();
        visitors.map(|visitor| visitor.join().unwrap()).sum()
    }
}

impl Drop for Visits<'_> {
    fn drop(&mut self) {
        // A failed drill must not wait for its visitors for ever.
        self.is_over.store(true, Ordering::Relaxed);
    }
}

fn visit(port: u16) -> std::io::Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    let mut pid = [0; 20];
    let length = stream.read(&mut pid)?;
    Ok(String::from_utf8_lossy(&pid[..length]).into_owned())
}
