//! What tests ask of the files in a results folder.

use std::path::Path;

/// Whether a file is temporary: its name begins with a dot.
pub fn is_temporary(file: &Path) -> bool {
    file.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'))
}

/// The page `report.html` without its section of costs, which holds times.
pub fn without_costs(page: &str) -> Option<String> {
    let (before, costs) = page.split_once("<section id=\"cost\"")?;
    Some([before, costs.split_once("</section>")?.1].concat())
}
