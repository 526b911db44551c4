//! The rows of a label file, in the forms that data sets come with: CSV with any of the usual
//! separators and headers, or lines `name label`.

use crate::data::lookup::{Lookup, is_image_name};
use anyhow::{Context, Result, anyhow, bail, ensure};

/// What stands between the fields of a line.
const SEPARATORS: [u8; 4] = *b",;\t|";

/// Names of the column of files, in lower case without spaces, `_` and `-`. The first that a header
/// has is taken: `id` may be a number beside a column of files.
const FILE: [&str; 14] = [
    "file",
    "filename",
    "filepath",
    "image",
    "imageid",
    "imagefile",
    "imagefilename",
    "imagename",
    "imagepath",
    "img",
    "imgpath",
    "path",
    "name",
    "id",
];
/// Names of the column of labels. Beside `label` itself there must be only one of them.
const LABEL: [&str; 17] = [
    "label",
    "labels",
    "class",
    "classes",
    "classid",
    "classindex",
    "classlabel",
    "classname",
    "category",
    "groundtruth",
    "trueclass",
    TRUE_LABEL,
    PREDICTION_STRING,
    "synset",
    "wnid",
    "wordnetid",
    "y",
];
/// Names of the column of targets.
const TARGET: [&str; 3] = ["target", TARGET_CLASS, "targetlabel"];

/// The column of labels of ImageNet's `LOC_val_solution.csv`: a WordNet id, and the corners of a
/// box, for each object in the image.
const PREDICTION_STRING: &str = "predictionstring";
/// Columns of the NIPS 2017 competition on adversarial examples, whose classes count from 1.
const TRUE_LABEL: &str = "truelabel";
const TARGET_CLASS: &str = "targetclass";

/// A label file's content. Labels and targets are texts still.
#[derive(Debug, PartialEq)]
pub(super) struct Sheet {
    pub(super) rows: Vec<SheetRow>,
    pub(super) counting: Counting,
}

/// Where labels that are numbers begin to count, as far as the header tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counting {
    /// As usual: from 0.
    Usual,
    /// From 1: the columns are those of the NIPS 2017 competition.
    FromOne,
    /// `TrueLabel` is a column of that competition, but others have it too.
    Unclear,
}

#[derive(Debug, PartialEq)]
pub(super) struct SheetRow {
    /// Its line in the file, from 1.
    pub(super) line: usize,
    pub(super) file: String,
    pub(super) label: String,
    /// Empty where there is none.
    pub(super) target: String,
}

impl Sheet {
    /// Reads a label file. Without a header its lines are `name label`, with a separator or spaces
    /// between them; `files` shows where names with spaces end.
    ///
    /// # Errors
    /// When no column has files or labels, or a line does not fit the header.
    pub(super) fn parse(text: &str, files: &Lookup) -> Result<Self> {
        let first =
            text.lines().find(|line| !line.trim().is_empty()).context("the file is empty")?;
        ensure!(
            !first.trim_start().starts_with(['{', '[']),
            "the file is JSON: a CSV file with the columns `file` and `label` is expected \
             (`pandas.read_json(\"FILE\", lines=True).to_csv(\"FILE.csv\", index=False)` makes one \
             of JSON lines)"
        );
        for separator in SEPARATORS {
            let header = fields(first, separator);
            if let Some(columns) = Columns::find(&header)? {
                return columns.read(text, separator);
            }
        }
        let words: Vec<String> = first.split_whitespace().map(str::to_owned).collect();
        if let Some(columns) = Columns::find(&words)? {
            ensure!(
                (columns.file, columns.label, columns.width) == (0, 1, 2),
                "the header is `{first}`: with spaces between them, `file` and `label` alone are \
                 expected; put a comma between the columns"
            );
            return by_words(text, files, true);
        }
        let is_file = |name: &str| is_image_name(name) || matches!(files.find(name), Ok(Some(_)));
        for separator in SEPARATORS {
            let fields = fields(first, separator);
            if fields.len() > 1 && is_file(fields[0].trim()) {
                ensure!(
                    fields.len() == 2,
                    "line 1 has {} fields, and there is no header: with more than file and label a \
                     header is expected, such as `file,label,target`",
                    fields.len()
                );
                let columns =
                    Columns { file: 0, label: 1, target: None, width: 2, ..Columns::default() };
                return columns.read(text, separator);
            }
        }
        if first.trim().contains(char::is_whitespace)
            && splits(first).any(|(name, _)| is_file(name))
        {
            return by_words(text, files, false);
        }
        Err(refusal(text, first))
    }
}

/// Why a text is no label file, and what to do.
fn refusal(text: &str, first: &str) -> anyhow::Error {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    if lines.clone().all(|line| line.parse::<i64>().is_ok()) {
        return anyhow!(
            "{} lines with a number each, and no names of files: write lines `file,label` under \
             that header, with the names in the order that the numbers are for. \
             (ILSVRC2012_validation_ground_truth.txt counts the classes in the development kit's \
             order, not in that of the WordNet ids: LOC_val_solution.csv has the ids.)",
            lines.count()
        );
    }
    let separator = SEPARATORS.into_iter().find(|&separator| fields(first, separator).len() > 1);
    let found = match separator {
        Some(separator) => fields(first, separator).join(", "),
        None => first.trim().to_owned(),
    };
    anyhow!(
        "the columns `file` and `label` are expected, found {found}; without a header, lines \
         `file label` whose files are in the folder of images"
    )
}

/// The fields of a single line.
fn fields(line: &str, separator: u8) -> Vec<String> {
    let mut reader = reader(line, separator);
    let record = reader.records().next().and_then(Result::ok).unwrap_or_default();
    record.iter().map(str::to_owned).collect()
}

fn reader(text: &str, separator: u8) -> csv::Reader<&[u8]> {
    csv::ReaderBuilder::new()
        .delimiter(separator)
        .has_headers(false)
        .flexible(true)
        .from_reader(text.as_bytes())
}

/// Where a header has what.
#[derive(Default)]
struct Columns {
    file: usize,
    label: usize,
    target: Option<usize>,
    /// Number of columns.
    width: usize,
    /// Whether the first line is the header.
    header: bool,
    /// Whether labels are those of [`PREDICTION_STRING`].
    boxes: bool,
    counting: Option<Counting>,
}

impl Columns {
    /// The columns of a header; none where it lacks files or labels.
    ///
    /// # Errors
    /// When two columns can be meant.
    fn find(header: &[String]) -> Result<Option<Self>> {
        let plain: Vec<String> = header.iter().map(|name| plain(name)).collect();
        let position = |known: &str| -> Result<Option<usize>> {
            let mut all = (0..plain.len()).filter(|&n| plain[n] == known);
            let first = all.next();
            let Some(second) = all.next() else { return Ok(first) };
            bail!(
                "the columns {} and {} of the header are both called `{}`: rename one",
                first.unwrap_or_default() + 1,
                second + 1,
                header[second].trim()
            )
        };
        let places = |known: &[&'static str]| -> Result<Vec<(usize, &'static str)>> {
            let found = known.iter().map(|known| Ok(position(known)?.map(|place| (place, *known))));
            Ok(found.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
        };
        let (files, labels, targets) = (places(&FILE)?, places(&LABEL)?, places(&TARGET)?);
        let (Some(&(file, _)), Some(&(label, kind))) = (files.first(), labels.first()) else {
            return Ok(None);
        };
        if labels.len() > 1 && kind != LABEL[0] {
            let names: Vec<String> =
                labels.iter().map(|(place, _)| format!("`{}`", header[*place].trim())).collect();
            bail!(
                "the columns {} can be the labels: call the right one `label`",
                names.join(" and ")
            );
        }
        let target = targets.first();
        let counting = match (kind, target) {
            (TRUE_LABEL, Some((_, TARGET_CLASS))) if plain[file] == "imageid" => Counting::FromOne,
            (TRUE_LABEL, _) => Counting::Unclear,
            _ => Counting::Usual,
        };
        Ok(Some(Self {
            file,
            label,
            target: target.map(|(place, _)| *place),
            // Spreadsheets leave empty columns at the end.
            width: plain.iter().rposition(|name| !name.is_empty()).map_or(0, |last| last + 1),
            header: true,
            boxes: kind == PREDICTION_STRING,
            counting: Some(counting),
        }))
    }

    /// Reads all lines of a text. Blank lines are left out, quotes are those of CSV.
    fn read(&self, text: &str, separator: u8) -> Result<Sheet> {
        let mut rows = Vec::new();
        let mut lines = Lines::default();
        let mut header = self.header;
        for record in reader(text, separator).records() {
            let record = record?;
            let byte = record.position().map_or(0, |position| position.byte() as usize);
            let line = lines.of(text, byte);
            if record.iter().all(|field| field.trim().is_empty()) {
                continue;
            }
            if std::mem::take(&mut header) {
                continue;
            }
            // Empty fields at the end are what spreadsheets leave.
            let extra = record.iter().skip(self.width).any(|field| !field.trim().is_empty());
            ensure!(
                record.len() >= self.width && !extra,
                "line {line} has {} of {} fields: text with `{}` in it belongs in quotes",
                record.len(),
                self.width,
                char::from(separator)
            );
            let field = |column: usize| record.get(column).unwrap_or_default().trim();
            let label = if self.boxes {
                the_one_class(field(self.label))
                    .with_context(|| format!("line {line}: `{}`", field(self.label)))?
            } else {
                field(self.label)
            };
            rows.push(SheetRow {
                line,
                file: field(self.file).to_owned(),
                label: label.to_owned(),
                target: self.target.map_or("", field).to_owned(),
            });
        }
        Ok(Sheet { rows, counting: self.counting.unwrap_or(Counting::Usual) })
    }
}

/// The class of `n01440764 10 20 30 40 n01440764 …`: an id and four corners for each box.
fn the_one_class(text: &str) -> Result<&str> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let Some(first) = words.first() else { return Ok("") };
    ensure!(
        words.len() == 1 || words.len().is_multiple_of(5),
        "{} words are found, an id and four numbers for each box are expected",
        words.len()
    );
    if let Some(other) = words.iter().step_by(5).find(|class| *class != first) {
        bail!("boxes of several classes, `{first}` and `{other}`: one label is expected");
    }
    Ok(first)
}

/// A column's name as it is compared.
fn plain(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// Lines `name label` with spaces between them, after a header or without one.
fn by_words(text: &str, files: &Lookup, header: bool) -> Result<Sheet> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let rows = lines.skip(usize::from(header)).map(|(number, text)| {
        let line = number + 1;
        let last = splits(text).next();
        let found = splits(text).find(|(name, _)| matches!(files.find(name), Ok(Some(_))));
        let (file, label) = found.or(last).with_context(|| {
            format!("line {line}: found `{}`, expected `file label`", text.trim())
        })?;
        Ok(SheetRow { line, file: file.into(), label: label.into(), target: String::new() })
    });
    Ok(Sheet { rows: rows.collect::<Result<_>>()?, counting: Counting::Usual })
}

/// Greatest number of spaces in a name or label of a line `name label`.
const MOST_SPACES: usize = 64;

/// The ways to split a line in two at spaces, the last space first: names may have spaces, and
/// labels that are names too. At most [`MOST_SPACES`] are tried.
fn splits(line: &str) -> impl Iterator<Item = (&str, &str)> {
    let line = line.trim();
    let spaces = line.char_indices().rev().filter(|(_, c)| c.is_whitespace()).take(MOST_SPACES);
    let split = spaces.map(move |(at, _)| (line[..at].trim_end(), line[at..].trim_start()));
    split.filter(|(name, label)| !name.is_empty() && !label.is_empty())
}

/// Counts lines up to places that only go forward.
#[derive(Default)]
struct Lines {
    byte: usize,
    before: usize,
}

impl Lines {
    /// The line, from 1, of the first text at or after `byte`.
    fn of(&mut self, text: &str, byte: usize) -> usize {
        let rest = &text.as_bytes()[byte.min(text.len())..];
        let blank = rest.iter().take_while(|c| matches!(c, b'\n' | b'\r')).count();
        let start = (byte + blank).min(text.len()).max(self.byte);
        let passed = &text.as_bytes()[self.byte..start];
        self.before += passed.split(|byte| *byte == b'\n').count() - 1;
        self.byte = start;
        self.before + 1
    }
}
