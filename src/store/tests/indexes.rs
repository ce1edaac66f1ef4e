//! Each index of the rows, with a query of a page or of the API that needs it.

use sqlx::Row;

use super::open;
use crate::store::filter::{BY_BLOCK, IN_BLOCKS};

/// Indexes and queries. Queries of attempts by filters are in `asking.rs`.
const NEEDED: [(&str, &str); 8] = [
    // The same request again, after its answer got lost.
    (
        "allocation_retry",
        "select id from allocation_row where uid = 1 and retry_key = 'a' and refusal is null \
         order by id desc limit 1",
    ),
    // Living leases, at a start.
    (
        "lease_live",
        "select * from lease where ended_at_ms is null order by id",
    ),
    // The last port of a name.
    (
        "lease_of_name",
        "select * from lease where name = 'web' and uid = 1 and scope_dir is null \
         and protocol = 'tcp' order by id desc limit 1",
    ),
    // The leases of an allocation, on its page.
    (
        "lease_of_allocation",
        "select * from lease where allocation = x'00' order by id limit 10",
    ),
    // The attempts on a port, on its page.
    (
        "attempt_port",
        "select * from attempt where {in_blocks} and port = 1 order by {by_block} limit 10",
    ),
    // The attempts of a user who does not see others.
    (
        "attempt_uid",
        "select * from attempt where uid = 1 order by seq desc limit 10",
    ),
    // Refused attempts, which are rare.
    (
        "attempt_refused",
        "select * from attempt where outcome_word not in (1, 2) \
         and outcome_word = (select id from word where text = 'in_use') order by seq desc limit 10",
    ),
    // Attempts with an error number.
    (
        "attempt_errno",
        "select * from attempt where errno = 98 order by seq desc limit 10",
    ),
];

#[tokio::test]
async fn each_index_serves_a_query_without_sorting() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _writer) = open(folder.path()).await;
    let reader = store.reader();
    let indexes: Vec<String> = sqlx::query_scalar(
        "select name from sqlite_schema where type = 'index' and sql is not null \
         and tbl_name in ('allocation_row', 'lease_row', 'attempt_row') order by name",
    )
    .fetch_all(&reader.pool)
    .await
    .unwrap();
    let mut needed: Vec<&str> = NEEDED.iter().map(|(index, _)| *index).collect();
    needed.sort_unstable();
    assert_eq!(indexes, needed);
    for (index, query) in NEEDED {
        let query = query.replace("{in_blocks}", IN_BLOCKS);
        let query = query.replace("{by_block}", BY_BLOCK);
        let explain = sqlx::AssertSqlSafe(format!("explain query plan {query}"));
        let steps = sqlx::query(explain).fetch_all(&reader.pool).await.unwrap();
        let plan: Vec<String> = steps.iter().map(|row| row.get("detail")).collect();
        let plan = plan.join("; ");
        assert!(plan.contains(index), "{plan} is not by {index}");
        assert!(!plan.contains("TEMP B-TREE"), "{plan}");
    }
}
