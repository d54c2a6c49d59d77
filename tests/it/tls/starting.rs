//! What a start does with the files: it takes good ones, and says in a sentence what is wrong with others.

use std::process::{Command as StdCommand, Stdio};

use claviger::clock::Clock;
use claviger::tls::{Tls, TlsFiles};
use tokio::process::Command;
use tokio::time::timeout;

use super::{LONGEST, NAME, Scene, run_tool};
use crate::harness::certificates::{Authority, Wanted};
use crate::harness::{Process, engine::skip, http, process};

/// Exit code and everything that was said.
async fn ended(command: Command) -> (Option<i32>, String) {
    let (code, out, err) = timeout(LONGEST, process::run(command)).await.expect("it ends");
    (code, out + &err)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cant_be_used_is_refused_with_a_sentence() {
    let scene = Scene::new();
    let sign = |wanted: Wanted, name: &str| scene.authority.sign(&wanted).write(scene.folder(), name);
    sign(Wanted::server(&[NAME]).expired(), "old");
    sign(Wanted::server(&[NAME]).not_yet_valid(), "new");
    std::fs::write(scene.file("empty"), "").expect("written");
    let pem = std::fs::read_to_string(scene.file("tls.crt")).expect("a certificate");
    std::fs::write(scene.file("cut.crt"), &pem[..pem.len() / 2]).expect("written");
    std::fs::write(scene.file("odd.crt"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        .expect("written");
    std::fs::write(scene.file("long"), vec![b'\n'; (1 << 20) + 1]).expect("written");
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    std::fs::write(scene.file("locked.key"), encrypted).expect("written");
    let odd = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    std::fs::write(scene.file("odd.key"), odd).expect("written");
    for (certificate, key, ca, says) in [
        ("none.crt", "tls.key", None, "tls_certificate_file: /none.crt: No such file"),
        ("tls.crt", "none.key", None, "tls_key_file: /none.key: No such file"),
        ("empty", "tls.key", None, "tls_certificate_file: /empty holds no certificate"),
        ("tls.key", "tls.key", None, "tls_certificate_file: /tls.key holds no certificate"),
        ("cut.crt", "tls.key", None, "tls_certificate_file: /cut.crt is damaged"),
        ("odd.crt", "tls.key", None, "tls_certificate_file: /odd.crt holds no certificate that can be read"),
        ("long", "tls.key", None, "tls_certificate_file: /long is longer than 1048576 bytes"),
        ("tls.crt", "empty", None, "tls_key_file: /empty holds no private key in the clear"),
        ("tls.crt", "locked.key", None, "tls_key_file: /locked.key holds no private key in the clear"),
        ("tls.crt", "odd.key", None, "tls_key_file: /odd.key holds a key that can't be used here"),
        ("tls.crt", "old.key", None, "tls_key_file: /old.key isn't the key of the first certificate in /tls.crt"),
        ("old.crt", "old.key", None, "tls_certificate_file: /old.crt has expired at 2020-01-02 00:00:00 UTC"),
        ("new.crt", "new.key", None, "tls_certificate_file: /new.crt is valid from 2039-12-31 00:00:00 UTC on"),
        ("tls.crt", "tls.key", Some("none.crt"), "tls_client_ca_file: /none.crt: No such file"),
        ("tls.crt", "tls.key", Some("empty"), "tls_client_ca_file: /empty holds no certificate"),
        ("tls.crt", "tls.key", Some("odd.crt"), "tls_client_ca_file: /odd.crt: certificate 1 can't be"),
    ] {
        let mut command = process::command(&scene.place);
        command.env("CLAVIGER_TLS_CERTIFICATE_FILE", scene.file(certificate));
        command.env("CLAVIGER_TLS_KEY_FILE", scene.file(key));
        if let Some(ca) = ca {
            command.env("CLAVIGER_TLS_CLIENT_CA_FILE", scene.file(ca));
        }
        let (code, said) = ended(command).await;
        let said = said.replace(scene.folder().to_str().expect("UTF-8"), "");
        assert!(code == Some(1) && said.contains(says), "{certificate} {key} {ca:?}: {code:?} {said}");
        assert!(!said.contains("PRIVATE KEY"), "{said}");
    }
    // Everything at once.
    let mut command = scene.command(false);
    command
        .env("CLAVIGER_TLS_CERTIFICATE_FILE", scene.file("old.crt"))
        .env("CLAVIGER_TLS_KEY_FILE", scene.file("empty"));
    let (_, said) = ended(command).await;
    assert!(said.contains("tls_certificate_file: ") && said.contains("tls_key_file: "), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_file_without_the_other_is_refused_by_name() {
    let scene = Scene::new();
    for (given, missing) in
        [("CERTIFICATE", "tls_key_file: "), ("KEY", "tls_certificate_file: "), ("CLIENT_CA", "tls_key_file: ")]
    {
        let mut command = process::command(&scene.place);
        command.env(format!("CLAVIGER_TLS_{given}_FILE"), scene.file("tls.crt"));
        let (code, said) = ended(command).await;
        assert!(code == Some(2) && said.contains(missing), "{given}: {code:?} {said}");
    }
}

/// What openssl makes of a key: PKCS#8, SEC1 and PKCS#1.
#[test]
fn keys_of_every_usual_form_are_taken() {
    if !StdCommand::new("openssl").arg("version").stdout(Stdio::null()).status().is_ok_and(|status| status.success()) {
        return skip("no openssl, which makes the keys");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let openssl = |arguments: &str| {
        let mut openssl = StdCommand::new("openssl");
        openssl.current_dir(folder.path()).args(arguments.split(' ')).stdin(Stdio::null()).stderr(Stdio::null());
        assert!(openssl.status().expect("openssl runs").success(), "openssl {arguments}");
    };
    openssl("ecparam -name prime256v1 -genkey -out sec1.key");
    openssl("pkcs8 -topk8 -nocrypt -in sec1.key -out pkcs8.key");
    openssl("genrsa -traditional -out pkcs1.key 2048");
    openssl("genpkey -algorithm ed25519 -out ed25519.key");
    for (name, begins) in
        [("sec1", "EC PARAMETERS"), ("pkcs8", "PRIVATE KEY"), ("pkcs1", "RSA PRIVATE KEY"), ("ed25519", "PRIVATE KEY")]
    {
        openssl(&format!("req -x509 -key {name}.key -out {name}.crt -subj /CN={name} -days 2"));
        let [certificate, key] = ["crt", "key"].map(|ending| folder.path().join(format!("{name}.{ending}")));
        assert!(std::fs::read_to_string(&key).expect("a key").contains(&format!("-----BEGIN {begins}-----")), "{name}");
        let loaded = Tls::load(TlsFiles { certificate, key, client_ca: None }, Clock::system());
        loaded.unwrap_or_else(|why| panic!("{name}: {why}"));
    }
}

/// What is printed at the start leads a newcomer on, over TLS and on an address that isn't loopback.
#[tokio::test(flavor = "multi_thread")]
async fn the_greetings_command_works_as_printed() {
    let Some(grpcurl) = crate::harness::engine::tool("grpcurl") else { return };
    let scene = Scene::new();
    let greeting = scene.file("greeting");
    let mut command = Command::new("/bin/sh");
    let script = "\"$0\" >\"$1\" 2>/dev/null & child=$!; trap 'kill $child' TERM; wait $child";
    command.args(["-c", script, env!("CARGO_BIN_EXE_claviger")]).arg(&greeting).env_clear();
    let with = scene.command(false);
    command.envs(with.as_std().get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("CLAVIGER_LISTEN", "0.0.0.0:0").stdin(Stdio::null()).kill_on_drop(true);
    let mut running = command.spawn().expect("it starts");
    let told = || std::fs::read_to_string(&greeting).unwrap_or_default();
    crate::rig::eventually(LONGEST, "it greets", async || told().contains("CreateTenant\n")).await;
    let told = told();
    assert!(told.contains("Health and metrics are on https://127.0.0.1:"), "{told}");
    let (_, printed) = told.split_once("Next, make a tenant:\n").expect("a command");
    assert!(printed.contains(&format!("-cacert {}", scene.file("tls.crt").display())), "{printed}");
    let mut shell = Command::new("/bin/sh");
    let path = format!("{}:/usr/bin:/bin", grpcurl.parent().expect("a folder").display());
    shell.args(["-c", printed]).env_clear().env("PATH", path).stdin(Stdio::null());
    let (code, said) = ended_with_pipes(shell).await;
    assert!(code == Some(0) && said.contains("tenants/acme"), "{code:?} {said} of {printed}");
    let pid = running.id().expect("running").to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().await.expect("kill runs").success());
    running.wait().await.expect("it ends");
}

async fn ended_with_pipes(mut command: Command) -> (Option<i32>, String) {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    ended(command).await
}

#[tokio::test(flavor = "multi_thread")]
async fn healthcheck_asks_over_tls_and_tells_of_another_certificate() {
    let scene = Scene::new();
    let service = scene.start().await;
    let address = service.address.to_string();
    let check = |scene: &Scene, encrypted: bool| {
        let mut command = if encrypted { scene.command(false) } else { process::command(&scene.place) };
        command.arg("healthcheck").env("CLAVIGER_LISTEN", &address);
        ended(command)
    };
    assert_eq!(check(&scene, true).await, (Some(0), String::new()));
    assert_eq!(check(&scene, false).await.0, Some(1), "nobody answers in the clear");
    // A service that keeps its certificate, because the new one is no good, must not be killed by its own probe.
    let (code, said) = check(&Scene::new(), true).await;
    assert!(code == Some(0) && said.contains("another certificate than tls_certificate_file"), "{code:?} {said}");
    assert_eq!(service.terminate().await, Some(0));
    assert_eq!(check(&scene, true).await.0, Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_http_port_speaks_tls_too() {
    let scene = Scene::new();
    let authority = Authority::new("another");
    std::fs::write(scene.file("other.crt"), &authority.pem).expect("written");
    let service = Process::start_command(scene.command(true)).await;
    let port = service.http_address.port();
    let (url, to) = (format!("https://{NAME}:{port}"), format!("{NAME}:{port}:127.0.0.1"));
    let [ca, other] = ["ca.crt", "other.crt"].map(|name| scene.file(name).display().to_string());
    let curl = async |ca: &str, path: &str| {
        let url = format!("{url}{path}");
        run_tool("curl", &["-sS", "--cacert", ca, "--resolve", &to, &url]).await
    };
    let Some((code, said)) = curl(&ca, "/readyz").await else { return };
    assert_eq!((code, said.as_str()), (Some(0), "ok"));
    let (_, metrics) = curl(&ca, "/metrics").await.expect("curl");
    let end = "claviger_tls_certificate_expiry_timestamp_seconds 2208988800\n";
    assert!(metrics.contains(end) && metrics.contains("claviger_tls_reloads_total{result=\"refused\"} 0"), "{metrics}");
    let (code, said) = curl(&other, "/livez").await.expect("curl");
    assert!(code != Some(0) && said.contains("certificate"), "{code:?} {said}");
    let plain = http::ask(([127, 0, 0, 1], port).into(), "GET", "/livez", "").await;
    assert_eq!((plain.status, plain.body.as_str()), (400, "This port speaks TLS; use https://.\n"));
    assert_eq!(service.terminate().await, Some(0));
}
