//! What is submitted, and what comes of it.

use crate::Place;
use std::fs;

#[test]
fn a_cluster_gives_the_tables_of_one_machine() {
    let place = Place::new(70, &[]);
    let said = place.submit(&[]);
    // For each of 3 slices: 2 models; 2 models × 4 (2 goals, a score and a control); 2 models × 2
    // goals × 2 (a metric and another model).
    let expected = "toys: 70 images, 2 models, 1 attack, transfer crop_or_pad
1 file skipped (1 greyscale), see skipped.csv
54 of 54 cells to submit

  array                 tasks  cells  job
  clean-answers             3      6  101
  attacks-1                 4     12  102
  attacks-2                 4     12  103
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
        (0, vec![[6, 6, 0, 0, 0, 0], [24, 24, 0, 0, 0, 0], [24, 24, 0, 0, 0, 0]]),
        "{said}"
    );

    let again = place.submit(&[]);
    assert!(
        again.contains("\n0 of 54 cells to submit\n") && again.contains("\n  report      1  106\n"),
        "only the report is submitted: {again}"
    );
    fs::remove_dir_all(place.path("out/cells/transfer")).unwrap();
    let again = place.submit(&[]);
    assert!(
        again.contains("\n12 of 54 cells to submit\n") && !again.contains("attacks"),
        "{again}"
    );
    place.same_as_here("out");
}

#[test]
fn what_waits_is_not_submitted_twice() {
    let place = Place::new(40, &[]);
    place.hold();
    place.submit(&["--array-limit", "2"]);
    let waiting = vec![[4, 0, 0, 4, 0, 0], [16, 0, 0, 16, 0, 0], [16, 0, 0, 16, 0, 0]];
    let (code, phases, said) = place.status();
    assert_eq!((code, phases), (0, waiting), "{said}");
    assert!(said.contains("\n11 tasks waiting: Dependency\n"), "{said}");
    assert!(
        place
            .submit(&[])
            .ends_with("\n0 of 36 cells to submit, 36 wait or run already\nNothing to submit\n")
    );

    // A task of one job is gone without a trace. Only its cells are submitted again; the other jobs
    // are waited for.
    fs::remove_file(place.path("slurm/102.1.task")).unwrap();
    assert_eq!(place.status().1[1], [16, 0, 0, 13, 0, 3]);
    assert!(place.submit(&[]).contains("\n3 of 36 cells to submit, 33 wait or run already\n"));
    assert_eq!(place.read("slurm/106.dependency"), "101\n");
    assert_eq!(place.read("slurm/107.dependency"), "101:102:103:104:106\n");

    // Another study in the same folder has other cells, and does not count these.
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
            "\n10 tasks of another form of the study wait or run for this folder: \
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
        "Cancelled: 7 jobs (101, 102, 103, 104, 105, 106, 107); what is stored stays\n"
    );
    assert_eq!(place.said(&["cancel", "out"]), "Nothing waits or runs\n");
    let (code, phases, said) = place.status();
    assert_eq!((code, phases[1]), (0, [16, 0, 0, 0, 0, 16]));
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
