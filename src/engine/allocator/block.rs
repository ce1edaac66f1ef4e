//! Ports in a row.

use super::{Found, Search, Wish};
use crate::choice::strategy::Order;
use crate::domain::attempt::Outcome;
use crate::domain::port::{Port, PortSet, Protocol};
use crate::domain::precedence::{Skipped, Step};
use crate::domain::reason::Reason;
use crate::engine::refusal::Refusal;
use crate::host::hold::Hold;

/// A way to bind one port.
type Taking<S> = fn(&mut S, Protocol, Port) -> Result<Hold, Outcome>;

/// The result of trying one row.
enum Row {
    /// All of its ports.
    Found(Vec<Found>),
    /// None of them, because of this one.
    BrokenBy(Port),
    /// It would go beyond the last port there is.
    Beyond,
}

impl Search<'_> {
    /// Finds `length` ports in a row, or none at all: from the preferred port on, else where the
    /// names were before (one wish a name), else anywhere.
    pub async fn find_block(
        &mut self,
        length: u16,
        wishes: &[Wish],
        rng: &mut fastrand::Rng,
    ) -> Result<Vec<Found>, Refusal> {
        let sticky: Vec<Option<Port>> = wishes.iter().map(|wish| wish.last).collect();
        let before = first_of_row(&sticky);
        if wishes.iter().all(|wish| wish.keeps) {
            self.kept_row = sticky.iter().flatten().copied().collect();
        }
        let preferred = self.plan.prefer;
        let mut behind = preferred;
        if let Some(first) = preferred {
            let take = if before == Some(first) {
                Self::retake
            } else {
                Self::take
            };
            match self.row_from(first, length, Step::Preferred, take).await? {
                Row::Found(found) => return Ok(self.granted(found, Step::Preferred)),
                Row::BrokenBy(port) => behind = Some(port),
                Row::Beyond => {}
            }
        }
        if let Some(first) = before.filter(|before| preferred != Some(*before)) {
            let row = self.row_from(first, length, Step::Last, Self::retake);
            if let Row::Found(found) = row.await? {
                return Ok(self.granted(found, Step::Last));
            }
            if self.plan.strict {
                return Err(self.why_not_row(first, length));
            }
        }
        if let Some(behind) = behind
            && let Some(found) = self.row_above(behind, length).await?
        {
            return Ok(self.granted(found, Step::Upwards));
        }
        self.any_row(length, rng).await
    }

    /// The first row above the preferred port that begins behind this one. What is in the way of one
    /// row is in the way of all with it, so the next that is tried begins behind it.
    async fn row_above(
        &mut self,
        mut behind: Port,
        length: u16,
    ) -> Result<Option<Vec<Found>>, Refusal> {
        while let Some(first) = self.plan.upwards.next_above(behind) {
            self.check_time()?;
            let row = self.row_from(first, length, Step::Upwards, Self::take);
            match row.await? {
                Row::Found(found) => return Ok(Some(found)),
                Row::BrokenBy(port) => behind = port,
                Row::Beyond => break,
            }
        }
        Ok(None)
    }

    fn granted(&mut self, found: Vec<Found>, step: Step) -> Vec<Found> {
        let ports = found.iter().map(|found| found.port);
        self.explanation.granted.extend(ports);
        let steps = std::iter::repeat_n(step, found.len());
        self.explanation.steps.extend(steps);
        found
    }

    /// The row that begins at this port, if it can be had as a whole; if not, the reason is noted.
    async fn row_from(
        &mut self,
        first: Port,
        length: u16,
        step: Step,
        take: Taking<Self>,
    ) -> Result<Row, Refusal> {
        let ports: Vec<Port> = row(first, length).collect();
        if ports.len() < usize::from(length) {
            let end = format!("ports end at {}", u16::MAX);
            let why = Skipped::new(first, Reason::BrokenRow, Some(end));
            self.explanation.skip(why);
            return Ok(Row::Beyond);
        }
        let ruled_out = |port: &Port| Some((*port, self.ruled_out(*port, step)?));
        if let Some((port, why)) = ports.iter().find_map(ruled_out) {
            return Ok(self.broken(first, port, why));
        }
        self.check_limits()?;
        let found = self.try_row(first, length, take).await?;
        if found.len() == usize::from(length) {
            return Ok(Row::Found(found));
        }
        let busy = ports[found.len()];
        drop(found);
        let why = self.why_refused(busy);
        Ok(self.broken(first, busy, why))
    }

    /// Notes that the rows from `first` on are passed over because of a port that is in the way of all
    /// that begin up to there.
    fn broken(&mut self, first: Port, by: Port, why: Skipped) -> Row {
        if let Some(before) = previous(by).filter(|before| *before >= first) {
            self.explanation.skip(Skipped {
                ports: PortSet::range(first, before),
                whose: why.whose,
                ..Skipped::new(first, Reason::BrokenRow, Some(why.to_string()))
            });
        }
        self.explanation.skip(why);
        Row::BrokenBy(by)
    }

    /// Why a row is not granted: its first port that is taken.
    fn why_not_row(&mut self, first: Port, length: u16) -> Refusal {
        let tried = |port: &Port| self.attempts.iter().any(|it| it.port == *port);
        let taken = row(first, length).filter(tried).last();
        self.why_not(taken.unwrap_or(first))
    }

    async fn any_row(
        &mut self,
        length: u16,
        rng: &mut fastrand::Rng,
    ) -> Result<Vec<Found>, Refusal> {
        let ranges = self.plan.ranges.clone();
        let mut eligible = self.eligible(&ranges, true).ports;
        let mut starts = self.starts(&eligible, length);
        let mut order = Order::new(self.plan.strategy, self.plan.start);
        while let Some(first) = self.next(&mut order, &starts, rng) {
            starts.remove(first);
            self.check_limits()?;
            let found = self.try_row(first, length, Self::take).await?;
            if found.len() == usize::from(length) {
                return Ok(self.granted(found, Step::Pool));
            }
            // The next one is busy, so no run with it is left.
            let busy = found.last().map_or(Some(first), |last| next(last.port));
            drop(found);
            if let Some(busy) = busy {
                eligible.remove(busy);
                starts = self.starts(&eligible, length);
            }
        }
        Err(Refusal::NoRun {
            pool: self.plan.pool.name.to_string(),
            ranges: self.plan.ranges.clone(),
            length,
            longest: eligible.longest_run(),
        })
    }

    /// Tries ports in a row until one is busy.
    async fn try_row(
        &mut self,
        first: Port,
        length: u16,
        take: Taking<Self>,
    ) -> Result<Vec<Found>, Refusal> {
        let mut found: Vec<Found> = Vec::with_capacity(usize::from(length));
        for candidate in row(first, length) {
            match self.candidate(candidate, take).await {
                Ok(Some(taken)) => found.push(taken),
                Ok(None) => break,
                Err(refusal) => return Err(refusal),
            }
        }
        Ok(found)
    }
}

/// The ports of a row, fewer where it would go beyond the last port.
fn row(first: Port, length: u16) -> impl Iterator<Item = Port> {
    let numbers = (0..length).map_while(move |index| first.get().checked_add(index));
    numbers.filter_map(Port::new)
}

/// The first port of the row that names had before, as far as they had any.
fn first_of_row(sticky: &[Option<Port>]) -> Option<Port> {
    let first = (*sticky.first()?)?;
    let length = u16::try_from(sticky.len()).ok()?;
    let in_place = sticky.iter().zip(row(first, length));
    let all = in_place.map(|(before, now)| before.is_none_or(|before| before == now));
    let all: Vec<bool> = all.collect();
    (all.len() == sticky.len() && all.iter().all(|fits| *fits)).then_some(first)
}

fn previous(port: Port) -> Option<Port> {
    port.get().checked_sub(1).and_then(Port::new)
}

fn next(port: Port) -> Option<Port> {
    port.get().checked_add(1).and_then(Port::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(ports: &[u16]) -> Option<u16> {
        let sticky: Vec<Option<Port>> = ports.iter().map(|port| Port::new(*port)).collect();
        first_of_row(&sticky).map(Port::get)
    }

    #[test]
    fn names_remember_a_row_only_as_a_whole() {
        assert_eq!(first(&[7, 8, 9]), Some(7));
        assert_eq!(first(&[7, 8, 0, 0]), Some(7));
        assert_eq!(first(&[7, 9]), None);
        assert_eq!(first(&[0, 8]), None);
        assert_eq!(first(&[]), None);
        assert_eq!(first(&[65535, 0]), None);
    }
}
