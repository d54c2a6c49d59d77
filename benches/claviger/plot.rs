//! The plot: how far each result lies from its bar, on one scale.

use std::fmt::Write;

use crate::report::{Bar, Report, Row};

/// The scale's ends, in multiples of the bar, and where it is marked.
const LEAST: f64 = 0.5;
const MOST: f64 = 8.0;
const MARKS: [f64; 5] = [0.5, 1.0, 2.0, 4.0, 8.0];

const LABELS: f64 = 520.0;
const SCALE: f64 = 300.0;
const VALUES: f64 = 240.0;
const LINE: f64 = 26.0;
const TOP: f64 = 64.0;

const REACHED: &str = "#2b7a4b";
const MISSED: &str = "#b3382c";

/// The plot as SVG.
pub fn svg(report: &Report) -> String {
    let bars: Vec<(&Row, Bar)> = report.rows.iter().filter_map(|row| Some((row, row.bar?))).collect();
    let (width, height) = (LABELS + SCALE + VALUES, TOP + LINE * bars.len() as f64 + 16.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" \
         font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         <text x=\"12\" y=\"24\" font-size=\"15\" font-weight=\"bold\">How many times better than its bar each result is</text>\n"
    );
    MARKS.iter().for_each(|&mark| put_mark(&mut svg, mark, height));
    for (index, (row, bar)) in bars.iter().enumerate() {
        put_row(&mut svg, TOP + LINE * index as f64, row, *bar);
    }
    svg.push_str("</svg>\n");
    svg
}

fn put_mark(svg: &mut String, mark: f64, height: f64) {
    let (x, bottom) = (place(mark), height - 10.0);
    let (colour, width) = if mark == 1.0 { ("#333333", 2) } else { ("#cccccc", 1) };
    let label = if mark == 1.0 { "bar".to_owned() } else { format!("{mark}×") };
    // Writing to a String never fails.
    let _ =
        writeln!(svg, "<path d=\"M{x:.1} {} V{bottom}\" stroke=\"{colour}\" stroke-width=\"{width}\"/>", TOP - 10.0);
    let _ =
        writeln!(svg, "<text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\" fill=\"#555555\">{label}</text>", TOP - 16.0);
}

fn put_row(svg: &mut String, top: f64, row: &Row, bar: Bar) {
    let margins = [row.spread.least, row.spread.most].map(|value| place(bar.margin(value)));
    let (median, start) = (place(bar.margin(row.spread.median)), place(1.0));
    let colour = if bar.is_reached(row.spread.median) { REACHED } else { MISSED };
    let (left, length, middle) = (median.min(start), (median - start).abs().max(1.0), top + LINE / 2.0);
    let (what, base) = (escaped(&row.what), middle + 4.5);
    let value = escaped(&format!("{}, bar {}", row.measured(), bar.text(row.unit)));
    let _ = writeln!(svg, "<text x=\"12\" y=\"{base}\">{what}</text>");
    let _ = writeln!(
        svg,
        "<rect x=\"{left:.1}\" y=\"{}\" width=\"{length:.1}\" height=\"{}\" fill=\"{colour}\" fill-opacity=\"0.75\"/>",
        top + 5.0,
        LINE - 10.0
    );
    let (from, to) = (margins[0].min(margins[1]), margins[0].max(margins[1]));
    let _ = writeln!(svg, "<path d=\"M{from:.1} {middle} H{to:.1}\" stroke=\"#111111\" stroke-width=\"2\"/>");
    let _ = writeln!(svg, "<text x=\"{}\" y=\"{base}\" font-size=\"11\">{value}</text>", LABELS + SCALE + 10.0);
}

/// Where a multiple of the bar lies: doubling is the same way everywhere.
fn place(margin: f64) -> f64 {
    let share = (margin.clamp(LEAST, MOST) / LEAST).log2() / (MOST / LEAST).log2();
    LABELS + share * SCALE
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
