//! `/config`: every setting in force, with its source.

use actix_web::web::Data;
use askama::Template;
use serde_json::Value;

use super::filters;
use super::format::UNSET;
use super::frame::{Frame, Params};
use super::page::Page;
use crate::api::AppState;
use crate::config::Loaded;
use crate::domain::attempt::printable;

#[derive(Debug, Template)]
#[template(path = "configuration.html")]
pub(super) struct ConfigurationPage {
    frame: Frame,
    warnings: Vec<String>,
    sections: Vec<Section>,
    /// Whether defaults are left out.
    only_set: bool,
    /// The page with defaults, or without.
    toggle: String,
}

/// Settings of one section; the service's own have no section name.
#[derive(Debug)]
struct Section {
    name: String,
    rows: Vec<Row>,
}

impl Section {
    fn title(&self) -> String {
        match &*self.name {
            "" => "settings of the service".to_owned(),
            name => format!("settings of {name}"),
        }
    }
}

#[derive(Debug)]
struct Row {
    key: String,
    value: String,
    source: String,
    is_default: bool,
}

/// Shows the settings.
pub(super) async fn show(
    face: Data<AppState>,
    frame: Frame,
    params: Params,
) -> Page<ConfigurationPage> {
    let loaded = face.loaded();
    // There are some eighty settings, of which most readers changed a few.
    let only_set = params.get("all").is_none();
    let toggled = if only_set {
        params.with("all", "yes")
    } else {
        params.without("all")
    };
    let warnings = loaded.warnings.iter();
    Page(ConfigurationPage {
        frame,
        warnings: warnings.map(ToString::to_string).collect(),
        sections: sections(&loaded, only_set),
        only_set,
        toggle: toggled.link("/config"),
    })
}

fn sections(loaded: &Loaded, only_set: bool) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    for setting in loaded.provenance.settings() {
        let is_default = loaded.provenance.is_default(&setting.key);
        if only_set && is_default {
            continue;
        }
        let (name, key) = setting.key.rsplit_once('.').unwrap_or(("", &setting.key));
        let row = Row {
            key: key.to_owned(),
            value: value(&setting.value),
            source: setting.source.clone(),
            is_default,
        };
        match sections.last_mut().filter(|section| section.name == name) {
            Some(section) => section.rows.push(row),
            None => sections.push(Section {
                name: name.to_owned(),
                rows: vec![row],
            }),
        }
    }
    sections
}

fn value(value: &Value) -> String {
    match value {
        Value::Null => UNSET.to_owned(),
        Value::String(text) if text.is_empty() => UNSET.to_owned(),
        Value::Array(all) if all.is_empty() => UNSET.to_owned(),
        Value::String(text) => printable(text),
        Value::Array(all) => all.iter().map(self::value).collect::<Vec<_>>().join(", "),
        other => printable(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::value;
    use serde_json::json;

    #[test]
    fn values_read_as_in_a_file() {
        for unset in [json!(null), json!(""), json!([])] {
            assert_eq!(value(&unset), "–", "{unset}");
        }
        assert_eq!(value(&json!(["a", 1])), "a, 1");
        assert!(!value(&json!("x\u{1b}y")).contains('\u{1b}'));
    }
}
