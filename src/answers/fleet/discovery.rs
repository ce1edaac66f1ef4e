//! Names of the fleet as targets of Prometheus.

use std::collections::BTreeMap;

use crate::answers::discovery::{PrometheusTarget, PrometheusTargets, folded};
use crate::answers::operation::{Answered, Context, Description, Method, Operation, Tag};
use crate::answers::problem::{Code, Problem};
use crate::domain::address::host_with_port;
use crate::domain::fleet::{FleetName, Question};
use crate::domain::lease::State;
use crate::domain::port::Protocol;

/// Targets: live names whose program listens for TCP, each at the first address of its host. A name that
/// listens on loopback alone has none.
pub fn prometheus(names: &[FleetName]) -> PrometheusTargets {
    let listening = names.iter().filter(|name| {
        name.live && name.protocol == Protocol::Tcp && name.state == State::Active.as_str()
    });
    PrometheusTargets(listening.filter_map(target).collect())
}

fn target(name: &FleetName) -> Option<PrometheusTarget> {
    let address = name.addresses.first()?;
    let facts = [
        ("name", name.name.as_str()),
        ("host", &name.host),
        ("lease", &name.lease),
    ];
    let facts = facts.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let labels = name.labels.iter();
    let labels = labels.map(|(key, value)| (format!("label_{}", folded(key)), value.clone()));
    let all = facts.into_iter().chain(labels);
    let labels: BTreeMap<String, String> = all
        .map(|(key, value)| (format!("__meta_portbook_{key}"), value))
        .collect();
    Some(PrometheusTarget {
        targets: vec![host_with_port(address, name.port)],
        labels,
    })
}

pub struct FleetDiscovery;

impl Operation for FleetDiscovery {
    type Input = ();
    type Output = PrometheusTargets;
    const METHOD: Method = Method::Get;
    const PATH: &'static str = "/api/v1/fleet/discovery/prometheus";
    const ID: &'static str = "fleetDiscovery";

    fn describe(described: Description) -> Description {
        described
            .about(Tag::Fleet, "Discover the services of a fleet for Prometheus")
            .says(
                "Published TCP leases of all living hosts whose program listens, for `http_sd_configs`. \
                 Labels that begin with `__meta_` are for `relabel_configs`.",
            )
            .answers::<PrometheusTargets>(
                200,
                "The services.",
                include_str!("../example/fleet_prometheus.json"),
            )
            .refused(&[Code::FleetOff, Code::FleetAway])
    }
}

impl Answered for FleetDiscovery {
    async fn answer(context: Context<'_>, (): ()) -> Result<PrometheusTargets, Problem> {
        let told = context.service.fleet().ask(Question::Names(None)).await?;
        Ok(prometheus(&told.view.names))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_live_listening_tcp_names_with_an_address() {
        let example: crate::answers::fleet::FleetNamesDocument =
            serde_json::from_str(include_str!("../example/fleet_names.json")).unwrap();
        let good = example.names[0].clone();
        let with = |change: fn(&mut FleetName)| {
            let mut name = good.clone();
            change(&mut name);
            name
        };
        let bad = [
            with(|name| name.live = false),
            with(|name| name.state = "handed".into()),
            with(|name| name.protocol = Protocol::Udp),
            with(|name| name.addresses.clear()),
        ];
        assert_eq!(prometheus(&bad).0, []);
        let odd = with(|name| {
            name.labels.insert("a\"b\n".into(), "v".into());
        });
        let target = &prometheus(&[odd]).0[0];
        assert_eq!(target.labels["__meta_portbook_host"], "build-1");
        assert_eq!(target.labels["__meta_portbook_label_a_b_"], "v");
    }
}
