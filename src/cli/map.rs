//! `portbook run --map 8080` and `--map all`: leases for programs that ask for a port of their own choice.

use super::request::{PortOptions, ScopeArg};
use super::variables::Asked;
use super::{Failure, Global};
use crate::answers::document::LeaseRequest;
use crate::domain::lease::{Handover, Name, NameError};
use crate::domain::mapped::Mapped;
use crate::domain::port::{Port, PortError, Protocols};
use crate::domain::words::UnknownWord;

/// Ports that a program asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Map {
    /// One, and the name of the lease that it gets in its place.
    One {
        from: Port,
        /// `None` if `--protocol` says it.
        protocol: Option<Protocols>,
        name: Name,
    },
    /// Each.
    All,
}

/// Reads `8080`, `5353/udp`, `8080=web` or `all`.
pub(super) fn map(text: &str) -> Result<Map, String> {
    let (place, name) = text.split_once('=').unzip();
    let place = place.unwrap_or(text);
    let (port, protocol) = place.split_once('/').unzip();
    let port = port.unwrap_or(place);
    if text == "all" {
        return Ok(Map::All);
    }
    let from = port.parse().map_err(|error: PortError| error.to_string())?;
    let protocol = protocol.map(str::parse).transpose();
    let protocol = protocol.map_err(|error: UnknownWord| error.to_string())?;
    let name = name.unwrap_or(port);
    let name = name.parse().map_err(|error: NameError| error.to_string())?;
    Ok(Map::One {
        from,
        protocol,
        name,
    })
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
    let mut maps_all = maps.contains(&Map::All);
    for asked in asked.iter_mut().filter(|asked| !asked.only_referred_to) {
        let map = asked.service.as_ref().and_then(|service| service.map);
        maps_all |= map == Some(Mapped::All);
        asked.request.map = map.and_then(Mapped::port).map(Mapped::From);
    }
    for map in maps {
        if let Map::One {
            from,
            protocol,
            name,
        } = map
        {
            let mut asked_for = one(*from, name, wanted)?;
            asked_for.request.protocol = protocol.or(asked_for.request.protocol);
            asked.push(asked_for);
        }
    }
    if maps_all {
        let has_others = !asked.is_empty();
        asked.push(all(wanted, has_others)?);
    }
    check(&asked, wanted)?;
    Ok(asked)
}

/// Refuses options that maps contradict, and two maps of one port.
fn check(asked: &[Asked], wanted: &PortOptions) -> Result<(), Failure> {
    let mut known: Vec<Mapped> = Vec::new();
    for map in asked.iter().filter_map(|asked| asked.request.map) {
        if known.contains(&map) {
            return Err(Failure::usage(format!(
                "port {map} is mapped twice: write {map}/both for TCP and UDP on one number"
            )));
        }
        known.push(map);
    }
    if known.is_empty() {
        return Ok(());
    }
    let udp = wanted.protocol.filter(|it| *it != Protocols::Tcp);
    if let (true, Some(protocol)) = (known.contains(&Mapped::All), udp) {
        return Err(Failure::usage(format!(
            "all ports are mapped for TCP alone: name each UDP port (--map 5353/udp), and leave out --protocol {protocol}"
        )));
    }
    match wanted.handover {
        None | Some(Handover::Bind) => Ok(()),
        Some(other) => Err(Failure::usage(format!(
            "a mapped port is handed over by bind: leave out --handover {}",
            other.as_str()
        ))),
    }
}

fn one(from: Port, name: &Name, wanted: &PortOptions) -> Result<Asked, Failure> {
    let wanted = PortOptions {
        name: vec![name.clone()],
        ..unnamed(wanted)
    };
    let mut request = wanted.request()?;
    request.map = Some(Mapped::From(from));
    Ok(Asked::own(request, None))
}

/// Builds the request for all ports that have no map of their own. Options that say which port it is to be are for
/// the others.
fn all(wanted: &PortOptions, has_others: bool) -> Result<Asked, Failure> {
    let mut request = unnamed(wanted).request()?;
    request.map = Some(Mapped::All);
    if has_others {
        request = LeaseRequest {
            instance: None,
            port: None,
            prefer: None,
            prefer_span: None,
            ranges: None,
            strict: false,
            ..request
        };
    }
    Ok(Asked::own(request, None))
}

/// The options without names, for the folder of the project unless they say otherwise.
fn unnamed(wanted: &PortOptions) -> PortOptions {
    PortOptions {
        name: Vec::new(),
        service: Vec::new(),
        scope: Some(wanted.scope.unwrap_or(ScopeArg::Dir)),
        ..wanted.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_named_by_their_port_or_by_hand() {
        let named = |text: &str| match map(text) {
            Ok(Map::One {
                from,
                protocol: None,
                name,
            }) => Ok((from.get(), name.to_string())),
            Ok(Map::One { protocol, .. }) => Err(format!("{protocol:?}")),
            Ok(Map::All) => Err("all".to_owned()),
            Err(error) => Err(error),
        };
        assert_eq!(named("8080"), Ok((8080, "8080".to_owned())));
        assert_eq!(named("8080=api"), Ok((8080, "api".to_owned())));
        assert!(named("8080=").unwrap_err().contains("is not a name"));
        assert_eq!(named("8080/udp").unwrap_err(), "Some(Udp)");
        assert_eq!(named("8080/both=api").unwrap_err(), "Some(Both)");
        assert!(named("8080/sctp").unwrap_err().contains("sctp"));
        assert!(named("all").is_err());
        assert!(named("0").is_err());
    }
}
