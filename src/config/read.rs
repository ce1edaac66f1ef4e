//! Reads every setting out of the layers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use super::finding::Problem;
use super::model::{
    Client, Console, Fleet, History, InterfaceRule, Portserver, Settings, Store, Telemetry,
};
use super::place::Places;
use super::pool::{BUILT_IN_POOLS, Pool, has_ports};
use super::reader::{Reader, Section};
use super::rule::{absolute, fits_a_socket, nic_name, pool_name};
use super::value::SocketMode;
use crate::domain::pool::PORTSERVER_POOL;

/// Reads every setting. A wrong value is a finding of the reader, and its default stands in.
/// `collector` is the one that the standard variables of OpenTelemetry name.
pub(super) fn settings(
    reader: &mut Reader<'_>,
    places: &Places<'_>,
    collector: Option<String>,
) -> Settings {
    let (data_dir, socket) = paths(&mut reader.section([]), places);
    let private = SocketMode(0o600);
    Settings {
        data_dir,
        socket,
        socket_mode: reader
            .section([])
            .setting("socket_mode", private, |_| Ok(()))
            .0,
        console: Console::read(&mut reader.section(["console"])),
        client: Client::read(&mut reader.section(["client"])),
        portserver: Portserver::read(&mut reader.section(["portserver"])),
        fleet: Fleet::read(&mut reader.section(["fleet"])),
        pools: pools(reader),
        interfaces: interfaces(reader),
        store: Store::read(&mut reader.section(["store"])),
        history: History::read(&mut reader.section(["history"])),
        telemetry: Telemetry::read(&mut reader.section(["telemetry"]), collector),
    }
}

/// A data directory without a socket means a second service beside the usual one: its socket lies in
/// its data directory.
fn paths(root: &mut Section<'_, '_>, places: &Places<'_>) -> (PathBuf, PathBuf) {
    let given = root.is_given("data_dir");
    let data_dir = root.setting("data_dir", places.data_dir(), absolute);
    let data_dir = data_dir.unwrap_or_else(|| {
        let problem = Problem::new(
            "there is no home directory to put it in",
            "set it, or the variable XDG_STATE_HOME",
        );
        root.fail("data_dir", problem);
        PathBuf::new()
    });
    let default = match places.socket() {
        Some(socket) if !given => socket,
        _ => data_dir.join("portbook.sock"),
    };
    let socket = root.setting("socket", default, absolute);
    if let Err(problem) = fits_a_socket(&socket) {
        root.fail("socket", problem);
    }
    (data_dir, socket)
}

/// Pools without a problem: the checks that compare settings have nothing to say on others.
fn pools(reader: &mut Reader<'_>) -> BTreeMap<String, Arc<Pool>> {
    let given = reader.layers.tables("pools").into_iter();
    // Only the port server takes from its pool, so without one the pool would only be in the way.
    let of_portserver = reader.section(["portserver"]).is_given("address");
    let of_portserver = of_portserver.then_some(PORTSERVER_POOL);
    let built_in = BUILT_IN_POOLS.into_iter().chain(of_portserver);
    let names: BTreeSet<String> = given.chain(built_in.map(str::to_owned)).collect();
    let pools = names.into_iter().filter_map(|name| {
        let pool = pool(reader.section(["pools", &name]), &name)?;
        Some((name, Arc::new(pool)))
    });
    pools.collect()
}

fn pool(mut section: Section<'_, '_>, name: &str) -> Option<Pool> {
    let before = section.problems();
    if let Err(problem) = pool_name(name) {
        section.fail("ranges", problem);
    }
    if !has_ports(name) && !section.is_given("ranges") {
        let problem = Problem::new(
            format!("the pool {name} has no ports"),
            "say which it may grant, such as ranges = \"3000-3999\"",
        );
        section.fail("ranges", problem);
    }
    let pool = Pool::read(&mut section, name.into());
    (section.problems() == before).then_some(pool)
}

fn interfaces(reader: &mut Reader<'_>) -> BTreeMap<String, InterfaceRule> {
    let names = reader.layers.tables("interfaces").into_iter();
    let rules = names.map(|name| {
        let mut section = reader.section(["interfaces", &name]);
        if let Err(problem) = nic_name(&name) {
            section.fail("ranges", problem);
        }
        (name, InterfaceRule::read(&mut section))
    });
    rules.collect()
}
