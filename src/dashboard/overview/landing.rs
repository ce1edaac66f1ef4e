//! Where the console landed, and why not where it prefers to be.

use crate::access::Viewer;
use crate::api::Face;
use crate::api::attempts::veil;
use crate::config::Settings;
use crate::domain::port::{Port, Protocol};
use crate::domain::words::{listed, were};
use crate::store::{AttemptFilter, AttemptRecord, StoreError};

/// More than the console tries in a pool of its own.
const TRIED: u32 = 200;

/// More ports than a sentence takes.
const NAMED: usize = 4;

/// Where the console listens.
#[derive(Debug, Clone, Default)]
pub(super) struct Landing {
    /// Its address; none where it is switched off and the page came over the socket.
    pub(super) url: Option<String>,
    /// Why it is not on the port that it prefers.
    pub(super) moved: Option<String>,
}

impl Landing {
    /// Where the console of this service landed, as this viewer may know.
    pub(super) async fn of(face: &Face, viewer: &Viewer) -> Self {
        let Some(url) = face.console.get().cloned() else {
            return Self::default();
        };
        let ports = preferred(&face.service.settings()).zip(port_of(&url));
        let moved = match ports {
            Some((preferred, landed)) if preferred != landed => {
                // Without the record the sentence is shorter, not wrong.
                let tried = tried(face, viewer, landed).await.unwrap_or_default();
                Some(moved(preferred, landed, &tried))
            }
            _ => None,
        };
        Self {
            url: Some(url),
            moved,
        }
    }
}

/// The port that the console would have on a host without anybody else.
fn preferred(settings: &Settings) -> Option<Port> {
    if settings.console.listen.is_some() {
        return None;
    }
    let pool = settings.pools.get(&settings.console.pool)?;
    pool.prefer.or_else(|| pool.ranges.first())
}

fn port_of(url: &str) -> Option<Port> {
    let (_, port) = url.trim_end_matches('/').rsplit_once(':')?;
    port.parse().ok()
}

/// What was tried when the console's own lease was granted, in order.
async fn tried(
    face: &Face,
    viewer: &Viewer,
    landed: Port,
) -> Result<Vec<AttemptRecord>, StoreError> {
    let leases = face.service.leases_on(Protocol::Tcp, landed);
    let lease = leases.iter().find(|lease| lease.is_console());
    let Some(lease) = lease else {
        return Ok(Vec::new());
    };
    let filter = AttemptFilter {
        allocation: Some(lease.allocation),
        limit: TRIED,
        ..AttemptFilter::default()
    };
    let mut attempts = face.service.store().attempts(&filter).await?;
    attempts.reverse();
    for tried in &mut attempts {
        if let Some(occupant) = &mut tried.occupant {
            veil(occupant, viewer);
        }
    }
    Ok(attempts)
}

fn moved(preferred: Port, landed: Port, tried: &[AttemptRecord]) -> String {
    let busy: Vec<&AttemptRecord> = tried
        .iter()
        .filter(|attempt| attempt.outcome == "in_use")
        .collect();
    let first = busy.iter().find(|attempt| attempt.port == preferred.get());
    let Some(first) = first else {
        return format!("{preferred} is its first choice, but it is on {landed} this time.");
    };
    let mut ports: Vec<u16> = busy.iter().map(|attempt| attempt.port).collect();
    ports.dedup();
    if let (Some(occupant), 1) = (&first.occupant, ports.len()) {
        return format!("{preferred} was taken by {occupant}, so the console is on {landed}.");
    }
    let verb = were(ports.len());
    format!(
        "{} {verb} taken, so the console is on {landed}.",
        named(&ports)
    )
}

/// The ports in words; the later ones as a number where there are many.
pub(super) fn named(ports: &[u16]) -> String {
    let rest = ports.len().saturating_sub(NAMED);
    let mut words: Vec<String> = ports.iter().take(NAMED).map(u16::to_string).collect();
    if rest > 0 {
        words.push(format!("{rest} more"));
    }
    listed(&words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::attempt::{Occupant, SocketState};
    use crate::domain::lease::AllocationId;

    fn port(number: u16) -> Port {
        Port::new(number).unwrap()
    }

    fn busy(port: u16, command: Option<&str>) -> AttemptRecord {
        AttemptRecord {
            seq: 1,
            allocation: AllocationId(uuid::Uuid::nil()),
            at: jiff::Timestamp::UNIX_EPOCH,
            pool: "console".into(),
            interface: "lo".into(),
            address: "127.0.0.1".into(),
            protocol: "tcp".into(),
            port,
            outcome: "in_use".into(),
            errno: Some(98),
            duration_ns: 6000,
            occupant: command.map(|command| Occupant {
                pid: Some(77),
                uid: Some(1000),
                command: Some(command.into()),
                state: SocketState::Listening,
            }),
            trace_id: None,
            span_id: None,
        }
    }

    #[test]
    fn who_took_the_preferred_port_is_told() {
        let told = moved(port(8888), port(8889), &[busy(8888, Some("node"))]);
        assert_eq!(
            told,
            "8888 was taken by node (pid 77), so the console is on 8889."
        );
        let told = moved(port(8888), port(8889), &[busy(8888, None)]);
        assert_eq!(told, "8888 was taken, so the console is on 8889.");
    }

    #[test]
    fn many_busy_ports_become_one_sentence() {
        let tried: Vec<_> = (8888..8891).map(|port| busy(port, Some("node"))).collect();
        assert_eq!(
            moved(port(8888), port(8891), &tried),
            "8888, 8889 and 8890 were taken, so the console is on 8891."
        );
        assert_eq!(named(&[1, 2, 3, 4, 5, 6]), "1, 2, 3, 4 and 2 more");
    }

    #[test]
    fn a_port_kept_from_last_time_is_no_conflict() {
        let told = moved(port(8888), port(8891), &[]);
        assert_eq!(
            told,
            "8888 is its first choice, but it is on 8891 this time."
        );
    }

    #[test]
    fn the_port_of_a_url() {
        assert_eq!(port_of("http://127.0.0.1:8891"), Some(port(8891)));
        assert_eq!(port_of("http://[::1]:8891/"), Some(port(8891)));
        assert_eq!(port_of("http://localhost"), None);
    }
}
