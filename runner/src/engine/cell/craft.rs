//! Craft cells: an attack on a model, every answer verified.

use crate::data::{self, Picture};
use crate::engine::cell::context::{CellContext, stream, unhurried};
use crate::engine::cell::eight_bit::{to_8bit, to_8bit_within};
use crate::engine::cell::verify::{ask, classifications, classify, goal, of_model};
use crate::errors::first_line;
use crate::store::Adversarials;
use crate::store::rows::{CleanRow, CraftRow, Status};
use crate::store::status::{CHANGED, LOGITS};
use crate::study::{GoalKind, Study, StudyAttack};
use anyhow::{Result, ensure};
use gauntlet_core::attack::{Answer, Budget, Cases, admit};
use gauntlet_core::guard;
use gauntlet_core::model::{ImageShape, Model};
use gauntlet_core::oracle::{Oracle, Passes};
use std::time::Instant;
use tch::Tensor;

/// Computes the rows of a craft cell, and the pixels that were given: M×C×H×W, in the order
/// of the rows' slots. None where there are none.
///
/// An attack that gives no valid pixels for an image has that in its row.
///
/// # Errors
/// When the images cannot be loaded, the attack or the model fails, or the cell is stopped.
pub(super) fn compute(
    context: CellContext,
    model: &dyn Model,
    attack: &StudyAttack,
    kind: GoalKind,
    pictures: &[Picture],
    clean: &[CleanRow],
) -> Result<(Vec<CraftRow>, Option<Adversarials>)> {
    let shape = model.card().shape();
    let mut rows: Vec<CraftRow> = pictures
        .iter()
        .zip(clean)
        .map(|(picture, clean)| {
            unattacked(picture, clean, target_of(context.study, kind, picture, clean))
        })
        .collect();
    let attacked: Vec<usize> = (0..pictures.len()).filter(|&n| clean[n].correct).collect();
    if attacked.is_empty() {
        return Ok((rows, None));
    }
    let chosen: Vec<Picture> = attacked.iter().map(|&n| pictures[n].clone()).collect();
    let images = data::batch(pictures, shape)?;
    let index: Vec<i64> = attacked.iter().map(|&n| n as i64).collect();
    let originals = images.index_select(0, &Tensor::from_slice(&index));
    let answers = run(context, model, attack, &attacked, &chosen, &originals, &mut rows)?;
    let budget = attack.budget();
    let mut given = Given::default();
    for (case, (&n, answer)) in attacked.iter().zip(answers).enumerate() {
        let Answer::Pixels(pixels) = answer else { continue };
        let original = originals.get(case as i64);
        match valid(&pixels, &original, shape, budget) {
            Ok(pixels) => {
                rows[n].slot = Some(given.pixels.len() as i64);
                given.pixels.push(pixels);
                given.originals.push(original);
            }
            Err(error) => rows[n].status = Status::Invalid(first_line(&error)),
        }
    }
    let found = given.stack(budget);
    if let Some(images) = &found {
        let given = rows.iter().zip(pictures).filter(|(row, _)| row.slot.is_some());
        let given: Vec<&Picture> = given.map(|(_, picture)| picture).collect();
        verify(context, model, &mut rows, &given, images)?;
    }
    // A model whose answers to the originals have changed would let any pixels succeed. It is asked
    // in the batch of the clean answers, so that the same answers have the same bits.
    let after = classify(context, model, pictures, &images)?;
    for &n in &attacked {
        if after[n].prediction != clean[n].prediction {
            rows[n].status = Status::Invalid(changed(clean[n].prediction, after[n].prediction));
        }
    }
    let kept = without_invalid(&mut rows);
    Ok((rows, found.zip(kept).map(|(images, kept)| images.keep(&kept))))
}

/// Adversarials that are images inside the budget, C×H×W each, with their originals.
#[derive(Default)]
struct Given {
    pixels: Vec<Tensor>,
    originals: Vec<Tensor>,
}

/// The same as batches, M×C×H×W each.
struct Images {
    float: Tensor,
    rounded: Tensor,
    originals: Tensor,
}

impl Given {
    /// The batches; none of no adversarials.
    fn stack(&self, budget: Option<Budget>) -> Option<Images> {
        if self.pixels.is_empty() {
            return None;
        }
        let (float, originals) =
            (Tensor::stack(&self.pixels, 0), Tensor::stack(&self.originals, 0));
        let rounded = to_8bit_within(&float, &originals, budget);
        Some(Images { float, rounded, originals })
    }
}

impl Images {
    /// Those at the slots that are kept, as they are stored.
    fn keep(&self, slots: &Tensor) -> Adversarials {
        let [float, rounded] =
            [&self.float, &self.rounded].map(|images| images.index_select(0, slots));
        let nearest = rounded == to_8bit(&float);
        Adversarials { float, rounded: (!nearest).then_some(rounded) }
    }
}

/// The row of an image before it is attacked.
fn unattacked(picture: &Picture, clean: &CleanRow, target_class: Option<i64>) -> CraftRow {
    CraftRow {
        image: picture.hash.clone(),
        label: picture.label,
        target_class,
        clean: clean.prediction,
        clean_8bit: clean.prediction_8bit,
        status: match clean.prediction {
            Some(_) => Status::Misclassified,
            None => Status::Unclassified,
        },
        slot: None,
        prediction: None,
        prediction_8bit: None,
        success: false,
        success_8bit: false,
        success_rate: None,
        success_rate_8bit: None,
        forward: 0,
        backward: 0,
        milliseconds: 0.0,
    }
}

/// Runs an attack on the `attacked` images, of which `chosen` are the pictures and `originals` the
/// pixels. Notes in their rows what it took, and how it ended if it found nothing.
fn run(
    context: CellContext,
    model: &dyn Model,
    attack: &StudyAttack,
    attacked: &[usize],
    chosen: &[Picture],
    originals: &Tensor,
    rows: &mut [CraftRow],
) -> Result<Vec<Answer>> {
    let goals = attacked.iter().map(|&n| {
        let goal = goal(rows[n].target_class, rows[n].label);
        of_model(goal, model.card())
    });
    // A copy, since an attack may write to what it is given.
    let cases = Cases::new(originals.detach_copy().to_device(context.device), goals.collect())?;
    let oracle = Oracle::new(model, chosen.iter().map(stream).collect(), context.settings());
    let start = Instant::now();
    let answers = context.see_through(&format!("attack `{}`", attack.part.name), || {
        attack.attack.run(&oracle, &cases)
    });
    let answers = unhurried(&oracle, answers)?;
    ensure!(
        answers.len() == attacked.len(),
        "attack `{}` gave {} answers for {} cases",
        attack.part.name,
        answers.len(),
        attacked.len()
    );
    let milliseconds = start.elapsed().as_secs_f64() * 1e3 / attacked.len() as f64;
    let (passes, not_finite) = (oracle.passes(), oracle.not_finite());
    for (case, (&n, answer)) in attacked.iter().zip(&answers).enumerate() {
        let (row, passes) = (&mut rows[n], passes[case]);
        (row.forward, row.backward, row.milliseconds) =
            (passes.forward as i64, passes.backward as i64, milliseconds);
        let found = matches!(answer, Answer::Pixels(_));
        row.status = misled(passes, not_finite[case]).unwrap_or(if found {
            Status::NotAdversarial
        } else {
            Status::NotFound
        });
    }
    Ok(answers)
}

/// How an attack that does not succeed ended, if numbers that are not finite misled it: then it
/// says nothing of the model.
fn misled(passes: Passes, not_finite: Passes) -> Option<Status> {
    let said = |what: &str, broken: u64, of: u64| {
        let reason = || format!("{what} not finite in {broken} of {of} passes");
        (broken > 0).then(|| Status::Invalid(reason()))
    };
    said(&format!("{LOGITS} are"), not_finite.forward, passes.forward)
        .or_else(|| said("the gradient is", not_finite.backward, passes.backward))
}

/// What is said where a model's answer to an original is another after the attack.
fn changed(before: Option<i64>, after: Option<i64>) -> String {
    let class = |class: Option<i64>| class.map_or("no class".to_owned(), |n| format!("class {n}"));
    format!("{CHANGED} changed during the attack, from {} to {}", class(before), class(after))
}

/// The pixels of an answer, on the CPU.
///
/// # Errors
/// When they are no image, or outside the budget.
fn valid(
    pixels: &Tensor,
    original: &Tensor,
    shape: ImageShape,
    budget: Option<Budget>,
) -> Result<Tensor> {
    guard::catch("reading the pixels", || {
        let pixels = admit(pixels, shape)?;
        budget.map_or(Ok(()), |budget| budget.check(original, &pixels))?;
        Ok(pixels)
    })
}

/// Asks the model about the pixels of an attack, float and rounded, made from the pictures that are
/// `given`, and notes in the rows whether they meet the goal.
fn verify(
    context: CellContext,
    model: &dyn Model,
    rows: &mut [CraftRow],
    given: &[&Picture],
    images: &Images,
) -> Result<()> {
    let (card, tolerance) = (model.card(), context.study.tie_tolerance);
    let [said, said_8bit] = [&images.float, &images.rounded]
        .map(|pixels| ask(context, model, given.iter().copied(), pixels));
    let (said, said_8bit) = (said?, said_8bit?);
    let (float, eight_bit) = (classifications(&said, card)?, classifications(&said_8bit, card)?);
    let same = same_rows(&images.float, &images.originals)?;
    let same_8bit = same_rows(&images.rounded, &to_8bit(&images.originals))?;
    for row in rows {
        let Some(slot) = row.slot.map(|slot| slot as usize) else { continue };
        let goal = goal(row.target_class, row.label);
        let met = |prediction: Option<i64>, logits: &Tensor| -> Result<bool> {
            let Some(class) = prediction else { return Ok(false) };
            if tolerance == 0.0 {
                return Ok(goal.met_by(class));
            }
            let logits = Vec::<f32>::try_from(logits.get(slot as i64))?;
            Ok(of_model(goal, card).met_within(&logits, tolerance))
        };
        (row.prediction, row.prediction_8bit) =
            (float[slot].prediction, eight_bit[slot].prediction);
        row.success = met(row.prediction, &said.logits)?;
        row.success_8bit = !same_8bit[slot] && met(row.prediction_8bit, &said_8bit.logits)?;
        (row.success_rate, row.success_rate_8bit) =
            (float[slot].rate(goal), eight_bit[slot].rate(goal));
        if row.prediction.is_none() {
            row.status = Status::Invalid(format!("{LOGITS} of the pixels are not finite"));
        } else if row.success && same[slot] {
            row.status = Status::Invalid(changed(row.clean, row.prediction));
        } else if row.success {
            row.status = Status::Adversarial;
        }
    }
    Ok(())
}

/// Per row whether two batches have the same image.
fn same_rows(these: &Tensor, those: &Tensor) -> Result<Vec<bool>> {
    Ok(Vec::<bool>::try_from(these.eq_tensor(those).flatten(1, -1).all_dim(1, false))?)
}

/// Takes the slots from the rows that are invalid, and numbers the others anew. Gives the slots
/// that are kept, if any are.
fn without_invalid(rows: &mut [CraftRow]) -> Option<Tensor> {
    let mut kept = Vec::new();
    for row in rows {
        let Some(slot) = row.slot else { continue };
        if matches!(row.status, Status::Invalid(_)) {
            (row.slot, row.prediction, row.prediction_8bit) = (None, None, None);
            (row.success, row.success_8bit) = (false, false);
            (row.success_rate, row.success_rate_8bit) = (None, None);
        } else {
            row.slot = Some(kept.len() as i64);
            kept.push(slot);
        }
    }
    (!kept.is_empty()).then(|| Tensor::from_slice(&kept))
}

/// The target class for an image; none for an untargeted goal.
pub(super) fn target_of(
    study: &Study,
    kind: GoalKind,
    picture: &Picture,
    clean: &CleanRow,
) -> Option<i64> {
    match kind {
        GoalKind::Untargeted => None,
        GoalKind::Random => Some(study.random_target(picture)),
        GoalKind::LeastLikely => clean.least_likely,
        GoalKind::Second => clean.second,
        GoalKind::Given => picture.target,
    }
}
