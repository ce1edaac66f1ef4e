//! The record's files: looked at, and made anew from the leases in memory if they are lost.

use std::sync::Arc;

use crate::engine::engine::Engine;
use crate::store::StoreError;

/// Looks at the record, and mends what can be mended: files that are lost are made anew, and what the
/// record does not have is written. In the lock of its folder.
pub(in crate::engine) async fn mend(engine: &Arc<Engine>) {
    let store = &engine.store;
    let _mending = store.mending().await;
    match store.look().await {
        Ok(()) if store.is_lost() => make_anew(engine).await,
        // A failure is noted by the commit.
        Ok(()) if store.is_troubled() => drop(store.check().await),
        Ok(()) => {}
        Err(error) if error.is_lost() => {
            store.note_lost(&error);
            make_anew(engine).await;
        }
        Err(error) => store.note_fault(&error),
    }
}

async fn make_anew(engine: &Arc<Engine>) {
    match try_anew(engine).await {
        Ok(()) => tracing::warn!("the files of the record are made anew, with every lease"),
        // The next look tries again.
        Err(error) => engine.store.note_lost(&error),
    }
}

async fn try_anew(engine: &Arc<Engine>) -> Result<(), StoreError> {
    let is_empty = engine.store.reopen().await?;
    engine.store.put_back(&engine.leases.all()).await?;
    if is_empty {
        let exclusions = Arc::clone(&engine.rules.now().exclusions);
        tracing::warn!("the history of the record is lost; leases and exclusions are kept");
        engine
            .store
            .exclude(exclusions.iter().cloned().collect())
            .await?;
    }
    Ok(())
}
