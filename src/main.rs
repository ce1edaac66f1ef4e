//! The `portbook` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    portbook::cli::handle_completion();
    let cli = match portbook::cli::Cli::read() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    match cli.run() {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}
