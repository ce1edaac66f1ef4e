//! The list of ports that are excluded by hand, neighbours in one row.

use jiff::Timestamp;

use crate::domain::attempt::printable;
use crate::domain::exclusion::Exclusion;
use crate::domain::port::Protocol;

/// Maximum number of rows.
const ROWS: usize = 100;

/// Neighbouring ports that were excluded together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Excluded {
    pub(super) protocol: Protocol,
    pub(super) first: u16,
    pub(super) last: u16,
    /// Empty if none was given.
    pub(super) reason: String,
    pub(super) at: Timestamp,
}

impl Excluded {
    fn of(exclusion: &Exclusion) -> Self {
        let port = exclusion.port.get();
        Self {
            protocol: exclusion.protocol,
            first: port,
            last: port,
            reason: exclusion
                .reason
                .as_deref()
                .map_or_else(String::new, printable),
            at: exclusion.at,
        }
    }

    fn continues_with(&self, next: &Self) -> bool {
        self.last.checked_add(1) == Some(next.first)
            && (self.protocol, &self.reason, self.at) == (next.protocol, &next.reason, next.at)
    }

    /// "9000–9050", or one port.
    pub(super) fn ports(&self) -> String {
        if self.first == self.last {
            self.first.to_string()
        } else {
            format!("{}–{}", self.first, self.last)
        }
    }
}

/// The exclusions as rows, in their order.
pub(super) fn rows<'a>(exclusions: impl Iterator<Item = &'a Exclusion>) -> Vec<Excluded> {
    let mut rows: Vec<Excluded> = Vec::new();
    for next in exclusions.map(Excluded::of) {
        let is_full = rows.len() == ROWS;
        match rows.last_mut() {
            Some(row) if row.continues_with(&next) => row.last = next.last,
            _ if is_full => break,
            _ => rows.push(next),
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::port::Port;

    #[test]
    fn neighbours_of_one_reason_share_a_row() {
        let one = |port: u16, reason: &str| Exclusion {
            protocol: Protocol::Tcp,
            port: Port::new(port).unwrap(),
            reason: Some(reason.to_owned()),
            uid: 0,
            at: Timestamp::UNIX_EPOCH,
        };
        let all = [
            one(9000, "rack"),
            one(9001, "rack"),
            one(9002, "\u{1b}[1m"),
            one(9100, "rack"),
        ];
        let rows = rows(all.iter());
        let ports: Vec<String> = rows.iter().map(Excluded::ports).collect();
        assert_eq!(ports, ["9000–9001", "9002", "9100"]);
        assert!(!rows[1].reason.contains('\u{1b}'));
    }
}
