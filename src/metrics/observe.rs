//! Numbers that somebody else keeps, read when the metrics are read.

use opentelemetry::KeyValue;
use opentelemetry::metrics::AsyncInstrument;

use super::Metrics;

/// What a gauge is called and what it tells. A unit is appended to the name: `s` as `_seconds`, `By` as `_bytes`.
pub struct Shown {
    /// Its name, without the unit.
    pub name: &'static str,
    /// Its unit in UCUM; empty for a count.
    pub unit: &'static str,
    /// What it tells.
    pub description: &'static str,
}

impl Metrics {
    /// From now on shows a number, while `read` has one.
    pub fn observe(&self, shown: Shown, read: impl Fn() -> Option<f64> + Send + Sync + 'static) {
        self.observe_each(shown, [], move || read().map(|number| ([], number)));
    }

    /// From now on shows the numbers that `read` gives, each with a value for every one of `labels`. The values must come
    /// from few: each is a series.
    pub fn observe_each<const LABELS: usize, I: IntoIterator<Item = ([String; LABELS], f64)>>(
        &self,
        shown: Shown,
        labels: [&'static str; LABELS],
        read: impl Fn() -> I + Send + Sync + 'static,
    ) {
        let show = move |observer: &dyn AsyncInstrument<f64>| {
            for (values, number) in read() {
                let mut values = values.into_iter();
                let labelled = labels.map(|label| KeyValue::new(label, values.next().unwrap_or_default()));
                observer.observe(number, &labelled);
            }
        };
        let Shown { name, unit, description } = shown;
        let meter = self.meter();
        let gauge = meter.f64_observable_gauge(name).with_description(description).with_unit(unit);
        gauge.with_callback(show).build();
    }

    /// From now on shows how many replicas are live, and how often this one had to begin anew to listen for changes.
    pub fn observe_replicas(
        &self,
        live: impl Fn() -> u64 + Send + Sync + 'static,
        reconnects: impl Fn() -> u64 + Send + Sync + 'static,
    ) {
        self.meter()
            .u64_observable_gauge("claviger_replicas_live")
            .with_description("Replicas that may answer Verify, this one included, as of the last heartbeat.")
            .with_callback(move |observer| observer.observe(live(), &[]))
            .build();
        self.meter()
            .u64_observable_counter("claviger_listener_reconnects")
            .with_description("How often the connection that tells of changes had to be made anew.")
            .with_callback(move |observer| observer.observe(reconnects(), &[]))
            .build();
    }

    /// From now on shows counts that somebody else keeps: one series for each value of `label`, as `read` gives them.
    pub fn observe_counts<I: IntoIterator<Item = (&'static str, u64)>>(
        &self,
        name: &'static str,
        description: &'static str,
        label: &'static str,
        read: impl Fn() -> I + Send + Sync + 'static,
    ) {
        let show = move |observer: &dyn AsyncInstrument<u64>| {
            read().into_iter().for_each(|(value, count)| observer.observe(count, &[KeyValue::new(label, value)]));
        };
        self.meter().u64_observable_counter(name).with_description(description).with_callback(show).build();
    }
}
