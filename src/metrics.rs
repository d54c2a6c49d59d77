//! What is counted, how it reads for Prometheus, and what is exported. One set for each service in the process, none global.
//!
//! Counters begin at 0 when the process starts, so that the first failure already shows as a rise. No label holds a name of
//! a tenant, a key or a person: the number of series is bounded.

mod call_duration;
mod observe;
mod resource;

use std::collections::HashMap;
use std::sync::OnceLock;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Gauge, Meter, MeterProvider};
use opentelemetry_sdk::metrics::{MeterProviderBuilder, SdkMeterProvider};
use parking_lot::Mutex;
use prometheus::{Registry, TextEncoder};

use crate::domain::{Time, ids::TenantId, limits};

pub use call_duration::{BOUNDS, CallDuration, DurationSeries, seconds};
pub use observe::Shown;
pub use resource::resource;

/// The instruments. Cheap to use from anywhere; read as text by [`Metrics::text`].
pub struct Metrics {
    registry: Registry,
    /// Dropping it would end the counting.
    provider: SdkMeterProvider,
    runs: Counter<u64>,
    last_success: Gauge<f64>,
    planned: Counter<u64>,
    mails: Counter<u64>,
    unsubscribed: Gauge<u64>,
    waiting: Gauge<u64>,
    expired: Counter<u64>,
    forks: Counter<u64>,
    /// Enters what somebody keeps until the metrics are read.
    before_reading: OnceLock<Box<dyn Fn() + Send + Sync>>,
    /// Tenants that had expiring keys and nobody to tell when they were last looked at.
    nobody_to_tell: Mutex<HashMap<TenantId, Time>>,
}

/// What became of a mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailResult {
    /// The server took it.
    Sent,
    /// The server refused it for good.
    Refused,
    /// It didn't work; it is tried again later.
    Retried,
    /// It didn't work until its day was over.
    GivenUp,
    /// There was nothing to say any more, or nobody to say it to.
    Skipped,
}

/// The metrics couldn't be set up, or read.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// The exporter couldn't be built.
    #[error("the exporter of metrics can't be built: {0}")]
    Exporter(#[from] opentelemetry_sdk::error::OTelSdkError),
    /// They couldn't be written as text.
    #[error("metrics can't be written: {0}")]
    Text(#[from] prometheus::Error),
}

impl MailResult {
    const ALL: [Self; 5] = [Self::Sent, Self::Refused, Self::Retried, Self::GivenUp, Self::Skipped];

    fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Refused => "refused",
            Self::Retried => "retried",
            Self::GivenUp => "given_up",
            Self::Skipped => "skipped",
        }
    }
}

impl Metrics {
    /// Makes every instrument, at 0. Nothing is exported.
    pub fn new() -> Result<Self, MetricsError> {
        Self::of(SdkMeterProvider::builder())
    }

    /// Makes every instrument, at 0, of a provider that may export what they count.
    pub fn of(provider: MeterProviderBuilder) -> Result<Self, MetricsError> {
        let registry = Registry::new();
        let exporter = opentelemetry_prometheus::exporter().with_registry(registry.clone()).scope_info_enabled(false);
        let provider = provider.with_reader(exporter.build()?).with_view(call_duration::view);
        let provider = provider.with_resource(resource()).build();
        let meter = provider.meter("claviger");
        let metrics = Self {
            registry,
            runs: counter(&meter, "claviger_warning_runs", "Runs that plan and send warnings, by how they ended."),
            last_success: meter
                .f64_gauge("claviger_warning_run_last_success_timestamp")
                .with_unit("s")
                .with_description("When the last good run of warnings ended, in Unix time; 0 = none since the start.")
                .build(),
            planned: counter(&meter, "claviger_warnings_planned", "Warnings planned, one for each key and day."),
            mails: counter(&meter, "claviger_mails", "Attempts to send a mail, by what became of it."),
            unsubscribed: meter
                .u64_gauge("claviger_tenants_without_subscribers")
                .with_description("Tenants that had expiring keys and nobody to tell when they were last looked at.")
                .build(),
            waiting: meter
                .u64_gauge("claviger_mails_waiting")
                .with_description("Mails of today that were still to be sent when a run ended.")
                .build(),
            expired: counter(&meter, "claviger_keys_expired", "Keys whose end was recorded."),
            forks: counter(&meter, "claviger_forks", "Times that the database was found to have lost writes."),
            before_reading: OnceLock::new(),
            nobody_to_tell: Mutex::default(),
            provider,
        };
        metrics.begin();
        Ok(metrics)
    }

    /// A series that was never touched would be missing.
    fn begin(&self) {
        self.count_run(true, 0);
        self.count_run(false, 0);
        MailResult::ALL.into_iter().for_each(|result| self.mails(result, 0));
        self.planned(0);
        self.expired(0);
        self.forks.add(0, &[]);
        self.last_success.record(0.0, &[]);
        self.unsubscribed.record(0, &[]);
        self.waiting(0);
    }

    /// Counts a run of warnings that did all it could; it ended at `now`.
    pub fn run_succeeded(&self, now: Time) {
        self.count_run(true, 1);
        let micros = now.timestamp_micros();
        #[expect(clippy::cast_precision_loss, reason = "exact for 285 years")]
        self.last_success.record(micros as f64 / 1e6, &[]);
        // Another replica may have looked at a tenant since, and found somebody.
        let mut tenants = self.nobody_to_tell.lock();
        tenants.retain(|_, seen| *seen + limits::LOOK_REMEMBERED > now);
        self.unsubscribed.record(tenants.len() as u64, &[]);
    }

    /// Notes how many mails of today are still to be sent, after a run that sent some.
    pub fn waiting(&self, mails: u64) {
        self.waiting.record(mails, &[]);
    }

    /// Counts a run of warnings that had to give up.
    pub fn run_failed(&self) {
        self.count_run(false, 1);
    }

    /// Counts warnings that were planned.
    pub fn planned(&self, warnings: u64) {
        self.planned.add(warnings, &[]);
    }

    /// Counts mails, by what became of an attempt to send them.
    pub fn mails(&self, result: MailResult, mails: u64) {
        self.mails.add(mails, &[KeyValue::new("result", result.as_str())]);
    }

    /// Notes whether a tenant with expiring keys has anybody to tell. A tenant without expiring keys has nobody to miss:
    /// note `true`.
    pub fn subscribers(&self, tenant: &TenantId, has_some: bool, now: Time) {
        let mut tenants = self.nobody_to_tell.lock();
        if has_some {
            tenants.remove(tenant);
        } else if tenants.len() < limits::TENANTS_WITHOUT_SUBSCRIBERS {
            tenants.insert(tenant.clone(), now);
        }
        // Under the lock: what is recorded last is what is.
        self.unsubscribed.record(tenants.len() as u64, &[]);
    }

    /// The instrument for durations of calls. `before_reading` is called before the numbers are read.
    pub fn call_duration(&self, before_reading: impl Fn() + Send + Sync + 'static) -> CallDuration {
        self.before_reading.get_or_init(|| Box::new(before_reading));
        CallDuration::of(&self.meter())
    }

    /// From now on shows when our TLS certificate ends.
    pub fn observe_tls_expiry(&self, end: impl Fn() -> Time + Send + Sync + 'static) {
        self.meter()
            .i64_observable_gauge("claviger_tls_certificate_expiry_timestamp")
            .with_unit("s")
            .with_description("When the certificate of this replica's ports ends, in Unix time.")
            .with_callback(move |observer| observer.observe(end().timestamp(), &[]))
            .build();
    }

    /// Counts keys whose end was recorded.
    pub fn expired(&self, keys: u64) {
        self.expired.add(keys, &[]);
    }

    /// Counts a database that has lost writes.
    pub fn forked(&self) {
        self.forks.add(1, &[]);
    }

    /// All of them in Prometheus' text format, version 0.0.4.
    pub fn text(&self) -> Result<String, MetricsError> {
        self.enter_what_was_kept();
        Ok(TextEncoder::new().encode_to_string(&self.registry.gather())?)
    }

    /// Exports a last time, and counts no more. Blocks, for up to 5 s when the collector is slow.
    pub fn close(&self) {
        self.enter_what_was_kept();
        // Fails when the collector didn't take it; that is counted and told where it happened.
        let _ = self.provider.shutdown();
    }

    fn enter_what_was_kept(&self) {
        if let Some(enter) = self.before_reading.get() {
            enter();
        }
    }

    fn meter(&self) -> Meter {
        self.provider.meter("claviger")
    }

    fn count_run(&self, succeeded: bool, runs: u64) {
        let result = if succeeded { "ok" } else { "failed" };
        self.runs.add(runs, &[KeyValue::new("result", result)]);
    }
}

/// The exporter appends `_total` to the name.
fn counter(meter: &Meter, name: &'static str, description: &'static str) -> Counter<u64> {
    meter.u64_counter(name).with_description(description).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(metrics: &Metrics) -> Vec<String> {
        let text = metrics.text().expect("text");
        text.lines().filter(|line| line.starts_with("claviger_")).map(str::to_owned).collect()
    }

    #[test]
    fn everything_is_there_from_the_start_with_help_and_type() {
        let text = Metrics::new().expect("metrics").text().expect("text");
        for (name, kind, samples) in [
            ("claviger_warning_runs_total", "counter", 2),
            ("claviger_warning_run_last_success_timestamp_seconds", "gauge", 1),
            ("claviger_warnings_planned_total", "counter", 1),
            ("claviger_mails_total", "counter", 5),
            ("claviger_tenants_without_subscribers", "gauge", 1),
            ("claviger_keys_expired_total", "counter", 1),
            ("claviger_forks_total", "counter", 1),
        ] {
            assert!(text.contains(&format!("# TYPE {name} {kind}\n")), "{name} in\n{text}");
            assert_eq!(text.matches(&format!("# HELP {name} ")).count(), 1, "{name} in\n{text}");
            let found = text.lines().filter(|line| line.split([' ', '{']).next() == Some(name));
            assert_eq!(found.inspect(|line| assert!(line.ends_with(" 0"), "{line}")).count(), samples, "{name}");
        }
    }

    #[test]
    fn each_call_moves_its_own_series() {
        let (metrics, other) = (Metrics::new().expect("metrics"), Metrics::new().expect("metrics"));
        metrics.run_failed();
        metrics.run_succeeded(Time::from_timestamp_micros(1_800_000_000_500_000).expect("a time"));
        metrics.planned(3);
        metrics.mails(MailResult::GivenUp, 1);
        metrics.mails(MailResult::GivenUp, 1);
        metrics.expired(4);
        metrics.waiting(5);
        metrics.forked();
        let expected = [
            "claviger_forks_total 1",
            "claviger_keys_expired_total 4",
            "claviger_mails_total{result=\"given_up\"} 2",
            "claviger_mails_total{result=\"refused\"} 0",
            "claviger_mails_total{result=\"retried\"} 0",
            "claviger_mails_total{result=\"sent\"} 0",
            "claviger_mails_total{result=\"skipped\"} 0",
            "claviger_mails_waiting 5",
            "claviger_tenants_without_subscribers 0",
            "claviger_warning_run_last_success_timestamp_seconds 1800000000.5",
            "claviger_warning_runs_total{result=\"failed\"} 1",
            "claviger_warning_runs_total{result=\"ok\"} 1",
            "claviger_warnings_planned_total 3",
        ];
        assert_eq!(samples(&metrics), expected);
        assert!(samples(&other).iter().all(|line| line.ends_with(" 0")), "another service's metrics are its own");
    }

    #[test]
    fn a_tenant_without_subscribers_counts_once_until_it_has_some() {
        let metrics = Metrics::new().expect("metrics");
        let tenant = |id| TenantId::parse(id).expect("an id");
        let shown = || samples(&metrics).into_iter().find(|line| line.contains("without")).expect("the gauge");
        for (id, has_some, left) in
            [("a", false, 1), ("a", false, 1), ("b", false, 2), ("a", true, 1), ("c", true, 1), ("b", true, 0)]
        {
            metrics.subscribers(&tenant(id), has_some, Time::UNIX_EPOCH);
            assert_eq!(shown(), format!("claviger_tenants_without_subscribers {left}"));
        }
    }
}
