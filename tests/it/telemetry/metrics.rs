//! What `/metrics` shows arrives by OTLP too, from the same meters.

use std::collections::BTreeSet;
use std::time::Duration;

use opentelemetry_proto::tonic::metrics::v1::{Metric, metric::Data};
use tokio::time::{sleep, timeout};

use super::{exporting, place, root};
use crate::harness::{Collector, Process, collector::attribute, http, process::root_secret};

const LONGEST: Duration = Duration::from_secs(30);
const VERIFY: [(&str, &str); 2] =
    [("rpc.method", "claviger.v1.VerificationService/Verify"), ("rpc.response.status_code", "OK")];

/// What Prometheus calls a metric of OpenTelemetry (its specification, "OTLP Metric points to Prometheus").
fn in_prometheus(metric: &Metric) -> String {
    let unit = match metric.unit.as_str() {
        "" => "",
        "s" => "_seconds",
        "By" => "_bytes",
        other => panic!("a unit that this test doesn't know: {other}"),
    };
    let counts = matches!(&metric.data, Some(Data::Sum(sum)) if sum.is_monotonic);
    format!("{}{unit}{}", metric.name.replace('.', "_"), if counts { "_total" } else { "" })
}

async fn names(service: &Process) -> BTreeSet<String> {
    let text = http::ask(service.http_address, "GET", "/metrics", "").await.body;
    let helps = text.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split(' ').next());
    helps.filter(|name| *name != "target_info").map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_metrics_shows_arrives_by_otlp_with_who_told() {
    let (mut collector, place) = (Collector::start().await, place().await);
    let mut command = exporting(&place, collector.address);
    command.env("OTEL_METRIC_EXPORT_INTERVAL", "200");
    let service = Process::start_command(command).await;
    let mut root = root(&service, &place).await;
    root.create_tenant("acme").await;
    let secret = root_secret(place.folder.path());
    for _ in 0..37 {
        root.verdict(&secret).await;
    }
    let exported =
        collector.metrics("37 calls of Verify", |exported| exported.count("rpc.server.call.duration", &VERIFY) == 37);
    let exported = exported.await;
    let arrived: BTreeSet<String> = exported.metrics.iter().map(in_prometheus).collect();
    assert_eq!(arrived, names(&service).await);
    let created = [("rpc.method", "claviger.v1.TenantService/CreateTenant"), ("rpc.response.status_code", "OK")];
    assert_eq!(exported.count("rpc.server.call.duration", &created), 1);
    for (key, value) in [("service.name", "claviger"), ("service.version", env!("CARGO_PKG_VERSION"))] {
        assert_eq!(attribute(&exported.resource, key).as_deref(), Some(value));
    }
    assert!(attribute(&exported.resource, "service.instance.id").is_some_and(|id| id.len() == 36));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_standard_variables_name_the_service_and_turn_signals_off() {
    let (mut collector, place) = (Collector::start().await, place().await);
    let mut command = exporting(&place, collector.address);
    command.env("OTEL_METRIC_EXPORT_INTERVAL", "100").env("OTEL_TRACES_EXPORTER", "none");
    command.env("OTEL_SERVICE_NAME", "keys").env("OTEL_RESOURCE_ATTRIBUTES", "service.instance.id=one,team=blue");
    let service = Process::start_command(command).await;
    root(&service, &place).await.create_tenant("acme").await;
    let exported = collector.metrics("anything", |_| true).await;
    for (key, value) in [("service.name", "keys"), ("service.instance.id", "one"), ("team", "blue")] {
        assert_eq!(attribute(&exported.resource, key).as_deref(), Some(value));
    }
    assert_eq!(timeout(LONGEST, service.terminate()).await.expect("it ends"), Some(0));
    assert!(collector.spans_by_now().is_empty(), "traces are off");
    while collector.has_metrics() {}

    for (name, value) in [("OTEL_METRICS_EXPORTER", "none"), ("OTEL_SDK_DISABLED", "true")] {
        let mut command = exporting(&place, collector.address);
        command.env("OTEL_METRIC_EXPORT_INTERVAL", "100").env(name, value);
        let service = Process::start_command(command).await;
        sleep(Duration::from_millis(500)).await;
        assert_eq!(timeout(LONGEST, service.terminate()).await.expect("it ends"), Some(0));
        assert!(!collector.has_metrics(), "{name}={value}: metrics are off");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_numbers_are_exported_before_the_process_leaves() {
    let (mut collector, place) = (Collector::start().await, place().await);
    let mut command = exporting(&place, collector.address);
    command.env("OTEL_METRIC_EXPORT_INTERVAL", "3600000");
    let service = Process::start_command(command).await;
    let mut root = root(&service, &place).await;
    root.verdict(&root_secret(place.folder.path())).await;
    assert_eq!(timeout(LONGEST, service.terminate()).await.expect("it ends"), Some(0));
    collector.metrics("the call", |exported| exported.count("rpc.server.call.duration", &VERIFY) == 1).await;
}
