//! Whereabouts of a process: whether it belongs to a folder, such as the work tree of a project.

use std::path::{Path, PathBuf};

use super::{Directory, lineage, mark};

/// Relation of a process to a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whereabouts {
    /// It, or a process that it descends from, works in the folder, was started there, or is a program
    /// of the folder.
    Inside,
    /// It works elsewhere, or was started elsewhere.
    Elsewhere,
    /// It works in `/`, as daemons do, or the kernel does not show its folder.
    Unknown,
}

/// Tells whether a process belongs to a folder.
fn whereabouts(pid: u32, folder: &Path) -> Whereabouts {
    // The kernel shows paths without symbolic links.
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let started = mark::variable(pid, "PWD").map(PathBuf::from);
    let started = started.map(|path| path.canonicalize().unwrap_or(path));
    let is_started_inside = started
        .as_ref()
        .is_some_and(|path| path.starts_with(&folder));
    if is_started_inside || lineage(pid).any(|pid| is_inside(pid, &folder)) {
        return Whereabouts::Inside;
    }
    let cwd = Directory::open(pid)
        .ok()
        .and_then(|process| process.link("cwd"));
    let is_placed = |path: &PathBuf| path != Path::new("/");
    if cwd.as_ref().is_some_and(is_placed) || started.as_ref().is_some_and(is_placed) {
        Whereabouts::Elsewhere
    } else {
        Whereabouts::Unknown
    }
}

/// Whether a process is a program of another folder than that of a lease, and has not the lease's mark.
pub fn is_of_another_folder(pid: u32, folder: &Path, lease: &str) -> bool {
    !mark::mark_of(pid).names(lease) && whereabouts(pid, folder) == Whereabouts::Elsewhere
}

fn is_inside(pid: u32, folder: &Path) -> bool {
    let Ok(process) = Directory::open(pid) else {
        return false;
    };
    let mut places = ["cwd", "exe"]
        .into_iter()
        .filter_map(|name| process.link(name));
    places.any(|place| place.starts_with(folder))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::process::tests::running;
    use std::process::Command;

    fn seen_from(cwd: &Path, pwd: Option<&Path>, folder: &Path) -> Whereabouts {
        let mut command = Command::new("cat");
        command.current_dir(cwd).env_remove("PWD");
        command.envs(pwd.map(|pwd| ("PWD", pwd)));
        let mut child = running(command);
        let found = whereabouts(child.id(), folder);
        child.kill().unwrap();
        child.wait().unwrap();
        found
    }

    #[test]
    fn process_belongs_to_the_folder_that_it_works_in() {
        let (tree, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (tree, other) = (tree.path(), other.path());
        let below = tree.join("src");
        std::fs::create_dir(&below).unwrap();
        assert_eq!(seen_from(&below, None, tree), Whereabouts::Inside);
        assert_eq!(seen_from(tree, None, &below), Whereabouts::Elsewhere);
        assert_eq!(seen_from(other, None, tree), Whereabouts::Elsewhere);
        let root = Path::new("/");
        assert_eq!(seen_from(root, None, tree), Whereabouts::Unknown);
        assert_eq!(seen_from(root, Some(tree), tree), Whereabouts::Inside);
        assert_eq!(seen_from(root, Some(other), tree), Whereabouts::Elsewhere);
        let sh = Path::new("/proc/self/exe").canonicalize().unwrap();
        let here = sh.parent().unwrap();
        assert_eq!(whereabouts(std::process::id(), here), Whereabouts::Inside);
    }
}
