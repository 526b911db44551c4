//! The arguments that name a study and change it.

use crate::cli::plugin_options::PluginOptions;
use crate::cli::plugins;
use crate::engine::Isolation;
use crate::store;
use crate::study::{BUILT_IN, Study, StudyModel, StudyOptions};
use crate::weights;
use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use gauntlet_core::registry::Registry;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Which study, and how it is computed.
#[derive(Args)]
pub(super) struct StudyArgs {
    #[arg(value_name = "STUDY", help = help_on_studies())]
    pub(super) study: String,
    /// The results folder [default: results/<name of the study>]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Keep the cells in an object store too, for machines that share no folder: s3://bucket/path.
    /// The folder remembers it; docs/object-store.md has more
    #[arg(long, value_name = "URL")]
    pub(super) store: Option<String>,
    /// Where to compute: cpu, cuda or cuda:N
    #[arg(long, default_value = "cpu", value_name = "DEVICE")]
    pub(super) device: String,
    /// A folder with weights, for models to which the study names none: <model>.safetensors or .pb
    #[arg(long, value_name = "DIR")]
    weights: Option<PathBuf>,
    /// Use the study's first N images
    #[arg(long, value_name = "N")]
    pub(super) images: Option<usize>,
    /// Change something in the study; repeatable. PATH is as in the study (`data.images`, `seed`),
    /// with `attack.NAME.PARAMETER`, `model.NAME.…` and `metric.NAME.…` for what has a name: its
    /// label or name, the beginning of one, or a pattern. An empty VALUE takes the setting away
    #[arg(long, value_name = "PATH=VALUE")]
    set: Vec<String>,
    /// Take in only these models, attacks and metrics: `kind:name` or a name, with `*` and `?`;
    /// kinds that no pattern speaks of stay as they are [default: the study's `include`]
    #[arg(long, value_name = "PATTERN", value_delimiter = ',')]
    include: Vec<String>,
    /// Leave these out, beside those that the study excludes
    #[arg(long, value_name = "PATTERN", value_delimiter = ',')]
    exclude: Vec<String>,
    /// Which cells are computed in processes of their own, so that code that crashes or never
    /// returns costs its cells and not the run; auto: those that involve a plugin library
    #[arg(long, value_enum, default_value_t, value_name = "WHICH", hide_possible_values = true)]
    pub(super) isolate: Isolate,
    /// How long a cell may take; 0 is as long as it likes [default: the study's `cell_timeout`;
    /// unless given, 3600 where a plugin library is involved, 0 elsewhere]
    #[arg(long, value_name = "SECONDS")]
    cell_timeout: Option<f64>,
}

impl StudyArgs {
    /// Opens the study, with the plugins that it and the command line name. Returns the registry
    /// with these plugins, the study, and the results folder.
    pub(super) fn open(
        &self,
        options: &PluginOptions,
        registry: Registry,
        plan_only: bool,
    ) -> Result<(Registry, Study, PathBuf)> {
        ensure!(self.images != Some(0), "`--images 0`: at least one is needed");
        let cell_timeout = self.cell_timeout.map(|seconds| {
            Duration::try_from_secs_f64(seconds).with_context(|| {
                format!(
                    "`--cell-timeout {seconds}`: a number of seconds is expected, or 0 for no limit"
                )
            })
        });
        if let Some(folder) = self.weights.as_deref().filter(|path| !path.is_dir()) {
            bail!(
                "`--weights {}`: there is no such folder; a single file is named in the study, by \
                 a model's `weights = \"…\"`",
                folder.display()
            );
        }
        let choices = StudyOptions {
            images: self.images,
            set: self.set.clone(),
            plan_only,
            weights: self.weights.clone(),
            cell_timeout: cell_timeout.transpose()?,
            include: self.include.clone(),
            exclude: self.exclude.clone(),
            ..StudyOptions::default()
        };
        let wanted = options.sources().and(Study::sources(&self.study, &self.set)?);
        // The processes of the rehearsal end when the study is open.
        let rehearsal = plugins::rehearsal();
        let registry = plugins::load(&wanted, options.verbose, registry, &rehearsal)?;
        let study = Study::open(&self.study, &registry, choices)?;
        if let Some(folder) = &self.weights {
            for model in weights::elsewhere(folder, &StudyModel::places(&study.models)) {
                let _ = writeln!(
                    io::stderr(),
                    "warning: `--weights {}` has no weights of `{model}`: those of the program or \
                     of Gauntlet's home are taken",
                    folder.display()
                );
            }
        }
        let folder = self.out.clone().unwrap_or_else(|| PathBuf::from("results").join(&study.name));
        Ok((registry, study, folder))
    }

    /// Attaches the object store of `--store`, if any, to the results folder.
    pub(super) fn attach(&self, folder: &Path) -> Result<()> {
        self.store.as_ref().map_or(Ok(()), |url| store::attach(folder, url).context("`--store`"))
    }
}

fn help_on_studies() -> String {
    let names: Vec<&str> = BUILT_IN.iter().map(|study| study.name).collect();
    format!("A study file, or the name of a built-in study: {}", names.join(", "))
}

/// The values of `--isolate`.
#[derive(Clone, Copy, Default, ValueEnum, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub(super) enum Isolate {
    #[default]
    Auto,
    Always,
    Never,
}

impl Isolate {
    /// The value as on the command line.
    pub(super) fn name(self) -> &'static str {
        self.into()
    }

    /// Which cells are computed in processes of their own; `None` for none.
    pub(super) fn isolation(self) -> Option<Isolation> {
        let by_work = |everything| Isolation::by_this_program(everything, [OsString::from("work")]);
        match self {
            Self::Auto => Some(by_work(false)),
            Self::Always => Some(by_work(true)),
            Self::Never => None,
        }
    }
}
