//! The page: sections, figures with their data, tables.

use crate::report::figure::{FONTS, Figure, escape, plain_style_sheet, style_sheet, variables};
use anyhow::Result;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use std::fmt::Write;

/// The page as far as it is written.
#[derive(Default)]
pub(super) struct Page {
    body: String,
    /// Ids and titles of the sections.
    contents: Vec<(&'static str, &'static str)>,
    /// The figures, by the name of their files.
    pub(super) figures: Vec<(String, Figure)>,
}

/// A figure on the page.
pub(super) struct Shown {
    /// Name of its files, without ending.
    pub(super) stem: String,
    /// What it is; the list of a gallery's figures shows it.
    pub(super) title: String,
    /// What it shows, in a sentence that is computed from the data.
    pub(super) reading: String,
    /// The drawing.
    pub(super) figure: Figure,
    /// The numbers behind it.
    pub(super) data: Data,
}

impl Page {
    /// Adds a section of HTML.
    pub(super) fn section(&mut self, id: &'static str, title: &'static str, body: &str) {
        self.contents.push((id, title));
        let _ = write!(
            self.body,
            "<section id=\"{id}\" aria-labelledby=\"{id}-title\"><h2 \
             id=\"{id}-title\">{title}</h2>\n{body}</section>\n"
        );
    }

    /// Adds a section of figures of one kind, of which the reader chooses one. Without figures the
    /// line `none` says why.
    pub(super) fn gallery(
        &mut self,
        id: &'static str,
        title: &'static str,
        about: &str,
        shown: Vec<Shown>,
        none: &str,
    ) -> Result<()> {
        let mut body = format!("<p class=\"about\">{}</p>", escape(about));
        if shown.is_empty() {
            body = format!("<p class=\"none\">{}</p>", escape(none));
        }
        if shown.len() > 1 {
            body.push_str("<div class=\"choices\">");
        }
        let many = shown.len() > 1;
        for one in shown {
            body.push_str(&self.figure(one)?);
        }
        if many {
            body.push_str("</div>");
        }
        self.section(id, title, &body);
        Ok(())
    }

    /// A figure as HTML, with its downloads. Its files get the name that it asks for, unless
    /// another figure has it.
    pub(super) fn figure(&mut self, shown: Shown) -> Result<String> {
        let Shown { stem, title, reading, figure, data } = shown;
        // Labels are free text, file names are not.
        let stem: String = stem
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '_' })
            .collect();
        let taken = self.figures.iter().filter(|(other, _)| other.starts_with(&stem)).count();
        let stem = if self.figures.iter().any(|(other, _)| *other == stem) {
            format!("{stem}-{taken}")
        } else {
            stem
        };
        let html = format!(
            "<figure id=\"figure-{stem}\"><figcaption><h3>{}</h3><p \
             class=\"reading\">{}</p></figcaption>\
             <div class=\"drawing\">{}</div>\
             <p class=\"downloads\">{}<button type=\"button\" class=\"button svg\" \
             data-file=\"{stem}.svg\">Figure (SVG)</button></p></figure>\n",
            escape(&title),
            escape(&reading),
            figure.inline(),
            data.link(&stem)?
        );
        self.figures.push((stem, figure));
        Ok(html)
    }

    /// The whole page.
    pub(super) fn html(&self, study: &str) -> String {
        let fonts =
            FONTS.iter().zip([400, 600]).fold(String::new(), |mut sheet, (font, weight)| {
                let font = BASE64_STANDARD.encode(font);
                let _ = writeln!(
                    sheet,
                    "@font-face{{font-family:Inter;font-weight:{weight};\
                 src:url(data:font/otf;base64,{font}) format(\"opentype\")}}"
                );
                sheet
            });
        let (light, dark) = (variables(false), variables(true));
        let contents = self.contents.iter().fold(String::new(), |mut list, (id, title)| {
            let _ = write!(list, "<li><a href=\"#{id}\">{title}</a></li>");
            list
        });
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
             <title>{title}: Gauntlet report</title>\n<style>\n{fonts}\
             :root{{color-scheme:light;{light}}}\n\
             @media screen and (prefers-color-scheme: \
             dark){{:root:not([data-theme=light]){{color-scheme:dark;{dark}}}}}\n\
             @media screen{{:root[data-theme=dark]{{color-scheme:dark;{dark}}}}}\n\
             {figures}{page}</style>\n\
             <style id=\"plain-figure\" media=\"not all\">{plain}</style>\n</head>\n<body>\n\
             <header><div class=\"bar\"><h1>{title}</h1><button type=\"button\" id=\"theme\" \
             class=\"button\" hidden=\"hidden\">Dark</button></div>\
             <nav \
             aria-label=\"Contents\"><ol>{contents}</ol></nav></header>\n<main>\n{body}</main>\n\
             <div id=\"tip\" role=\"status\" aria-live=\"polite\" \
             hidden=\"hidden\"></div>\n<script>\n{script}</script>\n</body>\n</html>\n",
            title = escape(study),
            figures = style_sheet(),
            page = include_str!("../report.css"),
            plain = plain_style_sheet(),
            body = self.body,
            script = include_str!("../report.js"),
        )
    }
}

/// The numbers behind a figure, as CSV.
pub(super) struct Data(csv::Writer<Vec<u8>>);

impl Data {
    pub(super) fn new<const N: usize>(head: [&str; N]) -> Result<Self> {
        let mut data = Self(csv::Writer::from_writer(Vec::new()));
        data.0.write_record(head)?;
        Ok(data)
    }

    pub(super) fn row<const N: usize>(&mut self, row: [String; N]) -> Result<()> {
        Ok(self.0.write_record(row)?)
    }

    /// A link that downloads the file.
    fn link(self, stem: &str) -> Result<String> {
        let bytes = BASE64_STANDARD.encode(self.0.into_inner()?);
        Ok(format!(
            "<a class=\"button\" download=\"{stem}.csv\" \
             href=\"data:text/csv;base64,{bytes}\">Data (CSV)</a>"
        ))
    }
}

/// A number for CSV: all its digits, or nothing.
pub(super) fn plain(value: Option<f64>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

/// The ends of an interval for CSV.
pub(super) fn ends(interval: Option<(f64, f64)>) -> [String; 2] {
    [plain(interval.map(|ends| ends.0)), plain(interval.map(|ends| ends.1))]
}

/// A table that a click on a heading sorts. The first `left` columns hold text, the others numbers.
/// A cell is its text and the value that it is sorted by.
pub(super) fn table(
    caption: &str,
    head: &[&str],
    left: usize,
    rows: &[Vec<(String, Option<f64>)>],
) -> String {
    let mut html = format!(
        "<div class=\"drawing\"><table class=\"sortable\"><caption>{}</caption><thead><tr>",
        escape(caption)
    );
    for (n, title) in head.iter().enumerate() {
        let class = if n < left { "" } else { " class=\"number\"" };
        let _ = write!(html, "<th scope=\"col\"{class}>{}</th>", escape(title));
    }
    html.push_str("</tr></thead><tbody>\n");
    for row in rows {
        html.push_str("<tr>");
        for (n, (text, value)) in row.iter().enumerate() {
            let class = if n < left { "" } else { " class=\"number\"" };
            let value = value.map_or_else(String::new, |value| format!(" data-value=\"{value}\""));
            let _ = write!(html, "<td{class}{value}>{}</td>", escape(text));
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody></table></div>\n");
    html
}
