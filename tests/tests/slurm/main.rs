//! A study on a cluster. Programs that stand for Slurm's run the tasks here (`slurm/fake`);
//! `make slurm` does the same with Slurm itself.

mod refusals;
mod script;
mod submission;
mod tasks;

use gauntlet_tests::cluster;
use gauntlet_tests::processes::ended;
use gauntlet_tests::toys;
use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

/// A folder with a study, its images, and a cluster.
struct Place(TempDir);

impl Place {
    fn new(images: usize, more: &[&str]) -> Self {
        let place = Self(tempfile::Builder::new().prefix("a cluster's 100% ").tempdir().unwrap());
        fs::create_dir(place.path("images")).unwrap();
        fs::create_dir(place.path("slurm")).unwrap();
        toys::save_pictures(images, &place.path("images"));
        // The study leaves out a grey image, with a note.
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

    /// A command for a program that finds the cluster's programs on its path.
    fn with_cluster(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.0.path())
            .env("PATH", cluster::path())
            .env("FAKE_SLURM", self.path("slurm"))
            .env_remove("GAUNTLET_PLUGINS");
        command
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.with_cluster(env!("CARGO_BIN_EXE_toy-runner"));
        command.args(arguments);
        command
    }

    /// Makes tasks wait that are submitted from here on.
    fn hold(&self) {
        fs::write(self.path("slurm/hold"), "").unwrap();
    }

    /// Runs all waiting tasks. Tasks submitted from here on run at once.
    fn release(&self) {
        fs::remove_file(self.path("slurm/hold")).unwrap();
        assert!(
            self.with_cluster(cluster::programs().join("run-waiting")).status().unwrap().success()
        );
    }

    fn session(&self, arguments: &[&str]) -> (i32, String, String) {
        ended(self.command(arguments).output().unwrap())
    }

    /// Standard output of a session that succeeds.
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

    /// Checks that a folder has the tables of a run without a cluster.
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
