//! Files of the fleet's settings: whether they are there, closed to others, and within reach of the service.

use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::unit::{Access, Obstacle, Unit};
use crate::config::{Finding, Loaded, Problem};

/// Folder for certificates that the service reads.
const FOLDER: &str = "/etc/portbook/fleet";

/// Name of a setting with the file that it names.
type Named<'a> = (&'static str, Option<&'a PathBuf>);

/// Mistake in one of the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mistake {
    key: &'static str,
    /// Whether no service could use the file.
    is_certain: bool,
    problem: Problem,
}

/// Returns the findings of `portbook config check`.
pub(super) fn findings(loaded: &Loaded) -> Vec<Finding> {
    let fleet = &loaded.settings.fleet;
    if fleet.engine.is_empty() {
        return Vec::new();
    }
    let files = [
        ("fleet.ca", fleet.ca.as_ref()),
        ("fleet.certificate", fleet.certificate.as_ref()),
        ("fleet.key", fleet.key.as_ref()),
    ];
    let finding = |mistake: Mistake| {
        let source = loaded.provenance.source(mistake.key);
        if mistake.is_certain {
            Finding::error(&mistake.key, source, mistake.problem)
        } else {
            Finding::warning(&mistake.key, source, mistake.problem)
        }
    };
    let all = mistakes(files, of_service().as_ref());
    all.into_iter().map(finding).collect()
}

/// Returns what the service that is installed cannot read, with the way out, in words.
#[cfg(feature = "fleet")]
pub(super) fn unreadable<'a>(files: impl Iterator<Item = &'a Path>) -> Vec<String> {
    let Some(unit) = of_service() else {
        return Vec::new();
    };
    let told = |file: &Path| {
        let obstacle = unit.obstacle(file, Access::Read)?;
        let problem = out_of_reach(file, &unit, &obstacle);
        let hint = problem.hint.unwrap_or_default();
        Some(format!("{}: {hint}", problem.message))
    };
    files.filter_map(told).collect()
}

/// The unit of the service. `None` if none is installed, or the caller's settings are not those of the host.
fn of_service() -> Option<Unit> {
    let is_root = rustix::process::geteuid().is_root();
    Unit::installed().filter(|_| is_root)
}

fn mistakes<'a>(files: impl IntoIterator<Item = Named<'a>>, unit: Option<&Unit>) -> Vec<Mistake> {
    let files = files.into_iter();
    let mistake = |(key, file): Named<'_>| {
        let file = file?;
        let (is_certain, problem) = if let Some(problem) = unusable(key, file) {
            (true, problem)
        } else {
            let unit = unit?;
            let obstacle = unit.obstacle(file, Access::Read)?;
            (false, out_of_reach(file, unit, &obstacle))
        };
        Some(Mistake {
            key,
            is_certain,
            problem,
        })
    };
    files.filter_map(mistake).collect()
}

/// A reason for which no service can use a file.
fn unusable(key: &str, file: &Path) -> Option<Problem> {
    let name = file.display();
    match file.metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => Some(Problem::new(
            format!("{name} is not there"),
            "put the file there, or name another one",
        )),
        // Perhaps the service may see it.
        Err(_) => None,
        Ok(found) => {
            let mode = found.permissions().mode() & 0o7777;
            let is_open = key == "fleet.key" && mode & 0o077 != 0;
            is_open.then(|| {
                Problem::new(
                    format!("{name} has mode {mode:04o}, with which other users may read the key"),
                    format!("chmod 600 {name}"),
                )
            })
        }
    }
}

fn out_of_reach(file: &Path, unit: &Unit, obstacle: &Obstacle) -> Problem {
    let name = file.display();
    let user = unit.user.as_deref().unwrap_or("root");
    let own = file
        .file_name()
        .map(Path::new)
        .map(|name| Path::new(FOLDER).join(name));
    let own = own.unwrap_or_else(|| FOLDER.into());
    let way_out = if own == file {
        format!("chown {user} {name}")
    } else {
        format!(
            "`install -D -o {user} -m 600 {name} {own}`, and name that file",
            own = own.display()
        )
    };
    Problem::new(
        format!("the service cannot read {name}, as {obstacle}"),
        way_out,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set_mode(file: &Path, mode: u32) {
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn missing_open_and_unreadable_files_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        set_mode(folder.path(), 0o755);
        let file = folder.path().join("host.key");
        let unit = Unit::of("User=no-such-user\n");
        let found = || mistakes([("fleet.key", Some(&file))], Some(&unit));
        let missing = found();
        assert!(missing[0].is_certain, "{missing:?}");
        assert!(missing[0].problem.message.contains("not there"));
        std::fs::write(&file, "").unwrap();
        set_mode(&file, 0o640);
        let open = found();
        assert!(
            open[0].is_certain && open[0].problem.message.contains("0640"),
            "{open:?}"
        );
        set_mode(&file, 0o600);
        let closed = found();
        let hint = closed[0].problem.hint.as_deref().unwrap();
        assert!(
            !closed[0].is_certain && hint.contains("install -D -o no-such-user"),
            "{hint}"
        );
        assert_eq!(mistakes([("fleet.key", Some(&file))], None), []);
    }
}
