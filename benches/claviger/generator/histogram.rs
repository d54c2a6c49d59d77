//! Latencies, counted in buckets of a quarter of a microsecond.

/// Nanoseconds of a bucket.
const WIDTH: u64 = 250;
/// Up to 100 ms; whatever takes longer is counted in the last one.
const BUCKETS: usize = 400_000;

/// Counts of latencies.
pub struct Histogram {
    buckets: Vec<u32>,
    count: u64,
    longest: u64,
}

impl Histogram {
    /// Nothing counted.
    pub fn new() -> Self {
        Self { buckets: vec![0; BUCKETS], count: 0, longest: 0 }
    }

    /// Counts a latency.
    pub fn add(&mut self, nanoseconds: u64) {
        let bucket = usize::try_from(nanoseconds / WIDTH).unwrap_or(BUCKETS).min(BUCKETS - 1);
        self.buckets[bucket] += 1;
        self.count += 1;
        self.longest = self.longest.max(nanoseconds);
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.buckets.fill(0);
        self.count = 0;
        self.longest = 0;
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The longest, in microseconds.
    pub fn longest(&self) -> f64 {
        self.longest as f64 / 1e3
    }

    /// The latency, in microseconds, that `share` of all don't exceed.
    pub fn quantile(&self, share: f64) -> f64 {
        let wanted = (share * self.count as f64).ceil() as u64;
        let mut seen = 0;
        for (bucket, &count) in self.buckets.iter().enumerate() {
            seen += u64::from(count);
            if seen >= wanted.max(1) {
                return (bucket as u64 + 1) as f64 * WIDTH as f64 / 1e3;
            }
        }
        0.0
    }
}
