//! The collector is slow or away: nobody waits for it, and what is lost is counted.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, timeout};

use super::{exporting, place, root};
use crate::harness::{Process, http};
use crate::rig::eventually;

const LONGEST: Duration = Duration::from_secs(30);
/// Spans that may wait.
const WAITING: usize = 16;
/// Calls that are traced; each is a span.
const CALLS: usize = 100;

fn a_port() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("a free port")
}

/// The service with a short queue and a collector at this address, which it gives so many milliseconds.
async fn service(address: SocketAddr, patience: &str) -> (Process, crate::harness::Place) {
    let place = place().await;
    let mut command = exporting(&place, address);
    command.env("OTEL_BSP_MAX_QUEUE_SIZE", WAITING.to_string()).env("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4");
    command.env("OTEL_EXPORTER_OTLP_TIMEOUT", patience).env("OTEL_METRIC_EXPORT_INTERVAL", "300");
    (Process::start_command(command).await, place)
}

/// The value of a series of `/metrics`.
async fn metric(service: &Process, series: &str) -> f64 {
    let text = http::ask(service.http_address, "GET", "/metrics", "").await.body;
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {series} in\n{text}"))
}

/// One collector that refuses connections, one that takes them and never answers.
#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_or_silent_costs_nobody_anything_and_what_is_lost_is_counted() {
    let silent = a_port();
    let refusing = a_port().local_addr().expect("an address");
    for (what, address) in [("silent", silent.local_addr().expect("an address")), ("refusing", refusing)] {
        let (service, place) = service(address, "500").await;
        let root = root(&service, &place).await;
        let begun = Instant::now();
        // Together they come faster than they are exported.
        let calls = (0..CALLS).map(|number| {
            let mut root = root.clone();
            async move { root.create_tenant(&format!("tenant-{number}")).await }
        });
        join_all(calls).await;
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(15), "{what}: {CALLS} calls took {took:?}");

        for signal in ["traces", "metrics"] {
            let series = format!("claviger_telemetry_export_failures_total{{signal=\"{signal}\"}}");
            eventually(LONGEST, &format!("{what}: {series}"), async || metric(&service, &series).await > 0.0).await;
        }
        // Each span was dropped, is lost with its batch, or still waits.
        let dropped = async |reason: &str| {
            metric(&service, &format!("claviger_spans_dropped_total{{reason=\"{reason}\"}}")).await
        };
        eventually(LONGEST, &format!("{what}: every span is accounted for"), async || {
            dropped("queue_full").await + dropped("export_failed").await + WAITING as f64 >= CALLS as f64
        })
        .await;
        assert!(dropped("export_failed").await > 0.0, "{what}");
        if what == "silent" {
            assert!(dropped("queue_full").await > 0.0, "100 calls are faster than an export that takes half a second");
        }
        // 2 s are for what is still to be exported of each kind.
        let code = timeout(Duration::from_secs(8), service.terminate()).await.expect("nor does the end");
        assert_eq!(code, Some(0), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_good_collector_nothing_is_lost() {
    let mut collector = crate::harness::Collector::start().await;
    let (service, place) = service(collector.address, "10000").await;
    let mut root = root(&service, &place).await;
    for number in 0..WAITING {
        root.create_tenant(&format!("tenant-{number}")).await;
        collector.span("claviger.v1.TenantService/CreateTenant").await;
    }
    for series in [
        "claviger_telemetry_export_failures_total{signal=\"traces\"}",
        "claviger_telemetry_export_failures_total{signal=\"metrics\"}",
        "claviger_spans_dropped_total{reason=\"queue_full\"}",
        "claviger_spans_dropped_total{reason=\"export_failed\"}",
    ] {
        assert_eq!(metric(&service, series).await, 0.0, "{series}");
    }
}
