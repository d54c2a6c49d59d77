//! From the first start to the last: what the binary says, what it keeps, how it leaves, what it refuses.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use claviger::proto::v1::{self, Verdict};
use sea_orm::ConnectionTrait;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::time::{Instant, timeout};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::harness::{Client, Engine, Place, Process, process};
use crate::rig::{Change, database, eventually, hold_up_changes, is_live, list_keys, start, verdicts};

on_both_engines!(
    the_first_start_says_what_to_do_next,
    a_restart_keeps_everything,
    sigterm_lets_a_running_change_end,
    an_eleventh_root_key_ends_the_oldest,
    a_root_key_made_beforehand_is_the_first_one,
    migrate_prepares_a_database_and_says_so,
    a_database_from_the_future_is_refused_with_advice,
    a_foreign_root_key_file_is_refused,
);

/// Running calls may take this long to end (domain/limits.rs), and the process a moment more.
const LEAVES: Duration = Duration::from_secs(11);

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

async fn the_first_start_says_what_to_do_next(engine: Engine) {
    let Some(mut place) = engine.place().await else { return };
    // A folder that isn't there yet.
    let parent = std::mem::replace(&mut place.folder, tempfile::tempdir().expect("a folder"));
    std::fs::remove_dir(place.folder.path()).expect("empty");
    let mut child = process::command(&place).stderr(std::process::Stdio::inherit()).spawn().expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let mut said = String::new();
    while !said.contains("TenantService/CreateTenant") {
        said += &lines.next_line().await.expect("UTF-8").expect("more to say");
        said.push('\n');
    }
    let folder = place.folder.path().canonicalize().expect("a folder");
    let root_key = folder.join("root.key");
    let mut told = vec![format!("authorization: Bearer $(cat {})", root_key.display())];
    told.push(format!("The pepper is {}", folder.join("pepper").display()));
    told.extend((engine == Engine::Sqlite).then(|| folder.join("claviger.sqlite").display().to_string()));
    for part in told {
        assert!(said.contains(&part), "{part:?} isn't in {said}");
    }
    assert!(!said.contains(&process::root_secret(&folder)), "the key itself isn't shown");
    assert_eq!(mode(&folder), 0o700);
    let mut secret_files = vec![root_key, folder.join("pepper")];
    if engine == Engine::Sqlite {
        secret_files.extend(["claviger.sqlite", "claviger.sqlite-wal"].map(|name| folder.join(name)));
    }
    for file in secret_files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
    drop(parent);
}

async fn a_restart_keeps_everything(engine: Engine) {
    let Some(place) = engine.place().await else { return };
    let running = start(&place).await;
    let secret = process::root_secret(place.folder.path());
    let mut root = running.caller(Some(&secret)).await;
    let tenant = root.create_tenant("acme").await;
    let owner = root.create_service_user(&tenant, "billing").await;
    let (_, valid) = root.create_key(&owner, &["pay"]).await;
    let (revoked, old) = root.create_key(&owner, &["pay"]).await;
    Change::Revoke.make(&mut root, &owner, &revoked.name).await.expect("revoked");
    let before = list_keys(&mut root, &owner, true).await;
    assert_eq!(running.terminate().await, Some(0));
    let running = start(&place).await;
    assert_eq!(process::root_secret(place.folder.path()), secret);
    let mut root = running.caller(Some(&secret)).await;
    assert_eq!(list_keys(&mut root, &owner, true).await, before);
    assert_eq!(verdicts(&mut root, &[valid, old]).await, [Verdict::Valid, Verdict::Revoked]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_the_same_sqlite_folder_is_refused() {
    let Some(place) = Engine::Sqlite.place().await else { return };
    let running = start(&place).await;
    for arguments in [&[][..], &["serve"], &["migrate"], &["root-key"]] {
        let mut command = process::command(&place);
        command.args(arguments);
        let (code, _, said) = process::run(command).await;
        assert_eq!(code, Some(1), "{arguments:?}: {said}");
        assert!(said.contains("is in use by another claviger process"), "{arguments:?}: {said}");
    }
    let mut root = running.caller(Some(&process::root_secret(place.folder.path()))).await;
    root.create_tenant("still-serving").await;
}

async fn sigterm_lets_a_running_change_end(engine: Engine) {
    let Some(place) = engine.place().await else { return };
    let running = start(&place).await;
    let mut root = running.caller(Some(&process::root_secret(place.folder.path()))).await;
    let idle = Client::connect(running.address, None).await;
    let mut watcher = HealthClient::new(idle.channel.clone());
    let watch = watcher.watch(HealthCheckRequest { service: String::new() }).await.expect("a stream");
    let mut states = watch.into_inner();
    assert_eq!(states.message().await.expect("a state").expect("a state").status(), ServingStatus::Serving);
    let lock = hold_up_changes(&place).await;
    let mut changing = tokio::spawn(async move { root.create_tenant("acme").await });
    assert!(timeout(Duration::from_millis(300), &mut changing).await.is_err(), "the change waits for the lock");

    let begun = Instant::now();
    let leaving = tokio::spawn(running.terminate());
    assert_eq!(states.message().await.expect("a state").expect("a state").status(), ServingStatus::NotServing);
    lock.execute_unprepared("ROLLBACK").await.expect("unlocked");
    assert_eq!(changing.await.expect("the running call ends well"), "tenants/acme");
    assert_eq!(leaving.await.expect("it ends"), Some(0));
    assert!(begun.elapsed() < LEAVES, "{:?}", begun.elapsed());
    let running = start(&place).await;
    let mut root = running.caller(Some(&process::root_secret(place.folder.path()))).await;
    root.tenants.get_tenant(v1::GetTenantRequest { name: "tenants/acme".to_owned() }).await.expect("it was made");
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_doesnt_wait_for_idle_clients() {
    let Some(place) = Engine::Sqlite.place().await else { return };
    let running = start(&place).await;
    let mut idle = Client::connect(running.address, None).await;
    idle.verification.verify(v1::VerifyRequest::default()).await.expect_err("no credential");
    let begun = Instant::now();
    assert_eq!(running.terminate().await, Some(0));
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_in_time_whatever_sockets_are_open() {
    let Some(place) = Engine::Sqlite.place().await else { return };
    let running = start(&place).await;
    let _silent = tokio::net::TcpStream::connect(running.address).await.expect("connected");
    let mut deaf = tokio::net::TcpStream::connect(running.address).await.expect("connected");
    let hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    tokio::io::AsyncWriteExt::write_all(&mut deaf, hello).await.expect("written");
    let begun = Instant::now();
    assert_eq!(running.terminate().await, Some(0));
    assert!(begun.elapsed() < LEAVES, "{:?}", begun.elapsed());
}

async fn root_key(place: &Place) -> String {
    let mut command = process::command(place);
    command.arg("root-key");
    let (code, out, err) = process::run(command).await;
    assert_eq!(code, Some(0), "{err}");
    out.trim_end().to_owned()
}

async fn an_eleventh_root_key_ends_the_oldest(engine: Engine) {
    let Some(place) = engine.place().await else { return };
    let mut secrets = Vec::new();
    for number in 0..11 {
        // The first one is also a first start, and leaves its own key in root.key.
        secrets.push(root_key(&place).await);
        if number == 0 {
            secrets.insert(0, process::root_secret(place.folder.path()));
        }
    }
    let running = start(&place).await;
    let mut root = running.caller(secrets.last().map(String::as_str)).await;
    let mut expected = vec![Verdict::Valid; 12];
    expected[..2].fill(Verdict::Revoked);
    assert_eq!(verdicts(&mut root, &secrets).await, expected);
    let keys = list_keys(&mut root, "tenants/system/serviceUsers/root", false).await;
    assert_eq!(keys.iter().filter(|key| is_live(key)).count(), 10);
}

async fn a_root_key_made_beforehand_is_the_first_one(engine: Engine) {
    let Some(place) = engine.place().await else { return };
    let mut command = process::bare_command();
    command.args(["root-key", "--offline"]);
    let (code, secret, _) = process::run(command).await;
    assert_eq!(code, Some(0));
    let kept = tempfile::tempdir().expect("a folder");
    let file = kept.path().join("first.key");
    std::fs::write(&file, &secret).expect("written");
    for _ in 0..2 {
        let mut command = process::command(&place);
        command.env("CLAVIGER_ROOT_KEY_FILE", &file);
        let running = Process::start_command(command).await;
        running
            .caller(Some(secret.trim_end()))
            .await
            .tenants
            .list_tenants(v1::ListTenantsRequest::default())
            .await
            .expect("root");
        assert_eq!(running.terminate().await, Some(0));
        assert!(!place.folder.path().join("root.key").exists(), "it is kept where it was given");
    }
}

async fn a_foreign_root_key_file_is_refused(engine: Engine) {
    let Some(place) = engine.place().await else { return };
    let file = place.folder.path().join("first.key");
    let geheim = "cvg_this-is-no-secret-but-was-meant-to-be-one";
    std::fs::write(&file, geheim).expect("written");
    let mut command = process::command(&place);
    command.env("CLAVIGER_ROOT_KEY_FILE", &file);
    let (code, out, said) = process::run(command).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("first.key") && said.contains("root-key --offline"), "{said}");
    assert!(!format!("{out}{said}").contains(geheim), "{said}");
}

async fn migrate_prepares_a_database_and_says_so(engine: Engine) {
    let Some(place) = engine.place().await else { return };
    for says in ["migration(s) applied", "nothing was changed"] {
        let mut command = process::command(&place);
        command.arg("migrate");
        let (code, out, err) = process::run(command).await;
        assert_eq!(code, Some(0), "{err}");
        assert!(out.contains(says), "{out}");
    }
    let running = start(&place).await;
    running.caller(Some(&process::root_secret(place.folder.path()))).await.create_tenant("acme").await;
}

async fn a_database_from_the_future_is_refused_with_advice(engine: Engine) {
    let Some(place) = engine.place().await else { return };
    start(&place).await.terminate().await;
    let database = database(&place).await;
    let future = "INSERT INTO seaql_migrations (version, applied_at) VALUES ('m29990101_000001_contract_future', 0)";
    database.execute_unprepared(future).await.expect("a row");
    database.close().await.expect("closed");
    for arguments in [&["serve"][..], &["migrate"], &["root-key"]] {
        let mut command = process::command(&place);
        command.args(arguments);
        let (code, _, said) = process::run(command).await;
        assert_eq!(code, Some(1), "{arguments:?}: {said}");
        assert!(said.contains("newer version of claviger") && said.contains("restore a backup"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn healthcheck_tells_by_its_exit_code() {
    let Some(place) = Engine::Sqlite.place().await else { return };
    let running = start(&place).await;
    let address = running.address.to_string();
    let check = || {
        let mut command = process::bare_command();
        command.arg("healthcheck").env("CLAVIGER_LISTEN", &address);
        process::run(command)
    };
    let (code, out, err) = check().await;
    assert_eq!((code, out.as_str(), err.as_str()), (Some(0), "", ""));
    // By name, from elsewhere: nothing but the argument says where.
    let ask = |target: String| {
        let mut command = process::bare_command();
        command.args(["healthcheck", &target]);
        process::run(command)
    };
    let named = format!("localhost:{}", running.address.port());
    assert_eq!(ask(named.clone()).await, (Some(0), String::new(), String::new()));
    assert_eq!(running.terminate().await, Some(0));
    let (code, _, err) = check().await;
    assert_eq!(code, Some(1));
    assert!(err.contains(&address), "{err}");
    let (code, _, err) = ask(named).await;
    assert!(code == Some(1) && err.contains(&address), "{err}");
    let (code, _, err) = ask("no-such-host.invalid:50051".to_owned()).await;
    assert!(code == Some(1) && err.contains("no-such-host.invalid:50051: "), "{err}");
    let (code, _, err) = ask("https://localhost".to_owned()).await;
    assert!(code == Some(2) && err.contains("must be a host and a port"), "{err}");
}

/// For an image without a shell: the service runs, and nothing is locked or changed.
#[tokio::test(flavor = "multi_thread")]
async fn the_kept_root_key_is_printed_beside_a_running_service() {
    let Some(place) = Engine::Sqlite.place().await else { return };
    let kept = || {
        let mut command = process::command(&place);
        command.args(["root-key", "--kept"]);
        process::run(command)
    };
    let (code, out, err) = kept().await;
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(err.contains("root.key does not exist") && err.contains("`claviger root-key` makes another"), "{err}");
    let running = start(&place).await;
    let (code, out, err) = kept().await;
    let root = process::root_secret(place.folder.path());
    assert_eq!((code, out, err), (Some(0), format!("{root}\n"), String::new()));
    assert_eq!(running.terminate().await, Some(0));
    let mut both = process::command(&place);
    both.args(["root-key", "--kept", "--offline"]);
    let (code, _, err) = process::run(both).await;
    assert!(code == Some(2) && err.contains("cannot be used with"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_named_with_the_setting_that_helps() {
    let Some(place) = Engine::Sqlite.place().await else { return };
    let taken = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let mut command = process::command(&place);
    command.env("CLAVIGER_LISTEN", &address);
    let (code, _, said) = process::run(command).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&address) && said.contains("CLAVIGER_LISTEN"), "{said}");
}

/// Exit code and everything that was said by a start with these variables.
async fn start_with(place: &Place, variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command: Command = process::command(place);
    command.envs(variables.iter().copied());
    let (code, out, err) = timeout(Duration::from_secs(30), process::run(command)).await.expect("it ends");
    (code, out + &err)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_setting_is_named_at_once_and_no_value_of_it_shown() {
    let Some(place) = Engine::Sqlite.place().await else { return };
    let file = place.folder.path().join("claviger.toml");
    std::fs::write(&file, "smtp = \"geheim-1\"\nstaleness_bound = 300\nlog_format = \"geheim-2\"\n").expect("written");
    let (code, said) = start_with(
        &place,
        &[
            ("CLAVIGER_CONFIG", file.to_str().expect("UTF-8")),
            ("CLAVIGER_PASSWORD", "geheim-3"),
            ("CLAVIGER_LISTEN", "geheim-4"),
            ("CLAVIGER_LOG", "geheim=5=6"),
            ("CLAVIGER_INSECURE", "geheim-7"),
            ("CLAVIGER_DATABASE_URL", "mysql://u:geheim-8@h/d"),
        ],
    )
    .await;
    assert_eq!(code, Some(2), "{said}");
    let named =
        ["smtp", "staleness_bound", "log_format", "CLAVIGER_PASSWORD", "listen", "log:", "insecure", "database_url"];
    let missing: BTreeSet<&str> = named.into_iter().filter(|name| !said.contains(name)).collect();
    assert!(missing.is_empty(), "{missing:?} isn't in {said}");
    assert!(!said.contains("geheim"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_cant_be_reached_is_said_without_its_password() {
    let Some(place) = Engine::Sqlite.place().await else { return };
    for url in [
        "postgres://u:geheim@127.0.0.1:1/keys",
        "postgres://u:geheim@no-such-host.invalid/keys",
        "postgres://u:geheim@no-such-host.invalid/keys?sslmode=disable",
        "postgres://u:geheim@127.0.0.1:notaport/keys",
        "postgres://u:geheim@127.0.0.1:1/keys?sslmode=geheim",
        "postgres://u:ge%heim@127.0.0.1:1/keys",
        "geheim",
    ] {
        let (code, said) = start_with(&place, &[("CLAVIGER_DATABASE_URL", url), ("CLAVIGER_LOG", "trace")]).await;
        assert!(matches!(code, Some(1 | 2)) && !said.is_empty(), "{url}: {code:?} {said}");
        assert!(!said.contains("geheim") && !said.contains("ge%heim"), "{url}: {said}");
    }
    let file = place.folder.path().join("claviger.toml");
    std::fs::write(&file, "database_url = \"postgres://u:geheim@h/d\nlog = \"info\"\n").expect("written");
    let (code, said) = start_with(&place, &[("CLAVIGER_CONFIG", file.to_str().expect("UTF-8"))]).await;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("claviger.toml") && said.contains("line 1") && !said.contains("geheim"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_loopback_is_served_without_tls_unless_that_is_meant() {
    let Some(place) = Engine::Sqlite.place().await else { return };
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:50051"] {
        let (code, said) = start_with(&place, &[("CLAVIGER_LISTEN", address)]).await;
        assert_eq!(code, Some(2), "{address}: {said}");
        assert!(said.contains(address) && said.contains("CLAVIGER_INSECURE=true"), "{address}: {said}");
    }
    let mut command = process::command(&place);
    command.env("CLAVIGER_LISTEN", "0.0.0.0:0").env("CLAVIGER_INSECURE", "true");
    let running = Process::start_command(command).await;
    assert!(running.address.ip().is_unspecified());
    eventually(Duration::from_secs(5), "it can be reached", async || {
        tokio::net::TcpStream::connect(("127.0.0.1", running.address.port())).await.is_ok()
    })
    .await;
}
