//! Writing everything that a finished study leaves in its folder.

use crate::analysis::{self, Tables};
use crate::engine::Failure;
use crate::engine::plan::{CellId, Plan};
use crate::report::outcomes::Merged;
use crate::report::tables::{
    accuracy, flags, matrices, scores, skipped, success, timing, transfer,
};
use crate::report::{latex, provenance};
use crate::store::{Store, safetensors, write_atomically};
use crate::study::Study;
use crate::summary::{self, ChosenExamples};
use anyhow::Result;
use std::path::Path;

/// Analyses a study's cells and writes every file of the results' folder `out`, each replaced as a
/// whole; `docs/results.md` says what is in them. `failures` are those of the run that computed the
/// cells, for the reasons. The second of the answer are the cells of which examples were to be
/// shown, had their pixels not been damaged.
///
/// # Errors
/// When the folder cannot be written to.
pub fn write(
    study: &Study,
    plan: &Plan,
    store: &Store,
    failures: &[Failure],
    out: &Path,
) -> Result<(Tables, Vec<CellId>)> {
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
    let ChosenExamples { examples, pixels, damaged } =
        summary::examples(study, plan, store, &tables, &summary)?;
    summary.examples = examples;
    text(summary::EXAMPLES, safetensors(&pixels)?)?;
    text(summary::FILE, summary.to_json()?)?;
    text("tables.tex", latex::tables(&summary).into_bytes())?;
    text("matrices.csv", matrices(&summary)?)?;
    text(provenance::FILE, provenance::provenance(study, plan)?)?;
    text(summary::SCHEMA, summary::schema()?)?;
    text("study.toml", study.to_toml().as_bytes().to_vec())?;
    Ok((tables, damaged))
}
