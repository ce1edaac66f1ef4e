//! Origin of a process, for people: its program's file, its user's name, its container or systemd
//! unit. Nothing of its command line is shown or stored: it can hold secrets.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use rustix::fs::readlinkat;

use super::Directory;

/// Facts on a process, as far as they can be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Details {
    /// The program's file; only the process's own user and root see it.
    pub executable: Option<PathBuf>,
    /// Working directory; only the process's own user and root see it.
    pub directory: Option<PathBuf>,
    /// Name of its user, if `/etc/passwd` has it.
    pub user: Option<String>,
    /// Id of its container.
    pub container: Option<String>,
    /// Innermost systemd unit.
    pub unit: Option<String>,
}

/// Reads the details of a process that was seen under this name; none if another one has its pid by
/// now.
pub fn details(pid: u32, command: Option<&str>) -> Details {
    let Ok(directory) = Directory::open(pid) else {
        return Details::default();
    };
    if directory.command().ok().as_deref() != command {
        return Details::default();
    }
    let cgroup = directory.read("cgroup").unwrap_or_default();
    Details {
        executable: directory.link("exe"),
        directory: directory.link("cwd"),
        user: directory.uid().ok().and_then(user_name),
        container: container(&cgroup),
        unit: unit(&cgroup),
    }
}

/// Maximum length of a command line that is read for known words.
const WORDS_BYTES: u64 = 4096;

/// Finds a known word among the names of a process's command line, each without its folder. Nothing
/// else of the line is kept: it can hold secrets.
pub fn known_word<T>(pid: u32, known: impl Fn(&[&str]) -> Option<T>) -> Option<T> {
    let line = Directory::open(pid).ok()?.line(WORDS_BYTES).ok()?;
    let names = line.split('\0').filter_map(|word| word.rsplit('/').next());
    known(&names.collect::<Vec<_>>())
}

/// Whether a word of a process's command line names one of some programs, also in the script of a shell
/// (`sh -c "docker run …"`). Nothing of the line is kept.
pub fn names_word(pid: u32, is_wanted: impl Fn(&str) -> bool) -> bool {
    let line = Directory::open(pid).and_then(|directory| directory.line(WORDS_BYTES));
    let line = line.unwrap_or_default();
    let ends_word = |c: char| c.is_whitespace() || "\0;&|()`'\"".contains(c);
    let mut names = line
        .split(ends_word)
        .filter_map(|word| word.rsplit('/').next());
    names.any(is_wanted)
}

impl Directory {
    pub(super) fn link(&self, name: &str) -> Option<PathBuf> {
        let link = readlinkat(&self.fd, name, Vec::new()).ok()?;
        Some(PathBuf::from(OsString::from_vec(link.into_bytes())))
    }
}

/// Name of a user by `passwd(5)`. Users of directory services have none here.
pub fn user_name(uid: u32) -> Option<String> {
    name_in(&std::fs::read_to_string("/etc/passwd").ok()?, uid)
}

fn name_in(passwd: &str, uid: u32) -> Option<String> {
    let uid = uid.to_string();
    let line = passwd
        .lines()
        .find(|line| line.split(':').nth(2) == Some(&uid))?;
    let name = line.split(':').next().filter(|name| !name.is_empty())?;
    Some(name.to_owned())
}

/// Segments of every path in `/proc/PID/cgroup` (`cgroups(7)`), innermost last.
fn words(cgroup: &str) -> impl DoubleEndedIterator<Item = &str> {
    let paths = cgroup.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    paths.flat_map(|path| path.split('/'))
}

/// Finds the container: runtimes name a group after it, by 64 hex digits, alone or as in
/// `docker-….scope`, `cri-containerd-….scope`, `libpod-….scope`.
fn container(cgroup: &str) -> Option<String> {
    words(cgroup).rev().find_map(|word| {
        let word = word.strip_suffix(".scope").unwrap_or(word);
        let id = word.rsplit(['-', ':']).next()?;
        let is_id = id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_id.then(|| id.to_owned())
    })
}

fn unit(cgroup: &str) -> Option<String> {
    let is_unit = |word: &&str| {
        let kinds = [".service", ".scope", ".socket"];
        kinds.iter().any(|kind| word.ends_with(kind))
    };
    words(cgroup).rev().find(is_unit).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn containers_are_found_as_their_runtimes_name_them() {
        for path in [
            format!("0::/system.slice/docker-{ID}.scope\n"),
            format!("12:cpu:/docker/{ID}\n0::/\n"),
            format!("0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-{ID}.scope"),
            format!("0::/user.slice/user-1000.slice/libpod-{ID}.scope/container"),
            format!("0::/kubepods/besteffort/pod7/{ID}"),
        ] {
            assert_eq!(container(&path).as_deref(), Some(ID), "{path}");
        }
        for path in ["0::/", "", "0::/system.slice/nginx.service", "nonsense"] {
            assert_eq!(container(path), None, "{path}");
        }
    }

    #[test]
    fn the_innermost_unit_counts() {
        let of = |path: &str| unit(path);
        assert_eq!(
            of("0::/system.slice/nginx.service").as_deref(),
            Some("nginx.service")
        );
        let user = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/app-web.service";
        assert_eq!(of(user).as_deref(), Some("app-web.service"));
        assert_eq!(of("0::/\n"), None);
    }

    #[test]
    fn details_of_another_process_with_the_pid_are_left_out() {
        let me = std::process::id();
        let command = super::super::command(me).unwrap();
        let found = details(me, Some(&command));
        assert_eq!(found.executable, std::env::current_exe().ok());
        assert_eq!(details(me, Some("another name")), Details::default());
        assert_eq!(details(u32::MAX, Some("x")), Details::default());
        let passwd = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:33::/:/bin/false\n";
        assert_eq!(name_in(passwd, 33).as_deref(), Some("web"));
        assert_eq!(name_in(passwd, 3), None);
    }
}
