//! Requests for a program that asks for a port of its own choice: what they need beside `map`.

use std::num::NonZeroU32;

use super::LeaseRequest;
use crate::domain::lease::Handover;
use crate::domain::port::Protocols;

/// Fills in what a request with a map leaves open. The error says what contradicts the map.
pub(super) fn fill_in(request: &mut LeaseRequest) -> Result<(), String> {
    let protocol = request.protocol.get_or_insert(Protocols::Tcp);
    if *protocol != Protocols::Tcp {
        return Err(format!("map: it is for TCP alone, not for {protocol}"));
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
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(request: LeaseRequest) -> Result<Option<Handover>, String> {
        request.parse().map(|request| request.handover)
    }

    fn wanted() -> LeaseRequest {
        LeaseRequest {
            map: Some(8080),
            owner_pid: Some(1),
            ..LeaseRequest::default()
        }
    }

    #[test]
    fn mapped_port_is_handed_over_by_bind() {
        assert_eq!(parsed(wanted()), Ok(Some(Handover::Bind)));
    }

    #[test]
    fn map_is_for_one_tcp_port_of_a_process() {
        let refused = |request| parsed(request).unwrap_err();
        let udp = LeaseRequest {
            protocol: Some(Protocols::Both),
            ..wanted()
        };
        assert!(refused(udp).contains("TCP alone"));
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
        let zero = LeaseRequest {
            map: Some(0),
            ..wanted()
        };
        assert!(refused(zero).contains("not a port"));
    }
}
