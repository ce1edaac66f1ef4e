//! How full the pools are, as bars of what became of their ports.

use crate::dashboard::frame::Params;
use crate::domain::attempt::printable;
use crate::domain::words::{counted, grouped};
use crate::engine::capacity::{Capacity, Place, Shares};

/// So long is what there is at all, in thousandths of a bar: one port of many is to be seen.
const VISIBLE: u32 = 6;

const LENGTH: u32 = 1000;

/// What a bar is made of, from the left.
pub const KINDS: [Kind; 5] = [
    Kind {
        class: "share-active",
        fill: "",
        word: "active",
        means: "leased, and its owner listens",
    },
    Kind {
        class: "",
        fill: "url(#held)",
        word: "held",
        means: "leased, but its owner does not listen now",
    },
    Kind {
        class: "",
        fill: "url(#others)",
        word: "taken by others",
        means: "as the latest snapshot saw it",
    },
    Kind {
        class: "share-excluded",
        fill: "",
        word: "excluded",
        means: "a rule forbids it, or it was refused a moment ago",
    },
    Kind {
        class: "share-free",
        fill: "",
        word: "free",
        means: "nothing speaks against it",
    },
];

/// What can become of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// Its class in the stylesheet; none where a pattern tells.
    pub class: &'static str,
    /// The pattern it is filled with.
    pub fill: &'static str,
    /// What it is called.
    pub word: &'static str,
    /// What that means.
    pub means: &'static str,
}

/// A pool with its bars.
#[derive(Debug, Clone)]
pub struct PoolBars {
    /// Its name.
    pub name: String,
    /// How many ports it has.
    pub ports: String,
    /// Its leases.
    pub href: String,
    /// On all of its addresses, or why that is not to be told.
    pub whole: Result<Bar, String>,
    /// On single interfaces.
    pub interfaces: Vec<Bar>,
}

/// One bar.
#[derive(Debug, Clone)]
pub struct Bar {
    /// The interface, or the addresses where the bar is for all of them; the pool beside other
    /// pools.
    pub on: String,
    /// The bar in words.
    pub title: String,
    /// The same without what it is of.
    pub says: String,
    /// Where more of it is told: the map of the interface, or the leases of the pool.
    pub href: Option<String>,
    /// How many ports are free.
    pub free: String,
    /// What it is made of; what there is none of is left out.
    pub parts: Vec<Part>,
}

/// A part of a bar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// What became of these ports.
    pub kind: Kind,
    /// How many they are.
    pub count: String,
    /// Where it begins, in percent of the bar.
    pub x: String,
    /// How long it is.
    pub width: String,
}

/// The bars of a pool.
pub fn bars(pool: &Capacity) -> PoolBars {
    let name = printable(&pool.pool);
    let ports = pool.whole.as_ref().map_or(0, |place| place.shares.all());
    let whole = pool.whole.as_ref().map_err(|why| printable(why));
    let interfaces = pool.interfaces.iter();
    PoolBars {
        ports: counted(ports, "port"),
        href: leases_of(&name),
        whole: whole.map(|place| Bar::of(&name, addresses(place), place)),
        interfaces: interfaces
            .map(|place| {
                let on = printable(&place.interface);
                Bar::of(&format!("{name} on {on}"), on, place)
            })
            .collect(),
        name,
    }
}

/// The bar of a pool on one interface, beside other pools there. It leads to all leases of the pool:
/// those on wildcards take ports of every interface.
pub fn on_interface(pool: &str, place: &Place) -> Bar {
    let (pool, on) = (printable(pool), printable(&place.interface));
    Bar {
        href: Some(leases_of(&pool)),
        ..Bar::of(&format!("{pool} on {on}"), pool, place)
    }
}

fn leases_of(pool: &str) -> String {
    format!("/leases{}", Params::default().with("pool", pool).query())
}

fn addresses(place: &Place) -> String {
    let addresses = place.group.addresses().iter();
    let addresses: Vec<String> = addresses.map(ToString::to_string).collect();
    printable(&addresses.join(", "))
}

impl Bar {
    fn of(what: &str, on: String, place: &Place) -> Self {
        let parts = parts(&place.shares);
        let said: Vec<String> = parts
            .iter()
            .map(|part| format!("{} {}", part.count, part.kind.word))
            .collect();
        let says = match place.shares.all() {
            0 => "no port there".to_owned(),
            _ => said.join(", "),
        };
        let is_named = !place.interface.is_empty();
        let query = Params::default().with("interface", &place.interface);
        Self {
            title: format!("Pool {what}: {says}"),
            says,
            href: is_named.then(|| format!("/map{}", query.query())),
            free: grouped(place.shares.free),
            on,
            parts,
        }
    }
}

const fn counts(shares: &Shares) -> [u32; 5] {
    [
        shares.leased,
        shares.held,
        shares.others,
        shares.excluded,
        shares.free,
    ]
}

fn parts(shares: &Shares) -> Vec<Part> {
    let counts = counts(shares);
    let lengths = lengths(counts);
    let mut x = 0;
    let mut parts = Vec::new();
    for ((kind, count), length) in KINDS.into_iter().zip(counts).zip(lengths) {
        if count > 0 {
            parts.push(Part {
                kind,
                count: grouped(count),
                x: in_percent(x),
                width: in_percent(length),
            });
        }
        x += length;
    }
    parts
}

/// The lengths of the parts: each in proportion, but none too small to be seen; the largest gives
/// way. Together they fill the bar.
fn lengths(counts: [u32; 5]) -> [u32; 5] {
    let all: u64 = counts.iter().copied().map(u64::from).sum();
    let length = |count: u32| {
        let share = u64::from(count) * u64::from(LENGTH) / all.max(1);
        let share = u32::try_from(share).unwrap_or(LENGTH);
        if count > 0 { share.max(VISIBLE) } else { 0 }
    };
    let mut lengths = counts.map(length);
    let sum: u32 = lengths.iter().sum();
    if let Some(largest) = lengths.iter_mut().max().filter(|_| all > 0) {
        *largest = (*largest + LENGTH).saturating_sub(sum);
    }
    lengths
}

fn in_percent(thousandths: u32) -> String {
    format!("{}.{}%", thousandths / 10, thousandths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::address::{AddressGroup, BindAddress, Family};

    fn place(shares: Shares) -> Place {
        Place {
            interface: "".into(),
            group: AddressGroup::new([BindAddress::wildcard(Family::Ipv4)]),
            shares,
        }
    }

    #[test]
    fn the_parts_fill_the_bar_and_all_of_them_are_seen() {
        for counts in [
            [0, 0, 0, 0, 1],
            [1, 1, 1, 1, 40_000],
            [3, 3, 3, 0, 0],
            [40_000, 0, 1, 0, 0],
            [20_000, 1, 0, 0, 20_000],
        ] {
            let lengths = lengths(counts);
            assert_eq!(lengths.iter().sum::<u32>(), LENGTH, "{counts:?}");
            for (length, count) in lengths.iter().zip(counts) {
                assert_eq!(*length >= VISIBLE, count > 0, "{counts:?}");
            }
        }
        assert_eq!(lengths([0; 5]), [0; 5]);
    }

    #[test]
    fn a_bar_says_in_words_what_it_shows() {
        let shares = Shares {
            leased: 1,
            others: 2,
            free: 1_997,
            ..Shares::default()
        };
        let bar = Bar::of("web", String::new(), &place(shares));
        let said = "1 active, 2 taken by others, 1,997 free";
        assert_eq!((&*bar.says, &*bar.free), (said, "1,997"));
        assert_eq!(bar.title, format!("Pool web: {said}"));
        let places: Vec<(&str, &str)> = bar
            .parts
            .iter()
            .map(|part| (&*part.x, &*part.width))
            .collect();
        assert_eq!(
            places,
            [("0.0%", "0.6%"), ("0.6%", "0.6%"), ("1.2%", "98.8%")]
        );
    }

    #[test]
    fn what_the_map_calls_leased_is_active_or_held() {
        let of_leases = KINDS
            .iter()
            .filter(|kind| kind.means.starts_with("leased, "));
        let words: Vec<&str> = of_leases.map(|kind| kind.word).collect();
        assert_eq!(words, ["active", "held"]);
        assert!(KINDS.iter().all(|kind| kind.word != "leased"));
    }

    #[test]
    fn a_pool_whose_addresses_are_away_says_so() {
        let pool = Capacity {
            pool: "web".into(),
            whole: Err("there is no eth9".into()),
            interfaces: Vec::new(),
        };
        let bars = bars(&pool);
        assert_eq!(bars.whole.unwrap_err(), "there is no eth9");
        assert_eq!(bars.href, "/leases?pool=web");
    }
}
