//! Outsiders: occupants of leased ports. They are kept as the kernel described them and put into words
//! for each viewer: the user of a lease may know that an outsider came, but not always which process.

use std::fmt;

use super::attempt::Occupant;

/// Occupant of a leased port that is not its owner.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outsider {
    /// Process and state of the socket.
    pub occupant: Occupant,
    /// Local addresses of its sockets on the port, with the port. Empty if they are not known.
    pub addresses: Vec<String>,
    /// Whether it came while portbook was not running.
    pub while_away: bool,
}

impl Outsider {
    /// Copy for a viewer, with the process of another user hidden.
    #[must_use]
    pub fn veiled(&self, sees: impl Fn(u32) -> bool) -> Self {
        let mut veiled = self.clone();
        veiled.occupant.veil(sees);
        veiled
    }
}

impl From<Occupant> for Outsider {
    fn from(occupant: Occupant) -> Self {
        Self {
            occupant,
            ..Self::default()
        }
    }
}

impl fmt::Display for Outsider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.occupant.fmt(f)?;
        if !self.addresses.is_empty() {
            write!(f, " on {}", self.addresses.join(" "))?;
        }
        if self.while_away {
            f.write_str(", since portbook was away")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::attempt::SocketState;

    #[test]
    fn process_of_another_user_is_hidden() {
        let outsider = Outsider {
            occupant: Occupant {
                pid: Some(7),
                uid: Some(1000),
                command: Some("nc\u{1b}".to_owned()),
                state: SocketState::Listening,
            },
            addresses: vec!["[::1]:80".to_owned()],
            while_away: true,
        };
        assert_eq!(
            outsider.veiled(|uid| uid == 1000).to_string(),
            "nc\u{fffd} (pid 7) on [::1]:80, since portbook was away"
        );
        assert_eq!(
            outsider.veiled(|uid| uid == 1001).to_string(),
            "a process that the kernel does not name of uid 1000 on [::1]:80, since portbook was away"
        );
    }
}
