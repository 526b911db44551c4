//! `runner plugins check`: runs the conformance kit on a library. The kit runs in a process of its
//! own, so that a crash of the library is reported; that process prints its findings line by line.

use crate::libraries::Sources;
use crate::process::{ending, own_output};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use gauntlet_core::params::{parse, suggestion};
use gauntlet_core::plugin::Library;
use gauntlet_core::registry::{Entry, Registry};
use gauntlet_core::testing::{Check, CheckOutcome, Event, Report};
use gauntlet_core::weights::Weights;
use serde_json::json;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};
use tch::Device;
use toml::Table;

/// Check that what a library brings keeps the rules that studies rely on
#[derive(Args)]
#[command(after_help = "Examples:
  runner plugins check target/debug/libmy_attack.so
  runner plugins check libmy_attack.so --set my_attack.iterations=5      an attack that takes long

Exit codes: 0 every rule is kept; 1 some are not, or the library took its process with it; 2 it
cannot be loaded.")]
pub(super) struct CheckArgs {
    /// The library
    file: PathBuf,
    /// Set a parameter of something that the library brings; may be given more than once
    #[arg(long, value_name = "NAME.PARAMETER=VALUE")]
    set: Vec<String>,
    /// The weights of the library's model; without them, its own, or drawn ones
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// How long a single check may take
    #[arg(long, value_name = "SECONDS", default_value_t = 300.0)]
    time_limit: f64,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Check in this very process, and say so line by line
    #[arg(long, hide = true)]
    inside: bool,
}

/// Checks a library and prints what was found. The exit code is 1 when a check fails.
pub(super) fn check(
    args: &CheckArgs,
    sources: &Sources,
    registry: Registry,
    out: &mut dyn Write,
) -> Result<ExitCode> {
    if args.inside {
        return inside(args, registry).map(|()| ExitCode::SUCCESS);
    }
    let limit = Duration::try_from_secs_f64(args.time_limit).ok().filter(|limit| !limit.is_zero());
    let limit = limit.with_context(|| {
        format!("`--time-limit {}`: a positive number of seconds is expected", args.time_limit)
    })?;
    let library = Library::read(&args.file)?;
    Sources { places: vec![args.file.clone()], locks: sources.locks.clone() }.search()?.check()?;
    if !args.json {
        writeln!(out, "{}", library.describe())?;
    }
    let (reports, end) = watch(args, limit, if args.json { None } else { Some(&mut *out) })?;
    if let End::Refused = end {
        return Ok(ExitCode::from(2)); // the other process has printed the reason
    }
    let count = |of: fn(&CheckOutcome) -> bool| {
        reports.iter().flat_map(|report| &report.checks).filter(|check| of(&check.outcome)).count()
    };
    let failed = count(|outcome| matches!(outcome, CheckOutcome::Failed(_)));
    if args.json {
        writeln!(
            out,
            "{}",
            serde_json::to_string_pretty(
                &json!({ "plugin": library, "passed": failed == 0, "reports": reports })
            )?
        )?;
    } else {
        let (passed, skipped) = (
            count(|outcome| *outcome == CheckOutcome::Passed),
            count(|outcome| matches!(outcome, CheckOutcome::Skipped(_))),
        );
        writeln!(out, "{passed} passed, {failed} failed, {skipped} skipped")?;
    }
    Ok(ExitCode::from(u8::from(failed > 0)))
}

/// How the checking process ended.
enum End {
    /// It has checked everything, or a check failed because the process crashed or took too long.
    Checked,
    /// It could not load the library, or refused its arguments.
    Refused,
}

/// A process that is ended when this is dropped.
struct Watched(Child);

impl Drop for Watched {
    fn drop(&mut self) {
        // Both fail only when the process has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts the checking process, and prints its findings as they come.
fn watch(
    args: &CheckArgs,
    limit: Duration,
    mut out: Option<&mut dyn Write>,
) -> Result<(Vec<Report>, End)> {
    let program = std::env::current_exe().context("this program does not find itself")?;
    let mut command = Command::new(program);
    command.args(["plugins", "check", "--inside"]).arg(&args.file);
    command.args(args.set.iter().flat_map(|set| ["--set", set]));
    if let Some(weights) = &args.weights {
        command.arg("--weights").arg(weights);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut process = Watched(command.spawn().context("a process of its own cannot be started")?);
    let said = process.0.stdout.take().context("the process is silent")?;
    let (sender, events) = mpsc::channel();
    let reading = move || {
        let lines = BufReader::new(said).lines().map_while(Result::ok);
        lines
            .filter_map(|line| serde_json::from_str::<Event>(&line).ok())
            .all(|event| sender.send(event).is_ok())
    };
    thread::Builder::new().spawn(reading).context("a thread cannot be started")?;

    let mut reports: Vec<Report> = Vec::new();
    let (mut begun, mut finished): (Option<String>, bool) = (None, false);
    let mut print = |line: String| -> Result<()> {
        let Some(out) = &mut out else { return Ok(()) };
        writeln!(out, "{line}")?;
        Ok(out.flush()?)
    };
    let fault = loop {
        let start = Instant::now();
        match events.recv_timeout(limit) {
            Ok(Event::Subject(subject)) => {
                print(subject.clone())?;
                reports.push(Report { subject, checks: Vec::new() });
            }
            Ok(Event::Begun(name)) => begun = Some(name),
            Ok(Event::Finished) => finished = true,
            Ok(Event::Ended(check)) => {
                begun = None;
                print(format!("  {check}"))?;
                reports.last_mut().context("a check of nothing")?.checks.push(check);
            }
            Err(RecvTimeoutError::Timeout) => {
                break format!(
                    "it takes longer than {:.0} s (`--time-limit`)",
                    start.elapsed().as_secs_f64()
                );
            }
            Err(RecvTimeoutError::Disconnected) => {
                let status = process.0.wait()?;
                if status.success() && finished {
                    return Ok((reports, End::Checked));
                }
                if status.code() == Some(2) && reports.is_empty() {
                    return Ok((reports, End::Refused));
                }
                break format!("the process {}", ending(status));
            }
        }
    };
    let Some(report) = reports.last_mut() else {
        bail!("{}: loading it fails: {fault}", args.file.display())
    };
    let check = Check {
        name: begun.unwrap_or_else(|| "what comes after that".to_owned()),
        outcome: CheckOutcome::Failed(fault),
    };
    print(format!("  {check}"))?;
    report.checks.push(check);
    Ok((reports, End::Checked))
}

/// Checks in this process, and writes events to the original standard output. Whatever the library
/// itself prints goes to standard error.
fn inside(args: &CheckArgs, mut registry: Registry) -> Result<()> {
    let mut said = own_output()?;
    tch::set_num_threads(1); // cells are computed with one thread too
    let library = registry.load(&args.file)?;
    let own = |entry: &Entry| entry.library.as_ref().is_some_and(|own| own.hash == library.hash);
    let entries = registry.models().map(|model| &model.entry);
    let entries = entries
        .chain(registry.attacks().map(|attack| &attack.entry))
        .chain(registry.metrics().map(|metric| &metric.entry));
    let names: Vec<&str> =
        entries.filter(|entry| own(entry)).map(|entry| entry.name.as_str()).collect();
    let settings = args.set.iter().map(|text| setting(text, &names)).collect::<Result<Vec<_>>>()?;
    let parameters = |entry: &Entry| {
        let of_entry = settings.iter().filter(|(name, ..)| *name == entry.name);
        entry
            .parameters(
                None,
                &of_entry.map(|(_, key, value)| (key.clone(), value.clone())).collect::<Table>(),
            )
            .context("--set")
    };

    // All settings are checked before the first check runs.
    let models = registry.models().filter(|model| own(&model.entry));
    let models =
        models.map(|model| Ok((model, parameters(&model.entry)?))).collect::<Result<Vec<_>>>()?;
    let attacks = registry.attacks().filter(|attack| own(&attack.entry));
    let attacks = attacks
        .map(|attack| Ok((attack, parameters(&attack.entry)?)))
        .collect::<Result<Vec<_>>>()?;
    let metrics = registry.metrics().filter(|metric| own(&metric.entry));
    let metrics = metrics
        .map(|metric| Ok((metric, parameters(&metric.entry)?)))
        .collect::<Result<Vec<_>>>()?;
    let open = || args.weights.as_deref().map(|path| Weights::open(path, Device::Cpu)).transpose();
    ensure!(
        args.weights.is_none() || !models.is_empty(),
        "`--weights`: the library brings no model"
    );
    open()?;

    // Errors are ignored: nobody reads the events any more.
    let mut watch = |event: &Event| {
        drop(writeln!(said, "{}", serde_json::to_string(event).unwrap_or_default()));
    };
    for (model, parameters) in models {
        Report::of_model(model, &parameters, open()?, &mut watch);
    }
    for (attack, parameters) in attacks {
        Report::of_attack(attack, &parameters, &mut watch);
    }
    for (metric, parameters) in metrics {
        Report::of_metric(metric, &parameters, &mut watch);
    }
    watch(&Event::Finished);
    Ok(())
}

/// Parses `NAME.PARAMETER=VALUE` into name, parameter and value. A value that is not TOML is text.
fn setting(text: &str, names: &[&str]) -> Result<(String, String, toml::Value)> {
    let (place, value) = text
        .split_once('=')
        .with_context(|| format!("`--set {text}`: NAME.PARAMETER=VALUE is expected"))?;
    let (name, key) = place
        .trim()
        .rsplit_once('.')
        .with_context(|| format!("`--set {text}`: NAME.PARAMETER=VALUE is expected"))?;
    ensure!(
        names.contains(&name),
        "`--set {text}`: the library brings no `{name}`{}; it brings {}",
        suggestion(name, names),
        names.join(", ")
    );
    let value = value.trim();
    let parsed =
        parse(&format!("value = {value}")).ok().and_then(|mut table| table.remove("value"));
    Ok((name.to_owned(), key.to_owned(), parsed.unwrap_or_else(|| value.into())))
}
