//! The command line: one file per command. stdout carries the answer alone; everything else goes
//! to stderr.

mod advice;
mod alloc;
mod browser;
mod complete;
mod config;
mod dashboard;
mod doctor;
mod env;
mod exclude;
mod explain;
mod failure;
mod file;
#[cfg(feature = "fleet")]
mod fleet;
#[cfg(not(feature = "fleet"))]
#[path = "no_fleet.rs"]
mod fleet;
mod fleet_files;
mod folder;
mod format;
mod help;
mod history;
mod interfaces;
mod lease_note;
mod list;
mod man;
mod map;
#[cfg(feature = "mcp")]
mod mcp;
#[cfg(not(feature = "mcp"))]
#[path = "no_mcp.rs"]
mod mcp;
mod named;
mod number;
mod output;
mod portserver;
mod program;
mod project;
mod release;
mod renew;
mod report;
mod request;
mod run;
mod running;
mod serve;
mod service;
mod stats;
mod status;
mod table;
mod target;
mod token;
mod trace;
mod unit;
mod url;
mod variables;
mod wait;
mod when;
mod who;

pub use complete::handle_completion;
pub use failure::Failure;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::error::Error as UsageError;
use clap::{ArgAction, Args, FromArgMatches, Parser, Subcommand};

use crate::config::{Flags, Loaded, Sources};
use crate::domain::duration::HumanDuration;
use output::{note, print, print_json};
#[cfg(feature = "fleet")]
use running::with_service;
use running::{block_on, traced, with_backend};

/// Book a port, keep it, and know why it was chosen.
///
/// With a service running (`portbook serve`) every command speaks to it; without one, `alloc` and
/// `run` do the allocation themselves on the same record.
#[derive(Debug, Parser)]
#[command(
    name = "portbook",
    version,
    propagate_version = true,
    disable_help_flag = true,
    disable_version_flag = true,
    max_term_width = 100
)]
#[command(after_help = "\
Examples:
  portbook run -- python3 -m http.server {port}    a program on a port of its own
  PORT=$(portbook alloc)                           a port for a script
  portbook run --name web --prefer 3000 -- npm start
                                                   the same port every time, 3000 if it is free
  portbook serve                                   the service with its console
  portbook who 8888                                the occupants of a port, now and before
  portbook wait web --http /                       until the program of web answers

Exit codes: 0 done; 1 refused; 2 usage or configuration; 3 no service can be reached.
`run` exits as its program does; 125, 126 and 127 are its own, as with env(1).")]
struct Line<C: Subcommand> {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: C,
}

/// A command of portbook, as the command line has it.
#[derive(Debug)]
pub struct Cli(Line<Command>);

/// Time that a service has for its answer at least, whatever the limit on its search.
const SOON: Duration = Duration::from_secs(1);

/// Options of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = help::GENERAL)]
struct Global {
    /// A configuration file, read after the system's and the user's.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Directory of the record, the token and the lock.
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The service's API socket.
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Limit on the wait for each answer of the service, such as 5s; default: 30s.
    #[arg(long, global = true, value_name = "DURATION")]
    timeout: Option<HumanDuration>,
    /// Print one JSON document instead of text, for an error as well.
    #[arg(long, global = true)]
    json: bool,
    /// Print help: -h in short, --help in full.
    #[arg(long, short, global = true, action = ArgAction::Help)]
    help: Option<bool>,
    /// Print the version.
    #[arg(long, short = 'V', global = true, action = ArgAction::Version)]
    version: Option<bool>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a program on a port that no other can take before it starts.
    Run(run::RunArgs),
    /// Get a port and print it.
    Alloc(alloc::AllocArgs),
    /// Print a project's ports as variables, the same ones every time.
    Env(env::EnvArgs),
    /// List leases.
    #[command(visible_alias = "ls")]
    List(list::ListArgs),
    /// Print the address of a service, or open it in a browser.
    Url(url::UrlArgs),
    /// Find the hosts and ports of a name in the fleet.
    Resolve(fleet::ResolveArgs),
    /// Give leases back, by id, port or name.
    Release(release::ReleaseArgs),
    /// Make a lease last longer.
    Renew(renew::RenewArgs),
    /// Write a note on a lease, or print the one that is there.
    Note(lease_note::NoteArgs),
    /// Exclude ports by hand, or list those that are.
    Exclude(exclude::ExcludeArgs),
    /// Include ports again.
    Include(exclude::IncludeArgs),
    /// List the programs that listen on this host, or the present and past occupants of a port.
    Who(who::WhoArgs),
    /// Explain the choice of a port.
    Explain(explain::ExplainArgs),
    /// Wait until a lease's program listens or answers, or until a port is free.
    Wait(wait::WaitArgs),
    /// Summarize the history: success, conflicts, lifetimes.
    Stats(stats::StatsArgs),
    /// Export the history, or delete old parts of it.
    History(history::HistoryArgs),
    /// Report on contention: which ports met whom, how often, and what moved.
    Report(report::ReportArgs),
    /// Show the service that answers, and its console.
    Status,
    /// Look for obstacles to portbook on this host, and print the commands that mend them.
    Doctor(doctor::DoctorArgs),
    /// List the network interfaces and addresses of this host.
    Interfaces,
    /// Show, check or begin a configuration.
    Config(config::ConfigArgs),
    /// Run the service, with its console and its API.
    Serve(serve::ServeArgs),
    /// Open the console in a browser, logged in.
    Dashboard(dashboard::DashboardArgs),
    /// Look at the fleet of hosts, join it or leave it.
    Fleet(fleet::FleetArgs),
    /// Serve coding agents over stdin and stdout (Model Context Protocol).
    Mcp(mcp::McpArgs),
    /// Run the service in place of the port server that test runners know.
    Portserver(portserver::PortserverArgs),
    /// Print the token that is needed to change state on the console.
    Token,
    /// Have systemd run the service.
    Service(service::ServiceArgs),
    /// Print a shell's completions.
    Completions(complete::CompletionsArgs),
    /// Write the manual pages into a folder.
    Man(man::ManArgs),
}

/// The commands that scripts call most. A line with one of them is read without the options of all
/// others, which take several times as long to build.
#[derive(Debug, Subcommand)]
enum Frequent {
    Run(run::RunArgs),
    Alloc(alloc::AllocArgs),
}

impl Line<Command> {
    /// Reads a valid line of a frequent command. `None` for any other: errors and help are those of
    /// the whole command.
    fn read_frequent() -> Option<Self> {
        let name = std::env::args_os().nth(1)?;
        if name != "run" && name != "alloc" {
            return None;
        }
        let Line { global, command } = Line::<Frequent>::try_parse().ok()?;
        let command = match command {
            Frequent::Run(args) => Command::Run(args),
            Frequent::Alloc(args) => Command::Alloc(args),
        };
        Some(Self { global, command })
    }
}

impl Cli {
    /// Reads the command line. If it is no command, or asks for help alone, prints that and returns
    /// the exit code.
    pub fn read() -> Result<Self, ExitCode> {
        if let Some(line) = Line::read_frequent() {
            return Ok(Self(line));
        }
        let read = help::command()
            .try_get_matches()
            .and_then(|matches| Line::from_arg_matches(&matches));
        read.map(Self).map_err(|error| not_read(&error))
    }

    /// Runs the command.
    pub fn run(self) -> Result<ExitCode, Failure> {
        let json = self.0.global.json;
        self.0.dispatch().inspect_err(|failure| {
            if json {
                tell_problem(failure);
            }
        })
    }
}

impl Line<Command> {
    fn dispatch(self) -> Result<ExitCode, Failure> {
        let Self {
            mut global,
            command,
        } = self;
        // Their own option of this name limits the work. The answer is due soon after it.
        global.timeout = match command {
            Command::Wait(_) => None,
            Command::Run(_) | Command::Alloc(_) => {
                let limit = global.timeout.map(|limit| limit.0.max(SOON));
                limit.map(HumanDuration)
            }
            _ => global.timeout,
        };
        match command {
            Command::Run(args) => return Err(run::run(&global, &args)),
            Command::Wait(args) => return block_on(wait::run(&global, &args)),
            Command::Doctor(args) => return block_on(doctor::run(&global, &args)),
            Command::Config(args) => return config::run(&global, &args),
            Command::Alloc(args) => alloc::run(&global, &args)?,
            Command::Env(args) => block_on(env::run(&global, &args))?,
            Command::List(args) => block_on(list::run(&global, &args))?,
            Command::Url(args) => block_on(url::run(&global, &args))?,
            Command::Resolve(args) => block_on(fleet::resolve(&global, &args))?,
            Command::Fleet(args) => block_on(fleet::run(&global, &args))?,
            Command::Release(args) => release::run(&global, &args)?,
            Command::Renew(args) => renew::run(&global, &args)?,
            Command::Note(args) => lease_note::run(&global, &args)?,
            Command::Exclude(args) => exclude::exclude(&global, &args)?,
            Command::Include(args) => exclude::include(&global, &args)?,
            Command::Who(args) => block_on(who::run(&global, &args))?,
            Command::Explain(args) => block_on(explain::run(&global, &args))?,
            Command::Stats(args) => block_on(stats::run(&global, &args))?,
            Command::History(args) => block_on(history::run(&global, &args))?,
            Command::Report(args) => block_on(report::run(&global, &args))?,
            Command::Status => block_on(status::run(&global))?,
            Command::Interfaces => interfaces::run(&global)?,
            Command::Serve(args) => serve::run(&global, &args)?,
            Command::Dashboard(args) => block_on(dashboard::run(&global, &args))?,
            Command::Mcp(args) => mcp::run(&global, &args)?,
            Command::Portserver(args) => portserver::run(&global, &args)?,
            Command::Token => token::run(&global)?,
            Command::Service(args) => service::run(&global, &args)?,
            Command::Completions(args) => complete::run(&global, &args)?,
            Command::Man(args) => man::run(&global, &args)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Prints the document of a failure. That it cannot be printed changes nothing.
fn tell_problem(failure: &Failure) {
    if let Some(problem) = failure.problem() {
        let _ = print_json(&problem);
    }
}

/// Prints clap's error or help, and a document of the error with `--json`.
fn not_read(error: &UsageError) -> ExitCode {
    let words = std::env::args_os().skip(1);
    let mut words = words.take_while(|word| word != "--");
    if error.use_stderr() && words.any(|word| word == "--json") {
        let text = error.render().to_string();
        let what = text.split("\n\n").next().unwrap_or_default();
        let what = what.trim_start_matches("error: ").split_whitespace();
        tell_problem(&Failure::usage(what.collect::<Vec<_>>().join(" ")));
    }
    // A reader that has gone cannot be told so.
    let _ = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

impl Global {
    fn flags(&self) -> Flags {
        Flags {
            config: self.config.clone(),
            data_dir: self.data_dir.clone(),
            socket: self.socket.clone(),
            timeout: self.timeout,
            ..Flags::default()
        }
    }

    fn load(&self) -> Result<Loaded, Failure> {
        let sources = Sources::from_process(self.flags());
        crate::config::load(&sources).map_err(Failure::from)
    }
}
