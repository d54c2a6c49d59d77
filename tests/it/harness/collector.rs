//! A real OTLP receiver: a gRPC server that hands on what it is sent.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
    metrics_service_server::{MetricsService, MetricsServiceServer},
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
    trace_service_server::{TraceService, TraceServiceServer},
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::metrics::v1::{Metric, metric::Data};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

const LONGEST: Duration = Duration::from_secs(30);

/// A collector that hands on every span with the name of the service it came from, and every export of metrics.
pub struct Collector {
    pub address: SocketAddr,
    spans: mpsc::UnboundedReceiver<(String, Span)>,
    metrics: mpsc::UnboundedReceiver<Exported>,
}

/// One export of metrics.
pub struct Exported {
    pub resource: Vec<KeyValue>,
    pub metrics: Vec<Metric>,
}

struct Receiver {
    spans: mpsc::UnboundedSender<(String, Span)>,
    metrics: mpsc::UnboundedSender<Exported>,
}

struct Traces(Arc<Receiver>);
struct Metrics(Arc<Receiver>);

#[tonic::async_trait]
impl TraceService for Traces {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for resource in request.into_inner().resource_spans {
            let name = attribute(&attributes(resource.resource), "service.name").expect("a name");
            for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                // Fails only when the test is over.
                let _ = self.0.spans.send((name.clone(), span));
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Metrics {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        for resource in request.into_inner().resource_metrics {
            let metrics = resource.scope_metrics.into_iter().flat_map(|scope| scope.metrics).collect();
            let _ = self.0.metrics.send(Exported { resource: attributes(resource.resource), metrics });
        }
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

impl Collector {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let ((spans_in, spans), (metrics_in, metrics)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
        let receiver = Arc::new(Receiver { spans: spans_in, metrics: metrics_in });
        let server = tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(Traces(Arc::clone(&receiver))))
            .add_service(MetricsServiceServer::new(Metrics(receiver)));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        Self { address, spans, metrics }
    }

    /// The next span of this name, with the name of its service.
    pub async fn span(&mut self, name: &str) -> (String, Span) {
        let wanted = async {
            loop {
                let (service, span) = self.spans.recv().await.expect("the collector runs");
                if span.name == name {
                    return (service, span);
                }
            }
        };
        timeout(LONGEST, wanted).await.unwrap_or_else(|_| panic!("no span {name}"))
    }

    /// Every span that has arrived by now and wasn't asked for.
    pub fn spans_by_now(&mut self) -> Vec<Span> {
        std::iter::from_fn(|| self.spans.try_recv().ok()).map(|(_, span)| span).collect()
    }

    /// Whether metrics have arrived by now that weren't asked for.
    pub fn has_metrics(&mut self) -> bool {
        self.metrics.try_recv().is_ok()
    }

    /// The first export of metrics from now on for which this holds.
    pub async fn metrics(&mut self, what: &str, holds: impl Fn(&Exported) -> bool) -> Exported {
        let mut last = None;
        let wanted = async {
            loop {
                let exported = self.metrics.recv().await.expect("the collector runs");
                if holds(&exported) {
                    return exported;
                }
                last = Some(exported.metrics);
            }
        };
        let found = timeout(LONGEST, wanted).await;
        found.unwrap_or_else(|_| panic!("no metrics with {what}: {last:?}"))
    }
}

impl Exported {
    /// The histogram's count of the points with these labels.
    pub fn count(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let metric = self.metrics.iter().find(|metric| metric.name == name);
        let Some(Data::Histogram(histogram)) = metric.and_then(|metric| metric.data.as_ref()) else { return 0 };
        let points = histogram.data_points.iter();
        let wanted = points.filter(|point| {
            labels.iter().all(|(key, value)| attribute(&point.attributes, key).as_deref() == Some(*value))
        });
        wanted.map(|point| point.count).sum()
    }
}

fn attributes(resource: Option<Resource>) -> Vec<KeyValue> {
    resource.map(|resource| resource.attributes).unwrap_or_default()
}

/// The text under a key.
pub fn attribute(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        other => panic!("no text: {other:?}"),
    }
}
