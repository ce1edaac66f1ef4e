//! Leases whose folder is gone: work trees that were deleted give their ports back by themselves.
//!
//! A folder must be gone in every look over the pool's `gone_after`, on the boot-time clock, and no
//! lease ends while a program may be using it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::domain::attempt::printable;
use crate::domain::lease::{Lease, State};
use crate::engine::{
    engine::Engine, keeper::ending, keeper::ending::FOLDER_GONE, refusal::Refusal,
};
use crate::host::folder::{Sight, look_at};

/// Pause between two looks, unless a pool needs them sooner.
const ROUND: Duration = Duration::from_secs(30);

/// The shortest pause between two looks.
const PAUSE: Duration = Duration::from_millis(250);

/// Looks at the folders of leases, for as long as it is polled: from time to time, and soon
/// after a lease was granted, since only a folder that was seen can be gone later.
pub(in crate::engine) async fn run(engine: &Arc<Engine>) {
    loop {
        for uid in users_with_folders(engine) {
            if !engine.folders.with(|folders| folders.begin(uid)) {
                continue;
            }
            let engine = Arc::clone(engine);
            tokio::spawn(async move {
                look_at_folders(&engine, uid).await;
                engine.folders.with(|folders| folders.finish(uid));
            });
        }
        tokio::time::sleep(PAUSE).await;
        let granted = engine.leases.folder_granted();
        drop(tokio::time::timeout(folder_round(engine), granted).await);
    }
}

fn folder_round(engine: &Arc<Engine>) -> Duration {
    let settings = engine.settings();
    let soonest = settings.pools.values().map(|pool| pool.gone_after).min();
    soonest.map_or(ROUND, |soonest| (soonest / 4).clamp(PAUSE, ROUND))
}

fn users_with_folders(engine: &Engine) -> BTreeSet<u32> {
    let leases = engine
        .leases
        .filtered(|lease| lease.scope.folder().is_some());
    leases.iter().map(|lease| lease.uid).collect()
}

/// Looks once at the folders of one user's leases, and ends leases whose folder has been gone for
/// long.
pub(super) async fn look_at_folders(engine: &Arc<Engine>, uid: u32) {
    let mut folders: BTreeMap<PathBuf, Option<u64>> = BTreeMap::new();
    for lease in engine.leases.filtered(|lease| lease.uid == uid) {
        if let Some(folder) = lease.scope.folder() {
            let known = folders.entry(folder.to_owned()).or_default();
            *known = known.or(lease.scope_device);
        }
    }
    let is_leased = |folder: &Path| folders.contains_key(folder);
    engine.folders.with(|seen| seen.retain(uid, is_leased));
    for (folder, sight) in look_at(folders.into_iter().collect()).await {
        match note_folder(engine, uid, &folder, sight).await {
            Ok(()) | Err(Refusal::NotFound) => {}
            Err(error) => {
                tracing::warn!(%error, uid, "could not record a look at a folder; the next look tries again");
            }
        }
    }
}

async fn note_folder(
    engine: &Arc<Engine>,
    uid: u32,
    folder: &Path,
    sight: Sight,
) -> Result<(), Refusal> {
    let now = engine.clock.boot();
    let since = match sight {
        Sight::Gone => engine.folders.with(|seen| seen.note_gone(uid, folder, now)),
        Sight::There(device) => {
            engine.folders.with(|seen| seen.note_there(uid, folder));
            return remember_device(engine, uid, folder, device).await;
        }
        Sight::Unknown => {
            engine.folders.with(|seen| seen.note_there(uid, folder));
            return Ok(());
        }
    };
    let settings = engine.settings();
    for lease in leases_of_folder(engine, uid, folder) {
        let pool = settings.pools.get(&*lease.pool);
        let long = pool.is_none_or(|pool| now.since(since) >= pool.gone_after);
        if long && is_unused(&lease) {
            ending::end(engine, lease.id, State::Expired, FOLDER_GONE, is_unused).await?;
            let (called, port) = (printable(&lease.called()), lease.port);
            tracing::info!(lease = %lease.id, %port, uid, "the folder of {called} is gone");
        }
    }
    Ok(())
}

async fn remember_device(
    engine: &Arc<Engine>,
    uid: u32,
    folder: &Path,
    device: Option<u64>,
) -> Result<(), Refusal> {
    let Some(device) = device else {
        return Ok(());
    };
    for lease in leases_of_folder(engine, uid, folder) {
        if lease.scope_device != Some(device) {
            let _turn = engine.leases.turn(lease.id).await;
            engine
                .leases
                .change(lease.id, |lease| lease.scope_device = Some(device))
                .await?;
        }
    }
    Ok(())
}

fn leases_of_folder(engine: &Engine, uid: u32, folder: &Path) -> Vec<Arc<Lease>> {
    engine.leases.filtered(|lease| {
        lease.uid == uid && lease.scope.folder() == Some(folder) && !lease.state.is_ended()
    })
}

/// Whether no program uses a lease. One that listens would be its owner within a second.
fn is_unused(lease: &Lease) -> bool {
    let nobody_listens = matches!(
        lease.state,
        State::Reserved | State::Handed | State::Degraded
    );
    lease.owner.is_none() && nobody_listens
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::lease::{LeaseId, Scope};
    use crate::domain::request::Request;
    use crate::engine::caller::Caller;
    use crate::engine::keeper::tests::{Place, named, place};

    const ME: Caller = Caller::user(1000);

    fn in_folder(folder: &Path) -> Request {
        Request {
            scope: Scope::Dir(folder.to_owned()),
            ..named("web")
        }
    }

    async fn granted(place: &Place, request: &Request) -> LeaseId {
        place.service.allocate(&ME, request).await.unwrap().leases[0].id
    }

    async fn look_after(place: &Place, minutes: u64) {
        place.clock.advance(Duration::from_mins(minutes));
        look_at_folders(&place.service.0, ME.uid).await;
    }

    #[tokio::test]
    async fn leases_end_once_their_folder_was_gone_for_the_whole_time() {
        let place = place().await;
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("tree");
        std::fs::create_dir(&folder).unwrap();
        let id = granted(&place, &in_folder(&folder)).await;
        look_after(&place, 0).await;
        std::fs::remove_dir(&folder).unwrap();
        look_after(&place, 1).await;
        look_after(&place, 59).await;
        assert!(place.state(id).is_some(), "an hour has not passed");
        // It comes back in between, and the time begins anew.
        std::fs::create_dir(&folder).unwrap();
        look_after(&place, 1).await;
        std::fs::remove_dir(&folder).unwrap();
        look_after(&place, 1).await;
        look_after(&place, 59).await;
        assert!(place.state(id).is_some(), "it was there in between");
        look_after(&place, 1).await;
        assert_eq!(place.state(id), None);
        let journal = place.service.journal().latest(1);
        assert_eq!(journal[0].detail, "expired: its folder is gone");
    }

    #[tokio::test]
    async fn folders_that_were_never_seen_end_nothing() {
        let place = place().await;
        let id = granted(&place, &in_folder(Path::new("/nonexistent/tree"))).await;
        look_after(&place, 0).await;
        look_after(&place, 600).await;
        assert!(place.state(id).is_some());
    }

    #[tokio::test]
    async fn running_programs_keep_leases_of_gone_folders() {
        let place = place().await;
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("tree");
        std::fs::create_dir(&folder).unwrap();
        let request = Request {
            owner_pid: Some(std::process::id()),
            ..in_folder(&folder)
        };
        let root = Caller::user(0);
        let id = place
            .service
            .allocate(&root, &request)
            .await
            .unwrap()
            .leases[0]
            .id;
        look_at_folders(&place.service.0, 0).await;
        std::fs::remove_dir(&folder).unwrap();
        for _ in 0..2 {
            look_at_folders(&place.service.0, 0).await;
            place.clock.advance(Duration::from_hours(2));
        }
        assert_eq!(place.state(id), Some(State::Handed));
    }
}
