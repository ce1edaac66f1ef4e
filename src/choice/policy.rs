//! Which ports of a pool may be tried at all, and what ruled the others out.

use super::bits::PortBits;
use crate::domain::explanation::{Excluded, Reason};
use crate::domain::port::PortSet;

/// The ports left for a request, with the count of what each rule took away.
#[derive(Debug, Clone)]
pub struct Eligible {
    /// What may be tried.
    pub ports: PortBits,
    /// How many ports there were to begin with.
    pub pool_size: u32,
    /// What was taken away, rule by rule; a port counts for the first rule that names it.
    pub excluded: Vec<Excluded>,
}

impl Eligible {
    /// Everything in `ranges`, nothing excluded yet.
    pub fn all_of(ranges: &PortSet) -> Self {
        let ports = PortBits::from(ranges);
        Self {
            pool_size: ports.len(),
            ports,
            excluded: Vec::new(),
        }
    }

    /// Takes `ports` away for `reason`, and counts those that were still there.
    pub fn exclude(&mut self, reason: Reason, ports: &PortBits) {
        let gone = self.ports.subtract(ports);
        if gone == 0 {
            return;
        }
        match self
            .excluded
            .iter_mut()
            .find(|known| known.reason == reason)
        {
            Some(known) => known.ports += gone,
            None => self.excluded.push(Excluded {
                reason,
                ports: gone,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_counts_for_the_first_rule_that_names_it() {
        let bits = |text: &str| PortBits::from(&text.parse::<PortSet>().unwrap());
        let mut eligible = Eligible::all_of(&"100-199".parse().unwrap());
        eligible.exclude(Reason::Configured, &bits("150-160"));
        eligible.exclude(Reason::Leased, &bits("155-170,9000"));
        eligible.exclude(Reason::CoolingDown, &bits("1"));
        let counts: Vec<_> = eligible
            .excluded
            .iter()
            .map(|e| (e.reason, e.ports))
            .collect();
        assert_eq!(counts, [(Reason::Configured, 11), (Reason::Leased, 10)]);
        assert_eq!((eligible.pool_size, eligible.ports.len()), (100, 79));
    }
}
