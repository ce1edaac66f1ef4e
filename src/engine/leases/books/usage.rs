//! Numbers of leases by pool and user, so that a quota costs a look-up and no walk.

use std::collections::HashMap;
use std::sync::Arc;

/// Leases by pool and user: those that live, and those being granted.
#[derive(Debug, Default)]
pub struct Usage {
    living: HashMap<Share, usize>,
    pending: HashMap<Share, usize>,
}

/// One user's part of one pool.
pub type Share = (Arc<str>, u32);

/// Maximum numbers of leases of a pool. `None` is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Altogether.
    pub pool: Option<usize>,
    /// For one user.
    pub user: Option<usize>,
}

/// A limit that one more request would pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverLimit {
    /// The pool's, with how many there are and may be.
    Pool(usize, usize),
    /// The user's, with how many there are and may be.
    User(usize, usize),
}

impl Usage {
    /// Lets a request for `count` leases in, or says which limit it would pass. What is let in
    /// counts until it is settled.
    pub fn admit(&mut self, share: &Share, count: usize, limits: Limits) -> Result<(), OverLimit> {
        let (of_pool, of_user) = (self.of_pool(&share.0), self.of_user(share));
        if let Some(limit) = limits.user.filter(|limit| of_user + count > *limit) {
            return Err(OverLimit::User(of_user, limit));
        }
        if let Some(limit) = limits.pool.filter(|limit| of_pool + count > *limit) {
            return Err(OverLimit::Pool(of_pool, limit));
        }
        *self.pending.entry(share.clone()).or_default() += count;
        Ok(())
    }

    /// The request has been answered: what came of it counts by itself.
    pub fn settle(&mut self, share: &Share, count: usize) {
        take(&mut self.pending, share, count);
    }

    pub(super) fn enter(&mut self, share: Share) {
        *self.living.entry(share).or_default() += 1;
    }

    pub(super) fn remove(&mut self, share: &Share) {
        take(&mut self.living, share, 1);
    }

    fn of_user(&self, share: &Share) -> usize {
        let counts = [&self.living, &self.pending];
        let of = |counts: &HashMap<Share, usize>| counts.get(share).copied().unwrap_or(0);
        counts.into_iter().map(of).sum()
    }

    fn of_pool(&self, pool: &Arc<str>) -> usize {
        let counts = self.living.iter().chain(&self.pending);
        let of_pool = counts.filter(|((of, _), _)| of == pool);
        of_pool.map(|(_, count)| count).sum()
    }
}

fn take(counts: &mut HashMap<Share, usize>, share: &Share, count: usize) {
    let Some(left) = counts.get_mut(share) else {
        return;
    };
    *left = left.saturating_sub(count);
    if *left == 0 {
        counts.remove(share);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_being_granted_counts_as_what_lives() {
        let mut usage = Usage::default();
        let (ann, bob): (Share, Share) = (("web".into(), 1), ("web".into(), 2));
        let limits = Limits {
            pool: Some(3),
            user: Some(2),
        };
        assert_eq!(usage.admit(&ann, 2, limits), Ok(()));
        assert_eq!(usage.admit(&ann, 1, limits), Err(OverLimit::User(2, 2)));
        usage.enter(ann.clone());
        usage.settle(&ann, 2);
        assert_eq!(usage.admit(&bob, 2, limits), Ok(()));
        assert_eq!(usage.admit(&ann, 1, limits), Err(OverLimit::Pool(3, 3)));
        usage.settle(&bob, 2);
        usage.remove(&ann);
        assert!(usage.living.is_empty() && usage.pending.is_empty());
        assert_eq!(usage.admit(&ann, 9, Limits::default()), Ok(()));
    }
}
