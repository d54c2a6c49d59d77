//! How long calls take: `rpc.server.call.duration` of OpenTelemetry's conventions, by method and code.
//!
//! The calls of the fast lane are counted for each core apart, as verdicts are: entering one of them into the instrument
//! takes a lock that all cores share. Each second, and before the numbers are read, what came together is entered: for each
//! call the mean of its bucket, and what division left over with the next ones. So counts and buckets are exact, and the
//! sum lags behind by less than a nanosecond for each call.

use std::array;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};
use tonic::Code;

use crate::metrics::{BOUNDS, CallDuration, DurationSeries, Metrics, seconds};
use crate::telemetry::code_name;
use crate::verify::tally::{PLACES, own_place};

use super::fast_lane::FastCall;

const BUCKETS: usize = BOUNDS.len() + 1;
/// gRPC has codes 0 to 16.
const CODES: usize = 17;
const CELLS: usize = FastCall::ALL.len() * CODES * BUCKETS;
/// How often what came together is entered: a second's calls of a busy core take about a millisecond.
const PACE: Duration = Duration::from_secs(1);

/// The durations of all calls.
#[derive(Default)]
pub struct Durations {
    places: [Place; PLACES],
    entered: Mutex<Entered>,
    instrument: OnceLock<CallDuration>,
}

/// In memory of its own, so that no two cores write to one line of the cache.
struct Place(Box<[Cell]>);

#[derive(Default)]
struct Cell {
    calls: AtomicU64,
    nanoseconds: AtomicU64,
}

/// What of the cells is in the instrument already.
struct Entered {
    calls: Vec<u64>,
    nanoseconds: Vec<u64>,
    series: [[Option<DurationSeries>; CODES]; FastCall::ALL.len()],
}

impl Default for Place {
    fn default() -> Self {
        Self((0..CELLS).map(|_| Cell::default()).collect())
    }
}

impl Default for Entered {
    fn default() -> Self {
        let none = || array::from_fn(|_| None);
        Self { calls: vec![0; CELLS], nanoseconds: vec![0; CELLS], series: array::from_fn(|_| none()) }
    }
}

impl Durations {
    /// From now on shows them among the metrics.
    pub fn show(self: &Arc<Self>, metrics: &Metrics) {
        let kept = Arc::clone(self);
        self.instrument.get_or_init(|| metrics.call_duration(move || kept.enter()));
    }

    /// Counts a call of the fast lane: no lock, and nothing that another core writes to.
    pub(super) fn count(&self, call: FastCall, code: Code, elapsed: Duration) {
        let nanoseconds = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        let cell = &self.places[own_place()].0[cell(call, code, bucket(nanoseconds))];
        cell.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
        cell.calls.fetch_add(1, Ordering::Release);
    }

    /// Counts any other call.
    pub(super) fn record(&self, method: &'static str, code: Code, elapsed: Duration) {
        if let Some(instrument) = self.instrument.get() {
            instrument.record(method, code_name(code), elapsed.as_secs_f64());
        }
    }

    /// Enters what came together, for ever.
    pub async fn run(self: Arc<Self>) {
        let mut ticks = interval(PACE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let entering = Arc::clone(&self);
            // Fails only when the process is about to end.
            let _ = spawn_blocking(move || entering.enter()).await;
        }
    }

    /// Enters what came together since the last time.
    fn enter(&self) {
        let Some(instrument) = self.instrument.get() else { return };
        let mut entered = self.entered.lock();
        let Entered { calls, nanoseconds, series } = &mut *entered;
        for call in FastCall::ALL {
            for code in (0..).map(Code::from_i32).take(CODES) {
                for bucket in 0..BUCKETS {
                    let index = cell(call, code, bucket);
                    let (all, sum) = self.sum(index);
                    let new = all - calls[index];
                    if new == 0 {
                        continue;
                    }
                    let series = series[call as usize][code as usize]
                        .get_or_insert_with(|| instrument.series(call.method(), code_name(code)));
                    let mean = (sum.saturating_sub(nanoseconds[index]) / new).clamp(lowest(bucket), highest(bucket));
                    (0..new).for_each(|_| series.record(seconds(mean)));
                    calls[index] = all;
                    nanoseconds[index] += mean * new;
                }
            }
        }
    }

    fn sum(&self, index: usize) -> (u64, u64) {
        let cells = || self.places.iter().map(|place| &place.0[index]);
        // The calls first: one that comes meanwhile is in the sum at most, and its time is entered with it the next time.
        let calls = cells().map(|cell| cell.calls.load(Ordering::Acquire)).sum();
        (calls, cells().map(|cell| cell.nanoseconds.load(Ordering::Relaxed)).sum())
    }
}

fn cell(call: FastCall, code: Code, bucket: usize) -> usize {
    (call as usize * CODES + code as usize) * BUCKETS + bucket
}

fn bucket(nanoseconds: u64) -> usize {
    BOUNDS.partition_point(|bound| *bound < nanoseconds)
}

fn lowest(bucket: usize) -> u64 {
    bucket.checked_sub(1).map_or(0, |below| BOUNDS[below] + 1)
}

fn highest(bucket: usize) -> u64 {
    BOUNDS.get(bucket).copied().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(metrics: &Metrics, start: &str) -> Vec<String> {
        let text = metrics.text().expect("text");
        text.lines().filter(|line| line.starts_with(start)).map(str::to_owned).collect()
    }

    fn value(metrics: &Metrics, series: &str) -> f64 {
        let lines = shown(metrics, series);
        let [line] = &lines[..] else { panic!("{series}: {lines:?}") };
        line.rsplit_once(' ').and_then(|(_, value)| value.parse().ok()).expect("a number")
    }

    #[test]
    fn every_call_is_in_its_bucket_whatever_core_counted_it() {
        let (durations, metrics) = (Arc::new(Durations::default()), Metrics::new().expect("metrics"));
        durations.show(&metrics);
        let nanoseconds: Vec<u64> =
            BOUNDS.iter().flat_map(|bound| [bound - 1, *bound, bound + 1]).chain([0, 20_000_000_007]).collect();
        for round in 1..=2 {
            std::thread::scope(|scope| {
                for _ in 0..20 {
                    scope.spawn(|| {
                        for &nanoseconds in &nanoseconds {
                            durations.count(FastCall::Check, Code::Ok, Duration::from_nanos(nanoseconds));
                        }
                    });
                }
            });
            let labels = r#"{rpc_method="envoy.service.auth.v3.Authorization/Check",rpc_response_status_code="OK",rpc_system_name="grpc""#;
            let name = "rpc_server_call_duration_seconds";
            for (number, bound) in BOUNDS.iter().enumerate() {
                let bucket = format!("{name}_bucket{labels},le=\"{}\"}}", seconds(*bound));
                // Its own three but one, those below, and zero.
                let expected = 20.0 * f64::from(round) * (3 * number + 3) as f64;
                assert_eq!(value(&metrics, &bucket), expected, "{bucket}");
            }
            assert_eq!(
                value(&metrics, &format!("{name}_count{labels}}}")),
                20.0 * f64::from(round) * nanoseconds.len() as f64
            );
            let sum = 20.0 * f64::from(round) * seconds(nanoseconds.iter().sum());
            let found = value(&metrics, &format!("{name}_sum{labels}}}"));
            assert!((found - sum).abs() < 20e-6, "{found} is not {sum}");
        }
    }

    #[test]
    fn calls_off_the_fast_lane_are_recorded_at_once() {
        let (durations, metrics) = (Arc::new(Durations::default()), Metrics::new().expect("metrics"));
        durations.record("lost", Code::Ok, Duration::from_secs(1));
        durations.show(&metrics);
        durations.record("claviger.v1.KeyService/GetKey", Code::NotFound, Duration::from_millis(1500));
        let series = shown(&metrics, "rpc_server_call_duration_seconds_sum");
        assert_eq!(
            series,
            [
                r#"rpc_server_call_duration_seconds_sum{rpc_method="claviger.v1.KeyService/GetKey",rpc_response_status_code="NOT_FOUND",rpc_system_name="grpc"} 1.5"#
            ]
        );
    }
}
