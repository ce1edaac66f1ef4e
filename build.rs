//! Rebuilds when a migration is added: `sqlx::migrate!` reads the folder at compile time. Packs the
//! relocations of the program.

use std::env::var;
use std::process::Command;

/// Target whose linkers know packed relocations.
const TARGET: &str = "x86_64-unknown-linux-gnu";

fn main() {
    println!("cargo::rerun-if-changed=migrations");
    if loads_packed_relocations() {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// Whether the program is built for this host, and its C library loads packed relocations (`DT_RELR`,
/// since glibc 2.36). They take one fiftieth of the usual form, 2 % of the program.
fn loads_packed_relocations() -> bool {
    let is_own = ["HOST", "TARGET"].map(|name| var(name).is_ok_and(|known| known == TARGET));
    is_own == [true, true] && glibc().is_some_and(|version| version >= (2, 36))
}

/// Version of this host's glibc. `None` if it has another C library.
fn glibc() -> Option<(u32, u32)> {
    let asked = Command::new("getconf").arg("GNU_LIBC_VERSION").output();
    let text = String::from_utf8(asked.ok()?.stdout).ok()?;
    let (major, minor) = text.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
