//! Everyday use as in public bug reports: names at work, blocks near their preferred port, waiting for
//! a name that moves, notes that are told once.

use std::process::Output;

use crate::support::{self, Place, ports_in_a_row, stranger, text};

fn said(output: &Output) -> String {
    text(&output.stderr)
}

fn ports(output: &Output) -> Vec<u16> {
    assert!(output.status.success(), "{}", said(output));
    let lines = text(&output.stdout);
    lines.lines().map(|line| line.parse().unwrap()).collect()
}

fn with_and_without_a_service(test: impl Fn(&Place)) {
    let place = Place::with_ports(8);
    let server = place.serve();
    test(&place);
    assert!(server.stop().success());
    test(&Place::with_ports(8));
}

#[test]
fn named_block_keeps_its_row_while_the_preferred_is_taken() {
    let preferred = ports_in_a_row(2);
    let row = ports_in_a_row(2);
    with_and_without_a_service(|place| {
        let block = |first: u16| {
            let first = first.to_string();
            let run = ["run", "--name", "ray", "--block", "2"];
            let prefer = ["--prefer", &*first, "--prefer-span", "0"];
            let script = ["--", "sh", "-c", "echo $PORT_0; echo $PORT_1"];
            place.run(&[&run[..], &prefer, &script].concat())
        };
        assert_eq!(ports(&block(row)), [row, row + 1]);
        let taken = stranger(preferred);
        let output = block(preferred);
        assert_eq!(ports(&output), [row, row + 1], "{}", said(&output));
        let why = format!("{preferred} is in use by ");
        assert!(said(&output).contains(&why), "{}", said(&output));
        assert!(!said(&output).contains("outside"), "{}", said(&output));
        drop(taken);
        let output = block(preferred);
        assert_eq!(ports(&output), [preferred, preferred + 1]);
    });
}

#[test]
fn block_beyond_the_last_port_moves_with_its_reason() {
    let first = ports_in_a_row(3);
    let place = Place::on((first..first + 3).collect(), support::ports(4));
    let output = place.run(&["alloc", "--prefer", "65534", "--block", "3"]);
    assert_eq!(ports(&output), [first, first + 1, first + 2]);
    let why = format!("65534 is no start of a free row: ports end at 65535, so it is {first}");
    let told = said(&output).replace(", 65535 is no start of a free row: ports end at 65535", "");
    assert!(told.contains(&why), "{told}");
}
