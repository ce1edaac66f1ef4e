//! The socket tables as text, `/proc/net/{tcp,tcp6,udp,udp6}` (`proc_net(5)`), for hosts that
//! refuse netlink. They are slower, leave out sockets that are only bound, and do not tell
//! IPV6_V6ONLY.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Entry, Raw};
use crate::domain::port::{Port, Protocol};

/// Reads the sockets of a protocol, of both families, on one port or on all.
pub(super) fn read(protocol: Protocol, port: Option<Port>) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for suffix in ["", "6"] {
        let file = match File::open(format!("/proc/self/net/{protocol}{suffix}")) {
            // This kernel has no IPv6.
            Err(error) if error.kind() == io::ErrorKind::NotFound && suffix == "6" => continue,
            other => other?,
        };
        for line in BufReader::new(file).lines().skip(1) {
            entries.extend(parse_line(protocol, &line?).and_then(Raw::entry));
        }
    }
    entries.retain(|entry| port.is_none_or(|port| entry.port == port));
    Ok(entries)
}

/// Parses `0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000 1000 0 4711 …`.
fn parse_line(protocol: Protocol, line: &str) -> Option<Raw> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let (ip, port) = words.get(1)?.split_once(':')?;
    Some(Raw {
        protocol,
        local: parse_ip(ip)?,
        scope: 0,
        v6_only: None,
        port: u16::from_str_radix(port, 16).ok()?,
        state: u8::from_str_radix(words.get(3)?, 16).ok()?,
        uid: words.get(7)?.parse().ok()?,
        inode: words.get(9)?.parse().ok()?,
        queue: u32::from_str_radix(words.get(4)?.split_once(':')?.1, 16).ok()?,
    })
}

/// Parses an address: words of 32 bits, each in the byte order of this machine.
fn parse_ip(text: &str) -> Option<IpAddr> {
    let word = |at: usize| -> Option<[u8; 4]> {
        let word = u32::from_str_radix(text.get(at * 8..at * 8 + 8)?, 16).ok()?;
        Some(word.to_ne_bytes())
    };
    if text.len() == 8 {
        return Some(Ipv4Addr::from(word(0)?).into());
    }
    let mut octets = [0; 16];
    for (at, part) in octets.chunks_exact_mut(4).enumerate() {
        part.copy_from_slice(&word(at)?);
    }
    Some(Ipv6Addr::from(octets).into())
}

#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests {
    use super::*;
    use crate::domain::attempt::SocketState;

    fn entry(line: &str) -> Entry {
        parse_line(Protocol::Tcp, line)
            .and_then(Raw::entry)
            .unwrap()
    }

    #[test]
    fn a_listener_is_read() {
        let found = entry(
            "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000003 00:00000000 00000000  1000        0 4711 1 0000000000000000 100 0 0 10 0",
        );
        assert_eq!(found.local.to_string(), "127.0.0.1");
        assert_eq!(found.port.get(), 8080);
        assert_eq!(found.state, SocketState::Listening);
        assert_eq!((found.uid, found.inode), (Some(1000), 4711));
        assert!(!found.dual);
        assert_eq!(found.queue, 3);
    }

    #[test]
    fn ipv6_is_read_and_taken_for_dual_on_the_wildcard() {
        let found = entry(
            "1: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 12 1",
        );
        assert!(found.dual);
        let found = entry(
            "1: 000077FD000000000000000002000000:0050 00000000000000000000000000000000:0000 01 0:0 0:0 0 0 0 12 1",
        );
        assert_eq!(found.local.to_string(), "fd77::2");
        assert!(!found.dual);
        let found = entry(
            "1: 0000000000000000FFFF00000100007F:0050 0000000000000000FFFF00000100007F:0001 06 0:0 0:0 0 0 0 0 1",
        );
        assert_eq!(found.local.to_string(), "127.0.0.1");
        assert_eq!((found.state, found.uid), (SocketState::Lingering, None));
    }

    #[test]
    fn other_lines_are_skipped() {
        for line in ["", "sl local_address", "0: 0100007F 0 0", "0: zz:1F90 0 0A"] {
            assert!(parse_line(Protocol::Tcp, line).is_none(), "{line:?}");
        }
    }

    #[test]
    fn this_hosts_table_lists_a_listener_of_each_family() {
        for ip in ["127.0.0.1", "::1"] {
            let Ok(listener) = std::net::TcpListener::bind((ip, 0)) else {
                eprintln!("skipped for {ip}: this host cannot bind it");
                continue;
            };
            let port = Port::new(listener.local_addr().unwrap().port());
            let found = read(Protocol::Tcp, port).unwrap();
            assert!(
                found
                    .iter()
                    .any(|entry| entry.local.to_string() == ip
                        && entry.state == SocketState::Listening),
                "{found:?}"
            );
        }
    }
}
