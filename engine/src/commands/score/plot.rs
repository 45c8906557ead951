//! A picture of a scored series: value, expected range, and what is anomalous.

use std::fmt::Display;

use anyhow::anyhow;
use detectors::{Point, Verdict};
use plotters::prelude::*;

use crate::commands::time_text;

const WIDTH: u32 = 1200;
const HEIGHT: u32 = 420;
/// Columns at the most: a series of any length is held in so many.
const COLUMNS_MAX: usize = 2048;
/// The expected range is shown up to so many ranges of the values beyond them.
const BEYOND: f64 = 0.5;

/// Points side by side.
#[derive(Clone, Copy)]
struct Column {
    time_ms: i64,
    low: f64,
    high: f64,
    /// The widest of the ranges that were expected.
    expected: Option<(f64, f64)>,
    /// The anomalous value of the highest score.
    anomaly: Option<(f64, f64)>,
}

impl Column {
    fn of(point: Point, verdict: Option<Verdict>) -> Self {
        let anomalous = verdict.filter(Verdict::is_anomalous);
        Self {
            time_ms: point.time_ms,
            low: point.value,
            high: point.value,
            expected: verdict.map(|verdict| (verdict.lower, verdict.upper)),
            anomaly: anomalous.map(|verdict| (verdict.anomaly_score, point.value)),
        }
    }

    fn merge(&mut self, other: Self) {
        self.low = self.low.min(other.low);
        self.high = self.high.max(other.high);
        let both = self.expected.zip(other.expected);
        let widest = both.map(|(a, b)| (a.0.min(b.0), a.1.max(b.1)));
        self.expected = widest.or(self.expected).or(other.expected);
        let is_higher = other.anomaly.is_some_and(|other| self.anomaly.is_none_or(|own| other.0 > own.0));
        if is_higher {
            self.anomaly = other.anomaly;
        }
    }
}

/// A series of any length in columns, which hold more points the longer it is.
#[derive(Default)]
pub struct Plot {
    columns: Vec<Column>,
    points_per_column: usize,
    /// In the last column.
    points: usize,
}

impl Plot {
    /// A value that is not finite is no point of a picture.
    pub fn add(&mut self, point: Point, verdict: Option<Verdict>) {
        if !point.value.is_finite() {
            return;
        }
        let column = Column::of(point, verdict);
        if let Some(last) = self.columns.last_mut().filter(|_| self.points < self.points_per_column) {
            last.merge(column);
            self.points += 1;
            return;
        }
        if self.columns.len() == COLUMNS_MAX {
            let merged = self.columns.chunks(2).map(|pair| {
                let mut column = pair[0];
                pair.iter().skip(1).for_each(|other| column.merge(*other));
                column
            });
            self.columns = merged.collect();
            self.points_per_column *= 2;
        }
        self.points_per_column = self.points_per_column.max(1);
        self.columns.push(column);
        self.points = 1;
    }

    /// The picture as SVG.
    pub fn svg(&self, title: &str) -> anyhow::Result<String> {
        let mut svg = String::new();
        self.draw(&mut svg, title).map_err(|error| anyhow!("cannot be drawn: {error}"))?;
        Ok(svg)
    }

    fn draw(&self, svg: &mut String, title: &str) -> Result<(), impl Display + use<>> {
        let (from, to) = padded(self.columns.iter().map(|column| column.time_ms as f64), 0.0);
        let values = || self.columns.iter().flat_map(|column| [column.low, column.high]);
        let (lowest, highest) = padded(values(), BEYOND);
        let expected = self.columns.iter().filter_map(|column| column.expected);
        let shown =
            expected.flat_map(|(lower, upper)| [lower, upper].map(|bound| bound.clamp(lowest, highest)));
        let (bottom, top) = padded(values().chain(shown), 0.03);

        let area = SVGBackend::with_string(svg, (WIDTH, HEIGHT)).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(title, ("sans-serif", 16))
            .margin(12)
            .x_label_area_size(28)
            .y_label_area_size(80)
            .build_cartesian_2d(from..to, bottom..top)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .x_labels(6)
            .x_label_formatter(&|ms| time_text(*ms as i64))
            .y_label_formatter(&|value| format!("{value:.4}"))
            .draw()?;
        // The range in pieces, between points that were judged.
        let pieces = self.columns.split(|column| column.expected.is_none()).filter(|piece| !piece.is_empty());
        chart.draw_series(pieces.map(|piece| {
            let edge = |column: &Column, bound: f64| (column.time_ms as f64, bound.clamp(bottom, top));
            let range = |column: &Column| column.expected.unwrap_or_default();
            let above = piece.iter().map(|column| edge(column, range(column).1));
            let below = piece.iter().rev().map(|column| edge(column, range(column).0));
            Polygon::new(above.chain(below).collect::<Vec<_>>(), BLUE.mix(0.15))
        }))?;
        let line = self
            .columns
            .iter()
            .flat_map(|column| [column.low, column.high].map(|value| (column.time_ms as f64, value)));
        chart.draw_series(LineSeries::new(line, BLACK.stroke_width(1)))?;
        let anomalies =
            self.columns.iter().filter_map(|column| Some((column.time_ms as f64, column.anomaly?.1)));
        chart.draw_series(anomalies.map(|at| Circle::new(at, 4, RED.filled())))?;
        area.present()
    }
}

/// The range of the values, and so many ranges more on either side. It is never empty, and finite.
fn padded(values: impl Iterator<Item = f64>, share: f64) -> (f64, f64) {
    let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
    for value in values {
        (low, high) = (low.min(value), high.max(value));
    }
    if low > high {
        return (0.0, 1.0);
    }
    // Halves, since the whole may be more than a number can be.
    let half = (high / 2.0 - low / 2.0) * (1.0 + 2.0 * share);
    let middle = low / 2.0 + high / 2.0;
    let least = (middle.abs() * 1e-9).max(1e-9);
    let half = half.clamp(least, f64::MAX / 4.0);
    let middle = middle.clamp(-f64::MAX / 8.0, f64::MAX / 8.0);
    (middle - half, middle + half)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(points: impl IntoIterator<Item = (f64, f64)>) -> Plot {
        let mut plot = Plot::default();
        for (i, (value, anomaly_score)) in points.into_iter().enumerate() {
            let verdict = Verdict { expected: 0.0, lower: -2.0, upper: 2.0, anomaly_score };
            plot.add(Point { time_ms: i as i64 * 60_000, value }, Some(verdict));
        }
        plot
    }

    #[test]
    fn a_picture_shows_value_range_and_anomalies() {
        let svg =
            plot([(0.0, 0.1), (1.0, 0.1), (9.0, 0.9), (0.5, 0.2), (-9.0, 0.8)]).svg("a <b>.csv").unwrap();
        assert_eq!(svg.matches("<circle").count(), 2, "{svg}");
        assert_eq!((svg.matches("<polygon").count(), svg.contains("<polyline")), (1, true));
        assert!(svg.contains("a &lt;b&gt;.csv") && svg.contains("1970-01-01"), "{svg}");
    }

    #[test]
    fn a_series_of_any_length_keeps_its_extremes() {
        let at = |i: usize| i == 77_777;
        let long = plot((0..100_000).map(|i| if at(i) { (50.0, 0.9) } else { ((i % 7) as f64, 0.1) }));
        assert!((COLUMNS_MAX / 2..=COLUMNS_MAX).contains(&long.columns.len()), "{}", long.columns.len());
        let highest = long.columns.iter().max_by(|a, b| a.high.total_cmp(&b.high)).unwrap();
        assert_eq!((highest.high, highest.anomaly), (50.0, Some((0.9, 50.0))));
        assert!((0..=77_777 * 60_000).contains(&highest.time_ms));
        assert_eq!(long.svg("").unwrap().matches("<circle").count(), 1);
    }

    #[test]
    fn odd_series_give_a_picture_too() {
        for values in
            [vec![], vec![f64::NAN], vec![3.0], vec![5.0; 9], vec![f64::MAX, f64::MIN], vec![1e-300, 2e-300]]
        {
            let svg = plot(values.iter().map(|value| (*value, 0.1))).svg("odd").unwrap();
            assert!(
                svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>") && !svg.contains("NaN"),
                "{values:?}"
            );
        }
    }
}
