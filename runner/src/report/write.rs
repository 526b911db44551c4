//! Writes all files of a results folder but the cells.

use crate::analysis::{self, Tables};
use crate::engine::Failure;
use crate::engine::plan::{CellId, Plan};
use crate::report::outcomes::Merged;
use crate::report::robustness::{robust_accuracy, write_distances};
use crate::report::tables::{
    accuracy, flags, matrices, scores, skipped, success, timing, transfer,
};
use crate::report::{latex, provenance};
use crate::store::{Store, safetensors, write_atomically};
use crate::study::Study;
use crate::summary::{self, ChosenExamples};
use anyhow::Result;
use std::path::Path;

/// What [`write`] found while it wrote.
pub struct Written {
    /// The tables that the files were made from.
    pub tables: Tables,
    /// Craft cells of examples that are missing from the report, since their pixels are damaged.
    pub damaged_examples: Vec<CellId>,
}

/// Analyses a study's cells and writes every other file of the results folder `out`.
/// `docs/results.md` says what is in each. A file is replaced as a whole. `failures` are those of
/// the run that computed the cells: they give the reasons for what is missing.
///
/// # Errors
/// When the folder cannot be written to.
pub fn write(
    study: &Study,
    plan: &Plan,
    store: &Store,
    failures: &[Failure],
    out: &Path,
) -> Result<Written> {
    let mut merged = Merged::new(study, plan, out)?;
    let tables = analysis::analyse(study, plan, store, &mut merged)?;
    merged.finish()?;
    let text = |name: &str, bytes: Vec<u8>| write_atomically(&out.join(name), &bytes);
    text("accuracy.csv", accuracy(study, &tables)?)?;
    text("success.csv", success(study, &tables)?)?;
    text("transfer.csv", transfer(study, &tables)?)?;
    text("scores.csv", scores(study, &tables)?)?;
    text("flags.csv", flags(&tables)?)?;
    text("timing.csv", timing(study, &tables)?)?;
    text("skipped.csv", skipped(study)?)?;
    let mut summary = summary::build(study, plan, &tables, failures);
    let ChosenExamples { examples, pixels, damaged: damaged_examples } =
        summary::examples(study, plan, store, &tables, &summary)?;
    summary.examples = examples;
    text(summary::EXAMPLES, safetensors(&pixels)?)?;
    text(summary::FILE, summary.to_json()?)?;
    text("tables.tex", latex::tables(&summary).into_bytes())?;
    text("matrices.csv", matrices(&summary)?)?;
    text("robust_accuracy.csv", robust_accuracy(&summary)?)?;
    write_distances(study, &tables, out)?;
    text(provenance::FILE, provenance::provenance(study, plan)?)?;
    text(summary::SCHEMA, summary::schema()?)?;
    text("study.toml", study.to_toml().as_bytes().to_vec())?;
    Ok(Written { tables, damaged_examples })
}
