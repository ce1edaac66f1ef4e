//! The table `fence_table`: rules of the packet filter that this service has loaded and may have to delete.

use std::collections::BTreeMap;

use sqlx::sqlite::SqliteConnection;

use super::{Store, StoreError};
use crate::domain::port::{PortSet, Protocol};

/// Rules that this service has loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FenceTable {
    /// Boot in which it did so last. The kernel forgets them with it.
    pub boot: String,
    /// Ports that they guard. Empty if the record has no such ports.
    pub ports: BTreeMap<Protocol, PortSet>,
}

async fn find(connection: &mut SqliteConnection) -> Result<Option<FenceTable>, StoreError> {
    let found: Option<(String, String)> = sqlx::query_as("select boot, ports from fence_table")
        .fetch_optional(connection)
        .await?;
    // The ports are told, and nothing is done by them.
    Ok(found.map(|(boot, ports)| FenceTable {
        boot,
        ports: serde_json::from_str(&ports).unwrap_or_default(),
    }))
}

async fn set(
    connection: &mut SqliteConnection,
    boot: String,
    ports: String,
) -> Result<(), StoreError> {
    sqlx::query("insert or replace into fence_table (only, boot, ports) values (1, ?1, ?2)")
        .bind(boot)
        .bind(ports)
        .execute(connection)
        .await?;
    Ok(())
}

async fn remove(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    sqlx::query("delete from fence_table")
        .execute(connection)
        .await?;
    Ok(())
}

impl Store {
    /// Returns the rules that this service has loaded and not deleted.
    pub async fn fence_table(&self) -> Result<Option<FenceTable>, StoreError> {
        self.ask(|connection| Box::pin(find(connection))).await
    }

    /// Notes rules before they are loaded in this boot.
    pub async fn set_fence_table(
        &self,
        ports: &BTreeMap<Protocol, PortSet>,
    ) -> Result<(), StoreError> {
        let ports = serde_json::json!(ports).to_string();
        let boot = self.boot_id().to_owned();
        self.chore(true, |connection| Box::pin(set(connection, boot, ports)))
            .await
    }

    /// Forgets rules that were deleted.
    pub async fn forget_fence_table(&self) -> Result<(), StoreError> {
        self.chore(true, |connection| Box::pin(remove(connection)))
            .await
    }
}
