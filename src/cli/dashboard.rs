//! `portbook dashboard`: the console in a browser, logged in.

use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args;

use super::{Failure, Global, browser};
use crate::answers::logins::CreateLogin;
use crate::library::find;

#[derive(Debug, Args)]
#[command(after_help = "\
The address holds a code that logs one browser in, once, within a minute. Where there is a desktop a
browser is opened; elsewhere open the printed address, through a tunnel if need be:

  ssh -L 8888:127.0.0.1:8888 HOST")]
pub(super) struct DashboardArgs {
    /// Print the address only.
    #[arg(long)]
    no_open: bool,
}

/// Gets a one-time address, prints it, and opens it where there is a desktop.
pub(super) async fn run(global: &Global, args: &DashboardArgs) -> Result<(), Failure> {
    let loaded = global.load()?;
    let Some(client) = find::find(&loaded).await? else {
        if let Some(error) = find::not_admitted(&loaded) {
            return Err(error.into());
        }
        let none = "no service runs, so there is no console: start one with `portbook serve`";
        return Err(Failure::no_service(none));
    };
    let login = client.call::<CreateLogin>(&()).await?;
    let Some(url) = &login.url else {
        let off = "the console is switched off (console.enabled)";
        return Err(Failure::other(off));
    };
    if !is_console(url) {
        let strange = "the service names no address of a console on this host; it is not opened";
        return Err(Failure::other(strange));
    }
    global.answer(&login, || format!("{url}\n"))?;
    if !args.no_open && !global.json && browser::has_desktop() {
        open(url, &loaded.settings.data_dir);
    }
    Ok(())
}

/// Whether an address is one that a console can have: HTTP, a literal loopback address with a port, and
/// characters that mean nothing in HTML. It comes from the server, which might be another program.
fn is_console(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("http://") else {
        return false;
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let authority: Result<SocketAddr, _> = authority.parse();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/?=&-_.".contains(&byte);
    authority.is_ok_and(|at| at.ip().is_loopback()) && path.bytes().all(is_plain)
}

/// Opens a page of our own that leads to the address: an argument could be read by every user of
/// the host while the browser starts, a file with mode 0600 cannot.
fn open(url: &str, folder: &Path) {
    browser::tell(page(url, folder).and_then(|page| browser::open(&page)));
}

fn page(url: &str, folder: &Path) -> std::io::Result<PathBuf> {
    let path = folder.join("login.html");
    let mut options = std::fs::OpenOptions::new();
    let options = options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&path)?;
    // The address has been checked: no quotes, no markup.
    writeln!(
        file,
        "<!doctype html><meta charset=utf-8><meta http-equiv=refresh content=\"0; url={url}\">\
         <title>portbook</title><a href=\"{url}\">To the console</a>"
    )?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_a_console_are_opened() {
        for good in [
            "http://127.0.0.1:8888/login?code=0af7",
            "http://[::1]:9000/login?code=1",
        ] {
            assert!(is_console(good), "{good}");
        }
        for bad in [
            "http://evil.example/login",
            "http://127.0.0.1:8888@evil.example/",
            "http://10.0.0.1:8888/login",
            "https://127.0.0.1:8888/",
            "file:///etc/passwd",
            "javascript:alert(1)",
            "http://127.0.0.1:8888/\"><script>",
            "http://127.0.0.1:8888/a b",
            "",
        ] {
            assert!(!is_console(bad), "{bad} would be opened");
        }
    }
}
