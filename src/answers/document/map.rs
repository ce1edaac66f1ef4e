//! Requests for a program that asks for a port of its own choice: what they need beside `map`.

use std::num::NonZeroU32;

use super::LeaseRequest;
use crate::domain::lease::Handover;
use crate::domain::mapped::Mapped;
use crate::domain::port::Protocols;

/// Fills in what a request with a map leaves open. The error says what contradicts the map.
pub(super) fn fill_in(request: &mut LeaseRequest) -> Result<(), String> {
    let protocol = *request.protocol.get_or_insert(Protocols::Tcp);
    if protocol != Protocols::Tcp && request.map == Some(Mapped::All) {
        return Err(format!(
            "map: \"all\" is for TCP alone, not for {protocol}: ask for each UDP port by itself"
        ));
    }
    let handover = request.handover.get_or_insert(Handover::Bind);
    if *handover != Handover::Bind {
        return Err(format!(
            "map: a mapped port is handed over by bind, not by {}",
            handover.as_str()
        ));
    }
    if request.owner_pid.is_none() {
        return Err("map goes with owner_pid: it is for the process that asks".to_owned());
    }
    let ports = request.count.or(request.block).map_or(1, NonZeroU32::get);
    if request.names.len() > 1 || ports > 1 {
        return Err("map: one port takes the place of one: ask for each by itself".to_owned());
    }
    if request.map == Some(Mapped::All) {
        return check_all(request);
    }
    Ok(())
}

/// Refuses what is for a port that is known beforehand.
fn check_all(request: &LeaseRequest) -> Result<(), String> {
    let fields = [
        ("name", request.name.is_some() || !request.names.is_empty()),
        ("instance", request.instance.is_some()),
        ("port", request.port.is_some()),
        ("prefer", request.prefer.is_some()),
        ("ranges", request.ranges.is_some()),
        ("count", request.count.is_some()),
        ("block", request.block.is_some()),
        ("reserve", request.reserve),
    ];
    match fields.into_iter().find(|(_, is_given)| *is_given) {
        Some((field, _)) => Err(format!(
            "map: with \"all\" it is for ports that are not known beforehand: leave out {field}, or ask for that by itself"
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(request: LeaseRequest) -> Result<Option<Handover>, String> {
        request.parse().map(|request| request.handover)
    }

    fn wanted() -> LeaseRequest {
        LeaseRequest {
            map: "8080".parse().ok(),
            owner_pid: Some(1),
            ..LeaseRequest::default()
        }
    }

    #[test]
    fn mapped_port_is_handed_over_by_bind() {
        assert_eq!(parsed(wanted()), Ok(Some(Handover::Bind)));
    }

    #[test]
    fn map_is_for_one_port_of_a_process() {
        let refused = |request| parsed(request).unwrap_err();
        for protocol in [Protocols::Udp, Protocols::Both] {
            let one = LeaseRequest {
                protocol: Some(protocol),
                ..wanted()
            };
            assert_eq!(parsed(one.clone()), Ok(Some(Handover::Bind)));
            let all = LeaseRequest {
                map: Some(Mapped::All),
                ..one
            };
            assert!(refused(all).contains("TCP alone"));
        }
        let gate = LeaseRequest {
            handover: Some(Handover::Gate),
            ..wanted()
        };
        assert!(refused(gate).contains("not by gate"));
        let two = LeaseRequest {
            count: NonZeroU32::new(2),
            ..wanted()
        };
        assert!(refused(two).contains("one port"));
        let nobody = LeaseRequest {
            owner_pid: None,
            ..wanted()
        };
        assert!(refused(nobody).contains("owner_pid"));
        let zero = serde_json::from_str::<LeaseRequest>(r#"{"map": 0}"#);
        assert!(zero.unwrap_err().to_string().contains("not a port"));
    }

    #[test]
    fn all_ports_go_with_no_port_that_is_known() {
        let all = |more: &str| {
            let text = format!(r#"{{"map": "all", "owner_pid": 1{more}}}"#);
            parsed(serde_json::from_str(&text).unwrap())
        };
        assert_eq!(all(""), Ok(Some(Handover::Bind)));
        for more in [
            r#""name": "web""#,
            r#""port": 8080"#,
            r#""block": 1"#,
            r#""ranges": "9000-9100""#,
        ] {
            let refused = all(&format!(", {more}")).unwrap_err();
            assert!(refused.contains("not known beforehand"), "{refused}");
        }
    }
}
