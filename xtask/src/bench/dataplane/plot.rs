//! Bars of throughput, as SVG.

use std::fmt::Write as _;

use crate::report::Report;

/// One group of bars a load, one bar an engine, with the median behind it. What was not measured is not there.
pub(super) fn throughput(report: &Report) -> String {
    let value = |engine: &str, load: &str| {
        let figure = report.figures.get(&format!("{engine}.{load}_gbps"));
        figure.map(|figure| figure.median())
    };
    let most = LOADS
        .iter()
        .flat_map(|load| ENGINES.iter().filter_map(|(engine, _)| value(engine, load)))
        .fold(1.0, f64::max);
    let mut svg = String::from(HEAD);
    let mut y = TOP;
    for load in LOADS {
        let bars: Vec<_> = ENGINES
            .iter()
            .filter_map(|(engine, color)| Some((engine, color, value(engine, load)?)))
            .collect();
        if bars.is_empty() {
            continue;
        }
        // Writing to a string cannot fail.
        let _ = writeln!(svg, r#"<text x="10" y="{}" font-weight="bold">{load}</text>"#, y + 12);
        y += BAR;
        for (engine, color, median) in bars {
            let width = median / most * WIDEST;
            let base = y + 12;
            let _ = writeln!(
                svg,
                r#"<text x="10" y="{base}">{engine}</text><rect x="120" y="{y}" width="{width:.1}" height="15" fill="{color}"/><text x="{:.1}" y="{base}">{median:.2}</text>"#,
                126.0 + width
            );
            y += BAR;
        }
        y += BAR / 2;
    }
    let _ = writeln!(svg, "</svg>");
    svg.replace("HEIGHT", &y.to_string())
}

const HEAD: &str = "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"640\" height=\"HEIGHT\" font-family=\"sans-serif\" font-size=\"12\">\n\
    <rect width=\"640\" height=\"HEIGHT\" fill=\"white\"/>\n\
    <text x=\"10\" y=\"18\">Throughput, median, Gbit/s; more is better</text>\n";
const LOADS: [&str; 6] = ["tcp1", "tcp4", "tcp8", "bidir", "nic_tcp1", "fwd_tcp1"];
const ENGINES: [(&str, &str); 4] = [
    ("plain", "#bbbbbb"),
    ("ours", "#0b7285"),
    ("wireguard_go", "#e8590c"),
    ("boringtun_cli", "#862e9c"),
];
const TOP: u32 = 30;
const BAR: u32 = 20;
const WIDEST: f64 = 440.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_measured_is_drawn() {
        let mut report = Report::new("test");
        report.figure("ours.tcp1_gbps", "Gbit/s", &[4.0]);
        report.figure("wireguard_go.tcp1_gbps", "Gbit/s", &[2.0]);
        let svg = throughput(&report);
        assert_eq!(svg.matches("<rect").count(), 3);
        assert!(svg.contains(r#"width="440.0""#) && svg.contains(r#"width="220.0""#));
        assert!(!svg.contains("HEIGHT") && !svg.contains("tcp8"));
    }
}
