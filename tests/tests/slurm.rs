//! A study on a cluster, with programs in place of Slurm's that run the tasks here (`slurm/fake`).
//! `make slurm` does the like with Slurm itself.

use gauntlet_tests::libraries::{altered, library};
use gauntlet_tests::toys;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Where the programs are that stand for Slurm's.
fn fake() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("slurm/fake")
}

/// A folder with a study, `more` attacks in it, its images, and a cluster.
struct Place(TempDir);

impl Place {
    fn new(images: usize, more: &[&str]) -> Self {
        let place = Self(tempfile::Builder::new().prefix("a cluster's 100% ").tempdir().unwrap());
        fs::create_dir(place.path("images")).unwrap();
        fs::create_dir(place.path("slurm")).unwrap();
        toys::save_pictures(images, &place.path("images"));
        // Greyscale is left out, and noted.
        image::GrayImage::from_pixel(10, 10, image::Luma([128]))
            .save(place.path("images/1.grey.png"))
            .unwrap();
        fs::write(
            place.path("study.toml"),
            format!("probe = {{ images = 0 }}\n{}", toys::study(more)),
        )
        .unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A program, with the cluster's programs on the path.
    fn with_cluster(&self, program: impl AsRef<OsStr>) -> Command {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path =
            std::env::join_paths(std::iter::once(fake()).chain(std::env::split_paths(&path)))
                .unwrap();
        let mut command = Command::new(program);
        command
            .current_dir(self.0.path())
            .env("PATH", path)
            .env("FAKE_SLURM", self.path("slurm"))
            .env_remove("GAUNTLET_PLUGINS");
        command
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.with_cluster(env!("CARGO_BIN_EXE_toy-runner"));
        command.args(arguments);
        command
    }

    /// Lets tasks wait that are submitted from now on.
    fn hold(&self) {
        fs::write(self.path("slurm/hold"), "").unwrap();
    }

    /// Runs what waits, and whatever is submitted from now on.
    fn release(&self) {
        fs::remove_file(self.path("slurm/hold")).unwrap();
        assert!(self.with_cluster(fake().join("run-waiting")).status().unwrap().success());
    }

    fn session(&self, arguments: &[&str]) -> (i32, String, String) {
        text(&self.command(arguments).output().unwrap())
    }

    /// A session that does what it is told, and says this.
    fn said(&self, arguments: &[&str]) -> String {
        let (code, out, err) = self.session(arguments);
        assert_eq!(code, 0, "{out}{err}");
        out
    }

    fn refusal(&self, arguments: &[&str]) -> String {
        let (code, out, err) = self.session(arguments);
        assert_eq!(code, 2, "{out}{err}");
        err
    }

    fn submit(&self, more: &[&str]) -> String {
        self.sized("2,3,8", more)
    }

    fn sized(&self, cells: &str, more: &[&str]) -> String {
        self.said(
            &[
                &[
                    "submit",
                    "study.toml",
                    "--out",
                    "out",
                    "--cells-per-task",
                    cells,
                    "--patience",
                    "0",
                ],
                more,
            ]
            .concat(),
        )
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// That a folder has the tables of a run here.
    fn same_as_here(&self, out: &str) {
        let here = self
            .command(&["run", "study.toml", "--out", "here", "--isolate", "always"])
            .output()
            .unwrap();
        assert!(here.status.code().is_some_and(|code| code < 2), "{here:?}");
        for table in toys::TABLES {
            assert!(
                fs::read(self.path("here").join(table)).unwrap()
                    == fs::read(self.path(out).join(table)).unwrap(),
                "{table} differs"
            );
        }
    }

    /// The lines of `status` as numbers: cells, done, running, waiting, failed, left.
    fn status(&self) -> (i32, Vec<[usize; 6]>, String) {
        let (code, out, err) = self.session(&["status", "out"]);
        let numbers = |line: &str| -> Option<[usize; 6]> {
            let numbers: Vec<usize> =
                line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
            numbers[..numbers.len().min(6)].try_into().ok()
        };
        (code, out.lines().skip(1).take(3).filter_map(numbers).collect(), out.clone() + &err)
    }
}

fn text(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

/// Waits for something that comes soon.
fn until(what: &str, mut so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < Duration::from_mins(1), "{what}");
        sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_cluster_gives_the_tables_of_one_machine() {
    let place = Place::new(70, &[]);
    let said = place.submit(&[]);
    // 3 slices: of 2 models, of 2 models × 3 (2 goals and a score), of 2 × 2 goals × 2 (a metric
    // and another model).
    let expected = "\
                    toys: 70 images, 2 models, 1 attack, transfer crop_or_pad
1 file skipped (1 greyscale), see skipped.csv
48 of 48 cells to submit

  array                 tasks  cells  job
  clean-answers             3      6  101
  attacks-1                 4     12  102
  attacks-2                 2      6  103
  transfer-and-metrics      3     24  104
  report                    1         105

Submission: out/slurm/1
`runner status out` says how far it is, `runner cancel out` ends it
";
    assert_eq!(said, expected);
    let dependency = |job: u32| place.read(&format!("slurm/{job}.dependency"));
    let dependencies: Vec<String> =
        (101..=105).map(|job| dependency(job).trim().to_owned()).collect();
    assert_eq!(dependencies, ["", "101", "101", "101:102:103", "101:102:103:104"]);
    place.same_as_here("out");
    let (code, phases, said) = place.status();
    assert_eq!(
        (code, phases),
        (0, vec![[6, 6, 0, 0, 0, 0], [18, 18, 0, 0, 0, 0], [24, 24, 0, 0, 0, 0]]),
        "{said}"
    );

    let again = place.submit(&[]);
    assert!(
        again.contains("\n0 of 48 cells to submit\n") && again.contains("\n  report      1  106\n"),
        "the tables alone: {again}"
    );
    fs::remove_dir_all(place.path("out/cells/transfer")).unwrap();
    let again = place.submit(&[]);
    assert!(
        again.contains("\n12 of 48 cells to submit\n") && !again.contains("attacks"),
        "{again}"
    );
    place.same_as_here("out");
}

#[test]
fn what_waits_is_not_submitted_twice() {
    let place = Place::new(40, &[]);
    place.hold();
    place.submit(&["--array-limit", "2"]);
    let waiting = vec![[4, 0, 0, 4, 0, 0], [12, 0, 0, 12, 0, 0], [16, 0, 0, 16, 0, 0]];
    let (code, phases, said) = place.status();
    assert_eq!((code, phases), (0, waiting), "{said}");
    assert!(said.contains("\n9 tasks waiting: Dependency\n"), "{said}");
    assert!(
        place
            .submit(&[])
            .ends_with("\n0 of 32 cells to submit, 32 wait or run already\nNothing to submit\n")
    );

    // Of a job whose tasks are gone, without a word, only those are submitted again; the others are
    // waited for.
    fs::remove_file(place.path("slurm/102.1.task")).unwrap();
    assert_eq!(place.status().1[1], [12, 0, 0, 9, 0, 3]);
    assert!(place.submit(&[]).contains("\n3 of 32 cells to submit, 29 wait or run already\n"));
    assert_eq!(place.read("slurm/105.dependency"), "101\n");
    assert_eq!(place.read("slurm/106.dependency"), "101:102:103:105\n");

    // Another study in the same folder has other cells, and knows nothing of these.
    let other = place.said(&[
        "submit",
        "study.toml",
        "--out",
        "out",
        "--cells-per-task",
        "50",
        "--images",
        "12",
        "--print",
    ]);
    assert!(
        other.contains(
            "\n8 tasks of another form of the study wait or run for this folder: \
             `runner cancel out` ends them\n"
        ),
        "{other}"
    );

    fs::write(place.path("slurm/broken"), "").unwrap();
    let unknown = "what waits or runs already cannot be known: `squeue` says: slurm_load_jobs \
                   error: Unable to contact slurm controller";
    let refusal =
        place.refusal(&["submit", "study.toml", "--out", "out", "--cells-per-task", "50"]);
    assert!(refusal.starts_with(&format!("error: {unknown}")), "{refusal}");
    let (_, phases, said) = place.status();
    assert_eq!(phases[2], [16, 0, 0, 0, 0, 16], "{said}");
    assert!(
        said.contains("\nwhat waits and runs is not known, and counted as left: `squeue` says: "),
        "{said}"
    );
    assert!(place.refusal(&["cancel", "out"]).contains("what waits and runs is not known"));
    fs::remove_file(place.path("slurm/broken")).unwrap();

    assert_eq!(
        place.said(&["cancel", "out"]),
        "Cancelled: 6 jobs (101, 102, 103, 104, 105, 106); what is stored stays\n"
    );
    assert_eq!(place.said(&["cancel", "out"]), "Nothing waits or runs\n");
    let (code, phases, said) = place.status();
    assert_eq!((code, phases[1]), (0, [12, 0, 0, 0, 0, 12]));
    assert!(
        said.ends_with(
            "\nNothing waits or runs any more: `runner submit` again submits what is missing\n"
        ),
        "{said}"
    );
    place.release();
    place.submit(&[]);
    place.same_as_here("out");
}

#[test]
fn a_cell_that_fails_costs_what_needs_it_alone() {
    let place = Place::new(40, &["moody"]); // fails on slices of fewer than ten images
    place.sized("4,8,24", &[]);
    place.same_as_here("out");
    let (code, phases, said) = place.status();
    // Of each model one of moody's two cells, then a metric and a transfer.
    assert_eq!(
        (code, phases),
        (1, vec![[4, 4, 0, 0, 0, 0], [16, 14, 0, 0, 2, 0], [24, 20, 0, 0, 0, 4]]),
        "{said}"
    );
    let failure =
        "\nfailed: moody (untargeted) on toy_8, images 33–40: attack `moody` panicked: only ";
    assert!(said.contains(failure), "{said}");
    assert!(place.read("out/slurm/1/logs/report.log").contains("\n6 cells not there; "));
    let codes = place.read("slurm/ended");
    assert!(
        codes.lines().any(|line| line.starts_with("102 ") && line.ends_with(" 0 1")),
        "{codes}"
    );
    let json: serde_json::Value =
        serde_json::from_str(&place.session(&["status", "out", "--json"]).1).unwrap();
    assert_eq!(
        (&json["phases"][1]["failed"], &json["failures"][0][0]),
        (&2.into(), &"moody (untargeted) on toy_12, images 33–40".into())
    );
    assert!(place.sized("100", &[]).contains("\n6 of 44 cells to submit\n"));
}

#[test]
fn a_task_that_dies_begins_anew_and_costs_the_cell_that_killed_it() {
    let place = Place::new(12, &["abort"]);
    place.submit(&["--requeue", "1"]);
    let ended = place.read("slurm/ended");
    // 134 is SIGABRT; the fake Slurm kills (137) what it requeues, as Slurm does.
    let requeued: Vec<&str> =
        ended.lines().filter(|line| line.starts_with("102 ") && line.ends_with(" 0 137")).collect();
    let failed: Vec<&str> =
        ended.lines().filter(|line| line.starts_with("102 ") && line.ends_with(" 1 1")).collect();
    assert!(!requeued.is_empty() && requeued.len() == failed.len(), "{ended}");
    let log: String =
        (0..3).map(|task| place.read(&format!("out/slurm/1/logs/attacks-{task}.log"))).collect();
    assert_eq!(log.matches("ended with exit code 134, requeued").count(), requeued.len(), "{log}");
    place.same_as_here("out");
    let (_, phases, said) = place.status();
    assert_eq!(phases[1], [8, 6, 0, 0, 2, 0], "{said}");
    assert!(
        said.contains(
            "failed: abort (untargeted) on toy_12, images 1–12: the process that \
             computed it died of SIGABRT"
        ),
        "{said}"
    );

    // Never isolated, and not requeued: it dies, and what it had not come to is left.
    let place = Place::new(12, &["abort"]);
    place.submit(&["--requeue", "0", "--isolate", "never"]);
    let ended = place.read("slurm/ended");
    let once = ended.lines().all(|line| line.split(' ').nth(2) == Some("0"));
    assert!(once && ended.lines().any(|line| line.ends_with(" 134")), "{ended}");
    let (_, phases, said) = place.status();
    assert!(phases[1][5] >= 2 && phases[1][4] == 0, "{said}");
}

#[test]
fn when_slurm_refuses_a_job_those_before_it_are_cancelled() {
    let place = Place::new(12, &[]);
    place.hold();
    let submit =
        ["submit", "study.toml", "--out", "out", "--cells-per-task", "9", "--partition", "gpu"];
    fs::write(place.path("slurm/refuse"), "103\n").unwrap();
    let error = "`sbatch` says: sbatch: error: invalid partition specified: gpu\n";
    assert_eq!(
        place.refusal(&submit),
        format!("error: not everything could be submitted, so what was is cancelled: {error}")
    );
    assert_eq!(place.read("slurm/cancelled"), "101\n102\n");
    assert!(place.status().2.contains("Nothing waits or runs any more"));
    assert_eq!(place.refusal(&submit), format!("error: nothing was submitted: {error}"));
    assert!(!place.path("out/slurm/2").exists());
}

#[test]
fn print_shows_the_scripts_and_writes_nothing() {
    let place = Place::new(12, &[]);
    let options = [
        "--partition=gpu",
        "--account=a7",
        "--device=cuda",
        "--cells-per-task=2,4,8",
        "--time=90",
        "--mem=8G",
        "--array-limit=16",
        "--sbatch-arg=--qos=long",
        "--sbatch-arg=--comment=two words",
        "--setup=module load cuda",
        "--setup=ulimit -c 0",
    ];
    let said = place.said(
        &[&["submit", "study.toml", "--out", "some results", "--print"], &options[..]].concat(),
    );
    assert!(!place.path("some results").exists() && !place.path("slurm/last").exists());
    let (table, scripts) = said.split_once("\n# sbatch").unwrap();
    assert!(table.ends_with("\n  array                 tasks  cells  time \
                             limit\n  clean-answers             1      2    01:30:00\n  attacks                   2      6    01:30:00\n  transfer-and-metrics      1      8    01:30:00\n  report                    1\n"), "{table}");
    let attacks = scripts.split("\n# sbatch ").nth(1).unwrap();
    let folder = place
        .path("some results/slurm/<n>")
        .canonicalize()
        .unwrap_or(place.path("some results/slurm/<n>"));
    let shown = folder.display().to_string();
    let quoted = shown.replace('\'', r"'\''");
    let program = std::env::current_exe().unwrap();
    let program = program.parent().unwrap().parent().unwrap().join("toy-runner");
    let expected = format!(
        r#"--parsable --dependency=afterany:<clean-answers> some results/slurm/<n>/attacks.sh
#!/bin/bash
# toys: attacks, 6 cells
#SBATCH "--job-name=toys: attacks"
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=1
#SBATCH --array=0-1%16
#SBATCH --time=01:30:00
#SBATCH --signal=B:USR1@90
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH "--output={}/logs/attacks-%a.log"
#SBATCH --gres=gpu:1
#SBATCH --mem=8G
#SBATCH --partition=gpu
#SBATCH --account=a7
#SBATCH --qos=long
#SBATCH "--comment=two words"

module load cuda
ulimit -c 0
task=$SLURM_ARRAY_TASK_ID
restarts=${{SLURM_RESTART_COUNT:-0}}
scratch=${{SLURM_TMPDIR:-${{TMPDIR:-/tmp}}}}
[ -d "$scratch" ] && export TMPDIR=$scratch
worker= cancelled=
trap 'interrupted=1; kill -TERM $worker' USR1
trap 'interrupted=1; cancelled=1; kill -TERM $worker' TERM
again=()
[ -e '{quoted}/cells/attacks'/"$task".died ] && again=(--isolate always)

{} work --job '{quoted}/job.json' --cells '{quoted}/cells/attacks'/"$task".txt --workers 1 --isolate auto --patience 60 "${{again[@]}}" &
worker=$!
# A signal interrupts the wait, not the worker.
while interrupted=; wait "$worker"; code=$?; [ -n "$interrupted" ]; do :; done
# Above 128 it died of a signal, or (143) was told that its time is nearly over: the rest is done anew.
if [ "$code" -gt 128 ] && [ -z "$cancelled" ] && [ "$restarts" -lt 3 ]; then
  echo "ended with exit code $code, requeued"
  [ "$code" = 143 ] || touch '{quoted}/cells/attacks'/"$task".died
  scontrol requeue "${{SLURM_ARRAY_JOB_ID:+${{SLURM_ARRAY_JOB_ID}}_}}${{SLURM_ARRAY_TASK_ID:-$SLURM_JOB_ID}}" && sleep 60
fi
exit "$code"
"#,
        shown.replace('%', "%%"),
        program.display(),
    );
    assert_eq!(attacks, expected);
}

#[test]
fn tasks_are_as_long_as_they_shall_be() {
    let place = Place::new(70, &[]);
    let submit = ["submit", "study.toml", "--out", "out", "--print"];
    // Attacks are tried, but this one fails where it has so few images.
    let refusal = place.refusal(
        &[&submit[..], &["--set", r#"attacks=[{ name = "moody" }]"#, "--set", "metrics=[]"]]
            .concat(),
    );
    assert!(
        refusal.starts_with("error: moody (untargeted) do not say what they cost; say how many"),
        "{refusal}"
    );
    let said = place.said(&submit);
    assert!(
        said.contains(
            "\ncounted as the dearest others, since they do not say what they cost: \
             margin (untargeted)\n"
        ),
        "{said}"
    );

    let submit = |minutes: &str| {
        place.said(
            &[
                &submit[..],
                &["--set", "attacks=[]", "--set", "metrics=[]", "--task-minutes", minutes],
            ]
            .concat(),
        )
    };
    let said = submit("30");
    // Seconds of work: one task, and the shortest limit.
    assert!(
        said.contains("  00:16:00\n")
            && said.contains("\n#SBATCH --array=0-0\n#SBATCH --time=00:16:00\n"),
        "{said}"
    );
    // A task for each cell, in arrays of the four that this cluster allows.
    let said = submit("0.0000001");
    assert!(
        said.contains("\n#SBATCH --array=0-3\n") && said.contains("\n#SBATCH --array=0-1\n"),
        "{said}"
    );
}

#[test]
fn lists_are_worked_on_by_any_number_at_once() {
    let place = Place::new(70, &[]);
    place.hold();
    place.sized("100", &[]);
    for phase in ["clean-answers", "attacks", "transfer-and-metrics"] {
        let list = format!("out/slurm/1/cells/{phase}/0.txt");
        let arguments =
            ["work", "--job", "out/slurm/1/job.json", "--cells", &list, "--workers", "2"];
        let both = [0, 1].map(|_| {
            place.command(&arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
        });
        for worker in both {
            let (code, out, _) = text(&worker.wait_with_output().unwrap());
            assert_eq!(code, 0, "{out}");
        }
        let said = place.said(&arguments);
        assert!(said.contains(": 0 cells computed, "), "{said}");
    }
    place.said(&["work", "--job", "out/slurm/1/job.json", "--report"]);
    place.same_as_here("out");
    let kinds = fs::read_dir(place.path("out/cells")).unwrap().flatten();
    let files = kinds.flat_map(|kind| fs::read_dir(kind.path()).unwrap().flatten());
    assert!(
        files.map(|file| file.file_name()).all(|name| !name.to_string_lossy().starts_with('.')),
        "nothing half-written stays"
    );
}

#[test]
fn tasks_compute_with_the_plugins_that_were_submitted_or_not_at_all() {
    let place = Place::new(12, &["noisy"]);
    let plugins = place.path("plugins");
    fs::create_dir(&plugins).unwrap();
    let file = plugins.join("libgauntlet_sample.so");
    fs::copy(library("sample"), &file).unwrap();
    place.hold();
    place.submit(&["--plugins", "plugins"]);
    fs::remove_file(&file).unwrap(); // what is loaded already keeps its bytes
    altered("sample", &plugins, "panic = \"unwind\"\n", "panic = \"abort\" \n");
    let task = [
        "work",
        "--job",
        "out/slurm/1/job.json",
        "--cells",
        "out/slurm/1/cells/clean-answers/0.txt",
    ];
    let refusal = place.refusal(&task);
    assert!(
        refusal
            .contains("libgauntlet_sample.so: the program, a plugin or weights have changed since"),
        "{refusal}"
    );
    fs::remove_file(&file).unwrap();
    fs::copy(library("sample"), &file).unwrap();
    place.said(&task);
    place.release();
    fs::write(
        place.path("study.toml"),
        format!("{}\n[plugins]\nfrom = [\"plugins\"]\n", place.read("study.toml")),
    )
    .unwrap();
    place.same_as_here("out");
}

#[test]
fn a_worker_that_is_stopped_drops_its_cell_and_the_rest_goes_on() {
    let place = Place::new(12, &["endless"]);
    place.hold();
    place.sized("100", &[]);
    let job = ["work", "--job", "out/slurm/1/job.json"];
    let attacks = ["--cells", "out/slurm/1/cells/attacks/0.txt"];
    // What is needed is not there, and said to be.
    let (code, out, err) = place.session(&[&job[..], &attacks].concat());
    assert_eq!(
        (code, out.as_str()),
        (1, "out/slurm/1/cells/attacks/0.txt: 0 cells computed, 0 there already\n"),
        "{err}"
    );
    assert!(
        err.starts_with(
            "0 cells failed, 8 could not be tried\n  step (untargeted) on toy_8, \
             images 1–12: it needs clean answers of toy_8, images 1–12 (clean/"
        ),
        "{err}"
    );
    let notes: serde_json::Value =
        serde_json::from_str(&place.read("out/slurm/1/cells/attacks/0.failed.json")).unwrap();
    assert_eq!(
        (notes["held_up"].as_array().unwrap().len(), notes["failed"].as_array().unwrap().len()),
        (8, 0)
    );

    place.said(&[&job[..], &["--cells", "out/slurm/1/cells/clean-answers/0.txt"]].concat());
    let stoppable = [&job[..], &attacks, &["--workers", "1", "--isolate", "always"]].concat();
    let worker =
        place.command(&stoppable).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until("the attack begins", || place.path("endless").exists());
    assert!(Command::new("kill").arg(worker.id().to_string()).status().unwrap().success());
    let (code, out, err) = text(&worker.wait_with_output().unwrap());
    assert!(code == 143 && err.contains("stopped by SIGTERM: "), "{out}{err}");
    let whole: usize = place.status().1.iter().map(|phase| phase[1]).sum();
    assert!((2..8).contains(&whole), "{whole}");
}

#[test]
fn a_task_that_comes_to_its_time_limit_is_requeued_and_one_that_is_cancelled_is_not() {
    let place = Place::new(12, &["endless"]);
    place.hold();
    place.sized("100", &["--isolate", "always"]);
    place.said(&[
        "work",
        "--job",
        "out/slurm/1/job.json",
        "--cells",
        "out/slurm/1/cells/clean-answers/0.txt",
    ]);
    let task = |signal: &str| {
        let _ = fs::remove_file(place.path("endless"));
        let mut script = place.with_cluster("bash");
        script.arg("out/slurm/1/attacks.sh").stdout(Stdio::piped()).stderr(Stdio::piped());
        script.envs([
            ("SLURM_JOB_ID", "102"),
            ("SLURM_ARRAY_JOB_ID", "102"),
            ("SLURM_ARRAY_TASK_ID", "0"),
        ]);
        let script = script.spawn().unwrap();
        until("the attack begins", || place.path("endless").exists());
        assert!(
            Command::new("kill")
                .args([signal, &script.id().to_string()])
                .status()
                .unwrap()
                .success()
        );
        script.wait_with_output().unwrap()
    };
    let warned = task("-USR1");
    let said = String::from_utf8_lossy(&warned.stdout).into_owned();
    assert!(said.ends_with("ended with exit code 143, requeued\n"), "{said}");
    assert_eq!(place.read("slurm/102.0.task"), "1\n", "how often it was requeued");
    assert!(!place.path("out/slurm/1/cells/attacks/0.died").exists(), "it did nothing wrong");
    let cancelled = task("-TERM");
    let said = String::from_utf8_lossy(&cancelled.stdout).into_owned();
    assert_eq!(
        (cancelled.status.code(), place.read("slurm/102.0.task").as_str()),
        (Some(143), "1\n"),
        "{said}"
    );
}

#[test]
fn wrong_inputs_are_refused_before_anything_is_submitted() {
    let place = Place::new(12, &[]);
    let submit = ["submit", "study.toml", "--out", "out", "--cells-per-task", "9"];
    for (more, expected) in [
        (
            &["--engine", "pbs"][..],
            "invalid value 'pbs' for '--engine <ENGINE>'\n  [possible values: slurm]",
        ),
        (
            &["--time", "1h"],
            "invalid value '1h' for '--time <TIME>': found `1h`, expected a time such as 90 \
             (minutes), 1:30:00 (hours)",
        ),
        (&["--array-limit", "0"], "error: `--array-limit 0`: at least one is needed"),
        (&["--cpus-per-task", "0"], "error: `--cpus-per-task 0`: at least one is needed"),
        (
            &["--device", "cuda:1"],
            "error: `--device cuda:1`: which GPU a task has, Slurm decides; use `cuda`",
        ),
        (&["--device", "gpu"], "error: unknown device `gpu`: use `cpu`, `cuda` or `cuda:N`"),
        (
            &["--sbatch-arg", "long"],
            "error: `--sbatch-arg long`: an option of sbatch is expected, as in \
             `--sbatch-arg=--qos=long`",
        ),
        (
            &["--sbatch-arg=--array=1-3"],
            "error: `--sbatch-arg --array=1-3`: `--array` is for `runner submit` to set",
        ),
        (&["--partition", "a\n#SBATCH --wrap=b"], "an option of sbatch cannot have line breaks"),
        (&["--setup", "a\nb"], "error: `--setup \"a\\nb\"`: one line is expected"),
        (&["--images", "0"], "error: `--images 0`: at least one is needed"),
        (
            &["--task-minutes", "5"],
            "the argument '--cells-per-task <N>' cannot be used with '--task-minutes <MINUTES>'",
        ),
    ] {
        let refusal = place.refusal(&[&submit, more].concat());
        assert!(refusal.contains(expected), "{expected}\n{refusal}");
    }
    for (size, expected) in [
        (["--cells-per-task", "1,2"], "error: `--cells-per-task` has 2 numbers, expected 1 or 3"),
        (["--cells-per-task", "0"], "error: `--cells-per-task`: at least one is needed"),
        (["--task-minutes", "0"], "error: `--task-minutes 0`: a number above 0 is expected"),
        (["--task-minutes", "nan"], "error: `--task-minutes NaN`: a number above 0 is expected"),
        (
            ["--device", "cuda"],
            "error: how long cells take on a GPU cannot be measured on this machine: give \
             `--cells-per-task N`, and `--time`",
        ),
    ] {
        let refusal =
            place.refusal(&[&["submit", "study.toml", "--out", "out"], &size[..]].concat());
        assert!(refusal.contains(expected), "{expected}\n{refusal}");
    }
    for command in ["status", "cancel"] {
        let refusal = place.refusal(&[command, "out"]);
        assert_eq!(
            refusal,
            "error: nothing was submitted to out: `runner submit STUDY --out DIR` does that\n"
        );
    }
    assert!(!place.path("out").exists() && !place.path("slurm/last").exists());
    let bare = place.command(&submit).env("PATH", "/usr/nowhere").output().unwrap();
    let (code, _, err) = text(&bare);
    assert!(code == 2 && !place.path("out").exists());
    assert!(err.starts_with("error: there is no `sbatch` on PATH: "), "{err}");

    assert!(
        place
            .refusal(&["work", "--job", "study.toml", "--report"])
            .starts_with("error: study.toml cannot be read: a job.json is expected")
    );
    place.hold();
    place.submit(&[]);
    fs::write(place.path("list"), "clean/0123\n").unwrap();
    let refusal = place.refusal(&["work", "--job", "out/slurm/1/job.json", "--cells", "list"]);
    assert_eq!(refusal, "error: list: the study has no cell `clean/0123`\n");
    fs::write(place.path("out/slurm/1/submission.json"), "{").unwrap();
    assert!(
        place
            .refusal(&["status", "out"])
            .starts_with("error: the record out/slurm/1/submission.json cannot be read: ")
    );
}
