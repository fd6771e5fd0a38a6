//! Histograms of plain atomics: how long the stages took, how large the batches were.
//!
//! Whole numbers in a unit that the owner names; the renderer scales them. Counting
//! takes two relaxed additions, and a lane has histograms of its own, so nothing is contended.
//!
//! Deliberately absent: labels, and the metrics library.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts observations by size.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [u64],
    /// One for each bound, and the last for what is above all of them.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

/// A histogram at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// The upper bounds, inclusive, growing.
    pub bounds: &'static [u64],
    /// Observations for each bound that are above the one before, and the last for those above all.
    pub counts: Vec<u64>,
    /// All observations added up.
    pub sum: u64,
}

impl Histogram {
    /// A histogram with these upper bounds, inclusive and growing.
    pub(crate) fn new(bounds: &'static [u64]) -> Histogram {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Histogram { bounds, counts, sum: AtomicU64::new(0) }
    }

    /// Counts an observation.
    pub(crate) fn observe(&self, value: u64) {
        let place = self.bounds.partition_point(|bound| *bound < value);
        self.counts[place].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// What was counted until now.
    pub(crate) fn observed(&self) -> Observed {
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        Observed { bounds: self.bounds, counts, sum: self.sum.load(Ordering::Relaxed) }
    }
}

impl Observed {
    /// How many observations there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Adds what another lane observed, with the same bounds.
    pub(crate) fn add(&mut self, other: &Observed) {
        self.bounds = other.bounds;
        self.counts.resize(other.counts.len(), 0);
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        // As the atomics do: a sum that wraps around reads as a reset.
        self.sum = self.sum.wrapping_add(other.sum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_own_bucket() {
        let histogram = Histogram::new(&[1, 10]);
        for value in [0, 1, 2, 10, 11, 1_000] {
            histogram.observe(value);
        }
        let mut observed = histogram.observed();
        assert_eq!(observed.counts, [2, 2, 2]);
        assert_eq!((observed.count(), observed.sum), (6, 1_024));
        observed.add(&histogram.observed());
        assert_eq!((observed.count(), observed.sum), (12, 2_048));
        let mut nothing = Observed::default();
        nothing.add(&observed);
        assert_eq!(nothing, observed);
    }
}
