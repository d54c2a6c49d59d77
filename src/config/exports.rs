//! What leaves the process by OTLP. The exporters read OpenTelemetry's standard variables themselves; here is decided only
//! whether there is one, and how many spans may wait for it.

use std::ffi::OsString;
use std::num::NonZeroUsize;

/// As OpenTelemetry's specification has it.
const SPANS_WAITING: usize = 2_048;

/// What leaves by OTLP; some variables are for one of them alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Spans.
    Traces,
    /// Counts.
    Metrics,
}

impl Signal {
    /// Each once.
    pub const ALL: [Self; 2] = [Self::Traces, Self::Metrics];

    /// Its name in metrics and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
        }
    }

    /// Its name in variables.
    pub(super) fn in_capitals(self) -> &'static str {
        match self {
            Self::Traces => "TRACES",
            Self::Metrics => "METRICS",
        }
    }
}

/// The value of a standard variable; one that is empty counts as not set, as OpenTelemetry's specification has it.
pub(super) fn standard<'a>(environment: &'a [(OsString, OsString)], name: &str) -> Option<&'a str> {
    let found = environment.iter().find(|(key, _)| key == name);
    found.and_then(|(_, value)| value.to_str()).map(str::trim).filter(|value| !value.is_empty())
}

/// What is exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exports {
    /// Spans of calls.
    pub traces: bool,
    /// What `/metrics` shows.
    pub metrics: bool,
    /// Spans that wait for the collector at most; what is more is dropped.
    pub spans_waiting: usize,
    /// Another protocol than OTLP over gRPC was asked for.
    pub is_other_protocol: bool,
}

impl Exports {
    /// An endpoint must be said: the specification's own default would have every service look for a collector beside it.
    pub(super) fn of(environment: &[(OsString, OsString)]) -> Self {
        let standard = |name: &str| standard(environment, name);
        let off = standard("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let exported = |signal: Signal| {
            let signal = signal.in_capitals();
            let endpoints = ["OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), format!("OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")];
            // A list; `none` and what we don't speak (`prometheus` is there anyway) are no OTLP.
            let exporters = standard(&format!("OTEL_{signal}_EXPORTER")).unwrap_or("otlp");
            !off && endpoints.iter().any(|name| standard(name).is_some())
                && exporters.split(',').any(|exporter| exporter.trim() == "otlp")
        };
        let protocols = [
            "OTEL_EXPORTER_OTLP_PROTOCOL",
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
            "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL",
        ];
        let waiting = standard("OTEL_BSP_MAX_QUEUE_SIZE").and_then(|value| value.parse::<NonZeroUsize>().ok());
        Self {
            traces: exported(Signal::Traces),
            metrics: exported(Signal::Metrics),
            spans_waiting: waiting.map_or(SPANS_WAITING, NonZeroUsize::get),
            is_other_protocol: protocols.iter().filter_map(|name| standard(name)).any(|protocol| protocol != "grpc"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standard_variables_decide_what_is_exported() {
        let exported = |variables: &[(&str, &str)]| {
            let environment: Vec<_> = variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
            let Exports { traces, metrics, .. } = Exports::of(&environment);
            (traces, metrics)
        };
        const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317");
        for (variables, expected) in [
            (&[][..], (false, false)),
            (&[ENDPOINT], (true, true)),
            (&[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")], (false, false)),
            (&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://collector:4317")], (true, false)),
            (&[("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://collector:4317")], (false, true)),
            (&[ENDPOINT, ("OTEL_METRICS_EXPORTER", "none")], (true, false)),
            (&[ENDPOINT, ("OTEL_TRACES_EXPORTER", "none")], (false, true)),
            (
                &[ENDPOINT, ("OTEL_TRACES_EXPORTER", "otlp"), ("OTEL_METRICS_EXPORTER", "prometheus, otlp")],
                (true, true),
            ),
            (&[ENDPOINT, ("OTEL_METRICS_EXPORTER", "prometheus")], (true, false)),
            (&[("OTEL_METRICS_EXPORTER", "otlp")], (false, false)),
            (&[ENDPOINT, ("OTEL_SDK_DISABLED", "True")], (false, false)),
            (&[ENDPOINT, ("OTEL_SDK_DISABLED", "no")], (true, true)),
        ] {
            assert_eq!(exported(variables), expected, "{variables:?}");
        }
    }

    #[test]
    fn how_many_spans_may_wait_and_another_protocol_are_read() {
        let of = |name: &str, value: &str| Exports::of(&[(name.into(), value.into())]);
        for (value, expected) in [("17", 17), ("0", SPANS_WAITING), ("-1", SPANS_WAITING), ("many", SPANS_WAITING)] {
            assert_eq!(of("OTEL_BSP_MAX_QUEUE_SIZE", value).spans_waiting, expected, "{value}");
        }
        for (value, expected) in [("grpc", false), ("http/protobuf", true), ("", false)] {
            assert_eq!(of("OTEL_EXPORTER_OTLP_PROTOCOL", value).is_other_protocol, expected, "{value}");
        }
    }
}
