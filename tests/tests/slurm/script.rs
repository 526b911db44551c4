//! The scripts of jobs, and how long their tasks are.

use crate::Place;

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
    let expected = "
  array                 tasks  cells  time limit
  clean-answers             1      2    01:30:00
  attacks                   2      8    01:30:00
  transfer-and-metrics      1      8    01:30:00
  report                    1
";
    assert!(table.ends_with(expected), "{table}");
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
# toys: attacks, 8 cells
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
    // An attack that does not say what it costs is tried. This one fails with so few images.
    let refusal = place.refusal(
        &[
            &submit[..],
            &["--set", r#"attacks=[{ name = "moody" }]"#, "--set", "metrics=[]"],
            // Without controls, of which it is known what they cost.
            &["--set", "transfer.policy=native"],
        ]
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
    // A few seconds of work make one task with the shortest time limit.
    assert!(
        said.contains("  00:16:00\n")
            && said.contains("\n#SBATCH --array=0-0\n#SBATCH --time=00:16:00\n"),
        "{said}"
    );
    // Every cell is a task, in arrays of at most four tasks, which is all that this cluster allows.
    let said = submit("0.0000001");
    assert!(
        said.contains("\n#SBATCH --array=0-3\n") && said.contains("\n#SBATCH --array=0-1\n"),
        "{said}"
    );
}
