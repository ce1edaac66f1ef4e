//! Ports that a proxy of a container engine publishes, by its command line. Every user may read that of
//! root's docker-proxy, whose descriptors only root sees. Nothing else of the line is kept: it can hold
//! secrets.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use super::Directory;
use crate::domain::attempt::printable;
use crate::domain::port::Protocol;

/// Maximum length of a command line that is read.
const LINE_BYTES: u64 = 64 * 1024;

/// Maximum number of ports that one command line may publish.
const MOST: usize = 256;

/// Ports that a process publishes for a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    pub protocol: Protocol,
    /// Local address. `None` if the line does not tell.
    pub ip: Option<IpAddr>,
    pub ports: RangeInclusive<u16>,
}

/// Whether the command line of a program of this name tells its ports.
pub fn has_published(command: &str) -> bool {
    parser(command).is_some()
}

/// Reader of a program's options.
type Parser = fn(&[(&str, &str)]) -> Vec<Published>;

fn parser(command: &str) -> Option<Parser> {
    match command {
        "docker-proxy" => Some(of_docker_proxy),
        "pasta" | "pasta.avx2" | "passt" | "passt.avx2" => Some(of_pasta),
        _ => None,
    }
}

/// Reads the ports that a process publishes, if it is a proxy of a user: effective and real user are the
/// same, so that no other user has chosen its command line.
pub fn published_by(pid: u32, user: u32) -> Vec<Published> {
    let Ok(directory) = Directory::open(pid) else {
        return Vec::new();
    };
    let command = directory.command().unwrap_or_default();
    let Some(parse) = parser(&command) else {
        return Vec::new();
    };
    if directory.users() != Some([user; 4]) {
        return Vec::new();
    }
    let line = directory.line(LINE_BYTES).unwrap_or_default();
    let mut published = parse(&options(line.split('\0').skip(1)));
    published.truncate(MOST);
    published
}

/// Maximum length of a container's name that is read.
const NAME_BYTES: usize = 128;

/// Reads the name of the container that a conmon of podman serves: `conmon … -n NAME …`.
pub fn container_of_conmon(pid: u32) -> Option<String> {
    let directory = Directory::open(pid).ok()?;
    if directory.command().ok()? != "conmon" {
        return None;
    }
    let line = directory.line(LINE_BYTES).ok()?;
    let mut words = line.split('\0').skip_while(|word| *word != "-n");
    let name = words.nth(1).filter(|name| name.len() <= NAME_BYTES)?;
    Some(printable(name))
}

impl Directory {
    /// Real, effective, saved and file system user, by `proc_pid_status(5)`.
    pub(super) fn users(&self) -> Option<[u32; 4]> {
        let status = self.read_up_to("status", super::STATUS_BYTES).ok()?;
        let status = String::from_utf8_lossy(&status);
        let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
        let users = line
            .split_ascii_whitespace()
            .map(|uid| uid.parse::<u32>().ok());
        let users: Option<Vec<u32>> = users.collect();
        users?.try_into().ok()
    }
}

/// Options with their values: `-name value`, `--name value`, `--name=value`.
fn options<'w>(words: impl Iterator<Item = &'w str>) -> Vec<(&'w str, &'w str)> {
    let mut words = words.peekable();
    let mut options = Vec::new();
    while let Some(word) = words.next() {
        let Some(name) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')) else {
            continue;
        };
        if let Some((name, value)) = name.split_once('=') {
            options.push((name, value));
        } else if let Some(value) = words.next_if(|next| !next.starts_with('-')) {
            options.push((name, value));
        }
    }
    options
}

/// `docker-proxy -proto tcp -host-ip 0.0.0.0 -host-port 8080 -container-ip 172.17.0.2 …`.
fn of_docker_proxy(options: &[(&str, &str)]) -> Vec<Published> {
    let value = |wanted| {
        let mut all = options.iter();
        all.find_map(|(name, value)| (*name == wanted).then_some(*value))
    };
    let published = || {
        // Each proxy is for one container.
        value("container-ip")?.parse::<IpAddr>().ok()?;
        let port: u16 = value("host-port")?.parse().ok()?;
        Some(Published {
            protocol: value("proto")?.parse().ok()?,
            ip: Some(value("host-ip")?.parse().ok()?),
            ports: port..=port,
        })
    };
    published().into_iter().collect()
}

/// `pasta -t 127.0.0.1/8080:80,9000-9010 -u 53 …`.
fn of_pasta(options: &[(&str, &str)]) -> Vec<Published> {
    let of = |(name, value): &(&str, &str)| {
        let protocol = match *name {
            "t" | "tcp-ports" => Protocol::Tcp,
            "u" | "udp-ports" => Protocol::Udp,
            _ => return Vec::new(),
        };
        forwarded(protocol, value)
    };
    options.iter().flat_map(of).collect()
}

fn forwarded(protocol: Protocol, list: &str) -> Vec<Published> {
    let (address, list) = list
        .split_once('/')
        .map_or((None, list), |(address, list)| (Some(address), list));
    let ip = address.and_then(|address| address.split('%').next()?.parse().ok());
    let of = |item: &str| {
        let host = item.split(':').next()?;
        let (low, high) = host.split_once('-').unwrap_or((host, host));
        Some(Published {
            protocol,
            ip,
            ports: low.parse().ok()?..=high.parse().ok()?,
        })
    };
    list.split(',').filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published(parse: fn(&[(&str, &str)]) -> Vec<Published>, line: &str) -> Vec<Published> {
        parse(&options(line.split(' ')))
    }

    fn tcp(ip: Option<&str>, ports: RangeInclusive<u16>) -> Published {
        Published {
            protocol: Protocol::Tcp,
            ip: ip.map(|ip| ip.parse().unwrap()),
            ports,
        }
    }

    #[test]
    fn docker_proxy_publishes_one_port() {
        let of = |line| published(of_docker_proxy, line);
        let line = "-proto tcp -host-ip 0.0.0.0 -host-port 8080 -container-ip 172.17.0.2 -container-port 80";
        assert_eq!(of(line), [tcp(Some("0.0.0.0"), 8080..=8080)]);
        let newer =
            "--proto=tcp --host-ip=:: --host-port=8080 --container-ip=172.17.0.2 -use-listen-fd";
        assert_eq!(of(newer), [tcp(Some("::"), 8080..=8080)]);
        for broken in [
            "",
            "-proto tcp -host-ip 0.0.0.0 -container-ip 172.17.0.2",
            "-proto tcp -host-ip 0.0.0.0 -host-port 99999 -container-ip 172.17.0.2",
            "-proto tcp -host-ip x -host-port 80 -container-ip 172.17.0.2",
            "-proto sctp -host-ip 0.0.0.0 -host-port 80 -container-ip 172.17.0.2",
            "-proto tcp -host-ip 0.0.0.0 -host-port 8080",
        ] {
            assert_eq!(of(broken), [], "{broken}");
        }
    }

    #[test]
    fn pasta_publishes_ranges_of_an_address() {
        let of = |line| published(of_pasta, line);
        assert_eq!(of("-t 8080:80"), [tcp(None, 8080..=8080)]);
        assert_eq!(
            of("--config-net --tcp-ports 127.0.0.1%lo/8080:80,9000-9010 -u none --map x"),
            [
                tcp(Some("127.0.0.1"), 8080..=8080),
                tcp(Some("127.0.0.1"), 9000..=9010)
            ]
        );
        assert_eq!(of("-t auto"), []);
        assert_eq!(of("-t"), []);
    }

    #[test]
    fn a_process_that_is_no_proxy_publishes_nothing() {
        assert_eq!(published_by(std::process::id(), 0), []);
        assert_eq!(published_by(u32::MAX, 0), []);
    }
}
