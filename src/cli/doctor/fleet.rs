//! The fleet of this host, as its service sees it.

use std::time::Duration;

use crate::answers::document::LeaseDocument;
use crate::answers::fleet::{
    FleetClaimsQuery, FleetEverywhereQuery, FleetStatusDocument, ListFleetClaims,
    ListFleetEverywhere, ShowFleet,
};
use crate::answers::operation::Query;
use crate::config::Loaded;
use crate::domain::claim::{
    EVICT_UNREADABLE, FleetClaim, KERNEL_FENCE, UNREADABLE, unreadable_told,
};
use crate::domain::duration::HumanDuration;
use crate::domain::everywhere::{EverywhereHost, EverywhereNumber, Stand, claimant};
use crate::domain::fleet::FleetState;
use crate::library::find;

/// Fence of unique numbers, in words.
const NO_FENCE_SAID: &str = "none: a program that goes on after the fleet gave its number away is not cut off, so no clock does that";

/// Says what guards the unique numbers of this host.
pub(super) async fn fence(loaded: &Loaded) -> String {
    let status = match find::find(loaded).await {
        Ok(Some(client)) => client.call::<ShowFleet>(&()).await.ok(),
        _ => None,
    };
    let guard = status.as_ref().and_then(|status| status.fence.as_deref());
    if guard != Some(KERNEL_FENCE) {
        return NO_FENCE_SAID.to_owned();
    }
    let shut = status.as_ref().and_then(FleetStatusDocument::shut_in_words);
    let left = status.and_then(|status| status.fence_s);
    let open = left.filter(|_| shut.is_none()).map(|left| {
        let left = HumanDuration(Duration::from_secs(left));
        format!("; the first number is shut in {left} unless etcd answers")
    });
    match shut {
        Some(shut) => format!("kernel; {shut}"),
        None => format!("kernel{}", open.unwrap_or_default()),
    }
}

/// Leases whose unique numbers this host has no more.
pub(super) async fn lost(loaded: &Loaded, leases: &[LeaseDocument]) -> Vec<(String, String)> {
    let lost: Vec<&LeaseDocument> = leases.iter().filter(|one| one.has_lost_claim()).collect();
    if lost.is_empty() {
        return Vec::new();
    }
    let claims = claims(loaded).await;
    let told = |lease: &&LeaseDocument| {
        let LeaseDocument {
            port, protocol, id, ..
        } = lease;
        let now = loss(lease, claims.as_deref());
        let message = format!(
            "port {port}/{protocol} was unique in the fleet, and {now}: stop the program there"
        );
        (message, format!("portbook release {id}"))
    };
    lost.iter().map(told).collect()
}

/// Claims of the fleet. `None` if it does not say so now.
async fn claims(loaded: &Loaded) -> Option<Vec<FleetClaim>> {
    let client = find::find(loaded).await.ok()??;
    let query = Query(FleetClaimsQuery::default());
    let listed = client.call::<ListFleetClaims>(&query).await.ok()?;
    (listed.fresh && !listed.more).then_some(listed.claims)
}

/// Says in which way a number was lost, as far as the claims of the fleet tell.
fn loss(lease: &LeaseDocument, claims: Option<&[FleetClaim]>) -> String {
    let is_of_number =
        |claim: &&FleetClaim| claim.port == lease.port && claim.protocol == lease.protocol;
    match claims.map(|claims| claims.iter().find(is_of_number)) {
        None => "another host or an operator took it".to_owned(),
        Some(Some(claim)) => format!("{} has it now", claimant(&claim.host)),
        // Its clock takes such numbers too.
        Some(None) if lease.is_fenced() => {
            "an operator took it, or the fleet did after its time of reclaim".to_owned()
        }
        Some(None) => "an operator took it with `portbook fleet evict`".to_owned(),
    }
}

/// Numbers that are reserved on every host and that this one cannot keep.
pub(super) async fn objections(loaded: &Loaded) -> Vec<(String, String)> {
    let Ok(Some(client)) = find::find(loaded).await else {
        return Vec::new();
    };
    let query = Query(FleetEverywhereQuery::default());
    match client.call::<ListFleetEverywhere>(&query).await {
        Ok(listed) => listed.everywhere.iter().filter_map(objection).collect(),
        // That this host is in no fleet, or alone, is a finding of its own.
        Err(_) => Vec::new(),
    }
}

/// Claims that keep their numbers from all hosts.
pub(super) async fn unreadable(loaded: &Loaded) -> Vec<(String, String)> {
    let Ok(Some(client)) = find::find(loaded).await else {
        return Vec::new();
    };
    let query = Query(FleetClaimsQuery {
        host: Some(UNREADABLE.to_owned()),
        ports: None,
    });
    let listed = client.call::<ListFleetClaims>(&query).await.ok();
    let told = listed.and_then(|listed| unreadable_told(&listed.claims));
    let finding = told.map(|told| (told, EVICT_UNREADABLE.to_owned()));
    finding.into_iter().collect()
}

fn objection(number: &EverywhereNumber) -> Option<(String, String)> {
    let is_own = |host: &&EverywhereHost| host.own && host.state == Stand::Busy;
    let own = number.hosts.iter().find(is_own)?;
    let EverywhereNumber {
        port,
        protocol,
        name,
        ..
    } = number;
    let why = own.why.as_deref().unwrap_or("it is in use");
    Some((
        format!(
            "port {port}/{protocol} is reserved on every host for {name}, and this one cannot keep it: {why}"
        ),
        format!("portbook who {port}"),
    ))
}

/// Says why this host is not in the fleet of its settings.
pub(super) async fn absent(loaded: &Loaded) -> Vec<(String, String)> {
    let Ok(Some(client)) = find::find(loaded).await else {
        return Vec::new();
    };
    match client.call::<ShowFleet>(&()).await {
        Ok(status) => told(&status),
        // A silent service is a finding of its own.
        Err(_) => Vec::new(),
    }
}

fn told(status: &FleetStatusDocument) -> Vec<(String, String)> {
    let mut findings = state_told(status);
    if let Some(shut) = status.shut_in_words() {
        let command = "portbook fleet join --check".to_owned();
        findings.push((format!("fence of unique numbers, {shut}"), command));
    }
    let trouble = |why: &String| (why.clone(), "portbook fleet status".to_owned());
    findings.extend(status.troubles.iter().map(trouble));
    if let Some(warning) = &status.fence_warning {
        let command = if status.fence.as_deref() == Some(KERNEL_FENCE) {
            "portbook fleet join --check"
        } else {
            "nft list table inet portbook"
        };
        findings.push((
            format!("fence of unique numbers: {warning}"),
            command.to_owned(),
        ));
    }
    findings
}

fn state_told(status: &FleetStatusDocument) -> Vec<(String, String)> {
    let why = status.why.as_deref().unwrap_or_default();
    let finding = match status.state {
        FleetState::Joined | FleetState::Joining => return Vec::new(),
        FleetState::Off if status.host.is_none() => (
            "the settings name a fleet, and the running service is in none".to_owned(),
            "portbook serve --takeover".to_owned(),
        ),
        state => (
            format!("this host is {} in its fleet: {why}", state.as_str()),
            "portbook fleet join --check".to_owned(),
        ),
    };
    vec![finding]
}
