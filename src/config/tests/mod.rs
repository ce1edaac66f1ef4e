//! From files, variables and flags to settings.

use std::fs;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::domain::pool::Strategy as Order;
use crate::domain::port::{Port, PortSet, Protocols};

mod findings;
mod layers;
mod project;
mod template;
#[cfg(feature = "fleet")]
mod unique;

/// Sources without anything ambient.
fn bare() -> Sources {
    Sources {
        home: Some("/home/me".into()),
        ..Sources::default()
    }
}

/// Variables by their names without the prefix.
fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let pairs = pairs.iter();
    pairs
        .map(|(name, value)| (format!("PORTBOOK_{name}"), (*value).to_owned()))
        .collect()
}

fn with_variables(pairs: &[(&str, &str)]) -> Sources {
    Sources {
        environment: variables(pairs),
        ..bare()
    }
}

/// A file of `--config` with this text, as long as the folder lives.
fn with_file(text: &str) -> (TempDir, Sources) {
    let folder = tempfile::tempdir().unwrap();
    let sources = Sources {
        explicit_file: Some(write(folder.path(), "x.toml", text)),
        ..bare()
    };
    (folder, sources)
}

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let file = folder.join(name);
    fs::write(&file, text).unwrap();
    file
}

fn ports(text: &str) -> PortSet {
    text.parse().unwrap()
}

/// Findings about a file, each as one line, without the folder.
fn errors_of_file(text: &str) -> Vec<String> {
    let (folder, sources) = with_file(text);
    let prefix = format!("{}/", folder.path().display());
    let lines = errors(&sources).into_iter();
    lines.map(|line| line.replace(&prefix, "/")).collect()
}

fn errors(sources: &Sources) -> Vec<String> {
    let findings = load(sources).unwrap_err().findings;
    findings.iter().map(ToString::to_string).collect()
}
