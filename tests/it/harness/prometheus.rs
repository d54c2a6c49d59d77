//! A real Prometheus that scrapes services and judges rules, as fast as a test needs it; and promtool.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use super::{engine::tool, http};

const START: Duration = Duration::from_secs(60);

/// Who is scraped: the name of the job, where, and whether by HTTPS, by whatever certificate.
pub struct Job {
    pub name: &'static str,
    pub addresses: Vec<SocketAddr>,
    pub tls: bool,
}

/// A running Prometheus; killed when dropped.
pub struct Prometheus {
    address: SocketAddr,
    folder: TempDir,
    _child: Child,
}

impl Prometheus {
    /// Starts it: it scrapes these jobs, and judges these rules, twice a second each. `None`, with a
    /// loud line, when it isn't there.
    pub async fn start(jobs: &[Job], rules: &str) -> Option<Self> {
        let program = tool("prometheus")?;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let at = folder.path();
        std::fs::write(at.join("rules.yaml"), rules).expect("written");
        std::fs::write(at.join("prometheus.yaml"), configuration(jobs)).expect("written");
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = free.local_addr().expect("an address");
        drop(free);
        let log = std::fs::File::create(at.join("log")).expect("a file");
        let mut command = Command::new(program);
        command.args(["--config.file=prometheus.yaml", "--storage.tsdb.path=data", "--log.level=warn"]);
        command.arg(format!("--web.listen-address={address}")).current_dir(at).env_clear();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true).spawn();
        let made = Self { address, folder, _child: child.expect("it starts") };
        made.wait().await;
        Some(made)
    }

    async fn wait(&self) {
        let begun = Instant::now();
        loop {
            if TcpStream::connect(self.address).await.is_ok() && self.get("/-/ready").await.status == 200 {
                return;
            }
            let log = || std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            assert!(begun.elapsed() < START, "Prometheus doesn't start: {}", log());
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// What an expression gives now; `Err` says why it is none.
    pub async fn query(&self, expression: &str) -> Result<Vec<Value>, String> {
        let answer = self.get(&format!("/api/v1/query?query={}", encoded(expression))).await;
        let answer: Value = serde_json::from_str(&answer.body).expect("JSON");
        if answer["status"] != "success" {
            return Err(answer["error"].to_string());
        }
        Ok(answer["data"]["result"].as_array().cloned().unwrap_or_default())
    }

    /// Alerts that fire: their names with their jobs.
    pub async fn firing(&self) -> Vec<(String, String)> {
        let answer = self.get("/api/v1/alerts").await;
        let answer: Value = serde_json::from_str(&answer.body).expect("JSON");
        let alerts = answer["data"]["alerts"].as_array().cloned().unwrap_or_default();
        let label = |alert: &Value, name| alert["labels"][name].as_str().unwrap_or_default().to_owned();
        let fires = |alert: &&Value| alert["state"] == "firing";
        alerts.iter().filter(fires).map(|alert| (label(alert, "alertname"), label(alert, "job"))).collect()
    }

    /// By HTTP/1.0, so that the body comes in one piece.
    async fn get(&self, path: &str) -> http::Answer {
        http::send(self.address, &format!("GET {path} HTTP/1.0\r\nhost: {}\r\n\r\n", self.address)).await
    }
}

fn configuration(jobs: &[Job]) -> String {
    let mut text =
        String::from("global: { scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 500ms }\n");
    text += "rule_files: [rules.yaml]\nscrape_configs:\n";
    for Job { name, addresses, tls } in jobs {
        let targets: Vec<String> = addresses.iter().map(|address| format!("'{address}'")).collect();
        let scheme = if *tls { "https\n    tls_config: { insecure_skip_verify: true }" } else { "http" };
        let targets = targets.join(", ");
        text +=
            &format!("  - job_name: {name}\n    scheme: {scheme}\n    static_configs: [{{ targets: [{targets}] }}]\n");
    }
    text
}

fn encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(encode).collect()
}

/// promtool with these arguments, in the repository. `None`, with a loud line, when it isn't there.
pub fn promtool(arguments: &[&str]) -> Option<Command> {
    let mut command = Command::new(tool("promtool")?);
    command.args(arguments).current_dir(Path::new(env!("CARGO_MANIFEST_DIR"))).env_clear();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    Some(command)
}
