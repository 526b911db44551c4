//! The command line. Exit codes: 0 all is well; 1 it is done, but cells have failed or images were
//! skipped by `predict`; 2 it could not be done: bad input, a folder that cannot be written to, no
//! such device; 130 and 143 a run was stopped by SIGINT (Ctrl-C) or SIGTERM.

mod dry_run;
mod list;
mod plugins;
mod predict;
mod progress;
mod results;
mod slurm;
mod weights;
mod work;

use crate::engine::{self, Isolation, Outcome};
use crate::libraries::Sources;
use crate::report;
use crate::session::Session;
use crate::store;
use crate::study::{BUILT_IN, MemberKind, Options, Study};
use anyhow::{Context, Result, bail, ensure};
use clap::error::ErrorKind;
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use gauntlet_core::device;
use gauntlet_core::registry::Registry;
use progress::Terminal;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::{flag, low_level};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// Runs image classifiers through adversarial attacks and says how robust they are.
#[derive(Parser)]
#[command(name = "runner", version, max_term_width = 100, after_help = EXIT_CODES, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

impl Cli {
    /// What is asked for, and the options that stand anywhere. Plugins alone ask for the default
    /// study.
    fn parse(args: Vec<OsString>) -> Result<(Command, Common), clap::Error> {
        let matches = Common::everywhere(Self::command()).try_get_matches_from(&args)?;
        let mut common = Common::default();
        common.collect(&matches);
        match Self::from_arg_matches(&matches)?.command {
            Some(command) => Ok((command, common)),
            None if common.plugins.is_empty() => Err(Self::command().error(
                ErrorKind::MissingSubcommand,
                "a command is missing; `runner --help` lists them",
            )),
            None => Self::parse(args.into_iter().chain(["run".into(), "mini".into()]).collect()),
        }
    }
}

// Options that may stand before and after every command's name, and in both places.
#[derive(Args, Default)]
struct Common {
    /// Load the plugin libraries in this folder, or this one library; may be given more than once.
    /// The path list GAUNTLET_PLUGINS names more. Their code runs with all your rights
    #[arg(long, value_name = "DIR", help_heading = "Plugins")]
    plugins: Vec<PathBuf>,
    /// Load only libraries whose hashes stand in this file; `runner plugins lock` writes one
    #[arg(long, value_name = "FILE", help_heading = "Plugins")]
    plugins_lock: Vec<PathBuf>,
    /// Say more, such as what in a folder is no plugin
    #[arg(short, long, help_heading = "Plugins")]
    verbose: bool,
}

impl Common {
    /// Adds the options to a command and all below it. (clap's own `global` forgets what stands
    /// before a command's name when something stands after it too.)
    fn everywhere(command: clap::Command) -> clap::Command {
        Self::augment_args(command).mut_subcommands(Self::everywhere)
    }

    /// Takes what stands before and after every command's name.
    fn collect(&mut self, matches: &ArgMatches) {
        let paths = |name| matches.get_many::<PathBuf>(name).into_iter().flatten().cloned();
        self.plugins.extend(paths("plugins"));
        self.plugins_lock.extend(paths("plugins_lock"));
        self.verbose |= matches.get_flag("verbose");
        if let Some((_, below)) = matches.subcommand() {
            self.collect(below);
        }
    }

    fn sources(&self) -> Sources {
        let listed = std::env::var_os("GAUNTLET_PLUGINS").unwrap_or_default();
        let listed = std::env::split_paths(&listed).filter(|path| !path.as_os_str().is_empty());
        Sources {
            places: self.plugins.iter().cloned().chain(listed).collect(),
            locks: self.plugins_lock.clone(),
        }
    }
}

const EXIT_CODES: &str = "Exit codes: 0 all is well; 1 it is done, but cells have failed or images \
                          were skipped by `predict`; \
     2 it could not be done (bad input, a folder that cannot be written to, no such device); \
     130 and 143 a run was stopped by SIGINT (Ctrl-C) or SIGTERM.";

#[derive(Subcommand)]
enum Command {
    Run(RunArgs),
    List(list::ListArgs),
    Predict(predict::PredictArgs),
    Report(ReportArgs),
    Plugins(plugins::PluginsArgs),
    Rerun(results::RerunArgs),
    Diff(results::DiffArgs),
    Export(results::ExportArgs),
    Submit(Box<slurm::SubmitArgs>),
    Status(slurm::StatusArgs),
    Cancel(slurm::CancelArgs),
    Work(work::WorkArgs),
    Weights(weights::WeightsArgs),
}

/// Run a study; what is already in the results' folder is not computed again
#[derive(Args)]
#[command(after_help = "Examples:
  runner run mini                          18 small networks, five minutes on two cores
  runner run mini-quick                    the same in a minute, roughly
  runner run eccv2018 --dry-run            what it would take, and what is missing
  runner run mini --set attack.cw.kappa=20 --set seed=7
  runner run study.toml --device cuda      your own study, on the GPU
  runner run study.toml --out elsewhere    results in a folder of your choice
  runner run study.toml --store s3://b/p   on each of several machines: they share the work

A run can be stopped at any time, by Ctrl-C or otherwise; the same command goes on where it stopped.
Several runs may share a results' folder, or with --store an object store: each leaves out what it \
                        finds
done when its turn comes; what two of them are computing at the same time is computed twice.")]
struct RunArgs {
    #[command(flatten)]
    study: StudyArgs,
    /// Cells computed at a time; never changes a result [default: the cores on cpu, 1 on cuda]
    #[arg(long, value_name = "N")]
    workers: Option<usize>,
    /// Compute nothing: say which cells there are, which weights and images are missing and how to
    /// get them, and how many passes, how much time and disk it would take, by measuring for some
    /// seconds
    #[arg(long)]
    dry_run: bool,
    /// Print the dry run as JSON
    #[arg(long, requires = "dry_run")]
    json: bool,
}

/// Which study, and how it is computed.
#[derive(Args)]
struct StudyArgs {
    #[arg(value_name = "STUDY", help = help_on_studies())]
    study: String,
    /// The results' folder [default: results/<name of the study>]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Keep the cells in an object store too, for machines that share no folder: s3://bucket/path.
    /// The folder remembers it; docs/object-store.md has more
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// Where to compute: cpu, cuda or cuda:N
    #[arg(long, default_value = "cpu", value_name = "DEVICE")]
    device: String,
    /// A folder with weights, for models to which the study names none: <model>.safetensors or .pb
    #[arg(long, value_name = "DIR")]
    weights: Option<PathBuf>,
    /// Use the study's first N images
    #[arg(long, value_name = "N")]
    images: Option<usize>,
    /// Change something in the study; repeatable. PATH is as in the study (`data.images`, `seed`),
    /// with `attack.NAME.PARAMETER`, `model.NAME.…` and `metric.NAME.…` for what has a name: its
    /// label or name, the beginning of one, or a pattern. An empty VALUE takes the setting away
    #[arg(long, value_name = "PATH=VALUE")]
    set: Vec<String>,
    /// Of models, attacks and metrics take in only these: `kind:name` or a name, with `*` and `?`;
    /// kinds that no pattern speaks of stay as they are [default: the study's `include`]
    #[arg(long, value_name = "PATTERN", value_delimiter = ',')]
    include: Vec<String>,
    /// Leave these out, beside those that the study excludes
    #[arg(long, value_name = "PATTERN", value_delimiter = ',')]
    exclude: Vec<String>,
    /// Which cells are computed in processes of their own, so that code that crashes or never
    /// returns costs its cells and not the run; auto: those that involve a plugin library
    #[arg(long, value_enum, default_value_t, value_name = "WHICH", hide_possible_values = true)]
    isolate: Isolate,
    /// How long a cell may take; 0 is as long as it likes [default: the study's `cell_timeout`;
    /// unless given, 3600 where a plugin library is involved, 0 elsewhere]
    #[arg(long, value_name = "SECONDS")]
    cell_timeout: Option<f64>,
}

impl StudyArgs {
    /// Reads the study, with the plugins that it and the command line name; with it comes the
    /// results' folder.
    fn open(
        &self,
        common: &Common,
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
        let choices = Options {
            images: self.images,
            set: self.set.clone(),
            plan_only,
            weights: self.weights.clone(),
            cell_timeout: cell_timeout.transpose()?,
            include: self.include.clone(),
            exclude: self.exclude.clone(),
            ..Options::default()
        };
        let wanted = common.sources().and(Study::sources(&self.study, &self.set)?);
        let registry = plugins::load(&wanted, common.verbose, registry)?;
        let study = Study::open(&self.study, &registry, choices)?;
        let folder = self.out.clone().unwrap_or_else(|| PathBuf::from("results").join(&study.name));
        Ok((registry, study, folder))
    }

    /// Puts the object store behind the results' folder that is asked for.
    fn attach(&self, folder: &Path) -> Result<()> {
        self.store.as_ref().map_or(Ok(()), |url| store::attach(folder, url).context("`--store`"))
    }
}

fn help_on_studies() -> String {
    let names: Vec<&str> = BUILT_IN.iter().map(|study| study.name).collect();
    format!("A study file, or the name of a built-in study: {}", names.join(", "))
}

/// Write the report of a results' folder anew: report.html, and figures/ as SVG and PNG
#[derive(Args)]
struct ReportArgs {
    /// The results' folder, as `runner run` leaves it
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// What `--isolate` takes.
#[derive(Clone, Copy, Default, ValueEnum)]
enum Isolate {
    #[default]
    Auto,
    Always,
    Never,
}

impl Isolate {
    /// As on the command line.
    fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Always => "always",
            Self::Never => "never",
        }
    }

    fn isolation(self) -> Option<Isolation> {
        let by_work = |everything| Isolation::by_this_program(everything, [OsString::from("work")]);
        match self {
            Self::Auto => Some(by_work(false)),
            Self::Always => Some(by_work(true)),
            Self::Never => None,
        }
    }
}

/// How many failed cells are named.
const SHOWN: usize = 20;

/// Runs the program on the command line's arguments with everything that is linked in.
pub fn main() -> ExitCode {
    run(std::env::args_os(), Registry::linked(), &mut io::stdout())
}

/// Runs the program on `args` (the first is its name). Tables go to `out`, all else to stderr.
pub fn run(
    args: impl IntoIterator<Item = OsString>,
    registry: Result<Registry>,
    out: &mut dyn Write,
) -> ExitCode {
    let (command, common) = match Cli::parse(args.into_iter().collect()) {
        Ok(found) => found,
        Err(error) => {
            // Help and version come this way too.
            let code = error.exit_code();
            let _ = error.print();
            return ExitCode::from(code as u8);
        }
    };
    let done = registry.and_then(|registry| perform(command, &common, registry, out));
    match done.and_then(|code| out.flush().map(|()| code).map_err(Into::into)) {
        Ok(code) => code,
        // Whoever reads the output has seen enough.
        Err(error) if broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn perform(
    command: Command,
    common: &Common,
    registry: Registry,
    out: &mut dyn Write,
) -> Result<ExitCode> {
    let sources = common.sources();
    let load = |registry| plugins::load(&sources, common.verbose, registry);
    match command {
        Command::Run(args) => study(&args, common, registry, out),
        Command::List(args) => list::list(&args, &load(registry)?, out).map(|()| ExitCode::SUCCESS),
        Command::Predict(args) => predict::predict(&args, &load(registry)?, out),
        Command::Report(args) => {
            let page = report::write_report(&args.folder)?;
            writeln!(out, "Report: {}", page.display())?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Plugins(args) => plugins::plugins(&args, &sources, common.verbose, registry, out),
        Command::Rerun(args) => results::rerun(&args, common, registry, out),
        Command::Diff(args) => results::diff(&args, out),
        Command::Export(args) => results::export(&args, common, registry, out),
        Command::Weights(args) => {
            weights::weights(&args, &load(registry)?, out).map(|()| ExitCode::SUCCESS)
        }
        Command::Submit(args) => slurm::submit(&args, common, registry, out),
        Command::Status(args) => slurm::status(&args, out),
        Command::Cancel(args) => slurm::cancel(&args, out),
        Command::Work(args) => work::work(&args, registry, out),
    }
}

fn broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

fn study(
    args: &RunArgs,
    common: &Common,
    registry: Registry,
    out: &mut dyn Write,
) -> Result<ExitCode> {
    ensure!(args.workers != Some(0), "`--workers 0`: at least one is needed");
    let mut options = engine::Options::on(device::open(&args.study.device)?);
    options.workers = args.workers.unwrap_or(options.workers);
    options.isolation = args.study.isolate.isolation();
    let (registry, study, folder) = args.study.open(common, registry, args.dry_run)?;
    let registry = &registry;
    args.study.attach(&folder)?; // a dry run too: what is there is copied
    if args.dry_run {
        if !args.json {
            introduce(&study, out)?;
        }
        dry_run::dry_run(&study, registry, &folder, &options, args.json, out)?;
        return Ok(ExitCode::SUCCESS);
    }
    let out = &mut Unheard(out);
    let signal = stop_on_signal(&options.cancel)?;
    let progress = Terminal::new();
    let session = Session::open(&study, registry, &folder, options, &progress)?;
    introduce(&study, out)?;
    let cells = session.plan().cells.len();
    writeln!(out, "{} of {cells} cells to compute", session.to_compute())?;
    out.flush()?;
    let outcome = session.run()?;
    if outcome.left > 0 {
        return Ok(stopped(&outcome, cells, signal.load(Ordering::Relaxed)));
    }
    report::print(&study, &session.report()?, out)?;
    let page = report::write_report(&folder)?;
    writeln!(out, "\nResults: {}\nReport: {}", folder.display(), page.display())?;
    out.flush()?;
    Ok(conclude(&outcome))
}

/// The output of a run, which goes on when nobody reads that any more: the results are files.
struct Unheard<'a>(&'a mut dyn Write);

impl Unheard<'_> {
    fn or_unheard<T>(result: io::Result<T>, unheard: T) -> io::Result<T> {
        match result {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(unheard),
            result => result,
        }
    }
}

impl Write for Unheard<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Self::or_unheard(self.0.write(bytes), bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Self::or_unheard(self.0.flush(), ())
    }
}

/// Lets the first SIGINT or SIGTERM set `cancel`; the second ends the program at once. Which it
/// was can be read from the answer.
fn stop_on_signal(cancel: &Arc<AtomicBool>) -> Result<Arc<AtomicUsize>> {
    let which = Arc::new(AtomicUsize::new(0));
    for signal in [SIGINT, SIGTERM] {
        flag::register_conditional_default(signal, cancel.clone())?;
        flag::register_usize(signal, which.clone(), signal as usize)?;
        flag::register(signal, cancel.clone())?;
    }
    Ok(which)
}

fn stopped(outcome: &Outcome, cells: usize, signal: usize) -> ExitCode {
    let name = low_level::signal_name(signal as i32).unwrap_or("a signal");
    let done = cells - outcome.left - outcome.failures.len() - outcome.held_up;
    let _ = writeln!(
        io::stderr(),
        "stopped by {name}: {done} of {cells} cells are done and kept. The same command goes on \
         from there."
    );
    ExitCode::from(128 + signal as u8)
}

/// `1 cell`, `2 cells`.
fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn introduce(study: &Study, out: &mut dyn Write) -> Result<()> {
    let transfer = study
        .transfer
        .map_or_else(|| "no transfer".to_owned(), |policy| format!("transfer {}", policy.name()));
    let parts = [
        counted(study.data.pictures.len(), "image"),
        counted(study.models.len(), "model"),
        counted(study.attacks.len(), "attack"),
        transfer,
    ];
    writeln!(out, "{}: {}", study.name, parts.join(", "))?;
    if !study.plugins.is_empty() {
        let plugins: Vec<String> =
            study.plugins.iter().map(|library| library.stamp.to_string()).collect();
        writeln!(out, "plugins {}", plugins.join(", "))?;
    }
    if !study.joined.is_empty() {
        let joined: Vec<String> =
            study.joined.iter().map(|(kind, label)| format!("{kind} {label}")).collect();
        writeln!(out, "joined by {}", joined.join(", "))?;
    }
    let mut left_out: BTreeMap<(MemberKind, &str), Vec<&str>> = BTreeMap::new();
    for out in &study.left_out {
        left_out.entry((out.kind, &out.reason)).or_default().push(&out.name);
    }
    for ((kind, reason), names) in left_out {
        writeln!(out, "left out: {kind} {}: {reason}", names.join(", "))?;
    }
    if let Some(asked) = study.data.asked.filter(|&asked| asked > study.data.pictures.len()) {
        writeln!(out, "{asked} images were asked for, but there are no more")?;
    }
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for skipped in &study.data.skipped {
        let reason = skipped.reason.split(':').next().unwrap_or_default();
        *reasons.entry(reason).or_default() += 1;
    }
    if !reasons.is_empty() {
        let reasons: Vec<String> =
            reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        writeln!(
            out,
            "{} skipped ({}), see skipped.csv",
            counted(study.data.skipped.len(), "file"),
            reasons.join("; ")
        )?;
    }
    Ok(())
}

fn conclude(outcome: &Outcome) -> ExitCode {
    let count = outcome.failures.len();
    if count == 0 {
        return ExitCode::SUCCESS;
    }
    let mut lines = vec![String::new()];
    let held_up = if outcome.held_up > 0 {
        format!(", so {} more could not be computed", outcome.held_up)
    } else {
        String::new()
    };
    lines.push(format!(
        "{} failed{held_up}; the tables say what is missing. The same command tries again.",
        counted(count, "cell")
    ));
    lines.extend(
        outcome
            .failures
            .iter()
            .take(SHOWN)
            .map(|failure| format!("  {}: {}", failure.what, failure.reason)),
    );
    if count > SHOWN {
        lines.push(format!("  … and {} more", count - SHOWN));
    }
    let _ = writeln!(io::stderr(), "{}", lines.join("\n"));
    ExitCode::from(1)
}

#[cfg(test)]
mod tests {
    use super::{Cli, Command, Common, PathBuf};

    fn parse(line: &str) -> Result<(Command, Common), String> {
        Cli::parse(line.split(' ').map(Into::into).collect()).map_err(|error| error.to_string())
    }

    #[test]
    fn plugins_alone_ask_for_the_default_study() {
        let (command, common) = parse("runner --plugins here -v").unwrap();
        assert!(
            matches!(command, Command::Run(args) if args.study.study == "mini" && args.study.images.is_none())
        );
        assert!(common.plugins == [PathBuf::from("here")] && common.verbose);
        let error = parse("runner -v").err().unwrap();
        assert!(error.starts_with("error: a command is missing"), "{error}");
        assert!(parse("runner").err().unwrap().contains("Usage: runner"));
    }

    #[test]
    fn plugins_before_and_after_a_command_s_name_add_up() {
        let (command, common) =
            parse("runner --plugins a plugins --plugins=b list --plugins c --plugins-lock l")
                .unwrap();
        assert!(matches!(command, Command::Plugins(_)) && !common.verbose);
        assert_eq!(
            (common.plugins, common.plugins_lock),
            (["a", "b", "c"].map(PathBuf::from).to_vec(), vec![PathBuf::from("l")])
        );
    }
}
