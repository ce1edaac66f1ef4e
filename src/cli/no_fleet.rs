//! `portbook fleet` and `portbook resolve` in a build without them: they say how to get one that has them.

use clap::Args;

use super::{Failure, Global};
use crate::domain::port::{PortSet, Protocol};

#[derive(Debug, Args)]
#[command(after_help = "\
This build does not have it: it would need etcd's client, and protoc to build that. In a clone,
  cargo install --path . --features fleet")]
pub struct FleetArgs {
    /// Words of the command in a build that has it.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    rest: Vec<String>,
}

pub type ResolveArgs = FleetArgs;

#[expect(clippy::unused_async, reason = "the shape of the build that has it")]
pub(super) async fn run(_: &Global, _: &FleetArgs) -> Result<(), Failure> {
    Err(absent())
}

#[expect(clippy::unused_async, reason = "the shape of the build that has it")]
pub(super) async fn resolve(_: &Global, _: &ResolveArgs) -> Result<(), Failure> {
    Err(absent())
}

#[expect(clippy::unused_async, reason = "the shape of the build that has it")]
pub(super) async fn list(_: &Global, _: bool) -> Result<(), Failure> {
    Err(absent())
}

#[expect(clippy::unused_async, reason = "the shape of the build that has it")]
pub(super) async fn on_ports(
    _: &Global,
    _: Option<PortSet>,
    _: Option<Protocol>,
) -> Result<(), Failure> {
    Err(absent())
}

fn absent() -> Failure {
    Failure::usage(
        "this build has no fleet: build one that has, with `cargo install --path . --features fleet`",
    )
}
