//! Whatever the dashboard, the alerts and the guide name is there in a real `/metrics`; and whatever is there is named.

use std::collections::BTreeSet;

use super::{ALERTS, WITH_TLS, dashboard, expiring_root_key, file, panels};
use crate::harness::{Engine, TestApp, http};

const DURATION: &str = "rpc_server_call_duration_seconds";
/// On no panel, on purpose.
const LEFT_OUT: [&str; 0] = [];

/// Everything that looks like a metric of ours, without what a histogram adds to its name.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let ours = words.filter(|word| word.starts_with("claviger_") || word.starts_with("rpc_server_"));
    ours.map(|word| if word.starts_with(DURATION) { DURATION } else { word }.to_owned()).collect()
}

async fn shown_by(engine: Engine) -> Option<BTreeSet<String>> {
    let app = TestApp::start(engine).await?;
    expiring_root_key(&mut app.root().await).await;
    let text = http::ask(app.http_address(), "GET", "/metrics", "").await.body;
    let helps = text.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split(' ').next());
    Some(helps.filter(|name| *name != "target_info").map(str::to_owned).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn dashboard_alerts_and_guide_name_what_is_there_and_all_of_it() {
    let (Some(sqlite), Some(postgres)) = (shown_by(Engine::Sqlite).await, shown_by(Engine::Postgres).await) else {
        return;
    };
    let there: BTreeSet<String> = sqlite.union(&postgres).cloned().chain(WITH_TLS.map(str::to_owned)).collect();
    let expressions: String =
        panels().into_iter().flat_map(|(_, expressions)| expressions).collect::<Vec<_>>().join("\n");
    let annotations = dashboard()["annotations"].to_string() + &dashboard()["templating"].to_string();
    let on_dashboard = named(&(expressions + &annotations));
    // A line of its table of metrics begins with the name.
    let guide: BTreeSet<String> = file("docs/operations.md")
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split(['`', '{']).next())
        .flat_map(named)
        .collect();
    assert_eq!(guide, there, "the guide's table of metrics");
    for (what, names) in [("the dashboard", on_dashboard.clone()), ("the alerts", named(&file(ALERTS)))] {
        let unknown: Vec<_> = names.difference(&there).collect();
        assert!(unknown.is_empty(), "{what}: no such metric: {unknown:?}");
    }
    let left_out: BTreeSet<String> = LEFT_OUT.map(str::to_owned).into();
    let missing: Vec<_> = there.difference(&on_dashboard).filter(|name| !left_out.contains(*name)).collect();
    assert!(missing.is_empty(), "neither on the dashboard nor left out on purpose: {missing:?}");
}

#[test]
fn the_dashboard_is_whole() {
    let dashboard = dashboard();
    let all = dashboard["panels"].as_array().expect("panels");
    let ids: BTreeSet<_> = all.iter().map(|panel| panel["id"].as_u64().expect("an id")).collect();
    assert_eq!(ids.len(), all.len(), "each panel has an id of its own");
    let variables = dashboard["templating"]["list"].as_array().expect("variables");
    let names: Vec<_> = variables.iter().map(|variable| variable["name"].as_str().expect("a name")).collect();
    assert_eq!(names, ["datasource", "namespace", "job"]);
    for (title, expressions) in panels() {
        assert!(!title.is_empty() && !expressions.is_empty(), "{title}");
        for expression in expressions {
            assert_eq!(
                expression.matches(r#"{namespace=~"$namespace", job=~"$job""#).count(),
                named_count(&expression),
                "{title}: everything is asked of what was chosen: {expression}"
            );
        }
    }
    let places: Vec<_> = all.iter().map(|panel| panel["gridPos"].clone()).collect();
    let overlap = |a: &serde_json::Value, b: &serde_json::Value| {
        let side = |v: &serde_json::Value, at: &str, long: &str| {
            let from = v[at].as_u64().expect("a number");
            (from, from + v[long].as_u64().expect("a number"))
        };
        let meet = |(a, b): (u64, u64), (c, d): (u64, u64)| a < d && c < b;
        meet(side(a, "x", "w"), side(b, "x", "w")) && meet(side(a, "y", "h"), side(b, "y", "h"))
    };
    for (number, one) in places.iter().enumerate() {
        assert!(places[number + 1..].iter().all(|other| !overlap(one, other)), "two panels in one place: {one}");
    }
}

fn named_count(expression: &str) -> usize {
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("claviger_") || word.starts_with("rpc_server_")).count()
}
