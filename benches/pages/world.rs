//! The host that the pages tell of.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::common::api::Api;
use crate::common::place::Place;
use crate::common::service::Service;
use crate::record::Record;

const ATTEMPTS: u32 = 100_000;
const LEASES: usize = 5_000;
/// Number of leases in one request.
const GROUP: usize = 50;
const OTHERS: u16 = 500;

/// A service with much to show.
pub struct World {
    /// The service.
    pub service: Service,
    lease: Value,
    refused: String,
    _others: Vec<TcpListener>,
    _place: Place,
}

impl World {
    /// Makes it. This process owns the leases, and the ports of the others.
    pub fn new() -> Result<Self> {
        let mut place = Place::new("1024-65535")?;
        place.set("PORTBOOK_POOLS__DEFAULT__MAX_LEASES_PER_USER", "100000");
        place.set("PORTBOOK_POOLS__DEFAULT__STRATEGY", "learned");
        drop(place.serve()?);
        Record::open(&place.database())?.add_history(ATTEMPTS)?;
        // Counts them, as a service does while they are made.
        ensure!(place.command().arg("stats").output()?.status.success());
        let others = (0..OTHERS).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
        let others = others.collect::<Result<Vec<_>, _>>()?;
        let service = place.serve()?;
        let mut api = Api::connect(service.socket())?;
        let lease = fill(&mut api)?;
        let refused = refuse(&mut api, &others[0])?;
        Ok(Self {
            service,
            lease,
            refused,
            _others: others,
            _place: place,
        })
    }

    /// The pages, and their views that cost most.
    pub fn pages(&self) -> Result<Vec<String>> {
        let text = |field: &str| self.lease[field].as_str().context("no such field");
        let (id, allocation) = (text("id")?, text("allocation")?);
        let port = &self.lease["port"];
        let mut pages: Vec<String> = PAGES.iter().map(|&page| page.to_owned()).collect();
        pages.extend([
            format!("/leases/{id}"),
            format!("/ports/tcp/{port}"),
            format!("/allocations/{allocation}"),
            format!("/allocations/{}", self.refused),
            format!("/attempts?port={port}"),
        ]);
        Ok(pages)
    }
}

const PAGES: [&str; 31] = [
    "/",
    "/map",
    "/map?layer=cost",
    "/map?layer=conflicts",
    "/map?layer=used",
    "/map?layer=policy",
    "/map?as=table",
    "/map?block=400",
    "/map?protocol=udp",
    "/ports/tcp/20000",
    "/leases",
    "/leases?sort=name",
    "/leases?state=handed",
    "/leases?name=job-4999",
    "/attempts",
    "/attempts?outcome=in_use",
    "/attempts?strategy=ordered",
    "/attempts?strategy=random",
    "/attempts?name=job-4999",
    "/attempts?errno=98",
    "/attempts?since=7d",
    "/attempts?port=20000-24999&outcome=in_use&since=20d",
    "/conflicts",
    "/interfaces",
    "/status",
    "/config",
    "/try",
    "/try?prefer=8888&strategy=learned",
    "/login",
    "/errors/port_in_use",
    "/leases?state=lost",
];

/// Fills the books. Gives one lease, with its allocation.
fn fill(api: &mut Api) -> Result<Value> {
    let mut last = Value::Null;
    for group in 0..LEASES / GROUP {
        let names = (0..GROUP).map(|index| format!("job-{}", group * GROUP + index));
        let names: Vec<String> = names.collect();
        let labels = json!({"team": "build", "job": group.to_string()});
        let wanted = json!({"names": names, "labels": labels, "claim_within": "1h"});
        let answer = api.ask("POST", "/api/v1/leases", Some(&wanted))?;
        ensure!(answer.status == 201, "{}: {}", answer.status, answer.body);
        last = answer.body["leases"][0].clone();
        last["allocation"] = answer.body["allocation"].clone();
    }
    Ok(last)
}

/// Asks for a port that is taken. Gives the allocation.
fn refuse(api: &mut Api, taken: &TcpListener) -> Result<String> {
    let wanted = json!({"port": taken.local_addr()?.port()});
    let answer = api.ask("POST", "/api/v1/leases", Some(&wanted))?;
    ensure!(answer.status == 409, "{}: {}", answer.status, answer.body);
    let latest = api.ask("GET", "/api/v1/attempts?limit=1", None)?;
    let allocation = latest.body["attempts"][0]["allocation"].as_str();
    Ok(allocation.context("no attempt on record")?.to_owned())
}
