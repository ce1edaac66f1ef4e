//! Others on the host: listeners that stay, and listeners that come and go.

use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::Result;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::common::{now, role};

/// Number of listeners that come and go.
pub const LISTENERS: u16 = 200;

/// In the role of one that stays: listens on every port from one to another.
pub fn squat(first: u16, last: u16) -> Result<()> {
    // The most that the machine allows.
    portbook::internals::raise_fd_limit()?;
    let listen = |port| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port));
    let _listeners = (first..=last).map(listen).collect::<Result<Vec<_>, _>>()?;
    role::ready();
    role::until_dismissed();
    Ok(())
}

/// When one listens: for a part of each period, beginning somewhere in it.
struct Habit {
    port: u16,
    period: Duration,
    begins: Duration,
    lasts: Duration,
}

impl Habit {
    /// Half of them are nearly always there; the others for an hour or so at a time.
    fn of(number: u16, first: u16, rng: &mut fastrand::Rng) -> Self {
        let period = Duration::from_millis(rng.u64(5_000..40_000));
        let share = if number.is_multiple_of(2) {
            0.9
        } else {
            rng.f64().mul_add(0.5, 0.1)
        };
        Self {
            // Every other port of the pool, so that free ones lie between.
            port: first + 2 * number,
            period,
            begins: period.mul_f64(rng.f64()),
            lasts: period.mul_f64(share),
        }
    }

    fn wants_to_listen(&self, at: Duration) -> bool {
        let nanos = (at + self.begins).as_nanos() % self.period.as_nanos();
        nanos < self.lasts.as_nanos()
    }
}

/// In the role of those that come and go, on the ports from `first` on, until dismissed. A
/// process that is kept out tries again in the next round, as a supervisor does.
pub fn come_and_go(first: u16, seed: u64) -> Result<()> {
    const ROUND: Timespec = Timespec {
        tv_sec: 0,
        tv_nsec: 20_000_000,
    };
    let mut rng = fastrand::Rng::with_seed(seed);
    let habits: Vec<Habit> = (0..LISTENERS)
        .map(|number| Habit::of(number, first, &mut rng))
        .collect();
    let mut listeners: Vec<Option<TcpListener>> = habits.iter().map(|_| None).collect();
    role::ready();
    let begin = now();
    let stdin = std::io::stdin();
    loop {
        let at = begin.elapsed();
        for (habit, listener) in habits.iter().zip(&mut listeners) {
            match (habit.wants_to_listen(at), listener.is_some()) {
                (true, false) => {
                    *listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, habit.port)).ok();
                }
                (false, true) => *listener = None,
                _ => {}
            }
        }
        let mut dismissed = [PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::IN)];
        if poll(&mut dismissed, Some(&ROUND))? > 0 {
            return Ok(());
        }
    }
}
