//! A real browser looks at a page.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use tokio::process::Command;
use tokio::time::timeout;

use super::picture::Picture;
use crate::harness::{engine::tool, process::run};

#[derive(Debug, Clone, Copy)]
pub struct Look {
    pub width: Width,
    pub scheme: Scheme,
}

#[derive(Debug, Clone, Copy)]
pub enum Width {
    Phone,
    Desktop,
}

#[derive(Debug, Clone, Copy)]
pub enum Scheme {
    Light,
    Dark,
}

/// What the browser says of a page.
#[derive(Debug, Deserialize)]
pub struct Report {
    pub width: u32,
    pub scroll_width: u32,
    pub height: u32,
    /// The least contrast of a text to what is behind it, and that text.
    pub contrast: f64,
    pub faintest: String,
    /// In pixels.
    pub smallest_text: f64,
    /// Every element, in order, with its attributes.
    pub elements: Vec<String>,
}

impl Look {
    pub fn name(self) -> String {
        format!("{:?}-{:?}", self.width, self.scheme).to_lowercase()
    }
}

impl Width {
    fn pixels(self) -> u32 {
        match self {
            Self::Phone => 390,
            Self::Desktop => 1_000,
        }
    }

    /// Device pixels for each.
    fn scale(self) -> u32 {
        match self {
            Self::Phone => 2,
            Self::Desktop => 1,
        }
    }
}

/// `None`, with a loud line, when there is no browser.
pub async fn report(html: &str, look: Look) -> Option<Report> {
    let folder = tempfile::tempdir().expect("a folder");
    let page = around(html, look, 800);
    let dom = browse(folder.path(), &page, look, 800, &["--dump-dom"]).await?;
    let start = dom.split_once("data-report=\"").unwrap_or_else(|| panic!("no report in {dom}")).1;
    let json = BASE64_STANDARD.decode(start.split_once('"').expect("its end").0).expect("base64");
    Some(serde_json::from_slice(&json).expect("a report"))
}

/// The whole page, however high, but at most `highest` pixels of it.
pub async fn picture(html: &str, look: Look, highest: u32) -> Option<Picture> {
    let height = report(html, look).await?.height.min(highest);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("picture.png");
    let scale = look.width.scale();
    let options = [format!("--screenshot={}", file.display()), format!("--force-device-scale-factor={scale}")];
    let page = around(html, look, height);
    browse(folder.path(), &page, look, height, &[&options[0], &options[1]]).await?;
    Some(Picture::decode(&file).cropped_to(look.width.pixels() * scale, height * scale))
}

/// The mail in a frame, because the browser's own window can't be as narrow as a phone.
fn around(html: &str, look: Look, height: u32) -> String {
    let escaped = html.replace('&', "&amp;").replace('"', "&quot;");
    let width = look.width.pixels();
    format!(
        "<!DOCTYPE html><html><head><meta charset=\"utf-8\"><meta name=\"color-scheme\" content=\"light dark\"></head>\
         <body style=\"margin:0\"><iframe style=\"display:block;border:0;width:{width}px;height:{height}px\" \
         srcdoc=\"{escaped}\"></iframe><script>{}</script></body></html>",
        include_str!("report.js")
    )
}

async fn browse(folder: &Path, page: &str, look: Look, height: u32, options: &[&str]) -> Option<String> {
    let file = folder.join("page.html");
    std::fs::write(&file, page).expect("written");
    let scheme = match look.scheme {
        Scheme::Dark => 0,
        Scheme::Light => 1,
    };
    let mut chromium = Command::new(tool("chromium")?);
    chromium.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]);
    chromium.args(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
    chromium.args(["--disable-dev-shm-usage", "--disable-lcd-text", "--hide-scrollbars"]);
    // Otherwise a picture may be taken before all of the page is painted.
    chromium.args(["--run-all-compositor-stages-before-draw", "--virtual-time-budget=5000"]);
    chromium.arg(format!("--user-data-dir={}", folder.join("profile").display()));
    chromium.arg(format!("--blink-settings=preferredColorScheme={scheme}"));
    chromium.arg(format!("--window-size={},{height}", look.width.pixels()));
    chromium.args(options).arg(format!("file://{}", file.display()));
    chromium.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let (code, out, err) = timeout(Duration::from_secs(120), run(chromium)).await.expect("the browser ends");
    assert_eq!(code, Some(0), "{err}");
    Some(out)
}
