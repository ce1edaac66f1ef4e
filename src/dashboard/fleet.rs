//! `/fleet`: this host among others, and the names that all of them publish.

use std::time::Duration;

use actix_web::web::Data;
use askama::Template;

use super::filters;
use super::frame::{Frame, Params};
use super::page::Page;
use super::part::badge::{Badge, Tone};
use crate::answers::fleet::FleetStatusDocument;
use crate::api::AppState;
use crate::domain::claim::FleetClaim;
use crate::domain::duration::coarse;
use crate::domain::everywhere::{EVERYWHERE, EverywhereNumber, Stand};
use crate::domain::fleet::{FleetHost, FleetName, FleetState, Question, Told};
use crate::domain::lease::State;
use crate::engine::fleet::FleetSilence;

/// Maximum number of names on the page; the filter finds the others.
const MOST_NAMES: usize = 500;

/// Maximum number of objecting hosts of one number on the page.
const MOST_OBJECTORS: usize = 50;

#[derive(Debug, Template)]
#[template(path = "fleet.html")]
pub(super) struct FleetPage {
    frame: Frame,
    status: FleetStatusDocument,
    state: Badge,
    hosts: Vec<FleetHost>,
    names: Vec<NameRow>,
    /// Numbers that are unique in the fleet.
    claims: Vec<FleetClaim>,
    /// Numbers that are reserved on every host.
    everywhere: Vec<EverywhereRow>,
    /// Number of names that fit the filter.
    all: usize,
    /// Part of a name or a host; empty for all of them.
    wanted: String,
    /// Age of what is shown. `None` if etcd said so just now.
    age: Option<String>,
    /// Reason for which nothing is shown. `None` if something is.
    silence: Option<String>,
}

/// A published lease with the badge of its state.
#[derive(Debug)]
struct NameRow {
    name: FleetName,
    state: Badge,
}

/// A number that is reserved on every host, with its answers.
#[derive(Debug)]
struct EverywhereRow {
    number: EverywhereNumber,
    /// Number of hosts that hold it.
    held: usize,
    /// Number of hosts that are away, or have not answered.
    away: usize,
}

/// Shows the fleet. It is read for this page; while the engine is away it is the last known one.
pub(super) async fn show(face: Data<AppState>, frame: Frame, params: Params) -> Page<FleetPage> {
    let service = &face.service;
    let hosts = service.fleet().ask(Question::Hosts).await;
    let names = service.fleet().ask(Question::Names(None)).await;
    let claims = service.fleet().ask(Question::Claims).await;
    let everywhere = service.fleet().ask(Question::Everywhere).await;
    let status = FleetStatusDocument::now(service);
    let wanted = params.get("name").unwrap_or_default().to_owned();
    let told = Answers {
        hosts,
        names,
        claims,
        everywhere,
    };
    Page(FleetPage::of(frame, status, told, wanted))
}

/// Answers to the questions of the page.
struct Answers {
    hosts: Result<Told, FleetSilence>,
    names: Result<Told, FleetSilence>,
    claims: Result<Told, FleetSilence>,
    everywhere: Result<Told, FleetSilence>,
}

impl FleetPage {
    fn of(frame: Frame, status: FleetStatusDocument, told: Answers, wanted: String) -> Self {
        let silence = told.hosts.as_ref().err().or(told.names.as_ref().err());
        let silence = silence.map(ToString::to_string);
        let (hosts, names) = (
            told.hosts.unwrap_or_default(),
            told.names.unwrap_or_default(),
        );
        let claims = told.claims.unwrap_or_default();
        let everywhere = told.everywhere.unwrap_or_default();
        let is_fresh = hosts.is_fresh && names.is_fresh;
        let age = (!is_fresh).then(|| coarse(hosts.age.max(names.age)));
        let fits = |name: &&FleetName| name.name.contains(&wanted) || name.host.contains(&wanted);
        let rows: Vec<&FleetName> = names.view.names.iter().filter(fits).collect();
        Self {
            frame,
            state: badge(&status),
            status,
            hosts: hosts.view.hosts.clone(),
            claims: claims
                .view
                .claims
                .iter()
                // Numbers of every host have a table of their own.
                .filter(|claim| claim.host != EVERYWHERE)
                .take(MOST_NAMES)
                .cloned()
                .collect(),
            everywhere: everywhere
                .view
                .everywhere
                .iter()
                .map(EverywhereRow::of)
                .collect(),
            all: rows.len(),
            names: rows.into_iter().take(MOST_NAMES).map(NameRow::of).collect(),
            wanted,
            age: age.filter(|_| silence.is_none()),
            silence,
        }
    }

    fn renewed(&self) -> Option<String> {
        let age = self.status.renewed_ms?;
        Some(coarse(Duration::from_millis(age)))
    }
}

impl EverywhereRow {
    fn of(number: &EverywhereNumber) -> Self {
        let count = |state: Stand| {
            let hosts = number.hosts.iter();
            hosts.filter(|host| host.state == state).count()
        };
        Self {
            held: count(Stand::Held),
            away: count(Stand::Away),
            number: number.clone(),
        }
    }
}

impl NameRow {
    fn of(name: &FleetName) -> Self {
        let state = match name.state.parse::<State>() {
            _ if !name.live => Badge::new(Tone::Plain, "host away"),
            Ok(state) => Badge::lease(state),
            Err(_) => Badge::new(Tone::Plain, "other"),
        };
        Self {
            name: name.clone(),
            state,
        }
    }
}

fn badge(status: &FleetStatusDocument) -> Badge {
    if status.refused {
        return Badge::new(Tone::Bad, "refused");
    }
    let tone = match status.state {
        FleetState::Joined => Tone::Good,
        FleetState::Joining => Tone::Waiting,
        FleetState::Alone | FleetState::Quarantined => Tone::Warning,
        FleetState::Off => Tone::Plain,
    };
    Badge::new(tone, status.state.as_str())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::dashboard::tests_support::{HOSTILE, rendered};
    use crate::domain::fleet::{FenceSummary, FleetStatus, FleetView};
    use crate::domain::lease::BootTime;

    fn status() -> FleetStatusDocument {
        let status = FleetStatus {
            why: HOSTILE.into(),
            host: Some("one".parse().unwrap()),
            engine: vec![HOSTILE.into()],
            ..FleetStatus::default()
        };
        let now = BootTime(Duration::from_secs(1));
        FleetStatusDocument::of(&status, &FenceSummary::default(), now)
    }

    fn told() -> Told {
        let example = include_str!("../answers/example/fleet_names.json");
        let names: crate::answers::fleet::FleetNamesDocument =
            serde_json::from_str(example).unwrap();
        let mut name = names.names[0].clone();
        name.labels.insert(HOSTILE.into(), HOSTILE.into());
        let hosts = include_str!("../answers/example/fleet_hosts.json");
        let hosts: crate::answers::fleet::FleetHostsDocument = serde_json::from_str(hosts).unwrap();
        let mut host = hosts.hosts[0].clone();
        host.version = HOSTILE.into();
        let claims = include_str!("../answers/example/fleet_claims.json");
        let claims: serde_json::Value = serde_json::from_str(claims).unwrap();
        let claim: FleetClaim = serde_json::from_value(claims["claims"][0].clone()).unwrap();
        let claim = FleetClaim {
            pool: HOSTILE.into(),
            ..claim
        };
        let everywhere = include_str!("../answers/example/fleet_everywhere.json");
        let everywhere: crate::answers::fleet::FleetEverywhereDocument =
            serde_json::from_str(everywhere).unwrap();
        let mut number = everywhere.everywhere[0].clone();
        number.name = HOSTILE.into();
        number.hosts[1].why = Some(HOSTILE.into());
        let of_all = FleetClaim {
            host: EVERYWHERE.into(),
            pool: "of no host".into(),
            ..claim.clone()
        };
        Told {
            view: Arc::new(FleetView {
                everywhere: vec![number],
                hosts: vec![host],
                names: vec![name],
                claims: vec![claim, of_all],
                ..FleetView::default()
            }),
            is_fresh: true,
            age: Duration::ZERO,
        }
    }

    fn answers(told: Result<Told, FleetSilence>) -> Answers {
        Answers {
            hosts: told.clone(),
            names: told.clone(),
            claims: told.clone(),
            everywhere: told,
        }
    }

    #[test]
    fn texts_of_other_hosts_are_inert() {
        let page = FleetPage::of(
            Frame::default(),
            status(),
            answers(Ok(told())),
            String::new(),
        );
        let html = rendered(&page);
        assert!(
            html.contains("billing")
                && html.contains("192.0.2.7")
                && html.contains("4711")
                && html.contains("9100/tcp"),
            "{html}"
        );
        assert!(!html.contains('\u{1b}'), "{html}");
        assert!(!html.contains("of no host"), "{html}");
    }

    #[test]
    fn host_that_etcd_refuses_is_not_well() {
        let status = FleetStatusDocument {
            state: FleetState::Joined,
            refused: true,
            ..status()
        };
        assert_eq!(badge(&status).word, "refused");
        let well = FleetStatusDocument {
            refused: false,
            ..status
        };
        assert_eq!(badge(&well).word, "joined");
    }

    #[test]
    fn age_and_silence_are_told() {
        let old = Told {
            is_fresh: false,
            age: Duration::from_secs(90),
            ..told()
        };
        let page = |told: Result<Told, FleetSilence>| {
            let none = "no such name".to_owned();
            FleetPage::of(Frame::default(), status(), answers(told), none)
        };
        let html = rendered(&page(Ok(old)));
        assert!(html.contains("does not answer"), "{html}");
        let html = rendered(&page(Err(FleetSilence::Off)));
        assert!(html.contains("portbook fleet join"), "{html}");
    }
}
