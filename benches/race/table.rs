//! Output as Markdown tables.

/// Begins a table.
pub fn head(title: &str, columns: &[&str]) {
    println!("\n{title}\n");
    row(&columns.iter().map(ToString::to_string).collect::<Vec<_>>());
    row(&columns.iter().map(|_| "---".to_owned()).collect::<Vec<_>>());
}

/// One line of it.
pub fn row(cells: &[String]) {
    println!("| {} |", cells.join(" | "));
}
