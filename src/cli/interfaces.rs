//! `portbook interfaces`: the host's network interfaces as they are now.

use serde_json::json;

use super::table::table;
use super::{Failure, Global};
use crate::answers::document::{InterfaceDocument, VERSION};
use crate::answers::interfaces::documents;
use crate::host::interface::Interfaces;

/// Lists interfaces. It needs no service to look.
pub(super) fn run(global: &Global) -> Result<(), Failure> {
    let host = Interfaces::open()
        .current()
        .map_err(|error| Failure::other(error.to_string()))?;
    let interfaces = documents(&host);
    let document = json!({ "version": VERSION, "interfaces": interfaces });
    global.answer(&document, || {
        let rows: Vec<Vec<String>> = interfaces.iter().flat_map(rows).collect();
        table(&["INTERFACE", "STATE", "ADDRESS", "KIND"], &rows)
    })
}

fn rows(interface: &InterfaceDocument) -> Vec<Vec<String>> {
    let state = if interface.up { "up" } else { "down" };
    let kind = match (interface.loopback, interface.is_virtual) {
        (true, _) => "loopback",
        (_, true) => "virtual",
        _ => "",
    };
    let row = |address: String, kind: &str| {
        vec![
            interface.name.clone(),
            state.to_owned(),
            address,
            kind.to_owned(),
        ]
    };
    if interface.addresses.is_empty() {
        return vec![row("-".to_owned(), kind)];
    }
    let addresses = interface.addresses.iter();
    addresses
        .map(|address| {
            let kind = if address.primary { "primary" } else { kind };
            row(format!("{}/{}", address.address, address.prefix_len), kind)
        })
        .collect()
}
