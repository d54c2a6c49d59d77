//! What the answers of the measured time add up to.

use super::histogram::Histogram;

/// The sums.
pub struct Tally {
    pub latencies: Histogram,
    pub errors: u64,
    pub first_error: Option<String>,
    pub answer_bytes: u64,
}

impl Tally {
    /// Nothing yet.
    pub fn new() -> Self {
        Self { latencies: Histogram::new(), errors: 0, first_error: None, answer_bytes: 0 }
    }

    /// Forgets the warm-up, but not what went wrong in it.
    pub fn begin(&mut self) {
        self.latencies.clear();
        self.answer_bytes = 0;
    }

    /// Counts a right answer.
    pub fn good(&mut self, bytes: usize, nanoseconds: u64) {
        self.answer_bytes += bytes as u64;
        self.latencies.add(nanoseconds);
    }

    /// Counts any other answer.
    pub fn bad(&mut self) {
        self.errors += 1;
    }

    /// Keeps the first explanation.
    pub fn explain(&mut self, why: impl FnOnce() -> String) {
        self.first_error.get_or_insert_with(why);
    }
}
