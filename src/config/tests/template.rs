//! The template says what the code does.

use super::*;

/// The template with the comment signs of its settings taken away.
fn template_in_force() -> String {
    let lines = TEMPLATE.lines().map(|line| match line.strip_prefix('#') {
        Some(rest) if !rest.starts_with(' ') => rest,
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_template_says_the_defaults_and_all_of_them() {
    let (_as_written, sources) = with_file(TEMPLATE);
    let default = load(&bare()).unwrap();
    assert_eq!(load(&sources).unwrap(), default);

    let (_in_force, sources) = with_file(&template_in_force());
    let loaded = load(&sources).unwrap();
    assert_eq!(loaded.settings, default.settings);
    for setting in loaded.provenance.settings() {
        let name = setting.key.rsplit('.').next().unwrap();
        assert!(
            TEMPLATE.contains(&format!("{name} = ")),
            "{name} is not in it"
        );
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
