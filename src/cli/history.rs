//! `portbook history`: exports the history as rows, and deletes old parts of it.

use std::path::PathBuf;
use std::pin::pin;

use clap::{Args, Subcommand};
use futures_util::StreamExt;
use serde_json::json;

use super::output::write;
use super::{Failure, Global, number, print, with_backend};
use crate::access::Viewer;
use crate::answers::document::{PruneDocument, PruneRequest, VERSION};
use crate::answers::status::ShowStatus;
use crate::api::attempts::{AttemptQuery, port_range};
use crate::api::export::{Export, Format, Kind};
use crate::client::Client;
use crate::config::Loaded;
use crate::domain::attempt::Outcome;
use crate::domain::duration::HumanDuration;
use crate::domain::lease::{AllocationId, Name};
use crate::domain::moment::Moment;
use crate::domain::port::Protocol;
use crate::domain::words::UnknownWord;
use crate::engine::service::Caller;
use crate::host::clock::Clock;
use crate::library::find;
use crate::store::Reader;
use crate::store::directory::DataDirectory;

#[derive(Debug, Args)]
pub struct HistoryArgs {
    #[command(subcommand)]
    command: HistoryCommand,
}

#[derive(Debug, Subcommand)]
enum HistoryCommand {
    /// Print attempts, their daily sums, and more as rows; newest first.
    Export(ExportArgs),
    /// Delete old attempts, allocations and ended leases now. Their daily sums stay.
    Prune(PruneArgs),
}

#[derive(Debug, Args)]
pub struct ExportArgs {
    /// csv (for spreadsheets, the default) or jsonl (one document a line).
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<Format>,
    /// attempts; days: their sums per day, pool, interface, protocol and port; sightings: other
    /// programs seen on ports; snapshots, conflicts, endings.
    #[arg(long, value_enum, default_value_t, value_name = "KIND")]
    kind: Kind,
    /// From this time on: an age (7d) or a time (2030-01-31T12:00:00Z).
    #[arg(long, value_name = "TIME")]
    since: Option<Moment>,
    /// Before this time.
    #[arg(long, value_name = "TIME")]
    until: Option<Moment>,
    /// On this port or range (8000-8999).
    #[arg(long, value_name = "PORTS", value_parser = ports)]
    port: Option<String>,
    /// tcp or udp.
    #[arg(long)]
    protocol: Option<Protocol>,
    /// Of this pool.
    #[arg(long)]
    pool: Option<String>,
    /// On this interface.
    #[arg(long)]
    interface: Option<String>,
    /// With this outcome, such as bound or in_use.
    #[arg(long, value_parser = outcome)]
    outcome: Option<Outcome>,
    /// With this error number of the kernel, such as 98.
    #[arg(long, value_name = "NUMBER", value_parser = number::whole::<i32>)]
    errno: Option<i32>,
    /// Made for a lease of this name.
    #[arg(long)]
    name: Option<Name>,
    /// Made for this user.
    #[arg(long, value_parser = number::whole::<u32>)]
    uid: Option<u32>,
    /// With this order of candidates: learned, ordered, random or explicit.
    #[arg(long)]
    strategy: Option<String>,
    /// Of this allocation.
    #[arg(long, value_name = "ID")]
    allocation: Option<AllocationId>,
    /// Maximum number of rows.
    #[arg(long, value_name = "ROWS",
        value_parser = number::at_least_one::<u32>("ask for one row at least"))]
    limit: Option<u32>,
}

#[derive(Debug, Args)]
pub struct PruneArgs {
    /// Delete what is older. Default: `history.attempts_for` and `attempts_max` decide.
    #[arg(long, value_name = "DURATION")]
    older_than: Option<HumanDuration>,
    /// Number of attempts to keep, with the allocations and leases that belong to them.
    #[arg(long, value_name = "ATTEMPTS", value_parser = number::whole::<u64>)]
    keep: Option<u64>,
    /// Print what would be deleted, and delete nothing.
    #[arg(long)]
    dry_run: bool,
}

fn ports(text: &str) -> Result<String, String> {
    port_range(text).map(|_| text.to_owned())
}

fn outcome(text: &str) -> Result<Outcome, String> {
    text.parse().map_err(|error: UnknownWord| error.to_string())
}

impl ExportArgs {
    fn wanted(&self) -> AttemptQuery {
        AttemptQuery {
            allocation: self.allocation,
            port: self.port.clone(),
            protocol: self.protocol,
            pool: self.pool.clone(),
            interface: self.interface.clone(),
            outcome: self.outcome,
            errno: self.errno,
            name: self.name.clone(),
            uid: self.uid,
            strategy: self.strategy.clone(),
            since: self.since,
            until: self.until,
            limit: self.limit,
            before: None,
            after: None,
            format: self.format,
        }
    }

    /// Whether to print one document: `--json` without a format. A format is printed as it is.
    fn is_document(&self, global: &Global) -> Result<bool, Failure> {
        let csv = self.format.filter(|format| *format == Format::Csv);
        global.check_format(csv.as_ref())?;
        Ok(global.json && self.format.is_none())
    }
}

pub(super) async fn run(global: &Global, args: &HistoryArgs) -> Result<(), Failure> {
    let loaded = global.load()?;
    match &args.command {
        HistoryCommand::Export(args) => export(global, &loaded, args).await,
        HistoryCommand::Prune(args) => prune(global, &loaded, args).await,
    }
}

async fn export(global: &Global, loaded: &Loaded, args: &ExportArgs) -> Result<(), Failure> {
    let mut wanted = args.wanted();
    if !args.is_document(global)? {
        return rows(loaded, args.kind, &wanted, write).await;
    }
    wanted.format = Some(Format::Jsonl);
    let mut rows_of = Document::default();
    let head = json!({ "version": VERSION, "kind": args.kind }).to_string();
    // The object stays open for its rows.
    print(&format!("{},\"rows\":[", head.trim_end_matches('}')))?;
    rows(loaded, args.kind, &wanted, |piece| {
        write(&rows_of.with(piece))
    })
    .await?;
    print("]}\n")
}

/// Turns lines of JSON, in pieces, into the elements of an array.
#[derive(Debug, Default)]
struct Document {
    /// Whether a line has ended, and none has begun after it.
    is_between: bool,
}

impl Document {
    /// Converts a piece. A line's end before another line becomes a comma.
    fn with(&mut self, piece: &[u8]) -> Vec<u8> {
        let mut array = Vec::with_capacity(piece.len());
        for byte in piece {
            if std::mem::replace(&mut self.is_between, *byte == b'\n') {
                array.extend_from_slice(b",\n");
            }
            if !self.is_between {
                array.push(*byte);
            }
        }
        array
    }
}

/// Passes every piece of an export to `take`, until that returns `false`.
pub(super) async fn rows(
    loaded: &Loaded,
    kind: Kind,
    wanted: &AttemptQuery,
    mut take: impl FnMut(&[u8]) -> Result<bool, Failure>,
) -> Result<(), Failure> {
    match source(loaded, kind).await? {
        Source::Service(client) => {
            let query = serde_urlencoded::to_string(wanted)
                .map_err(|error| Failure::usage(error.to_string()))?;
            let path = format!("/api/v1/history/{}?{query}", kind.as_str());
            client.stream(&path, take).await??;
        }
        Source::File(file) => {
            let reader = Reader::open(&file).await?;
            let viewer = Viewer::Known(Caller::user(rustix::process::geteuid().as_raw()));
            let now = Clock::system().now();
            let export = Export::open(reader, viewer, kind, wanted, now).await?;
            let mut pieces = pin!(export.into_stream());
            while let Some(piece) = pieces.next().await {
                if !take(&piece?)? {
                    break;
                }
            }
        }
    }
    Ok(())
}

/// Source of an export.
enum Source {
    /// A service, whose file this user may not read.
    Service(Client),
    /// The file itself. Its writer may go on meanwhile.
    File(PathBuf),
}

/// Chooses the file if this user may read it, so that a long export costs the service nothing. Rows
/// that are written with a delay come from the service, which writes them first.
async fn source(loaded: &Loaded, kind: Kind) -> Result<Source, Failure> {
    if let Some(client) = find::find(loaded).await? {
        let status = client.call::<ShowStatus>(&()).await?;
        let file = status.data_dir.join("portbook.db");
        let at_once = matches!(kind, Kind::Attempts | Kind::Endings);
        let is_ours = at_once && std::fs::File::open(&file).is_ok();
        return Ok(if is_ours {
            Source::File(file)
        } else {
            Source::Service(client)
        });
    }
    // Opening the record for a moment makes the file or brings it to this version, and counts what
    // is due.
    with_backend(loaded, async |backend| backend.count().await).await?;
    let directory = DataDirectory::open(&loaded.settings.data_dir)?;
    Ok(Source::File(directory.database()?))
}

async fn prune(global: &Global, loaded: &Loaded, args: &PruneArgs) -> Result<(), Failure> {
    let request = PruneRequest {
        older_than: args.older_than,
        keep: args.keep,
        dry_run: args.dry_run,
    };
    let pruned = with_backend(loaded, async |backend| backend.prune(&request).await).await?;
    global.answer(&pruned, || text(&pruned))
}

fn text(pruned: &PruneDocument) -> String {
    let removed = &pruned.removed;
    let done = if pruned.dry_run {
        "would be deleted"
    } else {
        "deleted"
    };
    format!(
        "{} attempts, {} allocations, {} ended leases, {} snapshots and {} daily sums {done}\n",
        removed.attempts, removed.allocations, removed.leases, removed.looks, removed.totals
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_an_array_however_they_are_cut() {
        let lines = b"{\"a\":1}\n{\"b\":\"\\n\"}\n{}\n";
        for size in 1..=lines.len() {
            let mut document = Document::default();
            let pieces = lines.chunks(size).flat_map(|piece| document.with(piece));
            let array = [&b"["[..], &pieces.collect::<Vec<u8>>(), b"]"].concat();
            let array: Vec<serde_json::Value> = serde_json::from_slice(&array).unwrap();
            assert_eq!(array.len(), 3, "pieces of {size}");
        }
    }
}
