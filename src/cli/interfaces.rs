//! `portbook interfaces`: the host's network interfaces as they are now.

use std::process::ExitCode;

use serde_json::json;

use super::table::table;
use super::{Failure, Global, print, print_json};
use crate::api::document::{InterfaceDocument, VERSION};
use crate::api::interfaces::documents;
use crate::host::interface::Interfaces;

/// Lists interfaces; no service is needed to look.
pub(super) fn run(global: &Global) -> Result<ExitCode, Failure> {
    let host = Interfaces::open()
        .current()
        .map_err(|error| Failure::other(error.to_string()))?;
    let interfaces = documents(&host);
    if global.json {
        print_json(&json!({ "version": VERSION, "interfaces": interfaces }))?;
    } else {
        let rows: Vec<Vec<String>> = interfaces.iter().flat_map(rows).collect();
        print(&table(&["INTERFACE", "STATE", "ADDRESS", "KIND"], &rows))?;
    }
    Ok(ExitCode::SUCCESS)
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
