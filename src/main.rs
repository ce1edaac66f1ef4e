//! The `portbook` command.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    portbook::cli::answer_if_asked();
    let cli = portbook::cli::Cli::parse();
    match cli.run() {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}
