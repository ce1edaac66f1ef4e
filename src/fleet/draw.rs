//! Draws that follow from names alone, so that hosts spread over the day and over each other without a word.

use crate::domain::fleet::HostName;

/// Length of a day in milliseconds.
pub(super) const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// First moment after `after_ms` at which it is the time of day of this host, in milliseconds of Unix time.
pub(super) fn next_time(host: &HostName, after_ms: i64) -> i64 {
    let time_of_day = hash(&[host.as_str()]) % DAY_MS.unsigned_abs();
    let time_of_day = time_of_day.cast_signed();
    let days = after_ms.saturating_sub(time_of_day).div_euclid(DAY_MS);
    (days + 1)
        .saturating_mul(DAY_MS)
        .saturating_add(time_of_day)
}

/// Place of a host among all.
pub(super) fn place(host: &HostName) -> u64 {
    hash(&[host.as_str()])
}

/// Place at which a host begins to read others on a day.
pub(super) fn point(own: &HostName, now_ms: i64) -> u64 {
    let day = now_ms.div_euclid(DAY_MS).to_string();
    hash(&[own.as_str(), &day])
}

/// FNV-1a of some texts, mixed so that names that differ in one letter lie far apart.
fn hash(texts: &[&str]) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for text in texts {
        for byte in text.bytes().chain([0]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn hosts(count: usize) -> Vec<HostName> {
        (0..count)
            .map(|number| format!("build-{number}").parse().unwrap())
            .collect()
    }

    #[test]
    fn each_host_has_one_time_a_day_of_its_own() {
        let mut hours = BTreeSet::new();
        for host in hosts(500) {
            let first = next_time(&host, 0);
            assert!((1..=DAY_MS).contains(&first));
            assert_eq!(next_time(&host, first - 1), first);
            assert_eq!(next_time(&host, first), first + DAY_MS);
            hours.insert(first / (DAY_MS / 24));
        }
        assert!(hours.len() >= 24, "{hours:?}");
    }

    #[test]
    fn point_is_the_same_all_day_and_another_one_for_each_day_and_host() {
        let own: HostName = "build-7".parse().unwrap();
        let other: HostName = "build-8".parse().unwrap();
        let today = point(&own, 5);
        assert_eq!(today, point(&own, DAY_MS - 1));
        assert_ne!(today, point(&own, DAY_MS));
        assert_ne!(today, point(&other, 5));
    }

    #[test]
    fn every_host_is_drawn_about_as_often_as_any_other() {
        let mut all: Vec<u64> = hosts(200).iter().map(place).collect();
        all.sort_unstable();
        let mut drawn = vec![0_u32; all.len()];
        for own in hosts(200) {
            let first = all.partition_point(|place| *place < point(&own, 0));
            for step in 0..50 {
                drawn[(first + step) % all.len()] += 1;
            }
        }
        let (least, most) = (drawn.iter().min().unwrap(), drawn.iter().max().unwrap());
        assert!(*least >= 25 && *most <= 85, "{least} to {most} of 50");
    }
}
