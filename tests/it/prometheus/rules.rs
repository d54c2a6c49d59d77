//! promtool's word on the rules: they are rules, each fires in the world that it is meant for and in no good one, and tells
//! where its runbook is.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::{ALERTS, alerts, file};
use crate::harness::{Engine, TestApp, http, process::run, prometheus::promtool};

const LONGEST: Duration = Duration::from_secs(60);
/// Where each alert has its runbook.
const GUIDE: &str = "docs/operations.md";
const TESTS: &str = "tests/prometheus/alerts_test.yaml";

#[tokio::test]
async fn the_rules_are_rules_and_pass_their_tests() {
    for arguments in [&["check", "rules", "--lint=all", "--lint-fatal", ALERTS][..], &["test", "rules", TESTS]] {
        let Some(promtool) = promtool(arguments) else { return };
        let (code, out, err) = timeout(LONGEST, run(promtool)).await.expect("it ends");
        assert_eq!(code, Some(0), "promtool {arguments:?}: {out}{err}");
    }
}

#[test]
fn every_alert_has_a_test_in_which_it_fires_and_says_what_to_do() {
    let (alerts, tests, rules, guide) = (alerts(), file(TESTS), file(ALERTS), file(GUIDE));
    assert!(alerts.len() >= 12, "{alerts:?}");
    for alert in &alerts {
        assert!(alert.starts_with("Claviger"), "{alert}");
        let runbook = format!("runbook_url: docs/operations.md#{}\n", alert.to_lowercase());
        assert!(rules.contains(&runbook), "{alert}: {runbook}");
        let of_it = guide.split(&format!("\n### {alert}\n")).nth(1).unwrap_or_else(|| panic!("{GUIDE} lacks {alert}"));
        let of_it = of_it.split("\n### ").next().unwrap_or_default();
        assert!(["**Means:**", "**Do:**"].iter().all(|part| of_it.contains(part)), "{GUIDE}: {alert}: {of_it}");
        let played: Vec<&str> = tests.split(&format!("alertname: {alert}\n")).skip(1).collect();
        let fires = |test: &&str| test.trim_start().starts_with("exp_alerts:");
        assert!(played.iter().any(fires), "{alert} fires in no test of {TESTS}");
        assert!(tests.contains(&format!("alertname: {alert} }}")), "{alert} is quiet in no test of {TESTS}");
    }
    for kind in ["summary:", "description: >-", "severity:", "runbook_url:"] {
        assert_eq!(rules.matches(kind).count(), alerts.len(), "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn promtool_finds_nothing_wrong_with_metrics() {
    let Some(mut promtool) = promtool(&["check", "metrics"]) else { return };
    let app = TestApp::start(Engine::Sqlite).await.expect("SQLite is always there");
    app.root().await.create_tenant("acme").await;
    let metrics = http::ask(app.http_address(), "GET", "/metrics", "").await.body;
    let mut child = promtool.spawn().expect("it starts");
    child.stdin.take().expect("a pipe").write_all(metrics.as_bytes()).await.expect("written");
    let ended = timeout(LONGEST, child.wait_with_output()).await.expect("it ends").expect("it ends");
    let said = String::from_utf8_lossy(&ended.stdout).into_owned() + &String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success() && said.is_empty(), "{said}\n{metrics}");
}
