//! The layers: which part of the crate may know of which. Reads the sources, so that the picture
//! in the documentation stays true.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Every layer with those it may import from, lowest first.
const TABLE: [(&str, &str); 18] = [
    ("domain", ""),
    ("files", ""),
    ("telemetry", "domain"),
    ("config", "domain files telemetry"),
    ("host", "domain telemetry"),
    ("store", "domain files telemetry host"),
    ("choice", "domain"),
    ("engine", "domain telemetry config host store choice"),
    ("fleet", "domain files telemetry config host store engine"),
    ("answers", "domain telemetry config host store engine"),
    ("access", "domain files telemetry host engine answers"),
    (
        "api",
        "domain telemetry config host store engine answers access",
    ),
    (
        "dashboard",
        "domain telemetry config host store engine answers api access",
    ),
    ("protocol", "domain telemetry host engine answers access"),
    ("client", "domain telemetry host answers"),
    (
        "library",
        "domain telemetry config host store engine answers protocol client",
    ),
    (
        "daemon",
        "domain telemetry config host store engine fleet answers api access dashboard protocol",
    ),
    (
        "cli",
        "domain telemetry config host store engine fleet answers api access protocol client library daemon",
    ),
];

/// Layers that a layer may import from. `None` if the name is not a layer.
fn below(layer: &str) -> Option<Vec<&'static str>> {
    let row = TABLE.iter().find(|(known, _)| *known == layer);
    row.map(|(_, below)| below.split_whitespace().collect())
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

/// The layer that a file belongs to: its folder, or the file itself where it has none.
fn layer_of(file: &Path) -> String {
    let inside = file.strip_prefix(sources()).unwrap();
    let first = inside.components().next().unwrap().as_os_str();
    Path::new(first)
        .file_stem()
        .unwrap()
        .to_string_lossy()
        .into_owned()
}

/// Layers named after `crate::`, in imports and elsewhere, without comments.
fn layers_named_in(text: &str) -> BTreeSet<String> {
    let code = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    let code: Vec<&str> = code.collect();
    let code = code.join("\n");
    let mut named = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        // `use crate::{a::X, b::Y};` names several.
        let group = rest.strip_prefix('{').and_then(|list| list.split_once('}'));
        let list = group.map_or(rest, |(list, _)| list);
        let parts = if group.is_some() {
            list.split(',').collect()
        } else {
            vec![list]
        };
        for part in parts {
            let name: String = part
                .trim()
                .chars()
                .take_while(|c| c.is_ascii_lowercase() || *c == '_')
                .collect();
            named.insert(name);
        }
    }
    named
}

/// The imports of one file that run up, as `file: layer -> layer`.
fn wrong_arrows(file: &Path) -> Vec<String> {
    let layer = layer_of(file);
    if matches!(&*layer, "main" | "lib") {
        return Vec::new();
    }
    let below = below(&layer).unwrap_or_else(|| panic!("layer {layer} is not in the table"));
    let named = layers_named_in(&std::fs::read_to_string(file).unwrap());
    named
        .iter()
        .filter(|named| self::below(named).is_some() && **named != layer)
        .filter(|named| !below.contains(&&***named))
        .map(|named| format!("{}: {layer} -> {named}", file.display()))
        .collect()
}

#[test]
fn every_layer_imports_from_those_below_it_alone() {
    let mut files = Vec::new();
    rust_files(&sources(), &mut files);
    assert!(!files.is_empty());
    let wrong: Vec<String> = files.iter().flat_map(|file| wrong_arrows(file)).collect();
    assert!(
        wrong.is_empty(),
        "arrows that run up:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn no_layer_may_import_from_one_above_it() {
    let layers: Vec<&str> = TABLE.iter().map(|(layer, _)| *layer).collect();
    for (index, lower) in layers.iter().enumerate() {
        for upper in &layers[index + 1..] {
            let below = below(lower).unwrap();
            assert!(!below.contains(upper), "{lower} -> {upper}");
        }
    }
}

#[test]
fn imports_are_read_in_every_form() {
    let text = "use crate::domain::port::Port;\n// crate::cli\nfn a(x: crate::host::X) {}\n\
                use crate::{config::Settings, store::{Store}};\npub(in crate::engine) fn b() {}";
    let named: Vec<String> = layers_named_in(text).into_iter().collect();
    assert_eq!(named, ["config", "domain", "engine", "host", "store"]);
}
