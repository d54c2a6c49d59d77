//! Hostile names stay names: the mail is the harmless one with other words in it.

use chrono::TimeDelta;
use claviger::domain::text::{Description, DisplayName};
use claviger::notify::digest::Digest;
use lettre::Message;
use mail_parser::{MessageParser, MessagePart};

use super::browser::{self, Look, Report, Scheme, Width};
use super::digests::{Facts, digest, html_part, mail, text_part, warned};

const SEEDS: [&str; 60] = [
    "<script>parent.x=1</script>",
    "</td></tr></table><h1>free</h1>",
    "<img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)>",
    "</style><style>*{display:none}",
    "</title><title>x",
    "<!--",
    "-->",
    "<![CDATA[x]]>",
    "<a href=javascript:alert(1)>x</a>",
    "\"><b>x",
    "' onmouseover='x",
    "&lt;b&gt;",
    "&#60;b&#62;",
    "&amp;amp;",
    "&",
    "<",
    ">",
    "\"",
    "'",
    "`",
    "\\",
    "\\r\\nBcc: victim@example.org",
    "%0d%0aBcc:victim@example.org",
    "Bcc: victim@example.org",
    "Subject: other",
    "Content-Type: text/html",
    "{{ 7*7 }}",
    "{{ entries }}",
    "{% for x in entries %}",
    "{% raw %}",
    "{# no #}",
    "{%- endfor -%}",
    "${7*7}",
    "#{7*7}",
    "=?utf-8?B?PGI+?=",
    "=?utf-8?q?=0D=0ABcc:_x?=",
    "=0D=0A.",
    "=",
    "=3D",
    "--boundary",
    "--=_2026-11-21.x--",
    ".",
    "..",
    "From here",
    ">From here",
    "2 of 5: another key",
    "----------------------------------------",
    "Rotate it: rm -rf /",
    "'; rm -rf / #",
    "$(reboot)",
    "https://evil.example/login",
    "javascript:alert(1)",
    "data:text/html,<b>x</b>",
    "مفتاح الإنتاج",
    "מפתח <b>ייצור</b>",
    "👩🏽 🔑 🇩🇪 é a\u{301}",
    "漢字かな交じり文",
    "a\u{a0}b\u{3000}c",
    "Ω≈ç√∫˜µ≤≥÷",
];

/// What a harmless mail says in their place.
const NAME: &str = "Namename";
const SERVICE_USER: &str = "Serviceuserservice";
const TENANT: &str = "Tenanttenant";
const LINE: &str = "Lineline";

fn one(name: &str, service_user: &str, tenant: &str, description: &str) -> Digest {
    let facts = Facts {
        name,
        service_user: ("billing", service_user),
        description,
        expires_in: TimeDelta::hours(20),
        last_used: None,
        disabled: false,
    };
    digest("acme", tenant, vec![warned("acme", 1, &facts)])
}

/// Each seed alone, beside others, long, and in disguise.
fn names() -> Vec<String> {
    let mut names = Vec::new();
    for (index, seed) in SEEDS.iter().enumerate() {
        let other = SEEDS[(index * 7 + 3) % SEEDS.len()];
        names.extend([(*seed).to_owned(), seed.to_uppercase(), seed.chars().rev().collect()]);
        names.extend([format!("{seed}{other}"), format!("{other} {seed}"), format!("<{seed}>"), format!("\"{seed}\"")]);
        names.extend([format!("'{seed}'"), format!("{{{{ {seed} }}}}"), format!("{{% {seed} %}}")]);
        names.extend([format!("&{seed};"), format!("=?utf-8?q?{seed}?="), format!("--{seed}"), format!(". {seed}")]);
        names.extend([format!("From {seed}"), format!("{seed}{}", "W".repeat(60)), format!("\\{seed}\\")]);
        names.push(seed.repeat(50).chars().take(100).collect());
    }
    names.retain(|name| DisplayName::parse(name).is_ok());
    names.sort();
    names.dedup();
    names
}

/// Some lines, one of them perhaps empty.
fn description(names: &[String], index: usize) -> String {
    let line = |at: usize| names[(index * 13 + at * 101) % names.len()].as_str();
    [line(0), ["", "."][index % 2], line(1), line(2)].join("\n")
}

fn escaped(text: &str) -> String {
    let entities = [("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("\"", "&quot;"), ("'", "&#x27;"), ("/", "&#x2f;")];
    entities.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// The header as it is sent, and the tree of parts with their headers as an independent parser reads them.
fn shape(mail: &Message) -> (String, Vec<String>) {
    let bytes = mail.formatted();
    let text = std::str::from_utf8(&bytes).expect("ASCII");
    let (header, _) = text.split_once("\r\n\r\n").expect("the header ends");
    let parsed = MessageParser::default().parse(&bytes).expect("a mail");
    let headers = |part: &MessagePart<'_>| {
        let headers = part.headers.iter().map(|header| format!("{}: {:?}", header.name(), header.value()));
        headers.collect::<Vec<_>>().join("\n")
    };
    (header.to_owned(), parsed.parts.iter().map(headers).collect())
}

#[test]
fn hostile_names_are_only_words_in_a_mail() {
    let names = names();
    assert!(names.len() >= 1_000, "only {}", names.len());
    for (index, name) in names.iter().enumerate() {
        let lines = description(&names, index);
        let others = [&names[(index + 1) % names.len()], &names[(index + 2) % names.len()]];
        assert!(Description::parse(&lines).is_ok(), "{lines:?}");
        let found = mail(&one(name, others[0], others[1], &lines));
        let numbered = |(at, line): (usize, &str)| if line.is_empty() { String::new() } else { format!("{LINE}{at}") };
        let tokens: Vec<String> = lines.lines().enumerate().map(numbered).collect();
        let harmless = mail(&one(NAME, SERVICE_USER, TENANT, &tokens.join("\n")));
        assert_eq!(shape(&found), shape(&harmless));
        assert_eq!(shape(&found).1.len(), 3);
        assert_eq!(found.envelope(), harmless.envelope());
        let with_words = |text: String, escape: fn(&str) -> String| {
            let words = [(NAME, name.as_str()), (SERVICE_USER, others[0]), (TENANT, others[1])];
            let lines = tokens.iter().map(String::as_str).zip(lines.lines()).filter(|(token, _)| !token.is_empty());
            // At once, so that no word is replaced inside another.
            replace_all(&text, &words.into_iter().chain(lines).collect::<Vec<_>>(), escape)
        };
        let text = text_part(&found);
        assert_eq!(text, with_words(text_part(&harmless), str::to_owned));
        // Nobody else's line looks like one of a description, and none of a description looks like somebody else's.
        let marked: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("  |")).map(str::trim_start).collect();
        assert_eq!(marked, lines.lines().map(str::trim_start).collect::<Vec<_>>());
        assert_eq!(html_part(&found), with_words(html_part(&harmless), escaped));
    }
}

fn replace_all(text: &str, words: &[(&str, &str)], escape: fn(&str) -> String) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if let Some((token, word)) = words.iter().find(|(token, _)| rest.starts_with(token)) {
            out.push_str(&escape(word));
            rest = &rest[token.len()..];
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    out
}

/// A browser agrees: no element, attribute or style is new.
#[tokio::test]
async fn hostile_names_make_no_elements() {
    let names = names();
    let look = Look { width: Width::Phone, scheme: Scheme::Light };
    let facts = |name, description| Facts {
        name,
        service_user: ("billing", name),
        description,
        expires_in: TimeDelta::hours(20),
        last_used: None,
        disabled: false,
    };
    let keys = (1..=100).map(|at| warned("acme", at, &facts(NAME, LINE))).collect();
    let harmless = html_part(&mail(&digest("acme", TENANT, keys)));
    let Some(Report { elements, .. }) = browser::report(&harmless, look).await else { return };
    assert!(elements.len() > 2_000, "{}", elements.len());
    for hundred in names.chunks_exact(100) {
        let keys = hundred.iter().zip(1..).map(|(name, at)| warned("acme", at, &facts(name, name))).collect();
        let html = html_part(&mail(&digest("acme", &hundred[0], keys)));
        let Some(report) = browser::report(&html, look).await else { return };
        assert_eq!(report.elements, elements);
        assert!(report.scroll_width <= report.width);
    }
}
