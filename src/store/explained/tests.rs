//! Explanations come back as they would from JSON.

use proptest::collection::vec;
use proptest::prelude::{Strategy, any, prop, prop_assert, prop_assert_eq, proptest};

use super::*;
use crate::domain::candidate::{Cost, Evidence, Totals};
use crate::domain::port::{Port, Protocol};

/// The explanation as JSON gives it back.
fn by_json(explanation: &Explanation) -> Explanation {
    serde_json::from_str(&serde_json::to_string(explanation).unwrap()).unwrap()
}

fn read_back(explanation: &Explanation) -> Explanation {
    let packed = pack(explanation);
    unpack(Some(&packed.shared), &packed.own).unwrap()
}

fn port(number: u16) -> Port {
    Port::new(number).unwrap()
}

fn weighed(numbers: &[f64], totals: &[u64], released_ago_ms: Option<u64>) -> Weighed {
    Weighed {
        protocol: if totals[0].is_multiple_of(2) {
            Protocol::Tcp
        } else {
            Protocol::Udp
        },
        evidence: Evidence {
            good: numbers[0],
            failed: numbers[1],
            busy: numbers[2],
            checks: numbers[3],
            late: numbers[4],
            block_good: numbers[5],
            block_failed: numbers[6],
            seen_now: totals[1].is_multiple_of(2),
            fleet_hosts: u32::try_from(totals[3] % 51).unwrap(),
            fleet_busy: u32::try_from(totals[4] % 51).unwrap(),
            released_ago_ms,
            totals: Totals {
                good: totals[0],
                failed: totals[1],
                busy: totals[2],
                checks: totals[3],
                late: totals[4],
            },
            occupant: totals[2].is_multiple_of(2).then(|| "n\u{f6}de".into()),
        },
        cost: Cost {
            prior_free: numbers[7],
            p_busy: numbers[8],
            seen: numbers[9],
            late: numbers[10],
            released: numbers[11],
        },
    }
}

/// An explanation with something in every field.
fn full() -> Explanation {
    let text = r#"{"strategy":"learned","interfaces":["any"],"addresses":["0.0.0.0","::"],
        "ranges":"25000-29999","ports":5000,
        "excluded":[{"reason":"leased","ports":2,"which":[26651,27121]},{"reason":"listed","ports":90}],
        "choices":[[{"port":26546,"cost":0.152218,"weighed":[
            {"protocol":"tcp","good":4.999893,"checks":0.999956,"block_good":157.996502,
             "released_ago_ms":2796,"good_total":5,"checks_total":1,"prior_free":0.994047,
             "p_busy":0.002218,"released_cost":0.05},
            {"protocol":"udp","checks":0.999956,"checks_total":1,"prior_free":0.9,"p_busy":0.1,
             "fleet_hosts":50,"fleet_busy":17,"occupant":"node"}],
            "penalties":[{"reason":"ephemeral_range","cost":0.123456789}]}]],
        "random_would_meet":0.0306122448979592,"tried":[26546,8000],"granted":[8000],
        "steps":["upwards"],
        "skipped":[{"ports":"8888-8890","reason":"cooling_down","by":"node (pid 7)",
            "since":"2026-11-29T14:03:02.123456789Z"}],
        "notes":["a \"quoted\" note"]}"#;
    serde_json::from_str(text).unwrap()
}

#[test]
fn every_field_is_read_back() {
    assert_eq!(read_back(&full()), full());
    assert_eq!(read_back(&Explanation::default()), Explanation::default());
}

#[test]
fn typical_candidate_takes_less_than_twenty_bytes() {
    let mut explanation = full();
    explanation.choices[0][0].weighed.pop();
    explanation.choices[0][0].penalties.clear();
    let one = pack(&explanation).own.len();
    let candidate = explanation.choices[0][0].clone();
    explanation.choices[0].push(candidate);
    let two = pack(&explanation).own.len();
    assert!(two - one < 20, "{} bytes", two - one);
}

#[test]
fn json_of_old_versions_is_read() {
    let text = serde_json::to_vec(&full()).unwrap();
    assert_eq!(unpack(None, &text).unwrap(), full());
}

#[test]
fn damaged_and_newer_explanations_are_refused() {
    let packed = pack(&full());
    for length in 0..packed.own.len() {
        assert!(
            unpack(Some(&packed.shared), &packed.own[..length]).is_err(),
            "{length}"
        );
    }
    let longer = [packed.own.as_slice(), &[0]].concat();
    assert!(matches!(unpack(None, &longer), Err(Unreadable::Cut)));
    assert!(matches!(unpack(None, &[2]), Err(Unreadable::Version(2))));
}

#[test]
fn stored_numbers_of_variants_never_change() {
    assert_eq!(Reason::AskedOtherwise as u8, 18);
    assert_eq!(Reason::Redirected as u8, 19);
    assert_eq!((Reason::Configured as u8, Reason::InUse as u8), (0, 9));
    assert_eq!((Step::Port as u8, Step::Pool as u8), (0, 4));
    assert_eq!(PenaltyReason::IanaAssigned as u8, 1);
}

proptest! {
    #[test]
    fn any_weighing_is_read_back_as_from_json(
        rows in vec((vec(0.0..1e5_f64, 12), vec(0_u64..1 << 40, 5), any::<Option<u32>>()), 0..4),
        // `serde_json` reads longer fractions inexactly; the bytes keep them (`every_field_is_read_back`).
        cost in (0..9000_u32).prop_map(|number| f64::from(number) / 1000.0),
        chance in prop::option::of((0..=8_u32).prop_map(|number| f64::from(number) / 8.0)),
        tried in vec(1..=65535_u16, 0..5),
    ) {
        let each = |(numbers, totals, ago): &(Vec<f64>, Vec<u64>, Option<u32>)| {
            weighed(numbers, totals, ago.map(u64::from))
        };
        let candidate = Candidate {
            port: port(7),
            cost,
            weighed: rows.iter().map(each).collect(),
            penalties: vec![Penalty { reason: PenaltyReason::IanaAssigned, cost }],
        };
        let explanation = Explanation {
            choices: vec![vec![candidate.clone(), candidate]],
            random_would_meet: chance,
            tried: tried.into_iter().map(port).collect(),
            ..Explanation::default()
        };
        prop_assert_eq!(read_back(&explanation), by_json(&explanation));
    }

    #[test]
    fn no_bytes_make_the_reader_panic(mut bytes in vec(any::<u8>(), 0..200)) {
        bytes.insert(0, VERSION);
        let read = unpack(None, &bytes);
        prop_assert!(read.is_ok() || read.is_err());
    }
}
