//! The kernel's settings that matter for the choice of a port, and the limit on descriptors.

use std::io;

use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::domain::port::{Port, PortSet};

/// First unprivileged port if the kernel does not tell it (`ip(7)`, `ip_unprivileged_port_start`).
const DEFAULT_UNPRIVILEGED_PORT_START: u16 = 1024;

/// Ports that `bind(0)` and `connect(2)` choose from: `net.ipv4.ip_local_port_range` (`ip(7)`), for
/// IPv6 too. `None` if the kernel does not tell it.
pub fn ephemeral_range() -> Option<PortSet> {
    parse_range(&sysctl("ip_local_port_range")?)
}

/// Ports that the administrator keeps from `bind(0)` and `connect(2)`:
/// `net.ipv4.ip_local_reserved_ports` (`ip(7)`). They can still be bound by number.
pub fn reserved_ports() -> PortSet {
    sysctl("ip_local_reserved_ports").map_or(PortSet::EMPTY, |text| parse_reserved(&text))
}

/// Ports that outgoing connections get: the ephemeral range without the reserved ports.
pub fn outgoing_ports() -> PortSet {
    ephemeral_range().map_or(PortSet::EMPTY, |range| range.without(&reserved_ports()))
}

/// Whether `bind(0)` with SO_REUSEADDR may get a port on which a socket with SO_REUSEADDR is bound and
/// does not listen: `net.ipv4.ip_autobind_reuse` (`ip-sysctl` in the kernel's documentation), for IPv6
/// too. An open gate is such a socket.
pub fn autobind_reuses() -> bool {
    sysctl("ip_autobind_reuse").is_some_and(|text| text.trim() != "0")
}

/// First port that needs no CAP_NET_BIND_SERVICE: `net.ipv4.ip_unprivileged_port_start` (`ip(7)`),
/// for IPv6 too. Zero if no port needs it.
pub fn unprivileged_port_start() -> u16 {
    sysctl("ip_unprivileged_port_start")
        .and_then(|text| parse_start(&text))
        .unwrap_or(DEFAULT_UNPRIVILEGED_PORT_START)
}

/// Raises the soft limit on open descriptors to the hard one (RLIMIT_NOFILE, `getrlimit(2)`), and
/// returns it; without a limit that is `u64::MAX`. Each hold needs one descriptor for each address.
pub fn raise_fd_limit() -> io::Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    let hard = limit.maximum;
    if limit.current != hard {
        let raised = Rlimit {
            current: hard,
            maximum: hard,
        };
        setrlimit(Resource::Nofile, raised)?;
    }
    Ok(hard.unwrap_or(u64::MAX))
}

/// Room of a table of descriptors that is made at once: half a megabyte of the kernel's memory.
const FD_TABLE: u64 = 65_536;

/// Enlarges the table of descriptors, as far as `limit` allows, before the first thread starts. Where threads
/// share a full table the kernel waits for a grace period of RCU before it doubles it (`expand_fdtable`, 10 ms
/// on Linux 6.18), in the midst of a request. A table never becomes smaller.
pub fn enlarge_fd_table(limit: u64) {
    let last = limit.min(FD_TABLE).saturating_sub(1);
    let last = i32::try_from(last).unwrap_or(i32::MAX);
    // A failure makes a few requests slower, and no more than that.
    drop(fcntl_dupfd_cloexec(std::io::stderr(), last));
}

/// Number of connections that all other users of a door may have, under a limit on open descriptors.
/// Three doors full of them leave what is kept free of holds.
pub fn guest_connections(limit: u64) -> u64 {
    (limit / 32).clamp(64, 1024)
}

/// Limit on open descriptors of this process as it is now.
pub fn fd_limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Hard limit on open descriptors, to which a service raises its own; without a limit that is
/// `u64::MAX`.
pub fn hard_fd_limit() -> u64 {
    getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX)
}

fn sysctl(name: &str) -> Option<String> {
    std::fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).ok()
}

/// Parses two numbers with a tab between; both are part of the range.
fn parse_range(text: &str) -> Option<PortSet> {
    let mut words = text.split_whitespace();
    let first: Port = words.next()?.parse().ok()?;
    let last: Port = words.next()?.parse().ok()?;
    let range = PortSet::range(first, last);
    (!range.is_empty()).then_some(range)
}

/// Parses `8080,9148-9150`, or an empty line. The kernel allows zero in the list, which is no port.
fn parse_reserved(text: &str) -> PortSet {
    let parts = text.split(',').map(str::trim);
    parts.fold(PortSet::EMPTY, |all, part| {
        let part = part
            .strip_prefix("0-")
            .map_or_else(|| part.to_owned(), |last| format!("1-{last}"));
        part.parse()
            .map_or_else(|_| all.clone(), |set| all.union(&set))
    })
}

fn parse_start(text: &str) -> Option<u16> {
    text.trim().parse().ok()
}

/// Number of open descriptors of this process.
///
/// Since Linux 6.2 the size of `/proc/self/fd` is their number (`proc_pid_fd(5)`), which costs nothing. Earlier
/// kernels tell the size zero; then the list is read, a millisecond for each thousand.
pub fn open_descriptors() -> io::Result<usize> {
    const LIST: &str = "/proc/self/fd";
    match std::fs::metadata(LIST)?.len() {
        0 => listed_descriptors(LIST),
        number => Ok(usize::try_from(number).unwrap_or(usize::MAX)),
    }
}

fn listed_descriptors(list: &str) -> io::Result<usize> {
    // The list itself is read by one of them.
    Ok(std::fs::read_dir(list)?.count().saturating_sub(1))
}

/// Number of bytes that this user may still write to the file system of a folder (`statvfs(3)`).
pub fn free_bytes(folder: &std::path::Path) -> io::Result<u64> {
    let system = rustix::fs::statvfs(folder)?;
    Ok(system.f_bavail.saturating_mul(system.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_the_kernel_are_parsed() {
        assert_eq!(
            parse_range("32768\t60999\n").unwrap().to_string(),
            "32768-60999"
        );
        assert_eq!(
            parse_reserved("8080,9148-9150\n").to_string(),
            "8080,9148-9150"
        );
        assert_eq!(parse_reserved("\n"), PortSet::EMPTY);
        assert_eq!(parse_reserved("0-3,0\n").to_string(), "1-3");
        assert_eq!(parse_start("80\n"), Some(80));
        assert_eq!(parse_start("0\n"), Some(0));
    }

    #[test]
    fn descriptors_are_counted_alike_in_both_ways() {
        let (before, listed) = (open_descriptors().unwrap(), || {
            listed_descriptors("/proc/self/fd").unwrap()
        });
        let more: Vec<std::fs::File> = (0..100)
            .map(|_| std::fs::File::open("/dev/null").unwrap())
            .collect();
        // Other tests of this process open and close some meanwhile.
        assert!(open_descriptors().unwrap().abs_diff(before + more.len()) < 60);
        assert!(open_descriptors().unwrap().abs_diff(listed()) < 60);
    }

    #[test]
    fn other_texts_are_not_parsed() {
        for text in ["", "32768", "60999 32768", "a b"] {
            assert_eq!(parse_range(text), None, "{text:?}");
        }
        assert_eq!(parse_start("none"), None);
    }

    #[test]
    fn this_kernel_gives_ports_from_its_range() {
        let range = ephemeral_range().expect("ip_local_port_range");
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = Port::new(socket.local_addr().unwrap().port()).unwrap();
        assert!(range.contains(port), "{port} is outside {range}");
        assert!(!reserved_ports().contains(port));
    }

    #[test]
    fn table_of_descriptors_has_room_before_it_is_needed() {
        let size = || {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("FDSize:"));
            line.unwrap().trim().parse::<u64>().unwrap()
        };
        let limit = raise_fd_limit().unwrap();
        enlarge_fd_table(limit);
        assert!(size() >= limit.min(FD_TABLE), "{}", size());
    }

    #[test]
    fn the_soft_limit_reaches_the_hard_one() {
        let raised = raise_fd_limit().unwrap();
        let now = getrlimit(Resource::Nofile);
        assert_eq!(now.current, now.maximum);
        assert_eq!(now.current.unwrap_or(u64::MAX), raised);
    }
}
