//! The Containerfile, as far as it can be proved without a container engine: that cargo finds in it what it needs, that the
//! binary needs no library that the second stage lacks, and that the chart and it agree.

use std::path::Path;
use std::process::Stdio;

use claviger::config::catalogue::SETTINGS;
use serde_json::Value;
use tokio::process::Command;

use crate::harness::{
    engine::{skip, tool},
    process::run,
};

/// What gcr.io/distroless/cc has besides glibc's own.
const LIBRARIES: [&str; 5] = ["libc.so.6", "libm.so.6", "libgcc_s.so.1", "libpthread.so.0", "libdl.so.2"];

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The instructions: a word and the rest, continued lines joined, comments left out.
fn instructions() -> Vec<(String, String)> {
    let text = std::fs::read_to_string(repository().join("Containerfile")).expect("a Containerfile");
    let text = text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n").replace("\\\n", " ");
    let split = |line: &str| line.split_once(' ').map(|(word, rest)| (word.to_owned(), rest.trim().to_owned()));
    text.lines().filter_map(split).collect()
}

/// The instructions of one kind in a stage, the first or the second.
fn of(stage: usize, word: &str) -> Vec<String> {
    let mut stages = 0;
    let mut found = Vec::new();
    for (instruction, rest) in instructions() {
        stages += usize::from(instruction == "FROM");
        if stages == stage && instruction == word {
            found.push(rest);
        }
    }
    found
}

fn only(stage: usize, word: &str) -> String {
    let [one] = <[String; 1]>::try_from(of(stage, word)).unwrap_or_else(|all| panic!("{word}: {all:?}"));
    one
}

fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        std::fs::create_dir_all(to).expect("a folder");
        for entry in std::fs::read_dir(from).expect("a folder") {
            let entry = entry.expect("an entry");
            copy(&entry.path(), &to.join(entry.file_name()));
        }
    } else {
        std::fs::copy(from, to).expect("copied");
    }
}

/// `image:1.95.0-slim-bookworm` as 1, 95.
fn version(text: &str) -> (u32, u32) {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).filter(|part| !part.is_empty());
    let mut number =
        || numbers.next().and_then(|part| part.parse().ok()).unwrap_or_else(|| panic!("no version: {text}"));
    (number(), number())
}

#[test]
fn the_compiler_is_new_enough_and_both_stages_are_of_one_debian() {
    let (build, run) = (only(1, "FROM"), only(2, "FROM"));
    let (image, _) = build.split_once(" AS build").expect("the name that the second stage copies from");
    let (_, tag) = image.rsplit_once("/rust:").expect("Rust's own image");
    let least = env!("CARGO_PKG_RUST_VERSION");
    assert!(version(tag) >= version(least), "{tag} is older than {least}");
    // A binary that was linked with a newer glibc doesn't start on an older one.
    let releases = [("bookworm", "debian12"), ("trixie", "debian13")];
    let same = releases.iter().any(|(name, number)| tag.ends_with(name) && run.contains(&format!("/cc-{number}:")));
    assert!(same, "{tag} and {run}");
    assert!(run.ends_with(":nonroot") || run.contains(":nonroot@sha256:"), "{run}");
}

/// What can be built in a folder, as cargo sees it: it leaves out the targets whose files are missing, but then builds
/// nothing. It also resolves the workspace and the lock file.
async fn targets(folder: &Path) -> Vec<String> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--format-version", "1", "--no-deps", "--locked", "--offline"]).current_dir(folder);
    cargo.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let (code, metadata, err) = run(cargo).await;
    assert_eq!(code, Some(0), "{err}");
    let metadata: Value = serde_json::from_str(&metadata).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let targets = packages.iter().flat_map(|package| package["targets"].as_array().expect("targets"));
    targets.map(|target| format!("{} {}", target["kind"], target["name"])).collect()
}

#[tokio::test]
async fn cargo_finds_in_the_build_stage_what_it_needs() {
    let folder = tempfile::tempdir().expect("a folder");
    for instruction in of(1, "COPY") {
        let mut names: Vec<&str> = instruction.split(' ').collect();
        let to = names.pop().expect("a destination");
        for name in names {
            let to = if to == "./" { name } else { to };
            copy(&repository().join(name), &folder.path().join(to));
        }
    }
    assert_eq!(targets(folder.path()).await, targets(repository()).await, "cargo would refuse to build");
    let built = of(1, "RUN").into_iter().find(|line| line.starts_with("cargo auditable build"));
    assert!(
        built.is_some_and(|line| line.contains(" --release --locked --bin claviger ")),
        "the dependencies are embedded"
    );
    let installed = of(1, "RUN").into_iter().find(|line| line.contains("cargo-auditable@"));
    assert!(installed.is_some_and(|line| line.starts_with("cargo install --locked ")), "a version, and its lock file");
}

#[tokio::test]
async fn a_linter_of_containerfiles_has_nothing_to_say() {
    let Some(hadolint) = tool("hadolint") else { return };
    let mut lint = Command::new(hadolint);
    lint.arg("Containerfile").current_dir(repository());
    lint.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    assert_eq!(run(lint).await, (Some(0), String::new(), String::new()));
}

#[tokio::test]
async fn the_binary_needs_no_library_that_the_image_lacks() {
    let mut ldd = Command::new("ldd");
    ldd.arg(env!("CARGO_BIN_EXE_claviger"));
    ldd.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if !cfg!(target_os = "linux") {
        return skip("the libraries of a Linux binary are looked at");
    }
    let (code, libraries, err) = run(ldd).await;
    assert_eq!(code, Some(0), "{err}");
    let names: Vec<&str> =
        libraries.lines().filter_map(|line| line.trim().split_once(" => ")).map(|(name, _)| name).collect();
    assert!(names.contains(&"libc.so.6"), "{libraries}");
    let missing: Vec<_> = names.iter().filter(|name| !LIBRARIES.contains(name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn the_image_runs_the_binary_as_the_charts_user_and_nobody_more() {
    assert_eq!(only(2, "USER"), "65532:65532");
    let chart = std::fs::read_to_string(repository().join("helm/claviger/templates/_pod.tpl")).expect("the pod");
    assert!(chart.contains("\nrunAsUser: 65532\nrunAsGroup: 65532\n"), "the same user");
    let copied = of(2, "COPY");
    assert!(copied.contains(&"--from=build /source/target/release/claviger /usr/local/bin/claviger".to_owned()));
    assert!(of(2, "RUN").is_empty(), "there is no shell to run anything");
    assert_eq!(only(2, "ENTRYPOINT"), "[\"claviger\"]");
    assert_eq!(only(2, "CMD"), "[\"serve\"]");
    assert_eq!(only(2, "EXPOSE"), "50051 9464");
    let (variable, folder) = only(2, "ENV").split_once('=').map(|(a, b)| (a.to_owned(), b.to_owned())).expect("a pair");
    let setting = variable.strip_prefix("CLAVIGER_").expect("a setting").to_lowercase();
    assert!(SETTINGS.iter().any(|known| known.name == setting), "{setting}");
    assert_eq!(only(2, "VOLUME"), folder);
    assert!(
        copied.contains(&format!("--from=build --chown=65532:65532 {folder} {folder}")),
        "the user may write there"
    );
    let labels = only(2, "LABEL");
    for (label, value) in [
        ("version", env!("CARGO_PKG_VERSION")),
        ("description", env!("CARGO_PKG_DESCRIPTION")),
        ("licenses", "Apache-2.0"),
    ] {
        assert!(labels.contains(&format!("org.opencontainers.image.{label}=\"{value}\"")), "{label} in {labels}");
    }
}
