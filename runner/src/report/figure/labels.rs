//! Places for names: beside points without covering anything, or at the ends of lines, one below
//! the other.

use super::canvas::Area;

/// A name that wants a place beside a point.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// The point.
    pub at: (f64, f64),
    /// The name's width.
    pub w: f64,
    /// The name's height.
    pub h: f64,
}

/// A name's place.
#[derive(Clone, Copy, Debug)]
pub struct Placed {
    /// The name's box.
    pub area: Area,
    /// Where a line to the point begins, for names that are far from theirs.
    pub leader: Option<(f64, f64)>,
}

/// Distance from a point's middle to a name beside it, in pixels.
const NEAR: f64 = 8.0;
/// Greatest distance of a name from its point, in pixels, without a line between them.
const FAR: f64 = 12.0;
/// Cost of a pixel of distance, where a square pixel of a covered line costs 1.
const DISTANCE: f64 = 1.5;
/// Cost of a square pixel of a covered name or mark: more than any distance.
const COVERED: f64 = 1000.0;

/// Places names inside `bounds`, so that they cover no mark and no other name, and as few of the
/// `light` things (lines, whiskers) as possible. The same input gives the same places.
pub fn beside(wanted: &[Wanted], marks: &[Area], light: &[Area], bounds: Area) -> Vec<Placed> {
    let candidates: Vec<Vec<(Area, f64)>> = wanted.iter().map(|one| around(one, bounds)).collect();
    let fixed: Vec<Vec<f64>> = candidates
        .iter()
        .map(|areas| {
            areas
                .iter()
                .map(|(area, distance)| {
                    let on = |things: &[Area]| {
                        things.iter().map(|thing| area.overlap(thing)).sum::<f64>()
                    };
                    DISTANCE * distance + COVERED * on(marks) + on(light)
                })
                .collect()
        })
        .collect();
    let best = |n: usize, chosen: &[Option<usize>]| {
        let cost = |c: usize| {
            let area = candidates[n][c].0.grown(0.5);
            let others = chosen.iter().enumerate().filter(|(m, _)| *m != n);
            let covered: f64 = others
                .filter_map(|(m, choice)| {
                    Some(area.overlap(&candidates[m][(*choice)?].0.grown(0.5)))
                })
                .sum();
            fixed[n][c] + COVERED * covered
        };
        (0..candidates[n].len()).min_by(|&a, &b| cost(a).total_cmp(&cost(b)))
    };
    // Names with the most neighbours choose first. Then all choose again until nothing changes.
    let crowd =
        |n: usize| wanted.iter().filter(|other| distance(other.at, wanted[n].at) < 60.0).count();
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by_key(|&n| std::cmp::Reverse(crowd(n)));
    let mut chosen: Vec<Option<usize>> = vec![None; wanted.len()];
    for _ in 0..30 {
        let before = chosen.clone();
        for &n in &order {
            chosen[n] = best(n, &chosen);
        }
        if chosen == before {
            break;
        }
    }
    (0..wanted.len())
        .map(|n| {
            let area = candidates[n][chosen[n].unwrap_or(0)].0;
            let (x, y) = wanted[n].at;
            let end = (x.clamp(area.x, area.right()), y.clamp(area.y, area.bottom()));
            Placed { area, leader: (distance(end, (x, y)) > FAR).then_some(end) }
        })
        .collect()
}

fn distance(a: (f64, f64), b: (f64, f64)) -> f64 {
    (a.0 - b.0).hypot(a.1 - b.1)
}

/// Places for a name on rings around its point, with what each costs for being far or unusual.
fn around(one: &Wanted, bounds: Area) -> Vec<(Area, f64)> {
    let Wanted { at: (x, y), w, h } = *one;
    let mut places = Vec::new();
    for ring in 0..24 {
        let gap = NEAR + 9.0 * f64::from(ring);
        let steps = if ring == 0 { 8 } else { 24 };
        for step in 0..steps {
            let angle = std::f64::consts::TAU * f64::from(step) / f64::from(steps);
            let (dx, dy) = (angle.cos(), -angle.sin());
            // The box touches the ring with the side or corner that faces the point.
            let left = x + gap * dx + w * (dx.signum() * dx.abs().sqrt() - 1.0) / 2.0;
            let top = y + gap * dy + h * (dy.signum() * dy.abs().sqrt() - 1.0) / 2.0;
            let area = Area { x: left, y: top, w, h };
            let inside = area.x >= bounds.x
                && area.y >= bounds.y
                && area.right() <= bounds.right()
                && area.bottom() <= bounds.bottom();
            if inside {
                // Right of the point reads best, then above and below.
                places.push((area, 9.0 * f64::from(ring) + 2.0 * (1.0 - dx)));
            }
        }
    }
    if places.is_empty() {
        let (x, y) =
            (x.min(bounds.right() - w).max(bounds.x), y.min(bounds.bottom() - h).max(bounds.y));
        places.push((Area { x, y, w, h }, 0.0));
    }
    places
}

/// Moves heights apart so that neighbours are at least `gap` from each other, each as near its wish
/// as that allows (least squares), all between `low` and `high` if there is room.
pub fn apart(wishes: &[f64], gap: f64, (low, high): (f64, f64)) -> Vec<f64> {
    let mut order: Vec<usize> = (0..wishes.len()).collect();
    order.sort_by(|&a, &b| wishes[a].total_cmp(&wishes[b]).then(a.cmp(&b)));
    let gap =
        if wishes.len() > 1 { gap.min((high - low) / (wishes.len() - 1) as f64) } else { gap };
    // Blocks of names that touch: the sum of their wishes for the first height of the block, and
    // their number.
    let mut blocks: Vec<(f64, usize)> = Vec::new();
    for (n, &index) in order.iter().enumerate() {
        let mut block = (wishes[index] - gap * n as f64, 1);
        while let Some(&(sum, count)) = blocks.last() {
            if sum / count as f64 <= block.0 / block.1 as f64 {
                break;
            }
            blocks.pop();
            block = (block.0 + sum, block.1 + count);
        }
        blocks.push(block);
    }
    let last = high - gap * wishes.len().saturating_sub(1) as f64;
    let bases = blocks.iter().flat_map(|&(sum, count)| {
        std::iter::repeat_n((sum / count as f64).clamp(low, last.max(low)), count)
    });
    let mut heights = vec![0.0; wishes.len()];
    for ((n, &index), base) in order.iter().enumerate().zip(bases) {
        heights[index] = base + gap * n as f64;
    }
    heights
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Eighteen points: `spread` pixels wide and high.
    fn cluster(spread: f64) -> Vec<Wanted> {
        (0..18)
            .map(|n| {
                let (a, b) = (f64::from(n * 7 % 18) / 18.0, f64::from(n * 11 % 18) / 18.0);
                Wanted {
                    at: (300.0 + spread * a, 200.0 + spread * b),
                    w: 60.0 + f64::from(n) * 3.0,
                    h: 11.0,
                }
            })
            .collect()
    }

    #[test]
    fn eighteen_names_never_cover_each_other_or_a_mark() {
        let bounds = Area { x: 50.0, y: 20.0, w: 650.0, h: 400.0 };
        for spread in [0.0, 5.0, 40.0, 150.0] {
            let wanted = cluster(spread);
            let marks: Vec<Area> = wanted
                .iter()
                .map(|one| Area { x: one.at.0, y: one.at.1, w: 0.0, h: 0.0 }.grown(4.0))
                .collect();
            let placed = beside(&wanted, &marks, &[], bounds);
            for (n, one) in placed.iter().enumerate() {
                assert!(
                    placed[..n].iter().all(|other| one.area.overlap(&other.area) == 0.0),
                    "name {n} at spread {spread}"
                );
                assert!(
                    marks.iter().all(|mark| one.area.overlap(mark) == 0.0),
                    "name {n} covers a mark at spread {spread}"
                );
                assert!(
                    one.area.overlap(&bounds) > 0.999 * one.area.w * one.area.h,
                    "name {n} leaves the sheet"
                );
            }
        }
    }

    #[test]
    fn a_lonely_name_stands_right_of_its_point() {
        let placed = beside(
            &[Wanted { at: (100.0, 100.0), w: 40.0, h: 10.0 }],
            &[],
            &[],
            Area { x: 0.0, y: 0.0, w: 300.0, h: 300.0 },
        );
        assert_eq!(placed[0].area, Area { x: 108.0, y: 95.0, w: 40.0, h: 10.0 });
        assert!(placed[0].leader.is_none());
    }

    #[test]
    fn ends_are_spread_in_order() {
        let heights = apart(&[50.0, 50.0, 10.0, 52.0], 12.0, (0.0, 100.0));
        assert_eq!(heights[2], 10.0, "it has room enough");
        let mut rest = [heights[0], heights[1], heights[3]];
        assert!(
            (rest.iter().sum::<f64>() / 3.0 - 152.0 / 3.0).abs() < 1e-9,
            "they stay where they wished on average"
        );
        rest.sort_by(f64::total_cmp);
        assert!(rest.windows(2).all(|pair| (pair[1] - pair[0] - 12.0).abs() < 1e-9), "{rest:?}");
        let full = apart(&[99.0; 18], 12.0, (0.0, 100.0));
        assert!(full.iter().all(|height| (-1e-9..100.0 + 1e-9).contains(height)), "{full:?}");
    }
}
