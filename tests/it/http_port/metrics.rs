//! What `/metrics` shows.

use claviger::domain::pepper::Peppers;
use claviger::proto::v1;

use super::start;
use crate::harness::http::ask;
use crate::rig::Change;

/// What `promtool check metrics` asks for: HELP before TYPE before samples of the same name, each once; counters end in
/// `_total`, and nothing else does; units are base units.
#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_what_prometheus_reads() {
    let app = start().await;
    app.root().await.create_tenant("acme").await;
    let answer = ask(app.http_address(), "GET", "/metrics", "").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let (mut names, mut kind) = (Vec::new(), String::new());
    let mut lines = answer.body.lines();
    while let Some(line) = lines.next() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, text) = help.split_once(' ').expect("a text");
            assert!(!text.is_empty() && !names.contains(&name.to_owned()), "{line}");
            let next = lines.next().and_then(|line| line.strip_prefix("# TYPE ")).expect("a type below");
            let (of, found) = next.split_once(' ').expect("a kind");
            assert_eq!(of, name);
            assert_eq!(found == "counter", name.ends_with("_total"), "{next}");
            names.push(name.to_owned());
            kind = found.to_owned();
            continue;
        }
        let (series, value) = line.rsplit_once(' ').expect("a value");
        let name = series.split('{').next().expect("a name");
        let name = if kind == "histogram" { without_part(name) } else { name };
        assert_eq!(Some(name), names.last().map(String::as_str), "{line}");
        let value: f64 = value.parse().expect("a number");
        assert!(["counter", "gauge", "histogram"].contains(&&*kind) && value >= 0.0, "{line}");
        for hidden in ["tenant=", "key=", "otel_scope"] {
            assert!(!series.contains(hidden), "{line}");
        }
    }
    let ours: Vec<&str> = names.iter().map(String::as_str).filter(|name| *name != "target_info").collect();
    let expected = [
        "claviger_clock_offset_seconds",
        "claviger_database_connections",
        "claviger_database_connections_max",
        "claviger_database_up",
        "claviger_feed_lag_revisions",
        "claviger_forks_total",
        "claviger_keys",
        "claviger_keys_expired_total",
        "claviger_mails_total",
        "claviger_mails_waiting",
        "claviger_mirror_bytes",
        "claviger_mirror_revision",
        "claviger_mirror_staleness_seconds",
        "claviger_spans_dropped_total",
        "claviger_telemetry_export_failures_total",
        "claviger_tenants_without_subscribers",
        "claviger_verdicts_total",
        "claviger_verify_failures_total",
        "claviger_warning_run_last_success_timestamp_seconds",
        "claviger_warning_runs_total",
        "claviger_warnings_planned_total",
        "rpc_server_call_duration_seconds",
    ];
    assert_eq!(ours, expected);
}

/// The name of a histogram, from that of one of its series.
fn without_part(series: &str) -> &str {
    ["_bucket", "_sum", "_count"].iter().find_map(|part| series.strip_suffix(part)).expect("a part of a histogram")
}

fn shown(metrics: &str, series: &str) -> f64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {series} in\n{metrics}"))
}

/// Keys by state and pepper, the root keys' end and the mirror's size follow what is done, and survive a fresh load.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_memory_is_counted_as_it_changes() {
    let app = start().await;
    let mut root = app.root().await;
    let tenant = root.create_tenant("acme").await;
    let owner = root.create_service_user(&tenant, "billing").await;
    let mut names = Vec::new();
    for _ in 0..4 {
        names.push(root.create_key(&owner, &["reports:read"]).await.0.name);
    }
    for (name, change) in names.iter().zip([Change::Disable, Change::Revoke, Change::Delete]) {
        change.make(&mut root, &owner, name).await.expect("changed");
    }
    let metrics = async || ask(app.http_address(), "GET", "/metrics", "").await.body;
    let pepper = std::fs::read_to_string(app.place.folder.path().join("pepper")).expect("a pepper");
    let pepper = Peppers::parse(&pepper).expect("a pepper").current().id().as_str().to_owned();
    let counted = async || {
        let metrics = metrics().await;
        ["enabled", "disabled", "revoked", "expired", "deleted"]
            .map(|state| shown(&metrics, &format!("claviger_keys{{pepper=\"{pepper}\",state=\"{state}\"}}")))
    };
    // The root key too.
    assert_eq!(counted().await, [2.0, 1.0, 1.0, 0.0, 1.0]);
    let before = metrics().await;
    assert!(!before.contains("claviger_root_key_expiry"), "no root key expires");
    assert!(shown(&before, "claviger_mirror_bytes") > 500.0, "five keys take some memory");
    assert_eq!(shown(&before, "claviger_feed_lag_revisions"), 0.0);
    assert_eq!(shown(&before, "claviger_database_up"), 1.0);
    assert_eq!(shown(&before, "claviger_database_connections_max{pool=\"writers\"}"), 1.0);

    let key =
        v1::Key { display_name: "root".to_owned(), scopes: vec!["claviger:admin".to_owned()], ..Default::default() };
    let ttl = Some(prost_types::Duration { seconds: 100_000, nanos: 0 });
    let parent = "tenants/system/serviceUsers/root".to_owned();
    let request = v1::CreateKeyRequest { parent, key: Some(key), ttl, ..Default::default() };
    let made = root.keys.create_key(request).await.expect("a root key").into_inner().key.expect("a key");
    let end = made.expire_time.expect("an end");
    // One that is being rotated is meant to end.
    let request = v1::RotateKeyRequest { name: made.name.clone(), ..Default::default() };
    let rotated = root.keys.rotate_key(request).await.expect("rotated").into_inner();
    let successor = rotated.key.expect("a key");
    let end = successor.expire_time.unwrap_or(end);
    let expiry = async || shown(&metrics().await, "claviger_root_key_expiry_timestamp_seconds");
    let difference = expiry().await - end.seconds as f64;
    assert!((0.0..1.0).contains(&difference), "{difference}");
    assert_eq!(counted().await, [4.0, 1.0, 1.0, 0.0, 1.0]);

    let app = app.restart().await;
    let loaded = ask(app.http_address(), "GET", "/metrics", "").await.body;
    for series in ["claviger_mirror_bytes", "claviger_root_key_expiry_timestamp_seconds"] {
        assert!(shown(&loaded, series) > 500.0, "{series}");
    }
    let mut root = app.root().await;
    let owner = "tenants/system/serviceUsers/root";
    for name in [&made.name, &successor.name] {
        Change::Revoke.make(&mut root, owner, name).await.expect("revoked");
    }
    let after = ask(app.http_address(), "GET", "/metrics", "").await.body;
    assert!(!after.contains("claviger_root_key_expiry"), "a revoked root key doesn't expire");
    assert_eq!(shown(&after, &format!("claviger_keys{{pepper=\"{pepper}\",state=\"revoked\"}}")), 3.0);
}

/// The histogram counts every call: Verify's too, which are counted for each core apart.
#[tokio::test(flavor = "multi_thread")]
async fn every_call_is_in_the_durations_with_its_code() {
    let app = start().await;
    let mut root = app.root().await;
    let mut nobody = app.caller(None).await;
    for _ in 0..25 {
        root.verdict(&app.root_secret).await;
        nobody.verification.verify(v1::VerifyRequest::default()).await.expect_err("nobody knows this caller");
    }
    root.create_tenant("acme").await;
    let metrics = ask(app.http_address(), "GET", "/metrics", "").await.body;
    for (method, code, calls) in [
        ("claviger.v1.VerificationService/Verify", "OK", 25.0),
        ("claviger.v1.VerificationService/Verify", "UNAUTHENTICATED", 25.0),
        ("claviger.v1.TenantService/CreateTenant", "OK", 1.0),
    ] {
        let labels = format!("rpc_method=\"{method}\",rpc_response_status_code=\"{code}\",rpc_system_name=\"grpc\"");
        let name = "rpc_server_call_duration_seconds";
        assert_eq!(shown(&metrics, &format!("{name}_count{{{labels}}}")), calls, "{method} {code}");
        assert_eq!(shown(&metrics, &format!("{name}_bucket{{{labels},le=\"+Inf\"}}")), calls, "{method} {code}");
        let mean = shown(&metrics, &format!("{name}_sum{{{labels}}}")) / calls;
        assert!((1e-7..1.0).contains(&mean), "{method} took {mean} s");
    }
}
