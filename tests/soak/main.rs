//! Small studies under every fault that a machine can have. After each fault the same command must
//! bring the study to its end as though nothing had happened: `make soak`, and RELIABILITY.md for
//! what it gave.
//!
//! Environment: ROUNDS (of every scenario of killing; the others take a tenth), SEED (of all random
//! instants and choices), ONLY (names of scenarios, separated by commas), ROUND (the only round, to
//! see a failure again). A failure says which of them repeat it, as far as instants can be
//! repeated, and leaves its folder.

mod bed;
mod dice;
mod faults;
mod run;

use anyhow::{Result, ensure};
use bed::{Bed, Kind};
use dice::Dice;
use faults::SCENARIOS;
use gauntlet_tests::benching::{list, setting};
use std::collections::btree_map::{BTreeMap, Entry};
use std::process::ExitCode;
use std::time::Instant;

/// What was seen, and how often.
type Seen = BTreeMap<String, usize>;

/// One kind of fault. `fault` does it to a folder of its own, and says what was to be seen; all
/// that is left to do is then done undisturbed, and looked at.
struct Scenario {
    name: &'static str,
    study: Kind,
    /// In so many rounds of killing comes one of this.
    every: usize,
    /// Why it cannot be done here.
    obstacle: fn() -> Option<String>,
    fault: fn(&mut Round) -> Result<()>,
}

/// One round of a scenario.
struct Round<'a> {
    bed: &'a Bed,
    dice: Dice,
    number: usize,
    seen: &'a mut Seen,
    /// The results' folder.
    out: bed::Out,
}

impl Round<'_> {
    fn note(&mut self, what: impl Into<String>) {
        *self.seen.entry(what.into()).or_default() += 1;
    }
}

fn main() -> ExitCode {
    match soak() {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn soak() -> Result<usize> {
    let (rounds, seed): (usize, u64) = (setting("ROUNDS", 200)?, setting("SEED", 2018)?);
    let only = list("ONLY", &[]);
    let only: Vec<&str> = only.iter().map(String::as_str).filter(|name| !name.is_empty()).collect();
    for name in &only {
        ensure!(
            SCENARIOS.iter().any(|scenario| scenario.name == *name),
            "ONLY={name}: there is no such scenario"
        );
    }
    let single: Option<usize> =
        std::env::var("ROUND").ok().map(|_| setting("ROUND", 0)).transpose()?;
    println!("ROUNDS={rounds} SEED={seed}");
    let mut beds: BTreeMap<Kind, Bed> = BTreeMap::new();
    let mut failures = 0;
    for scenario in
        SCENARIOS.iter().filter(|scenario| only.is_empty() || only.contains(&scenario.name))
    {
        if let Some(why) = (scenario.obstacle)() {
            println!("\n{}: left out: {why}", scenario.name);
            continue;
        }
        let bed: &Bed = match beds.entry(scenario.study) {
            Entry::Occupied(made) => made.into_mut(),
            Entry::Vacant(place) => place.insert(Bed::make(scenario.study)?),
        };
        let (begun, mut seen, mut done) = (Instant::now(), Seen::new(), 0);
        let numbers = single.map_or(0..rounds.div_ceil(scenario.every), |round| round..round + 1);
        for number in numbers {
            let mut round = Round {
                bed,
                dice: Dice::new(seed, scenario.name, number),
                number,
                seen: &mut seen,
                out: bed.out()?,
            };
            let result = (scenario.fault)(&mut round).and_then(|()| bed.finish(&mut round.out));
            done += 1;
            if let Err(error) = result {
                failures += 1;
                let place = round.out.keep();
                println!(
                    "FAILED: SEED={seed} ONLY={} ROUND={number}: {error:#}\n  left in {}",
                    scenario.name,
                    place.display()
                );
            }
        }
        println!(
            "\n{}: {done} rounds on {}, {:.0} s",
            scenario.name,
            scenario.study.name(),
            begun.elapsed().as_secs_f64()
        );
        for (what, count) in seen {
            println!("  {count:>5}  {what}");
        }
    }
    println!("\n{failures} failures");
    Ok(failures)
}
