//! Pairs what two streams have under the same key, holding only what still waits for its partner.

use anyhow::Result;
use std::collections::{HashMap, VecDeque};

/// What a pair has in common: 128 bits of a BLAKE3 hash.
pub(super) type Key = [u8; 16];

/// A stream, in batches.
pub(super) struct Stream<B> {
    pub batches: B,
    /// Number of items in all batches.
    pub length: usize,
}

/// How a join went.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Joined {
    /// Number of pairs.
    pub common: usize,
    /// Number of items without a partner, of the first stream and of the second.
    pub alone: [usize; 2],
    /// Greatest number of items that were held at a time, beside a batch. Where both streams have
    /// the same order, that is about a batch and the items without a partner.
    pub most_held: usize,
}

/// Hands each pair of items with the same key to `pair`. Of several items with the same key, the
/// first of one stream goes with the first of the other, and so on.
///
/// # Errors
/// When a stream fails.
pub(super) fn join<T, A, B>(
    mut first: Stream<A>,
    mut second: Stream<B>,
    mut pair: impl FnMut(T, T),
) -> Result<Joined>
where
    A: Iterator<Item = Result<Vec<(Key, T)>>>,
    B: Iterator<Item = Result<Vec<(Key, T)>>>,
{
    let mut waiting: [HashMap<Key, VecDeque<T>>; 2] = Default::default();
    let mut joined = Joined { common: 0, alone: [0, 0], most_held: 0 };
    let mut read = [0, 0];
    loop {
        // Both streams advance by the same fraction, so that partners come at about the same time.
        let behind = usize::from(read[0] * second.length > read[1] * first.length);
        let mut next = |side: usize| {
            if side == 0 { first.batches.next() } else { second.batches.next() }.map(|b| (side, b))
        };
        let Some((side, batch)) = next(behind).or_else(|| next(1 - behind)) else { break };
        let batch = batch?;
        read[side] += batch.len();
        for (key, item) in batch {
            let other = &mut waiting[1 - side];
            if let Some(queue) = other.get_mut(&key) {
                let partner = queue.pop_front().expect("no queue is empty");
                if queue.is_empty() {
                    other.remove(&key);
                }
                joined.alone[1 - side] -= 1;
                joined.common += 1;
                if side == 0 { pair(item, partner) } else { pair(partner, item) }
            } else {
                waiting[side].entry(key).or_default().push_back(item);
                joined.alone[side] += 1;
                joined.most_held = joined.most_held.max(joined.alone.iter().sum());
            }
        }
    }
    Ok(joined)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BATCH: usize = 100;

    /// Joins two lists of numbers, whose keys are the numbers without their last digit.
    fn joined(first: &[usize], second: &[usize]) -> (Joined, Vec<(usize, usize)>) {
        let stream = |items: &[usize]| {
            let keyed = |&item: &usize| {
                let mut key = Key::default();
                key[..8].copy_from_slice(&(item / 10).to_le_bytes());
                (key, item)
            };
            let batches: Vec<Result<Vec<(Key, usize)>>> =
                items.chunks(BATCH).map(|batch| Ok(batch.iter().map(keyed).collect())).collect();
            Stream { batches: batches.into_iter(), length: items.len() }
        };
        let mut pairs = Vec::new();
        let how = join(stream(first), stream(second), |a, b| pairs.push((a, b))).unwrap();
        (how, pairs)
    }

    #[test]
    fn in_the_same_order_about_a_batch_is_held() {
        let all: Vec<usize> = (0..20_000).map(|n| n * 10).collect();
        let (how, pairs) = joined(&all, &all);
        assert_eq!((how.common, how.alone, how.most_held), (20_000, [0, 0], BATCH));
        assert!(pairs.iter().all(|(a, b)| a == b));
        // Every tenth item of one stream has no partner: these are held, and about a batch.
        let some: Vec<usize> = all.iter().copied().filter(|n| n % 100 != 0).collect();
        for (first, second, alone) in [(&all, &some, [2000, 0]), (&some, &all, [0, 2000])] {
            let (how, _) = joined(first, second);
            assert_eq!((how.common, how.alone), (18_000, alone));
            assert!(how.most_held <= 2000 + 3 * BATCH, "{}", how.most_held);
        }
    }

    #[test]
    fn in_any_order_the_pairs_are_the_same() {
        let all: Vec<usize> = (0..2000).map(|n| n * 10).collect();
        let mut turned = all.clone();
        turned.reverse();
        let (how, mut pairs) = joined(&all, &turned);
        pairs.sort_unstable();
        assert_eq!((how.common, how.alone), (2000, [0, 0]));
        assert_eq!(pairs, all.iter().map(|&n| (n, n)).collect::<Vec<_>>());
    }

    #[test]
    fn of_several_with_a_key_the_first_go_together() {
        assert_eq!(
            joined(&[10, 11, 20, 12], &[13, 14, 30, 31, 15, 16]),
            (Joined { common: 3, alone: [1, 3], most_held: 4 }, vec![(10, 13), (11, 14), (12, 15)])
        );
    }
}
