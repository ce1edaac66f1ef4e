//! Pools whose numbers are unique in a fleet.

use super::*;

fn edge(session: &str, reclaim: &str) -> (TempDir, Sources) {
    let pool = "ranges = \"32000-33000\"\nfleet = \"unique\"";
    with_file(&format!(
        "[fleet]\nengine = \"http://127.0.0.1:1\"\nsession = \"{session}\"\n[pools.edge]\n{pool}\nreclaim = \"{reclaim}\"\n"
    ))
}

fn problems(session: &str, reclaim: &str) -> Vec<String> {
    let (_folder, sources) = edge(session, reclaim);
    let Err(refused) = load(&sources) else {
        return Vec::new();
    };
    let findings = refused.findings.iter();
    let said = |one: &Finding| format!("{} {}", one.key, one.hint.as_deref().unwrap_or_default());
    findings.map(said).collect()
}

#[test]
fn time_of_reclaim_is_that_of_twenty_sessions_at_least() {
    let ten = "pools.edge.reclaim write 10m or more, or \"manual\"; or make fleet.session shorter";
    assert_eq!(problems("30s", "9m"), [ten]);
    assert_eq!(problems("30s", "10m"), [""; 0]);
    assert_eq!(problems("2s", "40s"), [""; 0]);
    assert_eq!(problems("1h", "manual"), [""; 0]);
    let long = problems("1h", "10h");
    assert!(long[0].contains("write 20h or more"), "{long:?}");
}

#[test]
fn addresses_of_fleet_join_are_a_fleet_for_unique_pools() {
    let pool = "[pools.edge]\nranges = \"32000-33000\"\nfleet = \"unique\"\nreclaim = \"manual\"\n";
    let (_folder, mut sources) = with_file(pool);
    let refused = load(&sources).unwrap_err();
    let hint = refused.findings[0].hint.as_deref().unwrap_or_default();
    assert!(hint.contains("with an address of etcd"), "{hint}");
    sources.flags.fleet_engine = Some(vec!["http://127.0.0.1:1".into()]);
    let loaded = load(&sources).unwrap();
    let source = loaded.provenance.source("fleet.engine");
    assert_eq!(source, "command-line flag (fleet join ADDRESS)");
}

#[test]
fn fence_is_kept_clear_of_outgoing_connections() {
    let found = |reclaim: &str| {
        let (_folder, sources) = edge("30s", reclaim);
        let loaded = load(&sources).unwrap();
        let (settings, provenance) = (&loaded.settings, &loaded.provenance);
        let found = against_host(settings, provenance, &ports("32768-60999"), &|_| true);
        let said = |one: &Finding| (one.severity, one.message.contains("cut off"));
        found.iter().map(said).collect::<Vec<_>>()
    };
    assert_eq!(found("24h"), [(Severity::Error, true)]);
    assert_eq!(found("manual"), [(Severity::Warning, false)]);
}
