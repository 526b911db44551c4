//! Expected values are SciPy's and statsmodels', printed by `expected.py` in this folder.

use super::*;

fn close(found: f64, expected: f64) {
    assert!(
        (found - expected).abs() <= 1e-9 * expected.abs().max(1.0),
        "{found}, expected {expected}"
    );
}

#[test]
fn wilson_s_interval() {
    for (k, n, (low, high)) in [
        (0, 10, (0.0, 0.27753279986288926)),
        (3, 10, (0.10779126740630104, 0.6032218525388546)),
        (10, 10, (0.7224672001371106, 1.0)),
        (37, 40, (0.8013576647568946, 0.9741639742254119)),
        (345, 645, (0.49629802531476913, 0.5730563591627423)),
    ] {
        let found = wilson(k, n).unwrap();
        close(found.0, low);
        close(found.1, high);
    }
    assert_eq!(wilson(0, 0), None);
}

#[test]
fn newcombe_s_interval_of_a_paired_difference() {
    // Newcombe 1998, "Improved confidence intervals for the difference between binomial
    // proportions based on paired data", gives 0.0569 to 0.3404 for the first.
    for ((both, first, second, neither), (low, high)) in [
        ((36, 12, 2, 0), (0.05692958400323875, 0.3404276029749406)),
        ((20, 12, 2, 16), (0.056156424841748265, 0.32920699540014053)),
        ((0, 0, 0, 20), (-0.16112515805281938, 0.16112515805281938)),
        ((0, 20, 0, 0), (0.7721346162421944, 1.0)),
    ] {
        let found = paired_difference(both, first, second, neither).unwrap();
        close(found.0, low);
        close(found.1, high);
    }
    assert_eq!(paired_difference(0, 0, 0, 0), None);
}

#[test]
fn newcombe_s_interval_of_a_difference() {
    // 56 of 70 against 48 of 80: the example of Newcombe (1998), method 10, to four digits.
    let rate = |k: usize, n: usize| (k as f64 / n as f64, wilson(k, n).unwrap());
    let (low, high) = of_difference(rate(56, 70), rate(48, 80));
    assert!((low - 0.0524).abs() < 5e-5 && (high - 0.3339).abs() < 5e-5, "{low}, {high}");
    let (low, high) = of_difference(rate(0, 20), rate(0, 20));
    assert!(low < -0.15 && high > 0.15, "{low}, {high}");
}

#[test]
fn quantiles_are_linear_between_neighbours() {
    let values = [1.0, 2.0, 4.0, 8.0];
    for (q, expected) in [(0.0, 1.0), (0.1, 1.3), (0.5, 3.0), (0.9, 6.8), (1.0, 8.0)] {
        close(quantile(&values, q).unwrap(), expected);
    }
    assert_eq!(quantile(&[], 0.5), None);
    assert_eq!(quantile(&[1.0, f64::INFINITY, f64::INFINITY], 0.75), Some(f64::INFINITY));
}

const POINTS: [(f64, f64); 6] =
    [(-2.3, 0.8), (-1.9, 1.3), (-1.7, 1.1), (-1.2, 2.2), (-0.9, 1.9), (-0.7, 2.6)];

#[test]
fn a_line_by_least_squares() {
    let line = Line::fit(&POINTS).unwrap();
    close(line.slope, 1.0469973890339417);
    close(line.intercept, 3.1681462140992163);
    close(line.r2, 0.8692462795085113);
    close(line.slope_error.unwrap(), 0.20303514049311283);
    let (low, high) = line.slope_interval(POINTS.len()).unwrap();
    assert!((low - 0.48328147).abs() < 1e-7 && (high - 1.61071331).abs() < 1e-7, "{low} {high}");
    close(explained_by_line(&POINTS).unwrap(), 0.8365578493856392);
}

#[test]
fn there_is_no_line_without_two_places() {
    assert_eq!(Line::fit(&[]), None);
    assert_eq!(Line::fit(&[(1.0, 2.0)]), None);
    assert_eq!(Line::fit(&[(-2.3, 2.0), (-2.3, 3.0), (-2.3, 4.0)]), None);
    let two = Line::fit(&[(0.0, 1.0), (2.0, 5.0)]).unwrap();
    assert_eq!((two.slope, two.intercept, two.r2, two.slope_interval(2)), (2.0, 1.0, 1.0, None));
}

#[test]
fn groups_explain_what_a_regression_on_them_does() {
    let values = POINTS.map(|(_, y)| y);
    close(explained_by_groups(&values, &[0, 0, 1, 1, 1, 2]).unwrap(), 0.4674488152749021);
    assert_eq!(explained_by_groups(&values, &[0, 1, 2, 3, 4, 5]), None, "nothing is left over");
    assert_eq!(explained_by_groups(&[1.0, 1.0, 1.0], &[0, 0, 1]), None, "nothing varies");
}

#[test]
fn the_frontier_is_what_nothing_beats() {
    let points = [(1.0, 5.0), (2.0, 4.0), (1.5, 3.0), (2.0, 1.0), (3.0, 1.0), (3.0, 1.0)];
    assert_eq!(pareto(&points), [true, true, false, false, true, true]);
}

#[test]
fn a_bootstrap_repeats_itself_and_is_as_wide_as_it_should_be() {
    let values: Vec<Option<f64>> =
        (0..200).map(|n| (n % 4 != 0).then(|| f64::from(n % 10))).collect();
    let interval = |seed| {
        Bootstrap::new(seed, values.len(), 1000)
            .interval(|counts| drawn_mean(&values, counts))
            .unwrap()
    };
    assert_eq!(interval(1), interval(1));
    assert_ne!(interval(1), interval(2));
    let present: Vec<f64> = values.iter().copied().flatten().collect();
    let centre = mean(&present).unwrap();
    let deviation =
        (present.iter().map(|v| (v - centre).powi(2)).sum::<f64>() / present.len() as f64).sqrt();
    let expected = 1.96 * deviation / (present.len() as f64).sqrt();
    let (low, high) = interval(1);
    for half in [centre - low, high - centre] {
        assert!((half / expected - 1.0).abs() < 0.2, "{half}, expected about {expected}");
    }
    let counts = Bootstrap::new(3, 50, 20);
    assert!(counts.resamples().all(|counts| counts.iter().sum::<u32>() == 50));
    assert_eq!(Bootstrap::new(3, 4, 10).interval(|_| None), None);
}

#[test]
fn mcnemar_s_exact_test() {
    for (b, c, expected) in [(0, 0, 1.0), (1, 5, 0.21875), (10, 10, 1.0), (3, 20, 0.00048828125)] {
        close(mcnemar(b, c), expected);
        close(mcnemar(c, b), expected);
    }
}

#[test]
fn the_binomial_test_is_exact() {
    for (k, n, rate, expected) in [
        (2, 8, 0.025, 0.015829877637786864),
        (3, 8, 0.025, 0.0007961823698425295),
        (10, 80, 0.05, 0.006534280619844943),
        (0, 5, 0.3, 1.0),
    ] {
        close(at_least(k, n, rate), expected);
    }
}

#[test]
fn holm_corrects_for_the_number_of_tests() {
    let tests = [0.001, 0.012, 0.02, 0.04];
    assert_eq!(tests.map(|p| (holm(&tests, p) * 1e6).round() / 1e6), [0.004, 0.036, 0.04, 0.04]);
    assert_eq!(holm(&[0.6, 0.9], 0.9), 1.0);
}

#[test]
fn wilcoxon_s_signed_ranks() {
    close(wilcoxon(&[0.3, -0.1, 0.7, 1.2, -0.4, 0.9, 1.1, 0.2]), 0.078125);
    close(wilcoxon(&[1.0, 1.0, -1.0, 2.0, 0.0, 3.0, -2.0, 4.0, 5.0, 5.0]), 0.05670572280075483);
    let long: Vec<f64> =
        (1..=80).map(|n| (f64::from(n) * 1.7).sin() * f64::from(n) + 6.0).collect();
    close(wilcoxon(&long), 0.11238336646269227);
    assert_eq!(wilcoxon(&[0.0, 0.0]), 1.0);
}
