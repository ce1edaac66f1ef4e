//! Judging leases: whether waiting for a listener is in vain.

use super::follow::Look;
use super::owner::process_of;
use super::{Outcome, Subject};
use crate::answers::document::{LeaseDocument, OwnerDocument};
use crate::domain::attempt::printable;
use crate::domain::hint::{Hint, HintKind};
use crate::domain::lease::{Handover, LeaseId, State};

/// The leases seen so far, with the owner of each.
#[derive(Debug)]
pub(super) struct Followed {
    leases: Vec<One>,
    /// Aim of the wait, as in "before it listened".
    goal: &'static str,
}

#[derive(Debug)]
struct One {
    id: LeaseId,
    owner: Option<OwnerDocument>,
    /// Whether its name kept the port for a program that was away.
    was_away: bool,
}

#[derive(Debug)]
pub(super) struct Ending {
    pub(super) outcome: Outcome,
    pub(super) reason: String,
    pub(super) lease: LeaseDocument,
}

/// Aim of a wait for a listener.
pub(super) const LISTENED: &str = "listened";

impl Followed {
    pub(super) const fn until(goal: &'static str) -> Self {
        let leases = Vec::new();
        Self { leases, goal }
    }

    pub(super) fn ids(&self) -> Vec<LeaseId> {
        self.leases.iter().map(|one| one.id).collect()
    }

    /// Reads the names of owners again that were last seen as the command that became them: after
    /// their end that is impossible.
    pub(super) fn rename(&mut self) {
        let owners = self.leases.iter_mut().filter_map(|one| one.owner.as_mut());
        for owner in owners.filter(|owner| owner.command == env!("CARGO_PKG_NAME")) {
            if let Some(process) = process_of(owner) {
                owner.command = process.command;
            }
        }
    }

    /// Takes in the present leases. Waiting is in vain once a lease has ended, or a program was
    /// there and is away; a program that has not come yet is waited for. `was_parked` tells whether
    /// the program of a lease ended meanwhile, even if it was never seen.
    pub(super) fn take(
        &mut self,
        subject: &Subject,
        look: &Look,
        was_parked: impl Fn(&LeaseDocument) -> bool,
    ) -> Option<Ending> {
        self.follow_names(subject, look);
        let mut ended = look.ended.iter().filter(|lease| self.knows(lease.id));
        let ended = ended.next().map(|lease| self.ended(lease));
        let mut first = None;
        for lease in &look.living {
            let ending = self.lives(subject, lease, was_parked(lease));
            first = first.or(ending);
        }
        ended.or(first)
    }

    /// Forgets leases that ended before a program was seen, if the name lives on with another port
    /// or was kept for a program that was away: that program is still waited for.
    fn follow_names(&mut self, subject: &Subject, look: &Look) {
        let is_of = |lease: &LeaseDocument, other: &LeaseDocument| {
            lease.name == other.name && lease.directory == other.directory
        };
        for ended in look.ended.iter().filter(|_| subject.is_name()) {
            let has_moved = look.living.iter().any(|lease| is_of(lease, ended));
            let is_over = |one: &One| one.owner.is_some() || !(has_moved || one.was_away);
            self.leases.retain(|one| one.id != ended.id || is_over(one));
        }
    }

    fn knows(&self, id: LeaseId) -> bool {
        self.leases.iter().any(|one| one.id == id)
    }

    fn ended(&self, lease: &LeaseDocument) -> Ending {
        let known = self.leases.iter().find(|one| one.id == lease.id);
        let owner = known.and_then(|one| one.owner.as_ref());
        let reason = match owner {
            Some(owner) if lease.state == State::OwnerGone => {
                let told = program_ended(owner, lease, self.goal);
                told + &self.advice(lease, is_early(owner, lease))
            }
            _ => format!(
                "{} ended before anything {}: {}",
                label(lease),
                self.goal,
                lease.state.describe()
            ),
        };
        Ending {
            outcome: Outcome::Ended,
            reason,
            lease: lease.clone(),
        }
    }

    fn lives(
        &mut self,
        subject: &Subject,
        lease: &LeaseDocument,
        was_parked: bool,
    ) -> Option<Ending> {
        let goal = self.goal;
        let advice = self.advice(lease, false);
        let one = self.one_of(lease.id)?;
        let is_away = lease.state == State::Reserved;
        one.was_away = is_away;
        let (outcome, reason) = match (&one.owner, &lease.owner) {
            (Some(owner), _) if is_away => {
                (Outcome::Ended, program_ended(owner, lease, goal) + &advice)
            }
            (None, _) if is_away && was_parked => {
                let of = label(lease);
                let reason = format!("the program of {of} ended before it {goal}{advice}");
                (Outcome::Ended, reason)
            }
            // A port by its number means any listener.
            _ if lease.state == State::Lost && subject.is_name() => (Outcome::Lost, lost(lease)),
            (_, Some(owner)) if !is_away => {
                one.owner = Some(owner.clone());
                return None;
            }
            _ => return None,
        };
        Some(Ending {
            outcome,
            reason,
            lease: lease.clone(),
        })
    }

    /// Advice on a program that ended before it listened, to be appended; empty if there is none.
    fn advice(&self, lease: &LeaseDocument, is_early: bool) -> String {
        let kind = lease.hint.as_ref().map(|hint| hint.kind);
        let says = match &lease.hint {
            Some(hint) if matches!(hint.kind, HintKind::Elsewhere | HintKind::SocketsIgnored) => {
                &*hint.says
            }
            // It got in however it bound.
            _ if matches!(lease.handover, Handover::Release | Handover::Bind) => {
                return String::new();
            }
            _ if self.goal != LISTENED => return String::new(),
            _ if is_early || kind == Some(HintKind::NeverListened) => Hint::STRICT_BINDER,
            _ => return String::new(),
        };
        format!("; {says}")
    }

    fn one_of(&mut self, id: LeaseId) -> Option<&mut One> {
        let index = self.leases.iter().position(|one| one.id == id);
        let index = index.unwrap_or_else(|| {
            self.leases.push(One {
                id,
                owner: None,
                was_away: false,
            });
            self.leases.len() - 1
        });
        self.leases.get_mut(index)
    }
}

/// Whether a program whose lease ended with it, and had an open gate, ended soon after its start.
fn is_early(owner: &OwnerDocument, lease: &LeaseDocument) -> bool {
    let has_gate = lease.handover == Handover::Gate;
    // A process may be older than its lease: that of a script which then becomes `run`.
    let began = owner.started_at.max(lease.granted_at);
    let lived = lease.ended_at.map(|at| at.duration_since(began));
    has_gate && lived.is_some_and(|lived| lived <= Hint::EARLY)
}

fn lost(lease: &LeaseDocument) -> String {
    let (port, label) = (lease.port, label(lease));
    format!("another program has port {port} of {label}; `portbook who {port}` names it")
}

fn program_ended(owner: &OwnerDocument, lease: &LeaseDocument, goal: &str) -> String {
    let command = printable(&owner.command);
    let of = label(lease);
    format!(
        "its program {command} (pid {}, {of}) ended before it {goal}",
        owner.pid
    )
}

/// "lease web", "lease web in /home/ada/shop", "the lease on 3000/tcp".
pub(super) fn label(lease: &LeaseDocument) -> String {
    let folder = lease.directory.as_ref();
    let folder = folder.map(|folder| format!(" in {}", printable(&folder.to_string_lossy())));
    match &lease.name {
        Some(name) => format!("lease {name}{}", folder.unwrap_or_default()),
        None => format!("the lease on {}/{}", lease.port, lease.protocol),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answers::document::ProcessDocument;
    use crate::domain::lease::tests_support;
    use crate::domain::port::Port;
    use crate::host::clock::Clock;

    fn lease(state: State, owner: bool) -> LeaseDocument {
        let mut lease = tests_support::lease(3000);
        lease.name = Some("web".parse().unwrap());
        lease.state = state;
        let mut document = LeaseDocument::as_recorded(&lease, &Clock::manual());
        document.owner = owner.then(|| OwnerDocument {
            pid: 7,
            started_at: jiff::Timestamp::UNIX_EPOCH,
            uid: 1000,
            command: "python3".to_owned(),
            engine: false,
            process: ProcessDocument::default(),
        });
        document
    }

    fn port() -> Subject {
        Subject::Port(Port::new(3000).unwrap())
    }

    fn looked(lease: LeaseDocument) -> Look {
        let (mut living, mut ended) = (Vec::new(), Vec::new());
        if lease.state.is_ended() {
            ended.push(lease);
        } else {
            living.push(lease);
        }
        Look {
            living,
            ended,
            called: None,
        }
    }

    #[test]
    fn an_absent_owner_is_waited_for_until_it_came() {
        let mut followed = Followed::until("listened");
        let mut told = |state, owner| {
            let ending = followed.take(&port(), &looked(lease(state, owner)), |_| false);
            ending.map(|ending| ending.reason)
        };
        assert_eq!(told(State::Reserved, false), None);
        assert_eq!(told(State::Handed, true), None);
        let reason = "its program python3 (pid 7, lease web) ended before it listened";
        assert_eq!(told(State::Reserved, false).as_deref(), Some(reason));
    }

    #[test]
    fn the_end_of_an_unseen_program_is_reported() {
        let mut followed = Followed::until("listened");
        let away = looked(lease(State::Reserved, false));
        assert!(followed.take(&port(), &away, |_| false).is_none());
        let ending = followed.take(&port(), &away, |_| true).unwrap();
        let reason = "the program of lease web ended before it listened";
        assert_eq!(ending.reason, reason);
    }

    #[test]
    fn an_ended_lease_gives_the_reason() {
        let mut followed = Followed::until("listened");
        assert!(
            followed
                .take(&port(), &looked(lease(State::Handed, false)), |_| false)
                .is_none()
        );
        let ended = looked(lease(State::Released, false));
        let ending = followed.take(&port(), &ended, |_| false).unwrap();
        let reason = "lease web ended before anything listened: it was given back";
        assert_eq!(ending.reason, reason);
    }

    #[test]
    fn a_name_that_moves_is_waited_for_at_its_new_port() {
        let name = Subject::Name("web".parse().unwrap());
        let mut followed = Followed::until("listened");
        let handed = looked(lease(State::Handed, false));
        assert!(followed.take(&name, &handed, |_| false).is_none());
        let mut moved = looked(lease(State::Released, false));
        let mut successor = lease(State::Handed, true);
        successor.id = LeaseId(uuid::Uuid::from_u128(7));
        moved.living.push(successor.clone());
        assert!(followed.take(&name, &moved, |_| false).is_none());
        assert_eq!(followed.ids(), [successor.id]);

        // The end of a program that was seen is the end of the wait.
        let mut gone = looked(successor);
        gone.living[0].state = State::OwnerGone;
        gone.ended.append(&mut gone.living);
        assert!(followed.take(&name, &gone, |_| false).is_some());
    }

    #[test]
    fn a_lost_port_ends_the_wait_for_a_name_alone() {
        let lost = || looked(lease(State::Lost, true));
        assert!(
            Followed::until("listened")
                .take(&port(), &lost(), |_| false)
                .is_none()
        );
        let name = Subject::Name("web".parse().unwrap());
        let ending = Followed::until("listened")
            .take(&name, &lost(), |_| false)
            .unwrap();
        assert_eq!(ending.outcome, Outcome::Lost);
    }
}
