//! Charts in SVG: bars, and curves over orders of magnitude.

use std::fmt::Write as _;

use crate::page::thousands;

const WIDTH: f64 = 760.0;
const TITLE: f64 = 40.0;
const STEP: f64 = 22.0;
const COLOURS: [&str; 4] = ["#d9480f", "#1971c2", "#2f9e44", "#868e96"];

/// A picture that grows downwards.
#[derive(Debug, Default)]
pub struct Chart {
    drawn: String,
    height: f64,
}

/// A curve: its name and its points, whose coordinates are above 0.
pub type Curve<'a> = (&'a str, Vec<(f64, f64)>);

impl Chart {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn title(&mut self, title: &str) {
        let y = self.height + TITLE - 14.0;
        let _ = writeln!(
            self.drawn,
            "<text x=\"8\" y=\"{y}\" font-weight=\"bold\">{title}</text>"
        );
        self.height += TITLE;
    }

    /// A bar for each value, from 0. That of `marked` stands out.
    pub fn bars(&mut self, title: &str, marked: &str, values: &[(&str, f64)]) {
        const LABELS: f64 = 130.0;
        const NUMBERS: f64 = 80.0;
        const BAR: f64 = 16.0;
        self.title(title);
        let largest = values.iter().map(|(_, value)| *value).fold(f64::MIN_POSITIVE, f64::max);
        for (name, value) in values {
            let y = self.height;
            let width = (value / largest * (WIDTH - LABELS - NUMBERS)).max(1.0);
            let colour = if *name == marked { COLOURS[0] } else { "#8da2b5" };
            let baseline = y + BAR - 3.0;
            let _ = writeln!(
                self.drawn,
                "<text x=\"{}\" y=\"{baseline}\" text-anchor=\"end\">{name}</text>\
                 <rect x=\"{LABELS}\" y=\"{y}\" width=\"{width:.1}\" height=\"{BAR}\" fill=\"{colour}\"/>\
                 <text x=\"{:.1}\" y=\"{baseline}\">{}</text>",
                LABELS - 8.0,
                LABELS + width + 6.0,
                short(*value),
            );
            self.height += STEP;
        }
    }

    /// Curves, of which both axes are logarithmic: what grows as fast as `x` rises evenly, what does not grow is level.
    pub fn curves(&mut self, title: &str, curves: &[Curve<'_>]) {
        const LEFT: f64 = 70.0;
        const RIGHT: f64 = 170.0;
        const HEIGHT: f64 = 200.0;
        self.title(title);
        let points = || curves.iter().flat_map(|(_, points)| points);
        let (from_x, to_x) = decades(points().map(|point| point.0));
        let (from_y, to_y) = decades(points().map(|point| point.1));
        let top = self.height;
        let x = |value: f64| LEFT + (value.log10() - from_x) / (to_x - from_x) * (WIDTH - LEFT - RIGHT);
        let y = |value: f64| top + HEIGHT - (value.log10() - from_y) / (to_y - from_y) * HEIGHT;
        for (from, to, is_x) in [(from_x, to_x, true), (from_y, to_y, false)] {
            for exponent in from as i32..=to as i32 {
                let value = 10f64.powi(exponent);
                let (ends, at) = if is_x {
                    let x = x(value);
                    ([x, top, x, top + HEIGHT], [x, top + HEIGHT + 16.0])
                } else {
                    let y = y(value);
                    ([LEFT, y, WIDTH - RIGHT, y], [LEFT - 8.0, y + 4.0])
                };
                let _ = writeln!(
                    self.drawn,
                    "<path d=\"M{:.1} {:.1}L{:.1} {:.1}\" stroke=\"#dee2e6\"/>\
                     <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{}\">{}</text>",
                    ends[0],
                    ends[1],
                    ends[2],
                    ends[3],
                    at[0],
                    at[1],
                    if is_x { "middle" } else { "end" },
                    short(value),
                );
            }
        }
        for (index, (name, points)) in curves.iter().enumerate() {
            let colour = COLOURS[index % COLOURS.len()];
            let line: Vec<String> = points
                .iter()
                .map(|point| format!("{:.1},{:.1}", x(point.0), y(point.1)))
                .collect();
            let label = top + 12.0 + index as f64 * STEP;
            let _ = writeln!(
                self.drawn,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\
                 <text x=\"{}\" y=\"{label}\" fill=\"{colour}\">{name}</text>",
                line.join(" "),
                WIDTH - RIGHT + 10.0,
            );
        }
        self.height += HEIGHT + STEP;
    }

    /// The picture's text. `about` is for those who do not see it.
    #[must_use]
    pub fn svg(&self, about: &str) -> String {
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
             font-size=\"13\" role=\"img\" aria-label=\"{about}\">\n\
             <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n{drawn}</svg>\n",
            height = self.height + STEP / 2.0,
            drawn = self.drawn,
        )
    }
}

/// The powers of ten around these values, at least one decade.
fn decades(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let least = values.clone().fold(f64::MAX, f64::min).log10().floor();
    let most = values.fold(f64::MIN_POSITIVE, f64::max).log10().ceil();
    (least, most.max(least + 1.0))
}

/// As few digits as say something.
fn short(value: f64) -> String {
    match value {
        value if value < 1.0 => format!("{value:.2}").trim_end_matches('0').to_owned(),
        value if value < 100.0 && value.fract() != 0.0 => format!("{value:.1}"),
        value => thousands(value),
    }
}
