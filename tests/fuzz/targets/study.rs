//! A study's TOML, read and planned. A line that begins with `#set ` is a `--set`.
#![no_main]

use gauntlet_core::metric::{Direction, Metric, Scope};
use gauntlet_core::params::NoParams;
use gauntlet_core::prelude::{Result, Tensor};
use gauntlet_core::registry::Registry;
use gauntlet_core::testing::{Affine, Nudge};
use gauntlet_runner::data::Picture;
use gauntlet_runner::engine::plan::Plan;
use gauntlet_runner::study::{Study, StudyOptions};
use image::{Rgb, RgbImage};
use std::cell::LazyCell;

struct Change;

impl Metric for Change {
    const NAME: &'static str = "change";
    const SUMMARY: &'static str = "nothing";
    const UNIT: &'static str = "1";
    const SCOPE: Scope = Scope::Outcome;
    const DIRECTION: Direction = Direction::HigherIsMoreRobust;
    type Params = NoParams;

    fn new(_: NoParams) -> Result<Self> {
        Ok(Self)
    }

    fn outcome(&self, _: &Tensor, _: &Tensor) -> Result<Vec<f64>> {
        Ok(Vec::new())
    }
}

struct Place {
    registry: Registry,
    folder: tempfile::TempDir,
    pictures: Vec<Picture>,
}

impl Place {
    fn new() -> Result<Self> {
        let mut registry = Registry::empty();
        registry.model::<Affine>("fuzz 1")?;
        registry.attack::<Nudge>("fuzz 1")?;
        registry.metric::<Change>("fuzz 1")?;
        let picture = |n: u8| {
            Picture::from_rgb(&n.to_string(), 0, RgbImage::from_pixel(2, 2, Rgb([n, 9, 80])))
        };
        Ok(Self { registry, folder: tempfile::tempdir()?, pictures: (0..3).map(picture).collect() })
    }
}

thread_local! {
    static PLACE: LazyCell<Place> = LazyCell::new(|| Place::new().expect("no name is taken twice"));
}

libfuzzer_sys::fuzz_target!(|text: &str| {
    PLACE.with(|place| {
        let set: Vec<String> =
            text.lines().filter_map(|line| line.strip_prefix("#set ")).map(str::to_owned).collect();
        for pictures in [None, Some(place.pictures.clone())] {
            let options = StudyOptions {
                set: set.clone(),
                plan_only: true,
                pictures,
                ..StudyOptions::default()
            };
            if let Ok(study) =
                Study::parse(text, "study.toml", place.folder.path(), &place.registry, options)
            {
                let plan = Plan::new(&study, "cpu").fingerprint();
                // The study.toml that a run writes is the same study.
                let options = StudyOptions {
                    plan_only: true,
                    pictures: Some(study.data.pictures.clone()),
                    ..StudyOptions::default()
                };
                let again = Study::parse(
                    study.to_toml(),
                    "study.toml",
                    place.folder.path(),
                    &place.registry,
                    options,
                );
                let again =
                    again.unwrap_or_else(|error| panic!("{error:#}\nof\n{}", study.to_toml()));
                assert_eq!(Plan::new(&again, "cpu").fingerprint(), plan, "{}", study.to_toml());
            }
        }
    });
});
