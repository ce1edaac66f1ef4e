//! Outsiders: who was found on a leased port. Kept as what the kernel told and put into words for
//! each reader, since a lease's user may know that somebody came, and not which process of whom.

use std::fmt;

use super::attempt::Occupant;

/// Who was found on a leased port.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outsider {
    /// Whoever listens there.
    pub occupant: Occupant,
    /// Whether it came while portbook was away.
    pub while_away: bool,
}

impl Outsider {
    /// As somebody may see it who sees what belongs to these users.
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
            while_away: false,
        }
    }
}

impl fmt::Display for Outsider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.occupant.fmt(f)?;
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
    fn another_users_process_is_told_of_without_its_name() {
        let outsider = Outsider {
            occupant: Occupant {
                pid: Some(7),
                uid: Some(1000),
                command: Some("nc\u{1b}".to_owned()),
                state: SocketState::Listening,
            },
            while_away: true,
        };
        assert_eq!(
            outsider.veiled(|uid| uid == 1000).to_string(),
            "nc\u{fffd} (pid 7), since portbook was away"
        );
        assert_eq!(
            outsider.veiled(|uid| uid == 1001).to_string(),
            "a process that the kernel does not name of uid 1000, since portbook was away"
        );
    }
}
