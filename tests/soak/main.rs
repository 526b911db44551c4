//! Small studies under the faults of a machine. After each fault the same command must bring the
//! study to the same end as without it. `make soak` runs this; RELIABILITY.md reports what it gave.
//!
//! Variables of the environment, with their defaults:
//!
//! - `ROUNDS` (200): rounds of every scenario that kills. The others take a tenth.
//! - `SEED` (2018): of all random instants and choices.
//! - `ONLY` (all): names of scenarios, separated by commas.
//! - `ROUND` (all): the only round to run, to see a failure again.
//! - `RUNNER`: the program, if not the one beside this.
//! - `SAY`: if set, prints what programs say that run out of memory or threads.
//!
//! A failure prints the variables that repeat it, as far as instants can be repeated, and leaves its
//! folder.

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

/// Observations, and how often each was made.
type Seen = BTreeMap<String, usize>;

/// One kind of fault.
struct Scenario {
    name: &'static str,
    study: Kind,
    /// There is one round of this for so many rounds of killing.
    every: usize,
    /// Gives the reason why this machine cannot have the fault.
    obstacle: fn() -> Option<String>,
    /// Runs the study in a folder of its own, with the fault, and notes what it observes. The rest
    /// of the study is run and checked afterwards.
    fault: fn(&mut Round) -> Result<()>,
}

/// One round of a scenario.
struct Round<'a> {
    bed: &'a Bed,
    dice: Dice,
    number: usize,
    seen: &'a mut Seen,
    /// The results folder.
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
