//! `rpc.server.call.duration` of OpenTelemetry's conventions for RPC: the instrument.

use opentelemetry::KeyValue;
use opentelemetry::metrics::{BoundHistogram, Histogram, Meter};
use opentelemetry_sdk::metrics::{Aggregation, Instrument, Stream};

const NAME: &str = "rpc.server.call.duration";

/// Upper ends of the buckets, in nanoseconds; above them is one more. The conventions' own begin at 5 ms, when all of
/// Verify is over.
pub const BOUNDS: [u64; 19] = [
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
];

/// The instrument.
pub struct CallDuration(Histogram<f64>);

/// The calls of one method that ended with one code.
pub struct DurationSeries(BoundHistogram<f64>);

impl CallDuration {
    pub(super) fn of(meter: &Meter) -> Self {
        let description = "How long calls took until their answer began, by method and code.";
        Self(meter.f64_histogram(NAME).with_unit("s").with_description(description).build())
    }

    /// Enters one call.
    pub fn record(&self, method: &'static str, code: &'static str, seconds: f64) {
        self.0.record(seconds, &labels(method, code));
    }

    /// For whoever enters many calls of one kind: spares looking the series up for each.
    #[must_use]
    pub fn series(&self, method: &'static str, code: &'static str) -> DurationSeries {
        DurationSeries(self.0.bind(&labels(method, code)))
    }
}

impl DurationSeries {
    /// Enters one call.
    pub fn record(&self, seconds: f64) {
        self.0.record(seconds);
    }
}

/// Without the shortest and the longest: calls that are entered together have the mean of their bucket.
pub(super) fn view(instrument: &Instrument) -> Option<Stream> {
    let boundaries = BOUNDS.map(seconds).to_vec();
    let aggregation = Aggregation::ExplicitBucketHistogram { boundaries, record_min_max: false };
    let stream = (instrument.name() == NAME).then(|| Stream::builder().with_aggregation(aggregation).build());
    stream.and_then(Result::ok)
}

/// Nanoseconds as seconds.
#[expect(clippy::cast_precision_loss, reason = "exact for 104 days")]
#[must_use]
pub fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}

fn labels(method: &'static str, code: &'static str) -> [KeyValue; 3] {
    [
        KeyValue::new("rpc.method", method),
        KeyValue::new("rpc.response.status_code", code),
        KeyValue::new("rpc.system.name", "grpc"),
    ]
}
