//! `/api/v1/interfaces`: the host's network interfaces as they are now.

use actix_web::HttpResponse;
use actix_web::web::{Data, Query};
use schemars::JsonSchema;
use serde::Serialize;

use super::AppState;
use super::document::{InterfaceAddressDocument, InterfaceDocument};
use super::paging::Whole;
use super::problem::Problem;
use crate::engine::refusal::Refusal;
use crate::host::interface::{Interface, Snapshot};

/// Every interface of the host.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "InterfaceList")]
pub(super) struct List {
    /// By index.
    interfaces: Vec<InterfaceDocument>,
}

/// Lists interfaces and addresses.
pub async fn list(face: Data<AppState>, _: Query<Whole>) -> Result<HttpResponse, Problem> {
    let host = face.service.interfaces().current().map_err(Refusal::from)?;
    let interfaces = documents(&host);
    Ok(HttpResponse::Ok().json(List { interfaces }))
}

/// Every interface of a host.
pub fn documents(host: &Snapshot) -> Vec<InterfaceDocument> {
    host.listing().iter().map(InterfaceDocument::from).collect()
}

impl From<&Interface> for InterfaceDocument {
    fn from(interface: &Interface) -> Self {
        let address = |address: &crate::host::interface::InterfaceAddress| {
            let zone = match address.scope {
                0 => String::new(),
                _ => format!("%{}", interface.name),
            };
            InterfaceAddressDocument {
                address: format!("{}{zone}", address.ip),
                prefix_len: address.prefix_len,
                primary: address.primary,
            }
        };
        Self {
            name: interface.name.to_string(),
            index: interface.index,
            up: interface.up,
            loopback: interface.loopback,
            is_virtual: interface.is_virtual,
            addresses: interface.addresses.iter().map(address).collect(),
        }
    }
}
