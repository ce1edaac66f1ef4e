//! Signs that a process uses a socket that it was started with.

use super::processes::numbers_of;

/// O_NONBLOCK in the octal flags of `/proc/PID/fdinfo` (`proc_pid_fdinfo(5)`).
const NON_BLOCKING: u32 = 0o4000;

/// Whether a process shows that it uses a socket which it was started with: it has a second descriptor
/// of it, or the socket is non-blocking, as event loops set it. That is a property of the socket, so a
/// child that sets it shows here too. A program that does not know of the socket leaves it as it was
/// given; one that waits in `accept(2)` or `poll(2)` on a blocking socket shows no more.
///
/// FD_CLOEXEC is no sign: node sets it on every descriptor that it finds.
pub fn shows_use(pid: u32, inode: u64) -> bool {
    let numbers = numbers_of(pid, inode);
    numbers.len() > 1 || numbers.iter().any(|number| is_non_blocking(pid, *number))
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
