//! A build without the fleet.

use crate::host::skipped;
use crate::support::{Place, text};

#[test]
fn build_without_the_fleet_names_the_one_that_has_it() {
    skipped("fleets", "this is a build without the feature fleet");
    let mut place = Place::with_ports(1);
    let commands = [
        &["fleet", "status"][..],
        &["fleet", "join", "http://127.0.0.1:2379", "--host", "a"],
        &["resolve", "web", "--live"],
        &["list", "--fleet"],
        &["who", "--fleet", "80"],
    ];
    for arguments in commands {
        let refused = place.run(arguments);
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}");
        let said = text(&refused.stderr);
        assert!(said.contains("--features fleet"), "{arguments:?}: {said}");
    }
    place.set("PORTBOOK_FLEET__ENGINE", "http://127.0.0.1:2379");
    let refused = place.run(&["serve"]);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    let said = text(&refused.stderr);
    assert!(said.contains("--features fleet"), "{said}");
}
