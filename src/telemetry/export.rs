//! Export by OTLP: endpoint, headers, time-outs, sampling and pace come from the standard `OTEL_*` variables.
//!
//! A collector that is slow or away costs nobody anything: spans wait in a queue with a bound, what is more is dropped and
//! counted, and so is what couldn't be sent. It is said once, not for each attempt.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_otlp::{
    ExporterBuildError, MetricExporter, SpanExporter, WithTonicConfig,
    tonic_types::transport::{Certificate, ClientTlsConfig, Identity},
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::{
    MeterProviderBuilder, PeriodicReader, Temporality, data::ResourceMetrics, exporter::PushMetricExporter,
};
use opentelemetry_sdk::trace::{
    self, BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider, SpanData, SpanProcessor,
};

use crate::config::{CollectorTls, Exports, Signal};
use crate::metrics::{self, Metrics};

/// What became of exports since the process started.
static TOLD: Told = Told {
    failures: [const { AtomicU64::new(0) }; 2],
    is_failing: [const { AtomicBool::new(false) }; 2],
    no_room: AtomicU64::new(0),
    not_taken: AtomicU64::new(0),
};

struct Told {
    /// Exports that failed, by signal.
    failures: [AtomicU64; 2],
    is_failing: [AtomicBool; 2],
    /// Spans that found the queue full.
    no_room: AtomicU64,
    /// Spans whose export failed.
    not_taken: AtomicU64,
}

impl Told {
    /// Notes how an export ended. The error is not repeated: it may quote what the collector, or a proxy, said.
    fn note(&self, signal: Signal, outcome: &OTelSdkResult) {
        let is_failing = outcome.is_err();
        if is_failing {
            self.failures[signal as usize].fetch_add(1, Ordering::Relaxed);
        }
        let was_failing = self.is_failing[signal as usize].swap(is_failing, Ordering::Relaxed);
        let signal = signal.as_str();
        if is_failing && !was_failing {
            tracing::warn!(
                signal,
                "the collector doesn't take what is exported to it; what is lost is counted in /metrics"
            );
        } else if was_failing && !is_failing {
            tracing::info!(signal, "the collector takes exports again");
        }
    }
}

/// Shows among the metrics what didn't reach the collector.
pub fn show(metrics: &Metrics) {
    let description = "Exports to the OpenTelemetry collector that failed, by what was exported.";
    metrics.observe_counts("claviger_telemetry_export_failures", description, "signal", || {
        Signal::ALL.map(|signal| (signal.as_str(), TOLD.failures[signal as usize].load(Ordering::Relaxed)))
    });
    let description = "Spans that never reached the OpenTelemetry collector, by why.";
    metrics.observe_counts("claviger_spans_dropped", description, "reason", || {
        [("queue_full", &TOLD.no_room), ("export_failed", &TOLD.not_taken)]
            .map(|(reason, count)| (reason, count.load(Ordering::Relaxed)))
    });
}

/// What makes spans, and exports them.
pub(super) fn tracer_provider(
    exports: Exports,
    collector: Option<&CollectorTls>,
) -> Result<SdkTracerProvider, ExporterBuildError> {
    let exporter = tls(SpanExporter::builder().with_tonic(), collector).build()?;
    let spans = Spans { exporter, waiting: Arc::default() };
    let (most, waiting) = (exports.spans_waiting, Arc::clone(&spans.waiting));
    let batches = BatchConfigBuilder::default().with_max_queue_size(most).build();
    let processor = BatchSpanProcessor::builder(spans).with_batch_config(batches).build();
    let bounded = Bounded { processor, waiting, most };
    Ok(SdkTracerProvider::builder().with_span_processor(bounded).with_resource(metrics::resource()).build())
}

/// What keeps the meters, and exports them if that is wanted. Must be called inside a tokio runtime then.
pub(super) fn meter_provider(
    exports: Exports,
    collector: Option<&CollectorTls>,
) -> Result<MeterProviderBuilder, ExporterBuildError> {
    let provider = MeterProviderBuilder::default();
    if !exports.metrics {
        return Ok(provider);
    }
    let exporter = tls(MetricExporter::builder().with_tonic(), collector).build()?;
    Ok(provider.with_reader(PeriodicReader::builder(Pushed(exporter)).build()))
}

/// An exporter that trusts the collector as the variables say. The library alone would trust nobody.
fn tls<E: WithTonicConfig>(exporter: E, collector: Option<&CollectorTls>) -> E {
    let Some(CollectorTls { authorities, identity }) = collector else { return exporter };
    let trusting = match authorities {
        Some(authorities) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authorities.pem())),
        None => ClientTlsConfig::new().with_enabled_roots(),
    };
    exporter.with_tls_config(match identity {
        Some(own) => trusting.identity(Identity::from_pem(&own.certificate, &*own.key)),
        None => trusting,
    })
}

/// A queue that counts what it has no room for: the one behind it, as long, only logs that. A span leaves it when its batch
/// is handed to the exporter.
#[derive(Debug)]
struct Bounded {
    processor: BatchSpanProcessor,
    waiting: Arc<AtomicUsize>,
    most: usize,
}

impl SpanProcessor for Bounded {
    fn on_start(&self, span: &mut trace::Span, context: &Context) {
        self.processor.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if self.waiting.fetch_add(1, Ordering::Relaxed) < self.most {
            return self.processor.on_end(span);
        }
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        TOLD.no_room.fetch_add(1, Ordering::Relaxed);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.processor.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.processor.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.processor.set_resource(resource);
    }
}

/// Counts spans that couldn't be exported. Nobody else need hear of it, so the export always ends well.
#[derive(Debug)]
struct Spans {
    exporter: SpanExporter,
    waiting: Arc<AtomicUsize>,
}

impl trace::SpanExporter for Spans {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        self.waiting.fetch_sub(spans, Ordering::Relaxed);
        let outcome = self.exporter.export(batch).await;
        if outcome.is_err() {
            TOLD.not_taken.fetch_add(spans as u64, Ordering::Relaxed);
        }
        TOLD.note(Signal::Traces, &outcome);
        Ok(())
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// Counts exports of metrics that failed. Nothing is lost by one: the next tells all.
#[derive(Debug)]
struct Pushed(MetricExporter);

impl PushMetricExporter for Pushed {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        TOLD.note(Signal::Metrics, &self.0.export(metrics).await);
        Ok(())
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.0.temporality()
    }
}
