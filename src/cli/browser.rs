//! Browsers of a desktop.

use std::ffi::OsStr;
use std::io::{self, IsTerminal};
use std::process::{Command, Stdio};

use super::note;

/// Program that opens a browser on most desktops (xdg-utils).
const OPENER: &str = "xdg-open";

/// Whether a person at a desktop reads the output.
pub(super) fn has_desktop() -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    io::stdout().is_terminal() && (set("DISPLAY") || set("WAYLAND_DISPLAY"))
}

/// Opens an address or a file.
pub(super) fn open(target: impl AsRef<OsStr>) -> io::Result<()> {
    let mut opener = Command::new(OPENER);
    let quiet = opener
        .arg(target)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    quiet.spawn().map(drop)
}

/// Tells that no browser was opened.
pub(super) fn tell(opened: io::Result<()>) {
    if let Err(error) = opened {
        note(&format!(
            "no browser was opened ({OPENER}: {error}); open the address above"
        ));
    }
}
