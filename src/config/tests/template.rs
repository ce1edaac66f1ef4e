//! The template agrees with the defaults.

use super::*;

/// The template with the comment signs of its settings taken away.
fn in_force(text: &str) -> String {
    let lines = text.lines().map(|line| match line.strip_prefix('#') {
        Some(rest) if !rest.starts_with(' ') => rest,
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn template_shows_every_setting_at_its_default() {
    let text = template();
    let (_as_written, sources) = with_file(&text);
    let default = load(&bare()).unwrap();
    assert_eq!(load(&sources).unwrap(), default);

    let (_in_force, sources) = with_file(&in_force(&text));
    let loaded = load(&sources).unwrap();
    assert_eq!(loaded.settings, default.settings);
    for setting in loaded.provenance.settings() {
        let name = setting.key.rsplit('.').next().unwrap();
        assert!(text.contains(&format!("{name} = ")), "{name} is not in it");
        let depends = matches!(setting.key.as_str(), "data_dir" | "socket");
        if !setting.value.is_null() && !depends {
            assert!(
                setting.source.starts_with("file "),
                "{} is not in it",
                setting.key
            );
        }
    }
}
