//! The chart renders what Kubernetes and the binary accept.

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use claviger::config::catalogue::SETTINGS;
use claviger::domain::limits;
use claviger::proto::v1::Verdict;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};

use crate::harness::{
    Client, Engine, Place, Process,
    certificates::{Authority, Wanted},
    engine::{tool, variable},
    process::{bare_command, root_secret, run},
};

const LONGEST: Duration = Duration::from_secs(240);
/// What the service does after its drain, and a margin: `LAST_WORDS` twice, and the last traces.
const LAST_WORDS: Duration = Duration::from_secs(12);

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn piped(mut command: Command) -> Command {
    command.current_dir(repository()).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// The documents that the chart renders for `ci/NAME-values.yaml`; `None`, with a loud line, when a tool isn't there.
async fn rendered(name: &str) -> Option<Vec<Value>> {
    let (helm, python) = (tool("helm")?, tool("python3")?);
    let mut template = Command::new(helm);
    template.args(["template", "claviger", "helm/claviger", "--kube-version", "1.30.0", "--values"]);
    template.arg(format!("helm/claviger/ci/{name}-values.yaml"));
    let (code, manifest, err) = run(piped(template)).await;
    assert_eq!(code, Some(0), "{err}");

    let mut convert = Command::new(python);
    let program = "import json, sys, yaml; json.dump(list(filter(None, yaml.safe_load_all(sys.stdin))), sys.stdout)";
    convert.args(["-c", program]).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut python = convert.spawn().expect("Python starts");
    let mut input = python.stdin.take().expect("a pipe");
    let writing = tokio::spawn(async move { input.write_all(manifest.as_bytes()).await });
    let output = python.wait_with_output().await.expect("Python ends");
    writing.await.expect("no panic").expect("written");
    Some(serde_json::from_slice(&output.stdout).expect("JSON"))
}

/// The pod of the Deployment or StatefulSet.
fn pod(documents: &[Value]) -> &Value {
    let workload = documents.iter().find(|document| matches!(text(document, "/kind"), "Deployment" | "StatefulSet"));
    workload.and_then(|workload| workload.pointer("/spec/template/spec")).expect("a workload")
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A container's variables; those whose value is elsewhere are empty.
fn variables(container: &Value) -> BTreeMap<&str, &str> {
    list(container, "/env").iter().map(|variable| (text(variable, "/name"), text(variable, "/value"))).collect()
}

#[tokio::test]
async fn the_chart_lints_renders_and_refuses_dangerous_values() {
    let (Some(_), Some(_)) = (tool("helm"), tool("kubernetes-validate")) else { return };
    let mut script = Command::new("tests/chart.sh");
    script.env("CLAVIGER_TEST_TOOLS", variable("CLAVIGER_TEST_TOOLS").expect("tools"));
    let (code, out, err) = timeout(LONGEST, run(piped(script))).await.expect("it ends");
    assert_eq!(code, Some(0), "{out}{err}");
}

#[tokio::test]
async fn every_variable_of_ours_is_a_setting() {
    for name in ["minimal", "sqlite", "postgres", "autoscaled", "everything"] {
        let Some(documents) = rendered(name).await else { return };
        let pod = pod(&documents);
        let containers = list(pod, "/containers").iter().chain(list(pod, "/initContainers"));
        for variable in containers.flat_map(variables).map(|(variable, _)| variable) {
            let Some(setting) = variable.strip_prefix("CLAVIGER_") else { continue };
            let setting = setting.to_lowercase();
            let is_known = SETTINGS.iter().any(|known| known.name == setting);
            assert!(is_known, "{name}: {setting}");
        }
    }
}

#[tokio::test]
async fn a_pod_has_the_time_that_its_end_takes() {
    let Some(documents) = rendered("everything").await else { return };
    let pod = pod(&documents);
    let seconds = |pointer| Duration::from_secs(pod.pointer(pointer).and_then(Value::as_u64).expect("seconds"));
    let asleep = seconds("/containers/0/lifecycle/preStop/sleep/seconds");
    let grace = seconds("/terminationGracePeriodSeconds");
    assert_eq!(asleep, Duration::from_secs(15), "as the values say");
    assert!(grace >= asleep + limits::DRAIN + LAST_WORDS, "{grace:?}");
}

/// As a projected Secret looks in a pod: links to files that only the group may read.
fn mount_secret(folder: &Path, name: &str, content: &str) {
    let data = folder.join("..data");
    std::fs::create_dir_all(&data).expect("a folder");
    let file = data.join(name);
    std::fs::write(&file, content).expect("written");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o440)).expect("changed");
    symlink(Path::new("..data").join(name), folder.join(name)).expect("linked");
}

/// The binary with a container's variables. Only the places are other ones: the data folder, where Secrets are mounted, and
/// the addresses, since the machine of a test has no pod of its own.
fn inside(container: &Value, place: &Place, secrets: &Path) -> Command {
    let mut command = bare_command();
    for (name, value) in variables(container) {
        let value = match value.rsplit_once('/') {
            _ if name.ends_with("LISTEN") => "127.0.0.1:0".to_owned(),
            _ if name == "CLAVIGER_DATA" => place.folder.path().display().to_string(),
            Some(("/secrets" | "/migration" | "/tls", file)) => secrets.join(file).display().to_string(),
            _ => value.to_owned(),
        };
        command.env(name, value);
    }
    command
}

/// The same with the container's own command.
fn started(container: &Value, place: &Place, secrets: &Path) -> Command {
    let mut command = inside(container, place, secrets);
    command.args(list(container, "/command").iter().skip(1).filter_map(Value::as_str));
    command
}

/// The Secrets of the pods on PostgreSQL, mounted, and the root key among them.
async fn mounted_secrets(place: &Place) -> (TempDir, String) {
    let mut offline = bare_command();
    offline.args(["root-key", "--offline"]);
    let (code, root_key, err) = run(offline).await;
    assert_eq!(code, Some(0), "{err}");
    let secrets = tempfile::tempdir().expect("a folder");
    mount_secret(secrets.path(), "database-url", place.database_url.as_deref().expect("a URL"));
    mount_secret(secrets.path(), "database-password", "a password\n");
    mount_secret(secrets.path(), "pepper", &"5a".repeat(32));
    mount_secret(secrets.path(), "kek", &"4e".repeat(32));
    // As the command printed it, with its line feed.
    mount_secret(secrets.path(), "root-key", &root_key);
    mount_secret(secrets.path(), "smtp-password", "a password\n");
    (secrets, root_key.trim_end().to_owned())
}

#[tokio::test]
async fn the_charts_containers_migrate_and_serve_from_mounted_secrets() {
    let Some(place) = Engine::Postgres.place().await else { return };
    let Some(documents) = rendered("postgres").await else { return };
    let (migrate, serve) = (&list(pod(&documents), "/initContainers")[0], &list(pod(&documents), "/containers")[0]);
    let (secrets, root_key) = mounted_secrets(&place).await;
    for said in ["migration(s) applied", "nothing was changed"] {
        let (code, out, err) = run(started(migrate, &place, secrets.path())).await;
        assert_eq!(code, Some(0), "{err}");
        assert!(out.contains(said), "{out}");
    }
    let service = Process::start_command(started(serve, &place, secrets.path())).await;
    issues_a_key_that_verifies(service.caller(Some(&root_key)).await).await;
    assert_eq!(service.terminate().await, Some(0), "within the grace period, and cleanly");
}

/// With every value set; the mail server and the collector aren't there.
#[tokio::test(flavor = "multi_thread")]
async fn the_charts_containers_serve_over_tls() {
    let Some(place) = Engine::Postgres.place().await else { return };
    let Some(documents) = rendered("everything").await else { return };
    let (migrate, serve) = (&list(pod(&documents), "/initContainers")[0], &list(pod(&documents), "/containers")[0]);
    let (secrets, root_key) = mounted_secrets(&place).await;
    let authority = Authority::new("the authority");
    let own = authority.sign(&Wanted::server(&["claviger.keys.svc"]));
    for (name, content) in [("tls.crt", &own.certificate), ("tls.key", &own.key)] {
        mount_secret(secrets.path(), name, content);
    }
    for name in ["client-ca.crt", "database-ca.crt", "smtp-ca.crt", "otlp-ca.crt"] {
        mount_secret(secrets.path(), name, &authority.pem);
    }
    mount_secret(secrets.path(), "smtp-url", "smtps://keys@127.0.0.1:1");
    let (code, _, err) = run(started(migrate, &place, secrets.path())).await;
    assert_eq!(code, Some(0), "{err}");
    let service = Process::start_command(started(serve, &place, secrets.path())).await;

    let trusting = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&authority.pem));
    let endpoint = Endpoint::from_shared(format!("https://{}", service.address)).expect("an address");
    let endpoint = endpoint.tls_config(trusting.domain_name("claviger.keys.svc")).expect("a configuration");
    let channel = endpoint.connect().await.expect("connected");
    issues_a_key_that_verifies(Client::over(channel, Some(&root_key))).await;
    assert_eq!(service.terminate().await, Some(0), "within the grace period, and cleanly");
}

async fn issues_a_key_that_verifies(mut root: Client) {
    let tenant = root.create_tenant("acme").await;
    let owner = root.create_service_user(&tenant, "billing").await;
    let (_, secret) = root.create_key(&owner, &[]).await;
    assert_eq!(root.verdict(&secret).await, Verdict::Valid);
}

/// With SQLite the notes get the root key from a pod that has no shell, and use it with grpcurl.
#[tokio::test]
async fn the_notes_commands_work_on_what_the_chart_starts() {
    let (Some(grpcurl), Some(documents)) = (tool("grpcurl"), rendered("minimal").await) else { return };
    let Some(place) = Engine::Sqlite.place().await else { return };
    let notes = std::fs::read_to_string(repository().join("tests/snapshots/chart/minimal.notes.txt")).expect("notes");
    let nowhere = place.folder.path().join("nowhere");
    let container = &list(pod(&documents), "/containers")[0];
    let service = Process::start_command(started(container, &place, &nowhere)).await;

    let (_, arguments) = notes.split_once(" --container claviger -- claviger ").expect("a command");
    let (arguments, _) = arguments.split_once(')').expect("a command");
    // As `kubectl exec` runs it: beside the service, with its variables.
    let mut get = inside(container, &place, &nowhere);
    get.args(arguments.split(' '));
    let (code, root_key, err) = run(get).await;
    assert_eq!((code, root_key.trim_end()), (Some(0), root_secret(place.folder.path()).as_str()), "{err}");

    let (_, make) = notes.split_once("   grpcurl ").expect("a command");
    let (make, _) = make.split_once("\n\n").expect("a command");
    let make = make.replace("127.0.0.1:50051", &service.address.to_string());
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{} {make}", grpcurl.display())]).env("ROOT_KEY", root_key.trim_end());
    let (code, out, err) = run(piped(shell)).await;
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("\"tenants/acme\""), "{out}");
}
