//! Cutting the cells of a phase into tasks.

use crate::engine::plan::CellId;

/// A cell to be put into a task.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Piece {
    pub cell: CellId,
    /// The model that must be loaded for it.
    pub model: Option<usize>,
    /// How much it is, above 0, in the limit's unit.
    pub size: f64,
}

/// Cuts cells into tasks. A task is at most `limit` in size, or a single cell. There are as few
/// tasks as that allows, of sizes as equal as the cells allow. Cells of one model stay together, so
/// that few tasks load its weights. The same cells give the same tasks, whatever their order.
pub(super) fn cut(mut pieces: Vec<Piece>, limit: f64) -> Vec<Vec<Piece>> {
    // Ten steps of bisection: sizes are equal to about a thousandth of a task.
    const STEPS: usize = 10;
    pieces.sort_by_key(|piece| (piece.model, piece.cell));
    let fewest = in_turn(&pieces, limit).len();
    let (mut low, mut high) = (0.0, limit);
    for _ in 0..STEPS {
        let middle = f64::midpoint(low, high);
        if in_turn(&pieces, middle).len() == fewest { high = middle } else { low = middle }
    }
    in_turn(&pieces, high)
}

/// Puts cells into tasks in their order: a task is full when the next cell does not fit.
fn in_turn(pieces: &[Piece], limit: f64) -> Vec<Vec<Piece>> {
    let mut tasks: Vec<Vec<Piece>> = Vec::new();
    let mut room = 0.0;
    for &piece in pieces {
        match tasks.last_mut() {
            Some(task) if piece.size <= room => {
                task.push(piece);
                room -= piece.size;
            }
            _ => {
                tasks.push(vec![piece]);
                room = limit - piece.size;
            }
        }
    }
    tasks
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn size(task: &[Piece]) -> f64 {
        task.iter().map(|piece| piece.size).sum()
    }

    fn pieces() -> impl Strategy<Value = Vec<Piece>> {
        let one = (proptest::option::of(0usize..5), 0.001f64..50.0);
        proptest::collection::vec(one, 0..200).prop_map(|all| {
            all.into_iter()
                .enumerate()
                .map(|(cell, (model, size))| Piece { cell, model, size })
                .collect()
        })
    }

    proptest! {
        #[test]
        fn every_cell_is_in_one_task_within_the_limit(pieces in pieces(), limit in 0.01f64..200.0) {
            let tasks = cut(pieces.clone(), limit);
            let mut cells: Vec<CellId> = tasks.iter().flatten().map(|piece| piece.cell).collect();
            cells.sort_unstable();
            prop_assert!(cells.into_iter().eq(0..pieces.len()));
            for task in &tasks {
                let within = task.len() == 1 || size(task) <= limit * (1.0 + 1e-9);
                prop_assert!(!task.is_empty() && within);
            }
        }

        #[test]
        fn tasks_are_few_and_none_is_tiny_beside_the_others(
            pieces in pieces(),
            limit in 60f64..200.0,
        ) {
            let tasks = cut(pieces.clone(), limit);
            let total = size(&pieces);
            // Two tasks in a row are together more than the limit.
            prop_assert!(tasks.len() as f64 <= 2.0 * total / limit + 1.0);
            let longest = tasks.iter().map(|task| size(task)).fold(0.0, f64::max);
            prop_assert!(longest <= total / tasks.len().max(1) as f64 + 50.0 + limit * 0.001);
        }

        #[test]
        fn the_order_of_the_cells_does_not_matter(pieces in pieces(), limit in 0.01f64..200.0) {
            let turned: Vec<Piece> = pieces.iter().rev().copied().collect();
            prop_assert_eq!(cut(pieces, limit), cut(turned, limit));
        }

        #[test]
        fn a_model_is_loaded_by_no_more_tasks_than_it_fills(
            pieces in pieces(),
            limit in 0.01f64..200.0,
        ) {
            let tasks = cut(pieces, limit);
            let loads: usize = tasks
                .iter()
                .map(|task| task.chunk_by(|a, b| a.model == b.model).count())
                .sum();
            prop_assert!(loads <= tasks.len() + 5);
        }
    }
}
