//! 8-bit images: pixels rounded to the 256 levels, inside the budget that the attack declares.

use crate::store::WHITE;
use gauntlet_core::attack::{Budget, Norm};
use tch::{Kind, Tensor};

/// How far, in levels, rounding errors of float32 may put a level from where it is.
const SLACK: f64 = 2.5e-4;

/// Rounds adversarials (N×C×H×W) of these originals to the levels of 8-bit images.
///
/// Each pixel goes to the nearest level. Where an attack declares a budget and that leads out of
/// it, pixels go towards the original instead: under an ℓ∞ budget to the nearest level inside,
/// under an ℓ1 or ℓ2 budget as few pixels as bring the image inside. A pixel of an original that is
/// no 8-bit image may have no level inside: it goes to the level nearest to the original.
pub(super) fn to_8bit_within(
    adversarials: &Tensor,
    originals: &Tensor,
    budget: Option<Budget>,
) -> Tensor {
    let rounded = to_8bit(adversarials);
    let Some(budget) = budget else { return rounded };
    for n in 0..adversarials.size()[0] {
        let [adversarial, original, image] = [adversarials, originals, &rounded]
            .map(|images| images.get(n).to_kind(Kind::Double) * WHITE);
        let inside = match budget.norm {
            Norm::Linf => in_ball(&image.round(), &original, budget.radius * WHITE),
            Norm::L1 | Norm::L2 => nearer(image.round(), &adversarial, &original, budget),
        };
        rounded.get(n).copy_(&(inside.to_kind(Kind::Float) / WHITE));
    }
    rounded
}

/// Rounds pixels to the nearest levels of an 8-bit image.
pub(super) fn to_8bit(pixels: &Tensor) -> Tensor {
    let rounded = pixels.copy();
    // One image at a time stays in the cache.
    for n in 0..pixels.size()[0] {
        let _ = rounded.get(n).g_mul_scalar_(WHITE).round_().g_div_scalar_(WHITE);
    }
    rounded
}

/// The level nearest to each level of `image` that is within `radius` of the original's; the level
/// nearest to the original where there is none. All are in levels.
fn in_ball(image: &Tensor, original: &Tensor, radius: f64) -> Tensor {
    let low = (original - radius - SLACK).ceil().clamp(0.0, WHITE);
    let high = (original + radius + SLACK).floor().clamp(0.0, WHITE);
    let inside = image.maximum(&low).minimum(&high);
    inside.where_self(&low.le_tensor(&high), &original.round())
}

/// Takes as few pixels as needed to the level next to them on the original's side, so that the
/// image is inside an ℓ1 or ℓ2 budget. All are in levels.
fn nearer(image: Tensor, adversarial: &Tensor, original: &Tensor, budget: Budget) -> Tensor {
    let cost = |levels: &Tensor| match budget.norm {
        Norm::L2 => (levels - original).square(),
        Norm::L1 | Norm::Linf => (levels - original).abs(),
    };
    let radius = budget.radius * WHITE + SLACK;
    let allowed = match budget.norm {
        Norm::L2 => radius.powi(2),
        Norm::L1 | Norm::Linf => radius,
    };
    let too_much = |costs: &Tensor| costs.sum(Kind::Double).double_value(&[]) - allowed;
    let costs = cost(&image);
    if too_much(&costs) <= 0.0 {
        return image;
    }
    let above = adversarial.gt_tensor(original);
    let towards = adversarial.floor().where_self(&above, &adversarial.ceil());
    let passed = towards.lt_tensor(original).where_self(&above, &towards.gt_tensor(original));
    let towards = original.round().where_self(&passed, &towards);
    let gains = (&costs - cost(&towards)).view([-1]);
    let (gains, order) = gains.sort_stable(true, 0, true);
    let enough = gains.cumsum(0, Kind::Double).ge(too_much(&costs));
    let count = enough.logical_not().sum(Kind::Int64).int64_value(&[]) + 1;
    if count > gains.size()[0] {
        // Not even all are enough, as of an original that is no 8-bit image.
        return original.round();
    }
    let order = order.narrow(0, 0, count);
    let moved = image.view([-1]).scatter(0, &order, &towards.view([-1]).gather(0, &order, false));
    moved.view_as(&image)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    fn levels(values: &[f64]) -> Tensor {
        (Tensor::from_slice(values) / WHITE).to_kind(Kind::Float).view([1, 1, 1, -1])
    }

    fn rounded(
        adversarial: &[f64],
        original: &[f64],
        budget: impl Into<Option<Budget>>,
    ) -> Vec<f64> {
        let found = to_8bit_within(&levels(adversarial), &levels(original), budget.into());
        let found = (found.to_kind(Kind::Double) * WHITE).view([-1]);
        assert!((&found - found.round()).abs().max().double_value(&[]) < 1e-4, "whole levels");
        Vec::<f64>::try_from(found.round()).unwrap()
    }

    fn within(norm: Norm, levels: f64) -> Budget {
        Budget { norm, radius: levels / WHITE }
    }

    #[test]
    fn levels_are_the_nearest_without_a_budget() {
        assert_eq!(
            rounded(&[0.0, 0.6, 1.4, 254.6, 255.0], &[0.0; 5], None),
            [0.0, 1.0, 1.0, 255.0, 255.0]
        );
    }

    #[test]
    fn levels_stay_inside_an_linf_ball() {
        let original = [100.0, 100.0, 100.0, 255.0, 0.0, 100.0];
        let adversarial = [101.504, 98.496, 100.9, 253.496, 1.504, 101.0];
        let expected = [101.0, 99.0, 101.0, 254.0, 1.0, 101.0];
        assert_eq!(rounded(&adversarial, &original, within(Norm::Linf, 1.504)), expected);
        // A whole number of levels is inside to the last bit.
        let all = [108.0, 92.0];
        assert_eq!(rounded(&all, &[100.0; 2], within(Norm::Linf, 8.0)), all);
        // Less than a level moves nothing.
        assert_eq!(rounded(&[100.6, 99.4], &[100.0; 2], within(Norm::Linf, 0.6)), [100.0; 2]);
    }

    #[test]
    fn a_pixel_without_a_level_inside_goes_to_the_one_nearest_to_the_original() {
        assert_eq!(rounded(&[100.6], &[100.4], within(Norm::Linf, 0.2)), [100.0]);
        assert_eq!(rounded(&[100.6], &[100.4], within(Norm::Linf, 0.7)), [101.0]);
    }

    #[test]
    fn as_few_pixels_as_needed_go_back_under_l1_and_l2_budgets() {
        // Rounded to 2, 2, 1, 0: ℓ1 5 and ℓ2 3.
        let adversarial = [1.5, 1.5, 0.6, 0.4];
        assert_eq!(rounded(&adversarial, &[0.0; 4], within(Norm::L1, 4.0)), [1.0, 2.0, 1.0, 0.0]);
        assert_eq!(rounded(&adversarial, &[0.0; 4], within(Norm::L1, 2.0)), [1.0, 1.0, 0.0, 0.0]);
        let expected = [1.0, 2.0, 1.0, 0.0];
        assert_eq!(rounded(&adversarial, &[0.0; 4], within(Norm::L2, 2.5)), expected);
        assert_eq!(rounded(&[-1.5 + 9.0; 2], &[9.0; 2], within(Norm::L2, 1.5)), [8.0; 2]);
        // An image inside stays as it is.
        assert_eq!(rounded(&adversarial, &[0.0; 4], within(Norm::L1, 5.0)), [2.0, 2.0, 1.0, 0.0]);
    }

    #[test]
    fn random_images_stay_inside_every_budget() {
        tch::manual_seed(5);
        let original =
            (Tensor::rand([4, 3, 8, 8], (Kind::Float, Device::Cpu)) * WHITE).round() / WHITE;
        for (norm, radius) in [(Norm::Linf, 0.011), (Norm::L1, 0.7), (Norm::L2, 0.09)] {
            let change = Tensor::randn([4, 3, 8, 8], (Kind::Float, Device::Cpu));
            let size = norm.of(&change);
            let adversarial = (&original + change / size * radius).clamp(0.0, 1.0);
            let found = to_8bit_within(&adversarial, &original, Some(Budget { norm, radius }));
            let sizes = norm.of(&(found - &original).to_kind(Kind::Double));
            let greatest = sizes.max().double_value(&[]);
            assert!(greatest <= radius * (1.0 + 1e-5), "{norm:?}: {greatest}");
            assert!(greatest > 0.0, "{norm:?}: nothing is left");
        }
    }
}
