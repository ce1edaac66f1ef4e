//! Cgroups for the programs of `portbook run`: folders in the kernel's version 2 tree (`cgroups(7)`).

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::Permit;
use crate::domain::address::AddressGroup;
use crate::domain::port::{Port, Protocol};

/// Prefix of the names of all folders that any portbook makes.
pub const PREFIX: &str = "portbook-";

/// Number of times that processes are moved out of a folder: each may start another one meanwhile.
const ROUNDS: usize = 8;

/// Folders in which folders of portbook are looked for at most.
const MOST_FOLDERS: usize = 10_000;

/// A cgroup that portbook made. It stays until it is removed, also if this process ends: the programs in it
/// go on.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// Inode number, by which programs know it.
    id: u64,
    /// Number of cgroups above it.
    level: u32,
}

impl Folder {
    /// Makes a folder below the cgroup of a process, so that the limits on that hold for it too. One that is
    /// there already is used again.
    pub fn below_that_of(pid: u32, name: &str) -> io::Result<Self> {
        let path = of_process(pid)?.join(name);
        match fs::create_dir(&path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
            _ => Self::open(path),
        }
    }

    /// Returns the folder of this prefix that a process is in.
    pub fn around(pid: u32, prefix: &str) -> Option<Self> {
        let path = of_process(pid).ok()?;
        let is_one = |path: &&Path| is_named(path, prefix);
        let path = path.ancestors().find(is_one)?;
        Self::open(path.to_owned()).ok()
    }

    pub(super) fn open(path: PathBuf) -> io::Result<Self> {
        let id = fs::metadata(&path)?.ino();
        let tree = tree()?;
        let below = path.strip_prefix(&tree.mounted).ok();
        let level = below.map(|below| below.components().count());
        let level = level.and_then(|level| u32::try_from(level).ok());
        let level = level.ok_or(ErrorKind::InvalidInput)?;
        Ok(Self { path, id, level })
    }

    /// The permission of its processes to bind a port.
    pub fn permit(&self, protocol: Protocol, port: Port, group: AddressGroup) -> Permit {
        Permit {
            protocol,
            port,
            group,
            cgroup: self.id,
            level: self.level,
        }
    }

    /// Path of it, which tells it from others.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder, opened.
    pub(super) fn opened(&self) -> io::Result<File> {
        File::open(&self.path)
    }

    /// Moves a process with all its threads in. Its sockets stay what they are; those that it makes from now on
    /// belong to the folder.
    pub fn take_in(&self, pid: u32) -> io::Result<()> {
        move_to(&self.path, pid)
    }

    /// Moves what runs in it to the cgroup above, and removes it. If a program in it has started another one by
    /// `portbook run`, it lasts as long as the folder of that.
    pub fn remove(&self) -> io::Result<()> {
        if let Some(above) = self.path.parent().filter(|above| is_named(above, PREFIX)) {
            self.remove_it()?;
            // Refused as long as anything runs in it.
            let _ = fs::remove_dir(above);
            return Ok(());
        }
        self.remove_it()
    }

    fn remove_it(&self) -> io::Result<()> {
        let above = self.path.parent().ok_or(ErrorKind::InvalidInput)?;
        let mut removed = fs::remove_dir(&self.path);
        for _ in 0..ROUNDS {
            match &removed {
                Err(error) if error.kind() == ErrorKind::ResourceBusy => {}
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
                _ => break,
            }
            self.empty_into(above)?;
            removed = fs::remove_dir(&self.path);
            if removed.is_err() && self.has_another() {
                return Ok(());
            }
        }
        removed
    }

    fn has_another(&self) -> bool {
        let entries = fs::read_dir(&self.path).into_iter().flatten().flatten();
        entries
            .map(|entry| entry.path())
            .any(|path| is_named(&path, PREFIX))
    }

    fn empty_into(&self, above: &Path) -> io::Result<()> {
        let inside = fs::read_to_string(self.path.join("cgroup.procs"))?;
        // 0 is a process of a pid namespace that is not ours to see.
        let pids = inside.lines().filter_map(|line| line.parse().ok());
        for pid in pids.filter(|pid| *pid != 0) {
            match move_to(above, pid) {
                // ESRCH: it has ended.
                Err(error)
                    if rustix::io::Errno::from_io_error(&error)
                        == Some(rustix::io::Errno::SRCH) => {}
                done => done?,
            }
        }
        Ok(())
    }
}

fn move_to(folder: &Path, pid: u32) -> io::Result<()> {
    let mut file = File::options()
        .write(true)
        .open(folder.join("cgroup.procs"))?;
    // One write is one process (`cgroups(7)`).
    io::Write::write_all(&mut file, pid.to_string().as_bytes())
}

/// Returns all folders with a name of this prefix in the whole tree.
pub fn with_prefix(prefix: &str) -> Vec<Folder> {
    let (mut found, mut looked_at) = (Vec::new(), 0);
    let mut left: Vec<PathBuf> = tree().map(|tree| tree.mounted).into_iter().collect();
    while let Some(folder) = left.pop() {
        looked_at += 1;
        if looked_at > MOST_FOLDERS {
            break;
        }
        if is_named(&folder, prefix) {
            found.extend(Folder::open(folder));
            continue;
        }
        let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
        let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        left.extend(folders.map(|entry| entry.path()));
    }
    found
}

fn is_named(path: &Path, prefix: &str) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.starts_with(prefix))
}

/// The root of all cgroups, opened.
pub(super) fn root() -> io::Result<File> {
    File::open(tree()?.mounted)
}

/// The tree of version 2.
struct Tree {
    mounted: PathBuf,
}

/// Inode number of the first cgroup namespace (PROC_CGROUP_INIT_INO in Linux).
const FIRST_NAMESPACE: u64 = 0xefff_fffb;

/// Finds the tree among the mounts (`proc_pid_mountinfo(5)`). None of them has a space in its path. In a cgroup
/// namespace, as in a container, the root of the host's cgroups is not to be seen.
fn tree() -> io::Result<Tree> {
    if fs::metadata("/proc/self/ns/cgroup")?.ino() != FIRST_NAMESPACE {
        let why = "this service is in a cgroup namespace of its own";
        return Err(io::Error::new(ErrorKind::Unsupported, why));
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let tree = mounts.lines().find_map(|line| {
        let (place, kind) = line.split_once(" - ")?;
        let mut place = place.split(' ').skip(3);
        let is_whole = kind.starts_with("cgroup2 ") && place.next()? == "/";
        let mounted = place.next()?.into();
        is_whole.then_some(Tree { mounted })
    });
    tree.ok_or_else(|| io::Error::new(ErrorKind::NotFound, "no cgroup2 file system is mounted"))
}

/// Path of the cgroup of a process (`/proc/PID/cgroup`, `cgroups(7)`).
pub fn of_process(pid: u32) -> io::Result<PathBuf> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let tree = tree()?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::"));
    let below = path.and_then(|path| path.strip_prefix('/'));
    // A cgroup that was removed says so behind its path (`cgroups(7)`).
    let below = below.filter(|path| !path.ends_with(" (deleted)"));
    let below = below.ok_or_else(|| io::Error::new(ErrorKind::NotFound, "its cgroup is gone"))?;
    Ok(tree.mounted.join(below))
}
