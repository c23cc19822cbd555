//! The comparison as a picture: bars in SVG.

use std::fmt::Write as _;

use crate::measure::{Case, Measured};
use crate::page::{Comparison, thousands};

const WIDTH: f64 = 760.0;
const LABELS: f64 = 130.0;
const NUMBERS: f64 = 80.0;
const BAR: f64 = 16.0;
const STEP: f64 = 22.0;
const TITLE: f64 = 40.0;

type Field = fn(&Measured) -> f64;

/// Speed and processor time where nothing waits, and memory where most is under way.
pub(crate) fn draw(comparison: &Comparison<'_>) -> String {
    let (Some(first), Some(last)) = (comparison.cases.iter().min(), comparison.cases.iter().max()) else {
        return String::new();
    };
    let panels: [(&str, Case, Field); 3] = [
        ("requests per second (more is better)", *first, |seen| seen.per_second),
        ("CPU µs per request (less is better)", *first, |seen| seen.cpu),
        ("peak memory in MB (less is better)", *last, |seen| seen.peak),
    ];
    let mut bars = String::new();
    let mut top = 0.0;
    for (title, case, field) in panels {
        let values: Vec<(&str, f64)> = comparison
            .clients
            .iter()
            .filter_map(|client| Some((client.name, field(&comparison.results.median(client.name, case).ok()?))))
            .collect();
        top = panel(&mut bars, top, &format!("{case}: {title}"), &values);
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"13\" role=\"img\" aria-label=\"Inflight and other clients\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n{bars}</svg>\n",
        height = top + STEP / 2.0,
    )
}

/// Draws bars below `top`, and gives where they end.
fn panel(bars: &mut String, top: f64, title: &str, values: &[(&str, f64)]) -> f64 {
    let _ = writeln!(
        bars,
        "<text x=\"8\" y=\"{}\" font-weight=\"bold\">{title}</text>",
        top + TITLE - 14.0
    );
    let largest = values.iter().map(|(_, value)| *value).fold(f64::MIN_POSITIVE, f64::max);
    let mut y = top + TITLE;
    for (name, value) in values {
        let width = (value / largest * (WIDTH - LABELS - NUMBERS)).max(1.0);
        let colour = if *name == "inflight" { "#d9480f" } else { "#8da2b5" };
        let baseline = y + BAR - 3.0;
        let number = if *value < 100.0 {
            format!("{value:.1}")
        } else {
            thousands(*value)
        };
        let _ = writeln!(
            bars,
            "<text x=\"{}\" y=\"{baseline}\" text-anchor=\"end\">{name}</text>\
             <rect x=\"{LABELS}\" y=\"{y}\" width=\"{width:.1}\" height=\"{BAR}\" fill=\"{colour}\"/>\
             <text x=\"{:.1}\" y=\"{baseline}\">{number}</text>",
            LABELS - 8.0,
            LABELS + width + 6.0,
        );
        y += STEP;
    }
    y
}
