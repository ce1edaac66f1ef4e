//! Folders of leases: present, gone, or unknown.
//!
//! A folder that cannot be looked at, or whose file system is not mounted, is not gone. So a folder
//! counts as gone only if it was seen before, and the rest of its path is on that device.

use std::fs::{metadata, symlink_metadata};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;

use tokio::sync::oneshot;

/// Result of a look at a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// It is present, on this device. `None` for the root of a file system, which would look gone
    /// without its mount.
    There(Option<u64>),
    /// It was present, and is no more.
    Gone,
    /// It may not be looked at, is not mounted, or was never seen here.
    Unknown,
}

/// Looks at one folder. `known` is the device on which it was last seen.
pub fn look(folder: &Path, known: Option<u64>) -> Sight {
    match symlink_metadata(folder) {
        Ok(found) => {
            let parent = folder.parent().and_then(|parent| metadata(parent).ok());
            let parent = parent.map(|parent| parent.dev());
            Sight::There(parent.filter(|device| *device == found.dev()))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => match known {
            Some(device) if device_above(folder) == Some(device) => Sight::Gone,
            _ => Sight::Unknown,
        },
        Err(_) => Sight::Unknown,
    }
}

/// Device of the nearest folder above that exists. `None` if one cannot be looked at.
fn device_above(folder: &Path) -> Option<u64> {
    for above in folder.ancestors().skip(1) {
        match metadata(above) {
            Ok(found) => return Some(found.dev()),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(_) => return None,
        }
    }
    None
}

/// Looks at all of these, on a thread of its own: a hanging network mount may block it for ever,
/// and must hold up nothing else, not even a shut-down.
pub async fn look_at(folders: Vec<(PathBuf, Option<u64>)>) -> Vec<(PathBuf, Sight)> {
    let (answer, answered) = oneshot::channel();
    let looking = move || {
        let sights = folders.into_iter().map(|(folder, known)| {
            let sight = look(&folder, known);
            (folder, sight)
        });
        // The caller may have ended.
        let _ = answer.send(sights.collect());
    };
    match thread::Builder::new()
        .name("folders".to_owned())
        .spawn(looking)
    {
        Ok(_) => answered.await.unwrap_or_default(),
        Err(error) => {
            tracing::warn!(%error, "could not start a thread to look at the folders of leases; they are looked at in the next round");
            Vec::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_folders_that_were_seen_can_be_gone() {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("a/b");
        fs::create_dir_all(&folder).unwrap();
        let Sight::There(Some(device)) = look(&folder, None) else {
            panic!("not seen");
        };
        fs::remove_dir(&folder).unwrap();
        assert_eq!(look(&folder, Some(device)), Sight::Gone);
        assert_eq!(look(&folder, None), Sight::Unknown, "never seen");
        assert_eq!(look(&folder, Some(device + 1)), Sight::Unknown, "unmounted");
        fs::remove_dir(outer.path().join("a")).unwrap();
        assert_eq!(look(&folder, Some(device)), Sight::Gone, "with its parent");
        fs::write(outer.path().join("a"), "").unwrap();
        assert_eq!(
            look(&folder, Some(device)),
            Sight::Unknown,
            "no folder above"
        );
    }

    #[test]
    fn dangling_links_are_there() {
        let outer = tempfile::tempdir().unwrap();
        let link = outer.path().join("link");
        symlink("/nonexistent/unmounted", &link).unwrap();
        assert!(matches!(look(&link, Some(1)), Sight::There(Some(_))));
    }

    #[test]
    fn roots_of_file_systems_are_not_remembered() {
        assert_eq!(look(Path::new("/proc"), None), Sight::There(None));
        assert_eq!(look(Path::new("/"), None), Sight::There(None));
    }

    #[tokio::test]
    async fn each_folder_is_answered() {
        let folders = vec![("/proc".into(), None), ("/nonexistent".into(), None)];
        let sights = look_at(folders).await;
        assert_eq!(sights[0].1, Sight::There(None));
        assert_eq!(sights[1].1, Sight::Unknown);
    }
}
