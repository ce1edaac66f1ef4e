//! `portbook run --map 8080`: leases for programs that ask for a port of their own choice.

use std::collections::BTreeSet;

use super::request::{PortOptions, ScopeArg};
use super::variables::Asked;
use super::{Failure, Global};
use crate::domain::lease::{Handover, Name, NameError};
use crate::domain::port::{Port, PortError, Protocols};

/// A port that a program asks for, and the name of the lease that it gets in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Map {
    from: Port,
    name: Name,
}

/// Reads `8080` or `8080=web`.
pub(super) fn map(text: &str) -> Result<Map, String> {
    let (port, name) = text.split_once('=').unwrap_or((text, text));
    if port.ends_with("/udp") {
        return Err(
            "UDP ports cannot be mapped yet: tell the program its port by {port} or PORT".into(),
        );
    }
    if port == "all" {
        return Err("give each port that the program asks for, as in --map 8080 --map 9090".into());
    }
    let from = port.parse().map_err(|error: PortError| error.to_string())?;
    let name = name.parse().map_err(|error: NameError| error.to_string())?;
    Ok(Map { from, name })
}

/// Builds the requests of `run`: one for each map, beside those for names and services.
pub(super) fn asked(
    maps: &[Map],
    wanted: &PortOptions,
    global: &Global,
    named: &[Name],
) -> Result<Vec<Asked>, Failure> {
    let is_named = !(wanted.name.is_empty() && wanted.service.is_empty());
    let mut asked = Vec::new();
    if maps.is_empty() || is_named {
        asked = wanted.asked(global, named)?;
    }
    for asked in asked.iter_mut().filter(|asked| !asked.only_referred_to) {
        let map = asked.service.as_ref().and_then(|service| service.map);
        asked.request.map = map.map(Port::get);
    }
    for map in maps {
        asked.push(map.asked(wanted)?);
    }
    check(&asked, wanted)?;
    Ok(asked)
}

/// Refuses options that maps contradict, and two maps of one port.
fn check(asked: &[Asked], wanted: &PortOptions) -> Result<(), Failure> {
    let mut known = BTreeSet::new();
    let mut maps = asked.iter().filter_map(|asked| asked.request.map);
    if let Some(twice) = maps.find(|map| !known.insert(*map)) {
        return Err(Failure::usage(format!("port {twice} is mapped twice")));
    }
    if known.is_empty() {
        return Ok(());
    }
    if wanted.protocol.is_some_and(|it| it != Protocols::Tcp) {
        let udp = "a map is for TCP alone: UDP ports cannot be mapped yet";
        return Err(Failure::usage(udp));
    }
    match wanted.handover {
        None | Some(Handover::Bind) => Ok(()),
        Some(other) => Err(Failure::usage(format!(
            "a mapped port is handed over by bind: leave out --handover {}",
            other.as_str()
        ))),
    }
}

impl Map {
    fn asked(&self, wanted: &PortOptions) -> Result<Asked, Failure> {
        let wanted = PortOptions {
            name: vec![self.name.clone()],
            service: Vec::new(),
            scope: Some(wanted.scope.unwrap_or(ScopeArg::Dir)),
            ..wanted.clone()
        };
        let mut request = wanted.request()?;
        request.map = Some(self.from.get());
        Ok(Asked::own(request, None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_named_by_their_port_or_by_hand() {
        let named = |text: &str| map(text).map(|map| (map.from.get(), map.name.to_string()));
        assert_eq!(named("8080"), Ok((8080, "8080".to_owned())));
        assert_eq!(named("8080=api"), Ok((8080, "api".to_owned())));
        assert!(named("8080=").unwrap_err().contains("is not a name"));
        assert!(named("8080/udp").unwrap_err().contains("UDP"));
        assert!(named("all").is_err());
        assert!(named("0").is_err());
    }
}
