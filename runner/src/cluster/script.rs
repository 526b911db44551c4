//! The scripts that `sbatch` takes.

use crate::cluster::time::TimeLimit;
use anyhow::{Context, Result, ensure};
use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

/// Time before the end of a task's time limit at which it is told to stop, so that it is requeued
/// and goes on. Slurm may tell it up to a minute earlier.
const WARNING: Duration = Duration::from_secs(90);
/// Time limits below this are too short for a warning.
const SHORT: Duration = Duration::from_mins(5);

/// What a script is to do.
pub(super) struct Script<'a> {
    /// What it is for, in words.
    pub about: String,
    /// The job's name.
    pub name: String,
    /// Number of tasks, and how many of them may run at a time. None for a job that is no array.
    pub array: Option<(usize, Option<usize>)>,
    /// Cores of a task.
    pub cpus: usize,
    /// A task's time limit.
    pub time: Option<TimeLimit>,
    /// Absolute path of the file that output goes to.
    pub log: &'a Path,
    /// Further options of sbatch.
    pub directives: &'a [String],
    /// Lines of shell that the script runs first.
    pub setup: &'a [String],
    /// Greatest number of times that a task is requeued.
    pub restarts: u32,
    /// The program and its arguments; `$task` is the index in the array.
    pub command: Vec<String>,
    /// Arguments that are added when a task that died begins again, and the file that says that it
    /// died.
    pub again: Option<(&'a str, String)>,
}

impl Script<'_> {
    /// The script's text.
    ///
    /// # Errors
    /// When a path or an option cannot stand in a script.
    pub fn text(&self) -> Result<String> {
        let mut lines = vec!["#!/bin/bash".to_owned(), format!("# {}", self.about)];
        lines.extend(self.directives()?.iter().map(|directive| format!("#SBATCH {directive}")));
        lines.push(String::new());
        lines.extend(self.setup.iter().cloned());
        if self.array.is_some() {
            lines.push("task=$SLURM_ARRAY_TASK_ID".into());
        }
        let restarts = self.restarts;
        let command = self.command.join(" ");
        let (again, died) = match &self.again {
            Some((more, note)) => (
                format!("again=()\n[ -e {note} ] && again=({more})\n\n"),
                format!("  [ \"$code\" = 143 ] || touch {note}\n"),
            ),
            None => Default::default(),
        };
        let more = if self.again.is_some() { r#" "${again[@]}""# } else { "" };
        lines.push(format!(
            r#"restarts=${{SLURM_RESTART_COUNT:-0}}
scratch=${{SLURM_TMPDIR:-${{TMPDIR:-/tmp}}}}
[ -d "$scratch" ] && export TMPDIR=$scratch
worker= cancelled=
trap 'interrupted=1; kill -TERM $worker' USR1
trap 'interrupted=1; cancelled=1; kill -TERM $worker' TERM
{again}{command}{more} &
worker=$!
# A signal interrupts the wait, not the worker.
while interrupted=; wait "$worker"; code=$?; [ -n "$interrupted" ]; do :; done
# Above 128 it died of a signal, or (143) was told that its time is nearly over: the rest is done anew.
if [ "$code" -gt 128 ] && [ -z "$cancelled" ] && [ "$restarts" -lt {restarts} ]; then
  echo "ended with exit code $code, requeued"
{died}  scontrol requeue "${{SLURM_ARRAY_JOB_ID:+${{SLURM_ARRAY_JOB_ID}}_}}${{SLURM_ARRAY_TASK_ID:-$SLURM_JOB_ID}}" && sleep 60
fi
exit "$code"
"#
        ));
        Ok(lines.join("\n"))
    }

    fn directives(&self) -> Result<Vec<String>> {
        let mut own =
            vec![format!("--job-name={}", self.name), "--nodes=1".into(), "--ntasks=1".into()];
        own.push(format!("--cpus-per-task={}", self.cpus));
        if let Some((count, limit)) = self.array {
            let limit = limit.map(|limit| format!("%{limit}")).unwrap_or_default();
            own.push(format!("--array=0-{}{limit}", count - 1));
        }
        own.extend(self.time.map(|time| format!("--time={time}")));
        if self.time.is_none_or(|time| time.duration() >= SHORT) {
            own.push(format!("--signal=B:USR1@{}", WARNING.as_secs()));
        }
        own.extend(["--requeue".into(), "--open-mode=append".into()]);
        own.push(format!("--output={}", pattern(self.log)?));
        own.extend(self.directives.iter().cloned());
        own.iter().map(|directive| quoted_directive(directive)).collect()
    }
}

/// A path as sbatch takes it, in which it replaces nothing but the `%a` of `%a.log`.
fn pattern(path: &Path) -> Result<String> {
    let text = utf8(path.as_os_str())?;
    ensure!(
        !text.contains('\\'),
        "{text}: sbatch takes no output file with a backslash in its path; choose another folder \
         with `--out DIR`"
    );
    Ok(match text.strip_suffix("%a.log") {
        Some(folder) => format!("{}%a.log", folder.replace('%', "%%")),
        None => text.replace('%', "%%"),
    })
}

/// A directive, quoted so that sbatch reads it as one argument.
fn quoted_directive(text: &str) -> Result<String> {
    ensure!(
        !text.contains(|c: char| c.is_control() || c == '"'),
        "{text:?}: an option of sbatch cannot have line breaks, other control characters or double \
         quotes in it"
    );
    Ok(if text.contains([' ', '\'', '#', '\\']) { format!("\"{text}\"") } else { text.to_owned() })
}

/// A text, quoted so that the shell reads it as one word.
///
/// # Errors
/// When it is not UTF-8, or has control characters in it.
pub(crate) fn quoted(text: &OsStr) -> Result<String> {
    let text = utf8(text)?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-=:,+@%".contains(c);
    Ok(if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    })
}

fn utf8(text: &OsStr) -> Result<&str> {
    let found = text.to_str().filter(|text| !text.contains(char::is_control));
    found.with_context(|| {
        format!(
            "{} cannot stand in a script: it is not UTF-8, or has control characters in it",
            text.display()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_shell_are_quoted() {
        let quoted = |text: &str| quoted(text.as_ref()).unwrap();
        assert_eq!(
            [quoted("/a/b-1.txt"), quoted("a b"), quoted("it's"), quoted("$x"), quoted("")],
            ["/a/b-1.txt", "'a b'", r"'it'\''s'", "'$x'", "''"]
        );
        assert!(super::quoted("a\nb".as_ref()).is_err());
    }

    #[test]
    fn directives_hold_no_second_line() {
        assert_eq!(quoted_directive("--comment=a b").unwrap(), "\"--comment=a b\"");
        assert!(quoted_directive("--comment=a\n#SBATCH --wrap=b").is_err());
        assert_eq!(pattern(Path::new("/100%/x-%a.log")).unwrap(), "/100%%/x-%a.log");
    }
}
