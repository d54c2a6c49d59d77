//! The chart renders what Kubernetes and the binary accept.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use claviger::proto::v1::Verdict;
use tokio::process::Command;
use tokio::time::timeout;

use crate::harness::{
    Engine, Place, Process,
    engine::{tool, variable},
    process::{bare_command, run},
};

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Renders the chart with these arguments; `None`, with a loud line, when there is no helm.
fn template(arguments: &[&str]) -> Option<Command> {
    let mut command = Command::new(tool("helm")?);
    command.args(["template", "claviger", "helm/claviger", "--kube-version", "1.32.0"]);
    command.args(arguments).current_dir(repository());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    Some(command)
}

#[tokio::test]
async fn the_chart_lints_renders_and_refuses_dangerous_values() {
    let (Some(_), Some(_)) = (tool("helm"), tool("kubernetes-validate")) else { return };
    let mut script = Command::new("tests/chart.sh");
    script.current_dir(repository()).env("CLAVIGER_TEST_TOOLS", variable("CLAVIGER_TEST_TOOLS").expect("tools"));
    script.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let (code, out, err) = timeout(Duration::from_secs(120), run(script)).await.expect("it ends");
    assert_eq!(code, Some(0), "{out}{err}");
}

/// A Service called `claviger` would put CLAVIGER_PORT=tcp://… into every pod beside it, which is no setting.
#[tokio::test]
async fn no_pod_gets_the_variables_of_services() {
    for values in ["sqlite", "postgres"] {
        let values = format!("helm/claviger/ci/{values}-values.yaml");
        let Some(helm) = template(&["--values", &values]) else { return };
        let (code, manifest, err) = run(helm).await;
        assert_eq!(code, Some(0), "{err}");
        assert!(manifest.contains("\n      enableServiceLinks: false\n"), "{values}");
    }
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

/// The binary with the chart's environment: what `serve` and the init container `migrate` have in common.
fn pod(place: &Place, secrets: &Path) -> Command {
    let mut command = bare_command();
    command
        .env("CLAVIGER_LISTEN", "127.0.0.1:0")
        .env("CLAVIGER_HTTP_LISTEN", "127.0.0.1:0")
        .env("CLAVIGER_INSECURE", "true")
        .env("CLAVIGER_DATA", place.folder.path())
        .env("CLAVIGER_LOG_FORMAT", "json")
        .env("CLAVIGER_DATABASE_URL_FILE", secrets.join("database-url"))
        .env("CLAVIGER_DATABASE_PASSWORD_FILE", secrets.join("database-password"))
        .env("CLAVIGER_DATABASE_READERS", "8")
        .env("CLAVIGER_DATABASE_WRITERS", "2")
        .env("CLAVIGER_PEPPER_FILE", secrets.join("pepper"))
        .env("CLAVIGER_KEK_FILE", secrets.join("kek"))
        .env("CLAVIGER_ROOT_KEY_FILE", secrets.join("root-key"))
        .env("CLAVIGER_SMTP_URL", "smtp://claviger@mail.example.com:587")
        .env("CLAVIGER_MAIL_FROM", "Claviger <keys@example.com>")
        .env("CLAVIGER_SMTP_PASSWORD_FILE", secrets.join("smtp-password"))
        .env("CLAVIGER_PUBLIC_ENDPOINT", "keys.example.com:443")
        .env("CLAVIGER_PUBLIC_URL", "https://keys.example.com");
    command
}

#[tokio::test]
async fn the_charts_variables_migrate_and_serve_from_mounted_secrets() {
    let Some(place) = Engine::Postgres.place().await else { return };
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

    for said in ["migration(s) applied", "nothing was changed"] {
        let mut migrate = pod(&place, secrets.path());
        migrate.arg("migrate");
        let (code, out, err) = run(migrate).await;
        assert_eq!(code, Some(0), "{err}");
        assert!(out.contains(said), "{out}");
    }
    let mut serve = pod(&place, secrets.path());
    serve.arg("serve");
    let service = Process::start_command(serve).await;
    let mut root = service.caller(Some(root_key.trim_end())).await;
    let tenant = root.create_tenant("acme").await;
    let owner = root.create_service_user(&tenant, "billing").await;
    let (_, secret) = root.create_key(&owner, &[]).await;
    assert_eq!(root.verdict(&secret).await, Verdict::Valid);
    assert_eq!(service.terminate().await, Some(0), "within the grace period, and cleanly");
}

/// What the pods are given is what the test above gives: a new variable of the chart must be tried there too.
#[tokio::test]
async fn the_chart_sets_no_other_variables_than_those_tried_here() {
    let arguments = [
        "--values",
        "helm/claviger/ci/postgres-values.yaml",
        "--set",
        "pepper.existingSecret=p",
        "--set",
        "rootKey.existingSecret=r",
    ];
    let Some(helm) = template(&arguments) else { return };
    let (code, manifest, err) = run(helm).await;
    assert_eq!(code, Some(0), "{err}");
    let mut names: Vec<&str> =
        manifest.lines().filter_map(|line| line.trim().strip_prefix("- name: CLAVIGER_")).collect();
    names.sort_unstable();
    names.dedup();
    let tried = [
        "DATA",
        "DATABASE_PASSWORD_FILE",
        "DATABASE_READERS",
        "DATABASE_URL_FILE",
        "DATABASE_WRITERS",
        "HTTP_LISTEN",
        "INSECURE",
        "KEK_FILE",
        "LISTEN",
        "LOG_FORMAT",
        "MAIL_FROM",
        "PEPPER_FILE",
        "PUBLIC_ENDPOINT",
        "PUBLIC_URL",
        "ROOT_KEY_FILE",
        "SMTP_PASSWORD_FILE",
        "SMTP_URL",
    ];
    assert_eq!(names, tried);
    for file in ["database-url", "database-password", "database-ca.crt", "pepper", "kek", "root-key", "smtp-password"] {
        assert!(manifest.contains(&format!("path: {file}\n")), "{file}");
    }
}
