//! Signs that a process uses a socket that it was started with.

use super::processes::numbers_of;
use crate::host::process;

/// O_NONBLOCK in the octal flags of `/proc/PID/fdinfo` (`proc_pid_fdinfo(5)`).
const NON_BLOCKING: u32 = 0o4000;

/// Whether a process shows that it uses a socket which it was started with: it has a second descriptor
/// of it, has it in an epoll set, or the socket is non-blocking, as event loops set it. That is a property
/// of the socket, so a child that sets it shows here too. A program that does not know of the socket
/// leaves it as it was given; one that waits in `accept(2)` or `poll(2)` on a blocking socket shows no
/// more.
///
/// FD_CLOEXEC is no sign: node sets it on every descriptor that it finds.
pub fn shows_use(pid: u32, inode: u64) -> bool {
    let numbers = numbers_of(pid, inode);
    numbers.len() > 1
        || numbers.iter().any(|number| is_non_blocking(pid, *number))
        || is_polled(pid, inode)
}

/// Maximum number of descriptors that are read in search of an epoll set.
const MOST_DESCRIPTORS: usize = 1024;

/// Whether an epoll set of a process has the socket: `tfd: NUMBER … ino:HEX` in its fdinfo.
fn is_polled(pid: u32, inode: u64) -> bool {
    let Ok(files) = std::fs::read_dir(format!("/proc/{pid}/fdinfo")) else {
        return false;
    };
    let wanted = format!("ino:{inode:x}");
    let has_it = |line: &str| {
        line.starts_with("tfd:") && line.split_ascii_whitespace().any(|word| word == wanted)
    };
    let texts = files.flatten().take(MOST_DESCRIPTORS);
    let mut texts = texts.filter_map(|file| std::fs::read_to_string(file.path()).ok());
    texts.any(|text| text.lines().any(has_it))
}

/// Beginnings of the kernel functions in which a thread sleeps that waits for clients without an epoll set:
/// accept, poll and select, a receiving UDP socket, io_uring. A thread that runs is in none (`0`).
const WAITS: [&str; 9] = [
    "0",
    "inet_csk_accept",
    "poll_schedule_timeout",
    "do_sys_poll",
    "do_select",
    "core_sys_select",
    "__skb_wait_for_more_packets",
    "wait_for_more_packets",
    "io_cqring_wait",
];

/// Maximum number of processes of one program that are looked at.
const MOST_PROCESSES: usize = 64;

/// Whether a thread of a process, or of its descendants, may be waiting for clients without an epoll set,
/// as far as the kernel tells (`/proc/PID/wchan`, `proc_pid_wchan(5)`). `true` where it does not.
pub fn may_wait_for_clients(pid: u32) -> bool {
    let mut processes = process::descendants(pid, MOST_PROCESSES).into_iter();
    processes.any(|pid| {
        let others = process::threads(pid).into_iter();
        let mut all = others.chain([pid]).map(|thread| {
            std::fs::read_to_string(format!("/proc/{pid}/task/{thread}/wchan")).unwrap_or_default()
        });
        all.any(|function| {
            function.is_empty() || WAITS.iter().any(|wait| function.starts_with(wait))
        })
    })
}

fn is_non_blocking(pid: u32, number: u32) -> bool {
    let Ok(information) = std::fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}")) else {
        return false;
    };
    let mut lines = information.lines();
    let flags = lines.find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok());
    flags.is_some_and(|flags| flags & NON_BLOCKING != 0)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::fd::OwnedFd;
    use std::process::{Child, Command, Stdio};

    use rustix::fs::fstat;

    use super::*;

    /// A child that has the listener as its standard input alone, or as its output too.
    fn child_with(listener: &TcpListener, is_twice: bool) -> Child {
        let copy = || Stdio::from(OwnedFd::from(listener.try_clone().unwrap()));
        let mut command = Command::new("sleep");
        command.arg("60").stdin(copy());
        if is_twice {
            command.stdout(copy());
        }
        command.spawn().unwrap()
    }

    fn shows(listener: &TcpListener, is_twice: bool) -> bool {
        let mut child = child_with(listener, is_twice);
        let shows = shows_use(child.id(), fstat(listener).unwrap().st_ino);
        child.kill().unwrap();
        child.wait().unwrap();
        shows
    }

    #[test]
    fn sleeper_waits_for_no_clients_and_a_thread_in_accept_may() {
        let mut sleeper = Command::new("sleep").arg("60").spawn().unwrap();
        // It is being loaded for a moment.
        while may_wait_for_clients(sleeper.id()) {
            std::thread::yield_now();
        }
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
        let script = "import socket; s = socket.create_server(('127.0.0.1', 0)); print(1, flush=True); s.accept()";
        let mut server = Command::new("python3")
            .args(["-c", script])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut told = [0];
        std::io::Read::read_exact(server.stdout.as_mut().unwrap(), &mut told).unwrap();
        assert!(may_wait_for_clients(server.id()));
        server.kill().unwrap();
        server.wait().unwrap();
    }

    #[test]
    fn untouched_socket_shows_no_use() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(!shows(&listener, false));
    }

    #[test]
    fn non_blocking_or_duplicated_socket_shows_use() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(shows(&listener, true));
        // Set on one descriptor, it is seen on the child's.
        listener.set_nonblocking(true).unwrap();
        assert!(shows(&listener, false));
    }
}
