//! Which cell a worker computes next. Workers keep to one model as long as it has cells left.

use crate::engine::plan::CellId;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;

/// The cells of a phase, in groups: a worker need not load another model within a group.
pub(crate) struct Queue {
    groups: Mutex<Vec<Group>>,
}

struct Item {
    cell: CellId,
    size: usize,
}

struct Group {
    cells: VecDeque<Item>,
    /// Number of workers whose last cell came from this group.
    workers: usize,
}

impl Group {
    fn size(&self) -> usize {
        self.cells.iter().map(|item| item.size).sum()
    }
}

impl Queue {
    /// A queue of `cells`. Cells for which `group` says the same make a group.
    pub fn new<G: Ord>(
        cells: &[CellId],
        group: impl Fn(CellId) -> G,
        size: impl Fn(CellId) -> usize,
    ) -> Self {
        let mut groups: BTreeMap<G, VecDeque<Item>> = BTreeMap::new();
        for &cell in cells {
            groups.entry(group(cell)).or_default().push_back(Item { cell, size: size(cell) });
        }
        Self {
            groups: Mutex::new(
                groups.into_values().map(|cells| Group { cells, workers: 0 }).collect(),
            ),
        }
    }

    /// The next cell for a worker whose last one came from `group`; none if there is none left.
    /// When its group is empty, the worker joins the one with the most work left per worker.
    pub fn next(&self, group: &mut Option<usize>) -> Option<CellId> {
        let mut groups = self.groups.lock().expect("no holder of the lock panics");
        if let Some(current) = *group {
            if let Some(item) = groups[current].cells.pop_front() {
                return Some(item.cell);
            }
            groups[current].workers -= 1;
            *group = None;
        }
        let (index, best) =
            groups.iter_mut().enumerate().filter(|(_, group)| !group.cells.is_empty()).max_by_key(
                |(index, group)| (group.size() / (group.workers + 1), std::cmp::Reverse(*index)),
            )?;
        best.workers += 1;
        *group = Some(index);
        best.cells.pop_front().map(|item| item.cell)
    }

    /// Seconds from start to end with this many workers, if a cell takes one of them `seconds`.
    pub fn makespan(&self, workers: usize, seconds: impl Fn(CellId) -> f64) -> f64 {
        let mut times = vec![(0.0_f64, None); workers];
        while let Some((time, group)) = times.iter_mut().min_by(|a, b| a.0.total_cmp(&b.0))
            && let Some(cell) = self.next(group)
        {
            *time += seconds(cell);
        }
        times.into_iter().map(|(time, _)| time).fold(0.0, f64::max)
    }

    /// Drops all cells that are left.
    pub fn close(&self) {
        for group in self.groups.lock().expect("no holder of the lock panics").iter_mut() {
            group.cells.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Queue;

    #[test]
    fn every_cell_comes_once_and_models_stay_together() {
        let cells: Vec<usize> = (0..30).collect();
        let model = |cell: usize| Some(cell % 3);
        let queue = Queue::new(&cells, model, |_| 32);
        let mut groups = [None, None];
        let mut seen = Vec::new();
        let mut changes = 0;
        let mut last = [None, None];
        for turn in 0.. {
            let worker = turn % 2;
            let Some(cell) = queue.next(&mut groups[worker]) else { break };
            changes += usize::from(last[worker].replace(model(cell)) != Some(model(cell)));
            seen.push(cell);
        }
        seen.sort_unstable();
        assert_eq!(seen, cells);
        assert!(changes <= 4, "three models, and one is shared at the end: {changes}");
    }

    #[test]
    fn a_phase_ends_with_its_last_cell() {
        let makespan = |cells: &[f64], workers| {
            let ids: Vec<usize> = (0..cells.len()).collect();
            Queue::new(&ids, |id| id, |_| 32).makespan(workers, |id| cells[id])
        };
        assert_eq!(makespan(&[1.0, 2.0, 6.0], 1), 9.0);
        assert_eq!(makespan(&[1.0, 2.0, 6.0], 2), 7.0);
        assert_eq!(makespan(&[6.0, 2.0, 1.0], 2), 6.0);
        assert_eq!(makespan(&[4.0; 6], 2), 12.0);
        assert_eq!(makespan(&[4.0; 6], 9), 4.0);
        assert_eq!(makespan(&[], 2), 0.0);
    }

    #[test]
    fn a_closed_queue_is_empty() {
        let queue = Queue::new(&[1, 2], |_| (), |_| 1);
        let mut group = None;
        assert_eq!(queue.next(&mut group), Some(1));
        queue.close();
        assert_eq!(queue.next(&mut group), None);
    }
}
