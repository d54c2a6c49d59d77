//! Settings: one name everywhere, `claviger config`, and every bad one named at once.

use std::collections::BTreeSet;

use claviger::config::catalogue::{SETTINGS, Takes};
use tokio::process::Command;

use crate::harness::process::{bare_command, run};

/// The command that prints the settings.
fn config() -> Command {
    let mut command = bare_command();
    command.arg("config");
    command
}

async fn printed(command: Command) -> String {
    let (code, out, err) = run(command).await;
    assert_eq!((code, &*err), (Some(0), ""), "{out}");
    out
}

fn line<'a>(printed: &'a str, name: &str) -> &'a str {
    let of_name = |line: &&str| line.trim_start_matches("# ").split([' ', ':']).next() == Some(name);
    printed.lines().find(of_name).unwrap_or_else(|| panic!("no {name} in {printed}"))
}

#[tokio::test]
async fn every_setting_is_shown_with_its_default_when_nothing_is_given() {
    let printed = printed(config()).await;
    assert_eq!(printed.lines().count(), SETTINGS.len());
    for setting in &SETTINGS {
        assert!(line(&printed, setting.name).contains(setting.name));
    }
    assert_eq!(line(&printed, "listen"), "# listen = \"127.0.0.1:50051\" (default)");
    assert_eq!(line(&printed, "database_url"), "# database_url: none: SQLite");
}

#[tokio::test]
async fn a_flag_wins_over_a_variable_and_that_over_the_file_and_each_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("claviger.toml");
    let text =
        "listen = \"127.0.0.1:1\"\nstaleness_bound = \"1m\"\nlog = \"warn\"\ntrusted_hops = 2\ninsecure = true\n";
    std::fs::write(&file, text).expect("written");
    let mut command = config();
    command.env("CLAVIGER_CONFIG", &file).env("CLAVIGER_LISTEN", "127.0.0.1:2").env("CLAVIGER_LOG", "debug");
    command.args(["--listen", "127.0.0.1:3"]);
    let printed = printed(command).await;
    let in_file = format!("# the file {}", file.display());
    for (name, expected) in [
        ("listen", "listen = \"127.0.0.1:3\" # the flag --listen"),
        ("log", "log = \"debug\" # the variable CLAVIGER_LOG"),
        ("staleness_bound", &format!("staleness_bound = \"1m\" {in_file}")),
        ("trusted_hops", &format!("trusted_hops = \"2\" {in_file}")),
        ("insecure", &format!("insecure = \"true\" {in_file}")),
    ] {
        assert_eq!(line(&printed, name), expected);
    }
    // What is printed is itself a file of settings.
    std::fs::write(&file, &printed).expect("written");
    let mut again = config();
    again.arg("--config").arg(&file);
    let again = self::printed(again).await;
    let values =
        |text: &str| text.lines().filter_map(|line| Some(line.split_once(" # ")?.0.to_owned())).collect::<Vec<_>>();
    assert_eq!(values(&again), values(&printed));
}

#[tokio::test]
async fn passwords_are_not_shown() {
    let mut command = config();
    command.env("CLAVIGER_DATABASE_URL", "postgres://keys:hunter2@db.example.com/keys?sslmode=require");
    command
        .env("CLAVIGER_SMTP_URL", "smtps://keys:hunter3@mail.example.com")
        .env("CLAVIGER_MAIL_FROM", "keys@example.com");
    let printed = printed(command).await;
    assert!(!printed.contains("hunter"), "{printed}");
    assert!(line(&printed, "database_url").contains("db.example.com/keys"));
    assert!(line(&printed, "smtp_url").contains("mail.example.com"));
}

#[tokio::test]
async fn a_url_with_a_password_may_come_from_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("smtp-url");
    std::fs::write(&file, "smtps://keys:hunter4@mail.example.com\n").expect("written");
    let mut command = config();
    command.env("CLAVIGER_SMTP_URL_FILE", &file).env("CLAVIGER_MAIL_FROM", "keys@example.com");
    let printed = printed(command).await;
    assert!(!printed.contains("hunter") && line(&printed, "smtp_url_file").contains("smtp-url"), "{printed}");
    assert_eq!(line(&printed, "smtp_url"), "# smtp_url: as smtp_url_file says");
    let mut both = config();
    both.env("CLAVIGER_SMTP_URL_FILE", &file).env("CLAVIGER_SMTP_URL", "smtps://mail.example.com");
    both.env("CLAVIGER_MAIL_FROM", "keys@example.com");
    let (code, _, err) = run(both).await;
    assert_eq!((code, &*err), (Some(2), "smtp_url and smtp_url_file are both given; choose one\n"));
    // What the file holds is read and judged as the URL itself would be.
    std::fs::write(&file, "https://mail.example.com").expect("written");
    let mut wrong = config();
    wrong.env("CLAVIGER_SMTP_URL_FILE", &file).env("CLAVIGER_MAIL_FROM", "keys@example.com");
    let (code, _, err) = run(wrong).await;
    assert!(code == Some(2) && err.starts_with("smtp_url: must be as smtp://"), "{err}");
}

#[tokio::test]
async fn every_bad_setting_is_named_at_once() {
    let mut command = config();
    let bad = [
        ("LISTEN", "nowhere"),
        ("STALENESS_BOUND", "forever"),
        ("TRACE_RATIO", "2"),
        ("TRUSTED_HOPS", "9"),
        ("CREDENTIAL_HEADERS", "x-claviger-key"),
        ("KEK_FILE", "/no/such/file"),
        ("PUBLIC_URL", ""),
        ("PEPPER_FILE", " "),
        ("SMTP_URL_FILE", "/no/such/file"),
        ("NO_SUCH", "x"),
        ("DATA", "/tmp/one"),
    ];
    command.envs(bad.map(|(name, value)| (format!("CLAVIGER_{name}"), value)));
    // Named twice, which a shell's case makes easy: neither may win unnoticed.
    command.env("CLAVIGER_Data", "/tmp/another");
    let (code, out, err) = run(command).await;
    assert_eq!((code, &*out), (Some(2), ""), "{err}");
    for (name, _) in bad {
        let names = |line: &str| line.starts_with(&name.to_lowercase()) || line.contains(&format!("CLAVIGER_{name} "));
        assert_eq!(err.lines().filter(|line| names(line)).count(), 1, "{name} in {err}");
    }
}

#[tokio::test]
async fn a_wrong_flag_hides_nothing_and_neither_does_a_file_that_is_no_toml() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("claviger.toml");
    std::fs::write(&file, "log = \"warn\"\nlog = \"info\"\nno_such = \"x\"\n").expect("written");
    for flags in [&["--no-such"][..], &["--listen", "127.0.0.1:1", "--listen", "127.0.0.1:2"]] {
        let mut command = config();
        command.env("CLAVIGER_CONFIG", &file).env("CLAVIGER_TRACE_RATIO", "2").args(flags);
        let (code, out, err) = run(command).await;
        assert_eq!((code, &*out), (Some(2), ""), "{err}");
        for named in [flags[0], "trace_ratio: ", "line 2 is not TOML", "nothing else in it was looked at"] {
            assert!(err.contains(named), "{named} in {err}");
        }
    }
}

/// What may hold a password has no flag; everything else has one.
#[tokio::test]
async fn each_setting_is_a_flag_unless_it_may_hold_a_password() {
    let mut help = bare_command();
    help.arg("--help");
    let (_, help, _) = run(help).await;
    let flags = help.lines().filter_map(|line| line.trim_start().strip_prefix("--"));
    let flags: BTreeSet<&str> = flags.map(|rest| rest.split([' ', '<']).next().unwrap_or_default()).collect();
    for setting in &SETTINGS {
        let flag = setting.name.replace('_', "-");
        assert_eq!(flags.contains(&*flag), setting.takes != Takes::Secret, "{flag} in {help}");
    }
    assert!(flags.contains("config"));
}
