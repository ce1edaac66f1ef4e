//! Usage of the pools, as bars of the states of their ports.

use super::{LENGTH, Series};
use crate::dashboard::frame::Params;
use crate::domain::attempt::printable;
use crate::domain::words::grouped;
use crate::engine::capacity::{Capacity, Place, Shares};

/// Least length of a part in thousandths of a bar, so that one port of many is visible.
const VISIBLE: u32 = 6;

/// The parts of a bar, from the left.
pub const KINDS: [Series; 5] = [
    Series::colour("share-active", "active", "leased, and its owner listens"),
    Series::pattern(
        "url(#held)",
        "held",
        "leased, but its owner does not listen now",
    ),
    Series::pattern(
        "url(#others)",
        "taken by others",
        "in use by other programs at the latest snapshot",
    ),
    Series::colour(
        "share-excluded",
        "excluded",
        "excluded by a rule, or refused a moment ago",
    ),
    Series::colour("share-free", "free", "can be granted"),
];

/// A pool with its bars.
#[derive(Debug, Clone)]
pub struct PoolBars {
    pub name: String,
    pub href: String,
    /// The bar for all addresses of the pool, or the reason why it is not known.
    pub whole: Result<Bar, String>,
    pub interfaces: Vec<Bar>,
}

/// One bar.
#[derive(Debug, Clone)]
pub struct Bar {
    /// Label: the addresses for a whole pool, the interface for a part of it, the pool on the page of
    /// interfaces.
    pub on: String,
    /// The bar in words, with its pool.
    pub title: String,
    /// The bar in words.
    pub says: String,
    /// The map of the interface, or the leases of the pool.
    pub href: Option<String>,
    pub free: u32,
    /// Number of all ports.
    pub all: u32,
    /// Empty parts are left out.
    pub parts: Vec<Part>,
}

/// A part of a bar; `x` and `width` are thousandths of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub kind: Series,
    pub count: u32,
    pub x: u32,
    pub width: u32,
}

/// The bars of a pool.
pub fn bars(pool: &Capacity) -> PoolBars {
    let name = printable(&pool.pool);
    let whole = pool.whole.as_ref().map_err(|why| printable(why));
    let interfaces = pool.interfaces.iter();
    PoolBars {
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

/// The bar of a pool on one interface. It links to all leases of the pool, since those on wildcards
/// take ports of every interface.
pub fn on_interface(pool: &str, place: &Place) -> Bar {
    let (pool, on) = (printable(pool), printable(&place.interface));
    Bar {
        href: Some(leases_of(&pool)),
        ..Bar::of(&format!("{pool} on {on}"), pool, place)
    }
}

fn leases_of(pool: &str) -> String {
    Params::default().with("pool", pool).link("/leases")
}

fn addresses(place: &Place) -> String {
    let addresses = place.group.addresses().iter();
    let addresses: Vec<String> = addresses.map(ToString::to_string).collect();
    printable(&addresses.join(", "))
}

/// The interfaces that any of the pools has a bar for, each once.
pub fn interfaces(pools: &[PoolBars]) -> Vec<&str> {
    let bars = pools.iter().flat_map(|pool| &pool.interfaces);
    let mut names: Vec<&str> = Vec::new();
    for bar in bars {
        if !names.contains(&&*bar.on) {
            names.push(&bar.on);
        }
    }
    names
}

impl PoolBars {
    /// The bar of one interface. `None` if the pool has no address there.
    pub fn on(&self, interface: &str) -> Option<&Bar> {
        self.interfaces.iter().find(|bar| bar.on == interface)
    }
}

impl Bar {
    /// Number of ports of one kind.
    pub fn count(&self, kind: &Series) -> u32 {
        let part = self.parts.iter().find(|part| part.kind == *kind);
        part.map_or(0, |part| part.count)
    }

    fn of(what: &str, on: String, place: &Place) -> Self {
        let parts = parts(&place.shares);
        let said: Vec<String> = parts
            .iter()
            .map(|part| format!("{} {}", grouped(part.count), part.kind.word))
            .collect();
        let says = match place.shares.all() {
            0 => "no port there".to_owned(),
            _ => said.join(", "),
        };
        let is_named = !place.interface.is_empty();
        let map = Params::default().with("interface", &place.interface);
        Self {
            title: format!("Pool {what}: {says}"),
            says,
            href: is_named.then(|| map.link("/map")),
            free: place.shares.free,
            all: place.shares.all(),
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
    let mut x = 0;
    let mut parts = Vec::new();
    for ((kind, count), width) in KINDS.into_iter().zip(counts).zip(lengths(counts)) {
        if count > 0 {
            parts.push(Part {
                kind,
                count,
                x,
                width,
            });
        }
        x += width;
    }
    parts
}

/// The lengths of the parts, in proportion but none too short to be visible; the longest gives way.
/// Together they fill the bar.
fn lengths(counts: [u32; 5]) -> [u32; 5] {
    let all: u64 = counts.iter().copied().map(u64::from).sum();
    let length = |count: u32| {
        let share = u64::from(count) * u64::from(LENGTH) / all.max(1);
        let share = u32::try_from(share).unwrap_or(LENGTH);
        if count > 0 { share.max(VISIBLE) } else { 0 }
    };
    let mut lengths = counts.map(length);
    let sum: u32 = lengths.iter().sum();
    if let Some(longest) = lengths.iter_mut().max().filter(|_| all > 0) {
        *longest = (*longest + LENGTH).saturating_sub(sum);
    }
    lengths
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
    fn parts_fill_the_bar_and_are_visible() {
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
    fn bar_title_lists_its_parts() {
        let shares = Shares {
            leased: 1,
            others: 2,
            free: 1_997,
            ..Shares::default()
        };
        let bar = Bar::of("web", String::new(), &place(shares));
        let said = "1 active, 2 taken by others, 1,997 free";
        assert_eq!((&*bar.says, bar.free), (said, 1_997));
        assert_eq!(bar.title, format!("Pool web: {said}"));
        let places: Vec<(u32, u32)> = bar.parts.iter().map(|part| (part.x, part.width)).collect();
        assert_eq!(places, [(0, 6), (6, 6), (12, 988)]);
    }

    #[test]
    fn each_interface_is_a_column_once() {
        let on = |interface: &str, free| Place {
            interface: interface.into(),
            ..place(Shares {
                free,
                ..Shares::default()
            })
        };
        let pool = |interfaces| Capacity {
            pool: "web".into(),
            whole: Ok(on("", 8)),
            interfaces,
        };
        let pools = [
            bars(&pool(vec![on("lan0", 8), on("lan1", 92)])),
            bars(&pool(vec![on("lan1", 3)])),
        ];
        assert_eq!(interfaces(&pools), ["lan0", "lan1"]);
        assert!(pools[1].on("lan0").is_none());
        let bar = pools[0].on("lan1").unwrap();
        assert_eq!((bar.free, bar.all, bar.count(&KINDS[0])), (92, 92, 0));
    }

    #[test]
    fn leased_ports_are_active_or_held() {
        let of_leases = KINDS
            .iter()
            .filter(|kind| kind.means.starts_with("leased, "));
        let words: Vec<&str> = of_leases.map(|kind| kind.word).collect();
        assert_eq!(words, ["active", "held"]);
        assert!(KINDS.iter().all(|kind| kind.word != "leased"));
    }

    #[test]
    fn pool_without_addresses_tells_the_reason() {
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
