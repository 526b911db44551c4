//! `report.html`: a results folder on one page that loads nothing from elsewhere, and its figures
//! as files.

mod accuracy;
mod claims;
mod cost;
mod curves;
mod depth;
mod families;
mod flags;
mod frontier;
mod law;
mod missing;
mod overview;
mod page;
mod pictures;
mod provenance;
mod robustness;
mod scores;
#[cfg(test)]
mod tests;
mod transfer;
mod view;
mod words;

use crate::report::html::page::Page;
use crate::report::html::view::View;
use crate::store::{prepare, write_atomically};
use crate::summary::{Summary, Timing};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// The page's name in the results folder.
pub const FILE: &str = "report.html";
/// The figures' folder in the results folder.
const FIGURES: &str = "figures";

/// Writes `report.html` from the files of a results folder, and its figures as SVG and PNG into
/// `figures/`. Returns the path of the page. Files of other programs are left alone.
///
/// # Errors
/// When the folder holds no results of this version, or cannot be written to.
pub fn write_report(folder: &Path) -> Result<PathBuf> {
    let summary = Summary::open(folder)?;
    let view = View::new(&summary);
    let mut page = Page::default();
    // A folder may have been copied without its times.
    let times = Timing::read(folder).unwrap_or_default();
    overview::headline(&view, &mut page);
    flags::flags(&view, &mut page);
    claims::verdicts(&view, &mut page);
    accuracy::accuracy(&view, &mut page)?;
    robustness::robustness(&view, &mut page)?;
    transfer::matrices(&view, &mut page)?;
    families::families(&view, &mut page)?;
    law::laws(&view, &mut page)?;
    frontier::frontiers(&view, &mut page)?;
    curves::curves(&view, &mut page)?;
    scores::scores(&view, &mut page)?;
    depth::depth(&view, &mut page)?;
    cost::cost(&view, &times, &mut page)?;
    pictures::examples(&view, folder, &mut page)?;
    missing::missing(&view, &mut page);
    provenance::provenance(&view, folder, &mut page);

    let figures = folder.join(FIGURES);
    for place in [folder, &figures] {
        prepare(place).with_context(|| format!("{} cannot be written to", place.display()))?;
    }
    for (stem, figure) in &page.figures {
        write_atomically(&figures.join(format!("{stem}.svg")), figure.standalone().as_bytes())?;
        write_atomically(&figures.join(format!("{stem}.png")), &figure.png()?)?;
    }
    let path = folder.join(FILE);
    write_atomically(&path, page.html(&summary.study.name).as_bytes())?;
    Ok(path)
}
