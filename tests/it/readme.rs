//! The README keeps its word: its commands print what it shows, its clients run, its tables are complete. The real binary
//! stands in for `cargo run --release`, in an empty folder, on the default ports; nothing else is replaced.

mod tables;

use std::ffi::OsStr;
use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{sleep, timeout};

use crate::harness::{
    certificates::{Authority, Wanted},
    engine::{skip, tool},
    process::{bare_command, run},
};

/// The README's own ports: one test at a time.
static PORT: Mutex<()> = Mutex::const_new(());
const MARK: &str = "@@@ next";
const START: &str = "cargo run --release";
const LONGEST: Duration = Duration::from_secs(120);

/// One fenced block: its language and its text.
struct Block {
    language: String,
    text: String,
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn readme() -> String {
    std::fs::read_to_string(repository().join("README.md")).expect("README.md")
}

/// The text under a heading of the second level.
fn section(heading: &str) -> String {
    let readme = readme();
    let after = readme.split_once(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("no section {heading}")).1;
    after.split("\n## ").next().expect("a section").to_owned()
}

fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for line in text.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(language)) => open = Some(Block { language: language.to_owned(), text: String::new() }),
            (None, None) => {}
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(block), None) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
        }
    }
    assert!(open.is_none(), "a block of the README isn't closed");
    blocks
}

/// The only block of this language in a section.
pub fn only_block(heading: &str, language: &str) -> String {
    let mut found = blocks(&section(heading)).into_iter().filter(|block| block.language == language);
    let first = found.next().unwrap_or_else(|| panic!("no {language} in {heading}"));
    assert!(found.next().is_none(), "one {language} in {heading}");
    first.text
}

/// Commands, and the output that the README shows below them, if any.
struct Step {
    commands: String,
    output: Option<String>,
}

fn walk(heading: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for block in blocks(&section(heading)) {
        match &*block.language {
            "sh" => steps.push(Step { commands: block.text, output: None }),
            "text" => steps.last_mut().expect("commands come before output").output = Some(block.text),
            other => panic!("a block of language {other:?} in the walk"),
        }
    }
    steps
}

/// What may differ from run to run becomes the same: secrets, ids, times, folders, and white space (grpcurl's differs
/// between versions).
fn masked(text: &str) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || "_-…:./".contains(c);
    let mut out = String::new();
    let mut word = String::new();
    for c in text.chars().chain([' ']) {
        if is_word(c) {
            word.push(c);
            continue;
        }
        out.push_str(&masked_word(&word));
        word.clear();
        if !c.is_whitespace() {
            out.push(c);
        }
    }
    out
}

fn masked_word(word: &str) -> String {
    if chrono::DateTime::parse_from_rfc3339(word).is_ok() {
        return "<time>".to_owned();
    }
    if let Some((_, file)) = word.split_once("/claviger-data") {
        return format!("<folder>/claviger-data{file}");
    }
    if let Some((owner, id)) = word.split_once("/keys/") {
        assert_eq!(id.len(), 22, "the key id of {word}");
        return format!("{owner}/keys/<id>");
    }
    match word.len() {
        76 if word.starts_with("cvg_") => "<secret>".to_owned(),
        15 if word.starts_with("cvg_") && word.ends_with('…') => "<hint>".to_owned(),
        _ => word.to_owned(),
    }
}

/// A stranger's terminal: an empty folder, the tools and the system, and a service that was started there.
struct Terminal {
    folder: TempDir,
    path: String,
    greeting: String,
    _service: Child,
    _port: MutexGuard<'static, ()>,
}

impl Terminal {
    /// `None`, with a loud line, when there is no grpcurl.
    async fn open() -> Option<Self> {
        Self::open_with(&[]).await
    }

    /// With these settings in front of the command.
    async fn open_with(settings: &[(&str, &str)]) -> Option<Self> {
        let grpcurl = tool("grpcurl")?;
        let port = PORT.lock().await;
        for address in ["127.0.0.1:50051", "127.0.0.1:9464"] {
            wait_for(address, async || TcpListener::bind(address).await.ok()).await;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("greeting");
        let mut service = bare_command();
        service.envs(settings.iter().copied());
        service.current_dir(folder.path()).stdout(File::create(&file).expect("a file")).stderr(Stdio::inherit());
        let service = service.spawn().expect("the service starts");
        let greeting = wait_for("a greeting", async || {
            std::fs::read_to_string(&file).ok().filter(|text| text.ends_with("\n\n") && text.contains("CreateTenant"))
        });
        let greeting = greeting.await;
        std::fs::remove_file(file).expect("not the stranger's");
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin", grpcurl.parent().expect("a folder").display());
        Some(Self { folder, path, greeting, _service: service, _port: port })
    }

    /// A command in this terminal.
    fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", &self.path).current_dir(self.folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    /// Types the commands into one shell; answers what each printed, errors included.
    async fn type_in(&self, steps: &[Step]) -> Vec<String> {
        let mut script = "exec 2>&1\n".to_owned();
        for step in steps {
            script.push_str(&format!("echo '{MARK}'\n{}", step.commands));
        }
        script.push_str("printf %s \"$secret\" >secret\n");
        let mut shell = self.command("bash");
        shell.args(["-c", &script]);
        let (_, out, _) = timeout(LONGEST, run(shell)).await.expect("the commands end");
        out.split(&format!("{MARK}\n")).skip(1).map(str::to_owned).collect()
    }

    /// Types what comes before the clients: the 60 seconds, and the gateway's key.
    async fn prepare_for_clients(&self) -> [String; 2] {
        let mut steps = walk("60 seconds").split_off(1);
        steps.extend(walk("Rights"));
        self.type_in(&steps).await;
        let secret = std::fs::read_to_string(self.folder.path().join("secret")).expect("a secret");
        ["gateway.key".to_owned(), secret]
    }
}

/// Asks until there is an answer, and not for ever.
async fn wait_for<T>(what: &str, ask: impl AsyncFn() -> Option<T>) -> T {
    let answer = async {
        loop {
            match ask().await {
                Some(answer) => return answer,
                None => sleep(Duration::from_millis(50)).await,
            }
        }
    };
    timeout(LONGEST, answer).await.unwrap_or_else(|_| panic!("waited for {what}"))
}

#[tokio::test]
async fn the_sixty_seconds_print_what_the_readme_shows() {
    let Some(terminal) = Terminal::open().await else { return };
    let mut steps = walk("60 seconds");
    let start = steps.remove(0);
    assert_eq!(start.commands.trim(), START);
    assert_eq!(masked(&terminal.greeting), masked(&start.output.expect("the greeting")));
    let printed = terminal.type_in(&steps).await;
    assert_eq!(printed.len(), steps.len());
    for (step, printed) in steps.iter().zip(printed) {
        let shown = step.output.as_deref().unwrap_or_default();
        assert_eq!(masked(&printed), masked(shown), "after\n{}\nit printed\n{printed}", step.commands);
    }
}

#[tokio::test]
async fn the_walk_through_the_warnings_prints_what_the_readme_shows() {
    let mut steps = walk("Warnings");
    let start = steps.remove(0).commands;
    let settings = start.trim().strip_suffix(START).expect("it ends as the start does").split_whitespace();
    let settings: Vec<(&str, &str)> = settings.filter_map(|setting| setting.split_once('=')).collect();
    let Some(terminal) = Terminal::open_with(&settings).await else { return };
    let mut before = walk("60 seconds").split_off(1);
    let skipped = before.len();
    before.append(&mut steps);
    let printed = terminal.type_in(&before).await;
    assert_eq!(printed.len(), before.len());
    for (step, printed) in before.iter().zip(printed).skip(skipped) {
        let shown = step.output.as_deref().unwrap_or_default();
        assert_eq!(masked(&printed), masked(shown), "after\n{}\nit printed\n{printed}", step.commands);
    }
}

#[tokio::test]
async fn the_watch_prints_what_the_readme_shows() {
    let Some(terminal) = Terminal::open().await else { return };
    let mut steps = walk("60 seconds").split_off(1);
    steps.extend(walk("Rights"));
    steps.extend(walk("Streams"));
    let printed = terminal.type_in(&steps).await;
    let (step, printed) = (steps.last().expect("a step"), printed.last().expect("its output"));
    assert_eq!(masked(printed), masked(step.output.as_deref().expect("shown")), "it printed\n{printed}");
}

#[tokio::test]
async fn the_commands_about_replicas_and_policies_do_what_it_says() {
    let Some(terminal) = Terminal::open().await else { return };
    let mut steps = walk("60 seconds").split_off(1);
    steps.extend(walk("Replicas"));
    let replicas = steps.len() - 1;
    steps.extend(walk("More about keys, and what a tenant demands"));
    let printed = terminal.type_in(&steps).await;
    let parsed = |text: &str| {
        serde_json::from_str::<serde_json::Value>(text).unwrap_or_else(|_| panic!("{text} of {printed:?}"))
    };
    let revoked = parsed(&printed[replicas]);
    assert_eq!(
        (revoked["confirmedReplicas"].as_array().map(Vec::len), revoked.get("unconfirmedReplicas")),
        (Some(1), None)
    );
    assert_eq!(revoked["key"]["state"], "KEY_STATE_REVOKED");
    let tenant = parsed(&std::fs::read_to_string(terminal.folder.path().join("acme.json")).expect("its answer"));
    assert_eq!(tenant["tenant"]["policy"], serde_json::json!({"maxLifetime": "7776000s", "allowedRoles": ["auditor"]}));
}

#[tokio::test]
async fn the_walk_through_envoy_prints_what_the_readme_shows() {
    if tool("envoy").is_none() || tool("curl").is_none() {
        return;
    }
    let Some(mut terminal) = Terminal::open().await else { return };
    let binary = Path::new(env!("CARGO_BIN_EXE_claviger")).parent().expect("a folder");
    terminal.path = format!("{}:{}", binary.display(), terminal.path);
    let example = terminal.folder.path().join("examples/envoy");
    std::fs::create_dir_all(&example).expect("a folder");
    std::fs::copy(repository().join("examples/envoy/envoy.yaml"), example.join("envoy.yaml")).expect("copied");
    let mut steps = walk("60 seconds").split_off(1);
    steps.extend(walk("Rights"));
    let skipped = steps.len();
    steps.extend(walk("Envoy"));
    steps.extend(walk("Coming from …"));
    let printed = terminal.type_in(&steps).await;
    assert_eq!(printed.len(), steps.len());
    for (step, printed) in steps.iter().zip(printed).skip(skipped) {
        match step.output.as_deref() {
            Some(shown) => {
                assert_eq!(masked(&printed), masked(shown), "after\n{}\nit printed\n{printed}", step.commands)
            }
            // What admits is told the same each time.
            None if step.commands.contains("curl ") => {
                assert!(printed.is_empty() || printed.contains("reporting"), "{printed}")
            }
            None => assert_eq!(printed, "", "after\n{}", step.commands),
        }
    }
    let keys = std::fs::read_to_string(terminal.folder.path().join("keys.json")).expect("an answer");
    let keys: serde_json::Value = serde_json::from_str(&keys).expect("JSON");
    assert_eq!(keys["keys"][0]["displayName"], "Reader");
}

#[tokio::test]
async fn a_retrievable_key_is_revealed_as_the_readme_shows() {
    let kept = tempfile::tempdir().expect("a folder");
    let kek = kept.path().join("kek");
    let mut steps = walk("Retrievable keys");
    let start = steps.remove(0).commands;
    let start = start.trim().strip_suffix(START).expect("it ends as the start does").trim_end();
    let make = start.strip_suffix("CLAVIGER_KEK_FILE=kek").expect("the setting");
    let made = Command::new("bash").args(["-c", make]).current_dir(kept.path()).status().await.expect("bash");
    assert!(made.success(), "{make}");
    let Some(terminal) = Terminal::open_with(&[("CLAVIGER_KEK_FILE", kek.to_str().expect("UTF-8"))]).await else {
        return;
    };
    let mut all = walk("60 seconds").split_off(1);
    all.append(&mut steps);
    let printed = terminal.type_in(&all).await;
    let (step, printed) = (all.last().expect("a step"), printed.last().expect("its output"));
    assert_eq!(masked(printed), masked(step.output.as_deref().expect("shown")), "it printed\n{printed}");
}

#[tokio::test]
async fn a_certificate_calls_as_the_readme_shows() {
    let files = tempfile::tempdir().expect("a folder");
    let authority = Authority::new("README");
    authority.sign(&Wanted::server(&["127.0.0.1"])).write(files.path(), "server");
    std::fs::write(files.path().join("ca.crt"), &authority.pem).expect("written");
    let file = |name: &str| files.path().join(name).to_str().expect("UTF-8").to_owned();
    let (certificate, key, ca) = (file("server.crt"), file("server.key"), file("ca.crt"));
    let settings = [
        ("CLAVIGER_TLS_CERTIFICATE_FILE", certificate.as_str()),
        ("CLAVIGER_TLS_KEY_FILE", key.as_str()),
        ("CLAVIGER_TLS_CLIENT_CA_FILE", ca.as_str()),
    ];
    let Some(terminal) = Terminal::open_with(&settings).await else { return };
    let gateway = authority.sign(&Wanted::client(&["spiffe://example.org/gateway"], &[]));
    let held = [("ca.pem", &authority.pem), ("gateway.pem", &gateway.certificate), ("gateway-key.pem", &gateway.key)];
    for (name, pem) in held {
        std::fs::write(terminal.folder.path().join(name), pem).expect("written");
    }
    let mut steps = walk("60 seconds").split_off(1);
    steps.extend(walk("Rights"));
    steps.iter_mut().for_each(|step| step.commands = step.commands.replace("-plaintext", "-cacert ca.pem"));
    steps.extend(walk("Callers by certificate"));
    let printed = terminal.type_in(&steps).await;
    let (step, printed) = (steps.last().expect("a step"), printed.last().expect("its output"));
    assert_eq!(masked(printed), masked(step.output.as_deref().expect("shown")), "it printed\n{printed}");
}

#[tokio::test]
async fn the_python_client_prints_the_verdict() {
    let (Some(terminal), Some(python)) = (Terminal::open().await, tool("python3")) else { return };
    std::fs::write(terminal.folder.path().join("verify.py"), only_block("Python client", "python")).expect("written");
    let mut client = terminal.command(python);
    client.arg("verify.py").args(terminal.prepare_for_clients().await);
    let (code, out, err) = timeout(LONGEST, run(client)).await.expect("it ends");
    assert_eq!((code, &*out, &*err), (Some(0), "VERDICT_REVOKED\n", ""));
}

#[tokio::test]
async fn the_rust_client_is_the_example_and_prints_the_verdict() {
    let source = std::fs::read_to_string(repository().join("examples/verify.rs")).expect("the example");
    assert_eq!(only_block("Rust client", "rust"), source);
    let Some(terminal) = Terminal::open().await else { return };
    let binary = Path::new(env!("CARGO_BIN_EXE_claviger")).with_file_name("examples").join("verify");
    if !binary.exists() {
        skip("no example: `cargo test --test it` alone doesn't build it, `cargo test` does");
        return;
    }
    let mut client = terminal.command(binary);
    client.args(terminal.prepare_for_clients().await);
    let (code, out, err) = timeout(LONGEST, run(client)).await.expect("it ends");
    assert_eq!((code, &*out, &*err), (Some(0), "VERDICT_REVOKED\n", ""));
}
