//! Documents about busy ports: JSON, deflated. Those of other hosts are foreign input: their sizes before and
//! after inflating are bounded, and one that does not hold is left out.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;

use crate::domain::attempt::printable;
use crate::domain::prior::{GroupReport, MOST_COMMANDS, Report};

/// Maximum length of a document in bytes.
const MOST_DEFLATED: usize = 32 * 1024;

/// Maximum length of its JSON in bytes.
const MOST_INFLATED: usize = 256 * 1024;

/// Maximum number of groups of a document. A host has at most as many.
const MOST_GROUPS: usize = 64;

/// Maximum length of a program's name in characters.
const LONGEST_COMMAND: usize = 64;

/// Returns the document of a report. If it is too long the ports that were least busy are left out.
pub(super) fn encode(mut report: Report) -> Vec<u8> {
    report.groups.truncate(MOST_GROUPS);
    report.commands = report.commands.iter().map(|name| short(name)).collect();
    loop {
        // Plain values: this cannot fail.
        let text = serde_json::to_vec(&report).unwrap_or_default();
        let document = deflated(&text).unwrap_or_default();
        let longest = report.groups.iter().map(|group| group.ports.len()).max();
        let fits = text.len() <= MOST_INFLATED && document.len() <= MOST_DEFLATED;
        let longest = longest.filter(|longest| !fits && *longest > 0);
        let Some(longest) = longest else {
            return document;
        };
        for group in &mut report.groups {
            group.shorten(longest / 2);
        }
    }
}

/// Reads a document. `None` if it is too long, is none, or says what cannot be.
pub(super) fn decode(document: &[u8]) -> Option<Report> {
    let report: Report = serde_json::from_slice(&inflated(document)?).ok()?;
    let are_few = report.groups.len() <= MOST_GROUPS && report.commands.len() <= MOST_COMMANDS;
    let are_names = report.commands.iter().all(|name| *name == short(name));
    (are_few && are_names && report.groups.iter().all(holds)).then_some(report)
}

fn holds(group: &GroupReport) -> bool {
    let are_sorted = group.ports.is_sorted_by(|one, next| one.0 < next.0);
    let mut ports = group.ports.iter();
    are_sorted && !group.on.is_empty() && ports.all(|port| port.2 <= group.snapshots)
}

fn short(name: &str) -> String {
    printable(name).chars().take(LONGEST_COMMAND).collect()
}

fn deflated(text: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text)?;
    encoder.finish()
}

/// Inflates no more than what a document may have. `None` if there is more, or it is damaged.
fn inflated(document: &[u8]) -> Option<Vec<u8>> {
    if document.len() > MOST_DEFLATED {
        return None;
    }
    let mut text = Vec::new();
    let decoder = DeflateDecoder::new(document);
    let most = u64::try_from(MOST_INFLATED).ok()?;
    decoder.take(most + 1).read_to_end(&mut text).ok()?;
    (text.len() <= MOST_INFLATED).then_some(text)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::{any, prop, prop_assert, proptest};

    use super::*;
    use crate::domain::port::{Port, Protocol};
    use crate::domain::prior::{AddressKind, PortReport};

    fn report(ports: usize) -> Report {
        let ports = (1..=u16::MAX).filter_map(Port::new).take(ports);
        let group = GroupReport {
            on: BTreeSet::from([AddressKind::Any4, AddressKind::Any6]),
            protocol: Protocol::Tcp,
            snapshots: 6_000,
            // Numbers that do not compress well.
            ports: ports
                .map(|port| {
                    let drawn = u32::from(port.get()).wrapping_mul(0x9e37_79b9) >> 16;
                    PortReport(port, drawn % 7, drawn % 5_999, drawn % 5)
                })
                .collect(),
        };
        Report {
            groups: vec![group],
            commands: vec!["node".into(), "nginx".into()],
        }
    }

    fn read(json: &str) -> Option<Report> {
        decode(&deflated(json.as_bytes()).unwrap())
    }

    #[test]
    fn documents_come_back_and_are_as_short_as_reckoned() {
        for (ports, most) in [(0, 200), (20, 400), (100, 1_000), (400, 3_500)] {
            let document = encode(report(ports));
            assert_eq!(decode(&document), Some(report(ports)));
            assert!(document.len() <= most, "{ports} ports: {}", document.len());
        }
        let json = inflated(&encode(report(2))).unwrap();
        let json = String::from_utf8(json).unwrap();
        assert!(json.contains(r#""on":["any4","any6"],"protocol":"tcp","snapshots":6000"#));
        assert!(
            json.ends_with(r#"],"commands":["node","nginx"]}"#),
            "{json}"
        );
    }

    #[test]
    fn documents_of_many_ports_keep_the_busiest() {
        let read = decode(&encode(report(60_000))).unwrap();
        let ports = &read.groups[0].ports;
        assert!((1_000..60_000).contains(&ports.len()), "{}", ports.len());
        assert!(ports.iter().all(|port| port.1 > 0));
    }

    #[test]
    fn names_of_programs_are_short_and_printable() {
        let mut long = report(1);
        long.commands = vec!["a\u{1b}[2J".into(), "b".repeat(500)];
        let read = decode(&encode(long)).unwrap();
        assert!(!read.commands[0].contains('\u{1b}'));
        assert_eq!(read.commands[1].len(), LONGEST_COMMAND);
    }

    #[test]
    fn documents_that_do_not_hold_are_left_out() {
        let good = r#"{"later":1,"groups":[{"on":["any4"],"protocol":"tcp","snapshots":9,"ports":[[80,1,9,0],[81,0,1,0]]}]}"#;
        assert_eq!(read(good).unwrap().groups[0].ports.len(), 2);
        let strange = [
            ("[80,", "[0,"),
            ("[80,", "[65536,"),
            ("[80,", "[\"80\","),
            ("[80,", "[81,"),
            ("[80,", "[90,"),
            (",1,9,0]", ",1,10,0]"),
            (",1,9,0]", ",-1,9,0]"),
            (",1,9,0]", ",1,4294967296,0]"),
            (",1,9,0]", ",1,9]"),
            ("any4", "any5"),
            ("[\"any4\"]", "[]"),
            ("tcp", "icmp"),
            ("]}]}", "]}],\"commands\":[\"\\u001b[2J\"]}"),
            ("]}]}", ""),
        ];
        for (from, to) in strange {
            let bad = good.replacen(from, to, 1);
            assert_ne!(bad, good);
            assert_eq!(read(&bad), None, "{bad}");
        }
        let command = format!(r#""{}""#, "c".repeat(LONGEST_COMMAND + 1));
        let group = good.split_once("[{").unwrap().1.strip_suffix("]}").unwrap();
        let many = vec![format!("{{{group}"); MOST_GROUPS + 1].join(",");
        let names = vec!["\"n\""; MOST_COMMANDS + 1].join(",");
        for bad in [
            format!(r#"{{"groups":[],"commands":[{command}]}}"#),
            format!(r#"{{"groups":[],"commands":[{names}]}}"#),
            format!(r#"{{"groups":[{many}]}}"#),
            "[]".to_owned(),
            String::new(),
        ] {
            assert_eq!(read(&bad), None, "{bad}");
        }
        assert_eq!(decode(good.as_bytes()), None, "not deflated");
        assert_eq!(decode(&[]), None);
    }

    #[test]
    fn bombs_are_inflated_no_further_than_a_document_may_be() {
        let bomb = deflated(&vec![b' '; 30_000_000]).unwrap();
        assert!(bomb.len() < MOST_DEFLATED * 2);
        let short = deflated(&vec![b' '; MOST_INFLATED + 1]).unwrap();
        let fits = deflated(&vec![b' '; MOST_INFLATED]).unwrap();
        assert_eq!((inflated(&bomb), inflated(&short)), (None, None));
        assert_eq!(inflated(&fits).unwrap().len(), MOST_INFLATED);
        let long = vec![0; MOST_DEFLATED + 1];
        assert_eq!(inflated(&long), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let read = decode(&bytes);
            prop_assert!(read.is_none() || read.is_some());
        }
    }
}
