//! Forms that change a port: exclude it, include it again, keep it for a name.

use actix_web::HttpResponse;
use actix_web::web::{Data, Form, Path};
use serde::Deserialize;

use super::parsed;
use crate::access::Viewer;
use crate::api::AppState;
use crate::api::problem::{Code, Problem};
use crate::dashboard::errors::PageError;
use crate::dashboard::page::see;
use crate::domain::lease::Name;
use crate::domain::port::{Port, PortSet, Protocol};
use crate::domain::request::Request;
use crate::engine::exclusion::what_follows;

/// The form that excludes.
#[derive(Debug, Deserialize)]
pub(in crate::dashboard) struct Excluding {
    #[serde(default)]
    reason: String,
}

/// The form that keeps.
#[derive(Debug, Deserialize)]
pub(in crate::dashboard) struct Keeping {
    name: String,
}

/// `POST /ports/{protocol}/{port}/exclude`
pub(in crate::dashboard) async fn exclude(
    face: Data<AppState>,
    viewer: Viewer,
    path: Path<(String, String)>,
    form: Form<Excluding>,
) -> Result<HttpResponse, PageError> {
    let (protocol, port) = parsed(&path)?;
    let (caller, reason) = (viewer.caller()?, Some(&*form.reason));
    let ports = PortSet::single(port);
    let excluded = face
        .service
        .exclude(caller, protocol.into(), &ports, reason);
    excluded.await.map_err(Problem::from)?;
    Ok(see(&format!("/ports/{protocol}/{port}?said=excluded")))
}

/// `POST /ports/{protocol}/{port}/include`
pub(in crate::dashboard) async fn include(
    face: Data<AppState>,
    viewer: Viewer,
    path: Path<(String, String)>,
) -> Result<HttpResponse, PageError> {
    let (protocol, port) = parsed(&path)?;
    let ports = PortSet::single(port);
    let included = face
        .service
        .include(viewer.caller()?, protocol.into(), &ports);
    included.await.map_err(Problem::from)?;
    Ok(see(&format!("/ports/{protocol}/{port}?said=included")))
}

/// `POST /ports/{protocol}/{port}/keep`: holds the port for a name.
pub(in crate::dashboard) async fn keep(
    face: Data<AppState>,
    viewer: Viewer,
    path: Path<(String, String)>,
    form: Form<Keeping>,
) -> Result<HttpResponse, PageError> {
    let (protocol, port) = parsed(&path)?;
    let name = form.name.trim().parse::<Name>();
    let name = name.map_err(|wrong| {
        let detail = format!("name: {wrong}");
        Problem::new(Code::InvalidRequest, detail)
    })?;
    let wanted = Request {
        pool: pool_of(&face, port),
        names: vec![name],
        port: Some(port),
        protocol: Some(protocol.into()),
        reserve: true,
        ..Request::default()
    };
    let kept = face.service.allocate(viewer.caller()?, &wanted).await;
    let kept = kept.map_err(Problem::from)?;
    let lease = kept.leases.first().map(|lease| lease.id);
    let lease = lease.ok_or_else(|| Problem::new(Code::NotFound, "no port was kept"))?;
    Ok(see(&format!("/leases/{lease}?said=kept")))
}

/// The pool that has the port. `None` if no pool has it: a request by number gets it from any.
fn pool_of(face: &AppState, port: Port) -> Option<String> {
    let settings = face.service.settings();
    let mut pools = settings.pools.values();
    let pool = pools.find(|pool| pool.ranges.contains(port));
    pool.map(|pool| pool.name.to_string())
}

/// The changes that the page offers.
#[derive(Debug, Default)]
pub(super) struct Choices {
    /// The reason of an exclusion by hand.
    pub(super) excluded: Option<String>,
    /// A sentence for each lease on an excluded port about the time that it keeps the port.
    pub(super) follows: Vec<String>,
    pub(super) may_exclude: bool,
}

impl Choices {
    pub(super) fn of(face: &AppState, viewer: &Viewer, protocol: Protocol, port: Port) -> Self {
        let exclusions = face.service.exclusions();
        let told = exclusions.get(protocol, port).map(|exclusion| {
            let reason = exclusion.reason.as_deref().unwrap_or("no reason was given");
            crate::domain::attempt::printable(reason)
        });
        let leases = face.service.leases_on(protocol, port);
        let leases = leases.iter().filter(|_| told.is_some());
        let asker = viewer.asker();
        let follows = leases.map(|lease| what_follows(lease, &asker)).collect();
        let caller = viewer.caller();
        Self {
            excluded: told,
            follows,
            may_exclude: caller.is_ok_and(|caller| caller.may_act_for(face.uid)),
        }
    }
}
