//! Project of a folder: its file, and the folder that its names belong to.
//!
//! A user who can write to a folder above must not decide over the names and ports of others, so files
//! and repositories of other users do not count.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Name of the project file.
pub const PROJECT_FILE: &str = "portbook.toml";

/// The project around a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// Folder that names of scope `dir` belong to: that of the project file, else the root of the git
    /// work tree, else the folder itself.
    pub scope: PathBuf,
    /// Project file. `None` if there is none.
    pub file: Option<PathBuf>,
    /// Nearest project file that does not count, with the uid of its owner. `None` if every file on the
    /// way counts.
    pub ignored: Option<(PathBuf, u32)>,
}

impl Tree {
    /// Finds the project around `directory`, a path without symbolic links, for the user `uid`. The search
    /// goes up to the root of the git work tree; without git up to `home`, or to the root of the file
    /// system of the folder.
    pub fn of(directory: &Path, home: Option<&Path>, uid: u32) -> Self {
        let root = work_tree(directory, uid);
        let mut ignored = None;
        let mut file = None;
        for folder in folders(directory, root, home) {
            let near = root.is_some() || folder == directory;
            let candidate = folder.join(PROJECT_FILE);
            match owner(&candidate) {
                None => {}
                Some(owner) if is_trusted(owner, uid, near.then_some(directory)) => {
                    file = Some(candidate);
                    break;
                }
                Some(owner) => ignored = ignored.or(Some((candidate, owner))),
            }
        }
        let of_file = file.as_deref().and_then(Path::parent);
        Self {
            scope: of_file.or(root).unwrap_or(directory).to_owned(),
            file,
            ignored,
        }
    }
}

/// Root of the git work tree around a folder. `.git` is a folder in a clone and a file in an added work
/// tree.
fn work_tree(directory: &Path, uid: u32) -> Option<&Path> {
    directory.ancestors().find(|folder| {
        let owner = owner(&folder.join(".git"));
        owner.is_some_and(|owner| is_trusted(owner, uid, Some(directory)))
    })
}

/// Folders that a project file may lie in, the nearest first.
fn folders<'a>(directory: &'a Path, root: Option<&Path>, home: Option<&Path>) -> Vec<&'a Path> {
    let home = home.and_then(|home| home.canonicalize().ok());
    let mut folders = Vec::new();
    let device = |folder: &Path| std::fs::metadata(folder).map(|found| found.dev()).ok();
    let of_directory = device(directory);
    for folder in directory.ancestors() {
        if root.is_none() && device(folder) != of_directory {
            break;
        }
        folders.push(folder);
        let is_last = match root {
            Some(root) => folder == root,
            None => home.as_deref() == Some(folder),
        };
        if is_last {
            break;
        }
    }
    folders
}

/// Owner of a file. `None` if there is no file. For a symbolic link it is the owner of the link, but
/// behind a link of root the owner of its target: root makes links for all users.
fn owner(file: &Path) -> Option<u32> {
    let owner = |found: Metadata| found.uid();
    let of_link = std::fs::symlink_metadata(file).map(owner).ok()?;
    let of_target = std::fs::metadata(file).map(owner).ok()?;
    Some(if of_link == 0 { of_target } else { of_link })
}

/// Whether a file of `owner` counts for the user `uid`: files of the user and of root, and files of the
/// owner of `inside`, the folder that the user works in.
fn is_trusted(owner: u32, uid: u32, inside: Option<&Path>) -> bool {
    let of_folder = || Some(std::fs::metadata(inside?).ok()?.uid());
    owner == uid || owner == 0 || of_folder() == Some(owner)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::chown;

    use super::*;

    /// A folder two levels below another.
    fn nested() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path().canonicalize().unwrap();
        let deep = top.join("a/b");
        fs::create_dir_all(&deep).unwrap();
        (folder, top, deep)
    }

    fn me() -> u32 {
        rustix::process::geteuid().as_raw()
    }

    #[test]
    fn folder_of_the_nearest_file_is_the_scope() {
        let (_folder, top, deep) = nested();
        fs::create_dir(top.join(".git")).unwrap();
        let scope = |from: &Path| Tree::of(from, None, me()).scope;
        assert_eq!(scope(&deep), top, "no file: the work tree");
        fs::write(top.join("a").join(PROJECT_FILE), "").unwrap();
        assert_eq!(scope(&deep), top.join("a"));
        assert_eq!(scope(&top), top);
        fs::write(top.join(PROJECT_FILE), "").unwrap();
        assert_eq!(scope(&deep), top.join("a"), "the nearest");
    }

    #[test]
    fn without_git_the_search_ends_at_home() {
        let (_folder, top, deep) = nested();
        fs::write(top.join(PROJECT_FILE), "").unwrap();
        assert_eq!(Tree::of(&deep, None, me()).scope, top);
        assert_eq!(Tree::of(&deep, Some(&top), me()).scope, top);
        let inner = Tree::of(&deep, Some(&top.join("a")), me());
        assert_eq!((inner.scope, inner.file), (deep, None));
    }

    #[test]
    fn files_of_another_user_above_are_ignored() {
        let (_folder, top, deep) = nested();
        let file = top.join(PROJECT_FILE);
        fs::write(&file, "").unwrap();
        fs::create_dir(top.join(".git")).unwrap();
        let (other, user) = (me() + 7, me() + 8);
        if me() != 0 || chown(&file, Some(other), None).is_err() {
            // Only root can give files away.
            return;
        }
        for path in [deep.clone(), top.join("a")] {
            chown(path, Some(user), None).unwrap();
        }
        let found = Tree::of(&deep, None, user);
        assert_eq!((found.scope.as_path(), found.file), (top.as_path(), None));
        assert_eq!(found.ignored, Some((file, other)));
        // A repository of another user is none.
        chown(top.join(".git"), Some(other), None).unwrap();
        assert_eq!(Tree::of(&deep, None, user).scope, deep);
        // In the other user's own folder it counts.
        chown(&deep, Some(other), None).unwrap();
        assert_eq!(Tree::of(&deep, None, user).scope, top);
    }
}
