//! Changes of a sweep: keys are marked, freed and deleted, under the condition that they are as they were read.

use std::collections::BTreeSet;
use std::time::Duration;

use super::engine::{Answer, Compare, Engine, Outcome, Step};
use super::sweep::{Group, Left, Sweeper, Swept};
use super::value;

impl<E: Engine> Sweeper<E> {
    /// Marks keys, and has their time begin if it has not.
    pub(super) async fn mark(
        &self,
        (host, session, seconds): &Group,
        batch: &[&Left],
        gone: &mut BTreeSet<String>,
        swept: &mut Swept,
    ) -> Answer<()> {
        let mut others = vec![Compare::absent(self.keys.session(host, session))];
        let mut more = Vec::new();
        let time = seconds.map(|seconds| (seconds, self.keys.gone(session, seconds)));
        if let Some((seconds, key)) = &time {
            if gone.contains(key) {
                others.push(Compare::present(key.clone()));
            } else {
                // One that another host began meanwhile is found by the next sweep.
                let time = self.engine.session(Duration::from_secs(*seconds)).await?;
                others.push(Compare::absent(key.clone()));
                more.push(Step::Put {
                    key: key.clone(),
                    value: host.to_string().into(),
                    session: Some(time),
                });
            }
        }
        let put = |left: &Left| {
            let value = value::marked(&left.entry, left.is_claim)?;
            let key = left.entry.key.clone();
            let session = None;
            Some(Step::Put {
                key,
                value: value.into(),
                session,
            })
        };
        let done = self.change(batch, &others, &more, put).await?;
        if let (Some((_, key)), false) = (time, done.is_empty()) {
            gone.insert(key);
        }
        for left in done {
            *swept.of(left) += 1;
        }
        Ok(())
    }

    /// Frees keys whose time is over.
    pub(super) async fn free(
        &self,
        (host, session, seconds): &Group,
        batch: &[&Left],
        swept: &mut Swept,
    ) -> Answer<()> {
        let Some(seconds) = seconds else {
            return Ok(());
        };
        let others = [
            Compare::absent(self.keys.session(host, session)),
            Compare::absent(self.keys.gone(session, *seconds)),
            // A restored engine may have forgotten that a host came back.
            Compare::absent(self.keys.hold()),
        ];
        for left in self.delete(batch, &others).await? {
            if left.is_claim {
                swept.freed += 1;
            } else {
                swept.names += 1;
            }
        }
        Ok(())
    }

    pub(super) async fn delete<'b>(
        &self,
        batch: &[&'b Left],
        others: &[Compare],
    ) -> Answer<Vec<&'b Left>> {
        let delete = |left: &Left| {
            let key = left.entry.key.clone();
            Some(Step::Delete { key })
        };
        self.change(batch, others, &[], delete).await
    }

    /// Changes keys that are as they were read, together, or one by one if that is refused. Returns those
    /// that were changed.
    async fn change<'b>(
        &self,
        batch: &[&'b Left],
        others: &[Compare],
        more: &[Step],
        step: impl Fn(&Left) -> Option<Step>,
    ) -> Answer<Vec<&'b Left>> {
        if self.change_all(batch, others, more, &step).await? {
            return Ok(batch.to_vec());
        }
        let mut done = Vec::new();
        for left in batch.iter().filter(|_| batch.len() > 1) {
            if self.change_all(&[left], others, more, &step).await? {
                done.push(*left);
            }
        }
        Ok(done)
    }

    async fn change_all(
        &self,
        batch: &[&Left],
        others: &[Compare],
        more: &[Step],
        step: impl Fn(&Left) -> Option<Step>,
    ) -> Answer<bool> {
        let as_read =
            |left: &&Left| Compare::unchanged(left.entry.key.clone(), left.entry.modified);
        let mut compare: Vec<Compare> = batch.iter().map(as_read).collect();
        compare.extend_from_slice(others);
        let mut steps: Vec<Step> = batch.iter().filter_map(|left| step(left)).collect();
        steps.extend_from_slice(more);
        let outcome = self.engine.commit(compare, steps).await?;
        Ok(matches!(outcome, Outcome::Done { .. }))
    }
}

impl Swept {
    const fn of(&mut self, left: &Left) -> &mut usize {
        if left.is_claim {
            return &mut self.marked;
        }
        &mut self.names
    }
}
