//! The mail looked at: its HTML part in a real browser, at the width of a phone and of a desktop, light and dark. Nothing
//! overflows, everything can be read, and no name becomes an element.
//!
//! `CLAVIGER_TEST_WRITE_PICTURES=1` writes the pictures into `docs/images`.

mod browser;
mod digests;
mod hostile;
mod picture;

use std::path::Path;

use crate::harness::engine::variable;
use browser::{Look, Report, Scheme, Width};
use digests::{extreme, html_part, mail, text_part, typical};

const LOOKS: [Look; 4] = [
    Look { width: Width::Phone, scheme: Scheme::Light },
    Look { width: Width::Phone, scheme: Scheme::Dark },
    Look { width: Width::Desktop, scheme: Scheme::Light },
    Look { width: Width::Desktop, scheme: Scheme::Dark },
];

/// Gmail cuts what is longer, with a link to the rest.
const CUT_BY_GMAIL: usize = 102 * 1024;
const PICTURE_BYTES: usize = 200_000;
/// In pixels of the page: what is further down looks the same.
const PICTURE_HEIGHT: u32 = 1_300;
/// Of the text to what is behind it (WCAG 2.2, 1.4.3, level AA).
const CONTRAST: f64 = 4.5;

#[tokio::test]
async fn a_mail_is_readable_everywhere() {
    for digest in [typical(), extreme()] {
        let html = html_part(&mail(&digest));
        for look in LOOKS {
            let Some(report) = browser::report(&html, look).await else { return };
            check(&report, look);
        }
    }
}

fn check(report: &Report, look: Look) {
    assert!(report.height > 500, "{look:?}: the page is empty");
    assert!(report.scroll_width <= report.width, "{look:?}: {} of {} px", report.scroll_width, report.width);
    assert!(report.contrast >= CONTRAST, "{look:?}: {:.2} at {:?}", report.contrast, report.faintest);
    assert!(report.smallest_text >= 13.0, "{look:?}: {} px", report.smallest_text);
}

#[tokio::test]
async fn light_is_light_and_dark_is_dark() {
    let html = html_part(&mail(&typical()));
    for look in LOOKS {
        let Some(picture) = browser::picture(&html, look, PICTURE_HEIGHT).await else { return };
        let corner = picture.brightness_at_corner();
        match look.scheme {
            Scheme::Light => assert!(corner > 220, "{look:?}: {corner}"),
            Scheme::Dark => assert!(corner < 35, "{look:?}: {corner}"),
        }
        let bytes = picture.encode();
        if variable("CLAVIGER_TEST_WRITE_PICTURES").is_some() {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/images");
            std::fs::write(folder.join(format!("digest-{}.png", look.name())), &bytes).expect("written");
        }
        assert!(bytes.len() < PICTURE_BYTES, "{look:?}: {} bytes", bytes.len());
    }
}

#[test]
fn both_parts_say_the_same() {
    let mut digest = typical();
    digest.key_count = 17;
    let mail = mail(&digest);
    let (text, html) = (text_part(&mail), unescaped(&html_part(&mail)));
    let enable = r#"grpcurl -H "authorization: Bearer $CLAVIGER_KEY" -d '{"name": "NAME"}' keys.acme.example:443 claviger.v1.KeyService/EnableKey"#;
    let list = r#"grpcurl -H "authorization: Bearer $CLAVIGER_KEY" -d '{"parent": "tenants/acme/serviceUsers/-", "state": "KEY_STATE_ENABLED", "expiring_before": "2026-12-05T08:00:01Z", "page_size": 500}' keys.acme.example:443 claviger.v1.KeyService/ListKeys"#;
    let mut facts: Vec<String> = vec![
        "17 API keys expire soon, the first today".to_owned(),
        "Europe/Berlin".to_owned(),
        "Expires tomorrow".to_owned(),
        "Expires in 3 days".to_owned(),
        "Sun 2026-11-22 09:00 CET (UTC+01:00)".to_owned(),
        "disabled: it doesn't verify now".to_owned(),
        "2026-10-11 10:00 CEST".to_owned(),
        "not seen".to_owned(),
        "Nightly job on batch-3.".to_owned(),
        "And 12 more".to_owned(),
        "https://keys.acme.example/unsubscribe/opaque".to_owned(),
        enable.replace("NAME", &digest.keys[2].key.name.to_string()),
        list.to_owned(),
    ];
    assert!(text.contains("5 of 17: Load test"));
    for warned in &digest.keys {
        let name = &warned.key.name;
        let display_names = [&warned.key.display_name, &warned.service_user_display_name];
        facts.extend(display_names.map(|name| name.as_str().to_owned()));
        facts.extend([name.to_string(), name.id.hint(), name.owner.to_string()]);
        facts.push(enable.replace("NAME", &name.to_string()).replace("EnableKey", "RotateKey"));
    }
    for fact in facts {
        assert!(text.contains(&fact), "the text lacks {fact}:\n{text}");
        assert!(html.contains(&fact), "the HTML lacks {fact}");
    }
    let at = |part: &str, name: &str| part.rfind(name).expect("it is there");
    assert!(at(&text, "Payments production") < at(&text, "Invoice export"), "nearest expiry first");
    assert!(at(&html, "Payments production") < at(&html, "Invoice export"), "nearest expiry first");
}

fn unescaped(html: &str) -> String {
    let entities = [("&quot;", "\""), ("&#x27;", "'"), ("&#x2f;", "/"), ("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")];
    entities.iter().fold(html.to_owned(), |html, (from, to)| html.replace(from, to))
}

/// The checks above are only as good as what the browser reports.
#[tokio::test]
async fn the_browser_sees_what_is_wrong() {
    let look = Look { width: Width::Phone, scheme: Scheme::Light };
    let bad = "<!DOCTYPE html><p style=\"width:700px;color:#999;font-size:9px\">faint</p>";
    let Some(report) = browser::report(bad, look).await else { return };
    assert!(report.scroll_width > report.width);
    assert!(report.contrast < CONTRAST);
    assert!(report.smallest_text < 13.0);
}

#[test]
fn fifty_usual_keys_are_not_cut_by_gmail() {
    let mut digest = typical();
    digest.keys = digest.keys.iter().cycle().take(50).cloned().collect();
    let length = html_part(&mail(&digest)).len();
    assert!(length < CUT_BY_GMAIL, "{length} bytes");
}
