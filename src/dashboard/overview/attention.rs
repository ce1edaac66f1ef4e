//! Items that need attention, the worst first, each with a link to the page that deals with it.

use std::sync::Arc;

use super::facts::Facts;
use super::landing::named;
use super::past::Past;
use crate::config::Finding;
use crate::dashboard::frame::Params;
use crate::dashboard::part::badge::{Badge, Tone};
use crate::domain::attempt::printable;
use crate::domain::health::{Check, Condition};
use crate::domain::lease::{Lease, State};
use crate::domain::words::{are, counted, grouped};
use crate::engine::capacity::{Capacity, Shares};

/// Maximum number of warnings about the configuration that have an item each.
const WARNINGS: usize = 3;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) badge: Badge,
    /// A sentence; it may have texts from outside, which are printable.
    pub(super) says: String,
    /// Label of the link.
    pub(super) link: &'static str,
    pub(super) href: String,
}

/// Everything that needs attention; empty if all is well.
pub(super) fn items(facts: &Facts<'_>) -> Vec<Item> {
    let mut items = of_checks(facts);
    items.extend(of_leases(facts.leases));
    items.extend(facts.capacities.iter().filter_map(of_pool));
    items.extend(late(facts.past));
    items.extend(warnings(facts.warnings));
    items.sort_by_key(|item| rank(item.badge.tone));
    items
}

impl Item {
    fn new(tone: Tone, says: String, link: &'static str, href: &str) -> Self {
        let word = match tone {
            Tone::Bad => "problem",
            Tone::Warning => "warning",
            _ => "waiting",
        };
        Self {
            badge: Badge::new(tone, word),
            says,
            link,
            href: href.to_owned(),
        }
    }
}

const fn rank(tone: Tone) -> u8 {
    match tone {
        Tone::Bad => 0,
        Tone::Warning => 1,
        _ => 2,
    }
}

fn of_checks(facts: &Facts<'_>) -> Vec<Item> {
    if facts.checks.is_empty() {
        let says = "The record does not answer, so portbook cannot grant ports now.";
        return vec![Item::new(Tone::Bad, says.to_owned(), "Status", "/status")];
    }
    let has_lost = facts.leases.iter().any(|lease| lease.state == State::Lost);
    let wrong = facts.checks.iter().filter(|check| {
        // Lost leases have an item of their own.
        check.condition != Condition::Ok && !(check.name == "guards" && has_lost)
    });
    let item = |check: &Check| {
        let tone = match check.condition {
            Condition::Fail => Tone::Bad,
            _ => Tone::Warning,
        };
        let says = format!("Health of {}: {}.", check.name, printable(&check.detail));
        Item::new(tone, says, "Status", "/status")
    };
    wrong.map(item).collect()
}

fn of_leases(leases: &[Arc<Lease>]) -> Vec<Item> {
    let ports = |state| {
        let ports = leases.iter().filter(|lease| lease.state == state);
        let mut ports: Vec<u16> = ports.map(|lease| lease.port.get()).collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    };
    let mut items = Vec::new();
    let lost = ports(State::Lost);
    if !lost.is_empty() {
        let says = format!("Leased, but used by another program: {}.", named(&lost));
        items.push(Item::new(
            Tone::Bad,
            says,
            "Lost leases",
            "/leases?state=lost",
        ));
    }
    let degraded = ports(State::Degraded);
    if !degraded.is_empty() {
        let says = format!("An address of {} has gone.", named(&degraded));
        let (link, href) = ("Degraded leases", "/leases?state=degraded");
        items.push(Item::new(Tone::Warning, says, link, href));
    }
    let away = leases.iter().filter(|lease| lease.state == State::Reserved);
    let away = away.count();
    if away > 0 {
        let says = match away {
            1 => "The owner of a lease is away; its name keeps the port.".to_owned(),
            _ => format!(
                "The owners of {} are away; their names keep the ports.",
                counted(away, "lease")
            ),
        };
        let (link, href) = ("Owners away", "/leases?state=reserved");
        items.push(Item::new(Tone::Waiting, says, link, href));
    }
    items
}

fn of_pool(pool: &Capacity) -> Option<Item> {
    let name = &pool.pool;
    match &pool.whole {
        Err(why) => {
            let says = format!("Pool {name} cannot grant ports: {}.", printable(why));
            Some(Item::new(Tone::Bad, says, "Interfaces", "/interfaces"))
        }
        Ok(place) => {
            let (tone, says) = scarce(name, &place.shares)?;
            let leases = Params::default().with("pool", name).link("/leases");
            Some(Item::new(tone, says, "Its leases", &leases))
        }
    }
}

/// A sentence about a pool with less than a tenth of its ports left.
fn scarce(pool: &str, shares: &Shares) -> Option<(Tone, String)> {
    let (free, all) = (shares.free, shares.grantable());
    match free {
        0 => {
            let all = counted(all, "port");
            let says = format!("Pool {pool} is full: none of the {all} that it may grant is free.");
            Some((Tone::Bad, says))
        }
        _ if free.saturating_mul(10) < all => {
            let (are, free, all) = (are(free), grouped(free), counted(all, "port"));
            let says = format!(
                "Pool {pool} is nearly full: {free} of the {all} that it may grant {are} free."
            );
            Some((Tone::Warning, says))
        }
        _ => None,
    }
}

fn late(past: &Past) -> Option<Item> {
    let last = past.late.last.as_ref()?;
    let times = match past.late.found {
        1 => "once".to_owned(),
        found => format!("{} times", grouped(found)),
    };
    let (port, protocol) = (last.port, printable(&last.protocol));
    let says = format!(
        "Outsiders were found on leased ports {times} in 24 hours, the last on {port}/{protocol}: {}.",
        printable(&last.occupant)
    );
    Some(Item::new(
        Tone::Warning,
        says,
        "Late conflicts",
        "/conflicts",
    ))
}

fn warnings(findings: &[Finding]) -> Vec<Item> {
    let warning = |says: String| Item::new(Tone::Warning, says, "Configuration", "/config");
    let told = findings.iter().take(WARNINGS).map(|finding| {
        let text = printable(&finding.to_string());
        warning(format!(
            "Configuration: {}.",
            text.trim_start_matches("warning: ")
        ))
    });
    let mut items: Vec<Item> = told.collect();
    let rest = findings.len().saturating_sub(WARNINGS);
    if rest > 0 {
        items.push(warning(format!(
            "Configuration: {} more.",
            counted(rest, "warning")
        )));
    }
    items
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::lease::BootTime;
    use crate::domain::lease::tests_support::lease;
    use crate::store::LateConflict;
    use crate::store::LateTotal;

    fn shares(leased: u32, free: u32) -> Shares {
        Shares {
            leased,
            free,
            ..Shares::default()
        }
    }

    fn in_state(port: u16, state: State) -> Arc<Lease> {
        let mut lease = lease(port);
        lease.state = state;
        Arc::new(lease)
    }

    fn about(leases: &[Arc<Lease>], checks: &[Check], past: &Past) -> Vec<Item> {
        items(&Facts {
            checks,
            leases,
            capacities: &[],
            past,
            warnings: &[],
            boot: BootTime(Duration::ZERO),
        })
    }

    #[test]
    fn healthy_service_needs_no_attention() {
        let checks = [Check::ok("record", "it takes commits")];
        let leases = [in_state(20_000, State::Active)];
        assert_eq!(about(&leases, &checks, &Past::default()), []);
        assert_eq!(scarce("web", &shares(90, 10)), None);
    }

    #[test]
    fn worst_item_comes_first_with_its_link() {
        let checks = [
            Check::new("disk", Condition::Warn, "little room"),
            Check::new("guards", Condition::Warn, "1 lost"),
        ];
        let leases = [
            in_state(20_000, State::Reserved),
            in_state(20_001, State::Degraded),
            in_state(20_002, State::Lost),
        ];
        let past = Past {
            late: LateTotal {
                found: 2,
                last: Some(LateConflict {
                    protocol: "tcp".into(),
                    port: 20_002,
                    occupant: "nc\u{1b} (pid 7)".into(),
                    occupant_uid: None,
                }),
            },
            ..Past::default()
        };
        let found = about(&leases, &checks, &past);
        let ways: Vec<&str> = found.iter().map(|item| &*item.href).collect();
        let expected = [
            "/leases?state=lost",
            "/status",
            "/leases?state=degraded",
            "/conflicts",
            "/leases?state=reserved",
        ];
        assert_eq!(ways, expected);
        assert!(found[3].says.contains("2 times"), "{}", found[3].says);
        let away = "The owner of a lease is away; its name keeps the port.";
        assert_eq!((&*found[4].says, found[4].link), (away, "Owners away"));
        assert!(!found[3].says.contains('\u{1b}'), "{}", found[3].says);
    }

    #[test]
    fn silent_service_is_the_first_problem() {
        let found = about(&[], &[], &Past::default());
        assert_eq!(found[0].badge.tone, Tone::Bad);
    }

    #[test]
    fn nearly_full_pool_is_a_warning() {
        let tone = |leased, free| scarce("web", &shares(leased, free)).map(|(tone, _)| tone);
        assert_eq!(tone(96, 4), Some(Tone::Warning));
        assert_eq!(tone(100, 0), Some(Tone::Bad));
        let (_, says) = scarce("web", &shares(99, 1)).unwrap();
        assert!(
            says.ends_with("1 of the 100 ports that it may grant is free."),
            "{says}"
        );
        let away = Capacity {
            pool: "web".into(),
            whole: Err("eth9 is not there".into()),
            interfaces: Vec::new(),
        };
        assert_eq!(
            of_pool(&away).map(|item| item.href),
            Some("/interfaces".into())
        );
    }
}
