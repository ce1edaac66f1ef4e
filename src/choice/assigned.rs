//! Port numbers with a meaning: assigned to services in wide use, or refused by browsers.

use std::sync::LazyLock;

use super::bits::PortBits;
use crate::domain::port::Port;

/// Ports from 1024 up that IANA has assigned to services in wide use: those that Debian's
/// `netbase` lists ("officially assigned by IANA and used in the real world"), and others of the
/// same registry that developers' machines are full of (databases, brokers, proxies, development
/// servers). Source: IANA, Service Name and Transport Protocol Port Number Registry.
const ASSIGNED: &[u16] = &[
    1080, 1093, 1094, 1099, 1127, 1178, 1194, 1210, 1236, 1313, 1314, 1352, 1433, 1434, 1521, 1524,
    1645, 1646, 1649, 1677, 1701, 1812, 1813, 1883, 2000, 2049, 2086, 2101, 2102, 2103, 2104, 2119,
    2121, 2135, 2181, 2375, 2376, 2379, 2380, 2401, 2430, 2431, 2432, 2433, 2583, 2600, 2601, 2602,
    2603, 2604, 2605, 2606, 2607, 2608, 2628, 2792, 2811, 2947, 3000, 3050, 3128, 3130, 3205, 3260,
    3268, 3269, 3306, 3389, 3478, 3493, 3632, 3689, 3690, 4031, 4094, 4190, 4353, 4369, 4373, 4443,
    4460, 4500, 4557, 4559, 4569, 4691, 4789, 4899, 4949, 5000, 5004, 5005, 5060, 5061, 5222, 5269,
    5308, 5353, 5355, 5432, 5555, 5556, 5666, 5667, 5671, 5672, 5680, 5900, 5984, 6000, 6001, 6002,
    6003, 6004, 6005, 6006, 6007, 6346, 6347, 6379, 6443, 6444, 6445, 6446, 6514, 6566, 6667, 6696,
    6697, 7000, 7001, 7002, 7003, 7004, 7005, 7007, 7008, 7009, 7100, 7474, 8000, 8008, 8021, 8080,
    8081, 8088, 8140, 8443, 8883, 8888, 8990, 9000, 9090, 9092, 9098, 9100, 9101, 9102, 9103, 9200,
    9300, 9418, 9443, 9667, 9673, 10000, 10050, 10051, 10080, 10081, 10082, 10083, 10809, 11112,
    11211, 11371, 17001, 17002, 17003, 17004, 17500, 20000, 22125, 22128, 22273, 24554, 25565,
    26000, 27017, 27374, 30865, 35357, 44818, 47808, 57000, 60177, 60179,
];

/// Ports that browsers refuse to speak HTTP to. Source: WHATWG, Fetch standard, "bad port".
const BAD_PORTS: &[u16] = &[
    1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102,
    103, 104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465,
    512, 513, 514, 515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993,
    995, 1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668,
    6669, 6679, 6697, 10080,
];

fn bits(numbers: &[u16]) -> PortBits {
    let mut bits = PortBits::default();
    for port in numbers.iter().copied().filter_map(Port::new) {
        bits.insert(port);
    }
    bits
}

/// Ports assigned to services in wide use.
pub fn assigned() -> &'static PortBits {
    static BITS: LazyLock<PortBits> = LazyLock::new(|| bits(ASSIGNED));
    &BITS
}

/// Ports refused by browsers.
pub fn browser_blocked() -> &'static PortBits {
    static BITS: LazyLock<PortBits> = LazyLock::new(|| bits(BAD_PORTS));
    &BITS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_ascend_and_contain_known_examples() {
        for list in [ASSIGNED, BAD_PORTS] {
            assert!(list.is_sorted_by(|one, next| one < next));
        }
        let has = |bits: &PortBits, number| bits.contains(Port::new(number).unwrap());
        assert!(has(assigned(), 5432) && !has(assigned(), 24117));
        assert!(has(browser_blocked(), 6000) && !has(browser_blocked(), 6001));
        assert!(ASSIGNED[0] >= 1024);
    }
}
