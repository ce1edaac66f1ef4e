//! `portbook mcp`: a server of the Model Context Protocol for coding agents, on stdin and stdout.
//!
//! Its tools call the same functions as the commands, within one work tree: that of the current
//! directory. stdout carries the protocol alone.

mod answer;
mod outside;
mod schema;
mod server;
mod tool;
mod tools;
mod work_tree;

use std::io::{IsTerminal, stdin};
use std::path::{Path, PathBuf};

use clap::Args;
use rmcp::service::{ServerInitializeError, ServiceExt};
use rmcp::transport::async_rw::AsyncRwTransport;
use tokio::runtime::Builder;

use super::{Failure, Global, note};
use server::Server;

#[derive(Debug, Args)]
#[command(after_help = "\
A coding agent starts it in the project's folder; it ends when its stdin does. For Claude Code:
  claude mcp add portbook -- portbook mcp
Its tools: lease_port, service_url, who_is_on_port, explain_port, wait_until_serving, list_leases,
release_lease. Names belong to the work tree of the folder: that of portbook.toml, else the git work
tree. So each work tree has ports of its own, and gets them again. The tools stop no program, and
release no lease of another work tree. With a service (`portbook serve`) ports are held before
their program starts.

The recipe agents.md in the documentation has the lines for other agents, and a text to teach them.")]
pub struct McpArgs {
    /// Folder to work in; default: the current one.
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
}

/// Maximum size of a message, in bytes. Longer ones are passed over.
const LONGEST: usize = 1 << 20;

pub(super) fn run(global: &Global, args: &McpArgs) -> Result<(), Failure> {
    let global = global.anchored()?;
    if let Some(directory) = &args.directory {
        enter(directory)?;
    }
    if stdin().is_terminal() {
        note(
            "this speaks with a coding agent, over stdin: `portbook mcp --help` says how to set one up",
        );
    }
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime
        .map_err(|error| Failure::other(format!("cannot start the server's runtime: {error}")))?;
    let served = runtime.block_on(serve(global));
    // A read of stdin or a tool that still waits does not delay the end.
    runtime.shutdown_background();
    served
}

/// Makes a folder the current directory. No other thread runs yet.
fn enter(directory: &Path) -> Result<(), Failure> {
    std::env::set_current_dir(directory).map_err(|error| {
        let shown = directory.display();
        Failure::usage(format!(
            "--directory {shown}: {error}: name a folder that exists"
        ))
    })
}

async fn serve(global: Global) -> Result<(), Failure> {
    let (input, output) = (tokio::io::stdin(), tokio::io::stdout());
    let transport = AsyncRwTransport::new_server(input, output).with_max_line_length(LONGEST);
    let running = match Server::new(global).serve(transport).await {
        Ok(running) => running,
        Err(ServerInitializeError::ConnectionClosed(_)) => return Ok(()),
        Err(_) => {
            let strange =
                "the client did not begin with `initialize`, as the Model Context Protocol wants";
            return Err(Failure::usage(strange));
        }
    };
    let ended = running.waiting().await;
    ended.map_err(|error| Failure::other(format!("the server failed: {error}")))?;
    Ok(())
}

impl Global {
    /// The same options with absolute paths, before the current directory changes.
    fn anchored(&self) -> Result<Self, Failure> {
        let absolute = |path: &Option<PathBuf>| path.as_ref().map(std::path::absolute).transpose();
        let wrong = |error| Failure::usage(format!("a path in the options: {error}"));
        Ok(Self {
            config: absolute(&self.config).map_err(wrong)?,
            data_dir: absolute(&self.data_dir).map_err(wrong)?,
            socket: absolute(&self.socket).map_err(wrong)?,
            ..self.clone()
        })
    }
}
