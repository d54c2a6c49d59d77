//! Metrics, alerts and dashboard as those use them who operate the service: a real Prometheus scrapes it, judges the chart's
//! rules, and answers what the dashboard asks.

mod fire;
mod names;
mod rules;

use std::path::Path;

use claviger::proto::v1;
use serde_json::Value;

use crate::harness::Client;

/// Made only where TLS is set.
const WITH_TLS: [&str; 2] = ["claviger_tls_certificate_expiry_timestamp_seconds", "claviger_tls_reloads_total"];

const ALERTS: &str = "helm/claviger/files/alerts.yaml";

fn file(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path))
        .unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn dashboard() -> Value {
    serde_json::from_str(&file("helm/claviger/files/dashboard.json")).expect("JSON")
}

/// Every panel that asks something: its title and its expressions.
fn panels() -> Vec<(String, Vec<String>)> {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().expect("panels");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let expressions = |panel: &Value| {
        let targets = panel["targets"].as_array().into_iter().flatten();
        targets.map(|target| text(&target["expr"])).collect::<Vec<_>>()
    };
    panels
        .iter()
        .filter(|panel| panel["type"] != "row")
        .map(|panel| (text(&panel["title"]), expressions(panel)))
        .collect()
}

/// Names of alerts, in the order of the file.
fn alerts() -> Vec<String> {
    let names = file(ALERTS);
    names.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).map(str::to_owned).collect()
}

/// Makes a root key that expires tomorrow.
async fn expiring_root_key(root: &mut Client) {
    let key = v1::Key {
        display_name: "a root key".to_owned(),
        scopes: vec!["claviger:admin".to_owned()],
        ..Default::default()
    };
    let ttl = Some(prost_types::Duration { seconds: 86_400, nanos: 0 });
    let parent = "tenants/system/serviceUsers/root".to_owned();
    root.keys
        .create_key(v1::CreateKeyRequest { parent, key: Some(key), ttl, ..Default::default() })
        .await
        .expect("a key");
}
