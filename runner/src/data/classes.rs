//! Names of classes.

use crate::text;
use anyhow::{Context, Result, anyhow, bail, ensure};
use gauntlet_core::params::suggestion;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap};
use std::path::Path;

/// The ten classes of Fashion-MNIST.
const FASHION_MNIST: [&str; 10] = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
];

/// `n01440764 tench, Tinca tinca`, a line for each class.
const IMAGENET: &str = include_str!("../../data/imagenet/classes.txt");

/// The names of a data set's real classes, counted from 0. A background class is not among them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Classes(Vec<Class>);

/// A class's names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Class {
    /// The WordNet id, such as `n01440764`; `None` where it is not known.
    pub id: Option<String>,
    /// The usual name.
    pub name: String,
    /// Other names.
    pub synonyms: Vec<String>,
}

impl Class {
    /// Reads a line: a WordNet id and names with commas between them, or a name alone.
    fn parse(line: &str) -> Self {
        let line = line.trim();
        match line.split_once(char::is_whitespace).filter(|(id, _)| is_id(id)) {
            Some((id, names)) => {
                let mut names = names.split(',').map(|name| name.trim().to_owned());
                let name = names.next().unwrap_or_default();
                Self { id: Some(id.to_owned()), name, synonyms: names.collect() }
            }
            None => Self {
                id: is_id(line).then(|| line.to_owned()),
                name: line.to_owned(),
                synonyms: Vec::new(),
            },
        }
    }
}

/// A WordNet id: `n` and eight digits.
pub(super) fn is_id(text: &str) -> bool {
    text.len() == 9
        && text.starts_with(['n', 'N'])
        && text[1..].bytes().all(|digit| digit.is_ascii_digit())
}

/// The form in which names are compared: lower case, with spaces for `_` and `-`.
fn plain(name: &str) -> String {
    name.trim().to_lowercase().replace(['_', '-'], " ")
}

impl Classes {
    /// The ten classes of Fashion-MNIST.
    pub fn fashion_mnist() -> Self {
        Self(FASHION_MNIST.iter().map(|name| Class::parse(name)).collect())
    }

    /// The thousand classes of ImageNet.
    pub fn imagenet() -> Self {
        Self(IMAGENET.lines().map(Class::parse).collect())
    }

    /// Reads a file with a class in each line: its name, or its WordNet id and its names.
    ///
    /// # Errors
    /// When the file cannot be read, or a line is empty.
    pub fn read(path: &Path) -> Result<Self> {
        let place = || format!("class names {}", path.display());
        Self::parse(&text::read(path).with_context(place)?)
            .map_err(|error| anyhow!("{}: {error}", place()))
    }

    /// Classes from a text with one in each line. Empty lines at the end are left out.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let text = text.trim_end();
        ensure!(!text.is_empty(), "the file is empty, a class in each line is expected");
        ensure!(
            !text.starts_with(['{', '[']),
            "the file is JSON, a text with a class in each line is expected, without numbers"
        );
        if let Some(line) = text.lines().position(|line| line.trim().is_empty()) {
            bail!("line {} is empty, a class is expected there", line + 1);
        }
        Ok(Self(text.lines().map(Class::parse).collect()))
    }

    /// The names of a study's classes: `names` where its images have them. Where they have none, a
    /// thousand classes are taken for ImageNet's.
    ///
    /// # Errors
    /// When `names` are not as many as `classes`.
    pub fn of_study(names: Option<Self>, classes: i64) -> Result<Option<Self>> {
        let Some(names) = names else {
            let imagenet = Self::imagenet();
            return Ok((imagenet.len() as i64 == classes).then_some(imagenet));
        };
        ensure!(
            names.len() as i64 == classes,
            "the images have {} classes, the models {classes}",
            names.len()
        );
        Ok(Some(names))
    }

    /// Where each class stands among ImageNet's, by id or name; none for a class whose name several
    /// have. None unless these are ImageNet's thousand classes.
    pub(crate) fn among_imagenet(&self) -> Option<Vec<Option<i64>>> {
        let imagenet = Self::imagenet();
        if self.len() != imagenet.len() {
            return None;
        }
        let index = imagenet.index();
        let find = |class: &Class| index.find(class.id.as_ref().unwrap_or(&class.name)).ok();
        let places: Vec<Option<i64>> = self.0.iter().map(find).collect();
        let found: BTreeSet<i64> = places.iter().flatten().copied().collect();
        // Lists of names differ in a few.
        (found.len() * 100 >= imagenet.len() * 95).then_some(places)
    }

    /// Number of classes.
    #[expect(clippy::len_without_is_empty, reason = "there is always one")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The class with this number; `None` when there is no such class.
    pub fn get(&self, class: i64) -> Option<&Class> {
        self.0.get(usize::try_from(class).ok()?)
    }

    /// The name of a class; empty when there is no such class.
    pub fn name(&self, class: i64) -> &str {
        self.get(class).map_or("", |class| &class.name)
    }

    /// An index of all ids and names, to find classes by.
    pub fn index(&self) -> Index<'_> {
        let mut usual: HashMap<String, Vec<usize>> = HashMap::new();
        let mut other: HashMap<String, Vec<usize>> = HashMap::new();
        for (number, class) in self.0.iter().enumerate() {
            for text in class.id.iter().chain([&class.name]) {
                usual.entry(plain(text)).or_default().push(number);
            }
            for text in &class.synonyms {
                other.entry(plain(text)).or_default().push(number);
            }
        }
        for numbers in usual.values_mut().chain(other.values_mut()) {
            numbers.dedup();
        }
        Index { classes: self, usual, other }
    }
}

/// Classes by id and name.
pub struct Index<'a> {
    classes: &'a Classes,
    /// By id and usual name.
    usual: HashMap<String, Vec<usize>>,
    /// By the other names.
    other: HashMap<String, Vec<usize>>,
}

impl Index<'_> {
    /// The class that a label file or a class folder means: by its id or name, or by its number,
    /// counted from `first`.
    ///
    /// # Errors
    /// When the text is neither, or is the name of one class and the number of another.
    pub fn class(&self, text: &str, first: i64) -> Result<i64> {
        let number = text.trim().parse::<i64>().ok().and_then(|number| number.checked_sub(first));
        let known = |class: i64| (0..self.classes.len() as i64).contains(&class);
        match (self.find(text), number) {
            (Ok(named), Some(numbered)) if named != numbered && known(numbered) => bail!(
                "`{text}` is the name of class {named} and the number of class {numbered}, counted \
                 from {first}: a name that is a number must be that of its own class"
            ),
            (Ok(named), _) => Ok(named),
            // The name of several classes is a guess even where it is a number.
            (Err(error), Some(_)) if self.is_ambiguous(text) => Err(error),
            (Err(_), Some(numbered)) if numbered >= 0 => Ok(numbered),
            (Err(_), Some(_)) => {
                bail!("found {text}, but classes are counted from {first} (`first_label`)")
            }
            (Err(error), None) => Err(error),
        }
    }

    /// Where the names of the classes begin to count, if all are numbers in order; otherwise 0.
    pub fn first_number(&self) -> i64 {
        let number = |class: usize| self.classes.name(class as i64).trim().parse::<i64>().ok();
        let Some(first) = number(0) else { return 0 };
        let in_order = (0..self.classes.len()).all(|n| number(n) == first.checked_add(n as i64));
        if in_order { first } else { 0 }
    }

    /// Whether several classes have this name.
    fn is_ambiguous(&self, text: &str) -> bool {
        let wanted = plain(text);
        let found = self.usual.get(&wanted).or_else(|| self.other.get(&wanted));
        found.is_some_and(|numbers| numbers.len() > 1)
    }

    /// The class of that id or name.
    ///
    /// # Errors
    /// When no class has that name (the error proposes a similar one), or several have it.
    pub fn find(&self, text: &str) -> Result<i64> {
        let wanted = plain(text);
        match self.usual.get(&wanted).or_else(|| self.other.get(&wanted)).map(Vec::as_slice) {
            Some([number]) => Ok(*number as i64),
            Some(numbers) => {
                let who: Vec<String> = numbers.iter().map(|&number| self.which(number)).collect();
                bail!("`{text}` is the name of several classes: {}", who.join(" and "))
            }
            None => {
                let known: Vec<&String> = self.usual.keys().chain(self.other.keys()).collect();
                bail!("`{text}` is no class{}", suggestion(text, &known))
            }
        }
    }

    fn which(&self, number: usize) -> String {
        let class = &self.classes.0[number];
        class.id.as_ref().map_or_else(|| format!("number {number}"), |id| format!("`{id}`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn imagenet_has_a_thousand_classes_with_an_id_each_in_the_order_of_the_ids() {
        let classes = Classes::imagenet();
        let ids: Vec<&String> = classes.0.iter().map(|class| class.id.as_ref().unwrap()).collect();
        assert_eq!((classes.len(), ids.is_sorted()), (1000, true));
        for (class, id, name) in [
            (0, "n01440764", "tench"),
            (436, "n02814533", "beach wagon"),
            (999, "n15075141", "toilet tissue"),
        ] {
            assert_eq!(
                (classes.name(class), classes.get(class).unwrap().id.as_deref()),
                (name, Some(id))
            );
        }
        assert_eq!((classes.name(-1), classes.name(1000)), ("", ""));
    }

    #[test]
    fn ids_names_and_synonyms_find_their_class() {
        let classes = Classes::imagenet();
        let index = classes.index();
        for (text, expected) in [
            ("n01440764", 0),
            ("Tench", 0),
            ("tinca_tinca", 0),
            ("missile", 657),
            ("toilet-paper", 999),
        ] {
            assert_eq!(index.find(text).unwrap(), expected, "{text}");
        }
        for (text, expected) in [
            ("n0144076", "`n0144076` is no class, did you mean `n01440764`?"),
            ("goldfishh", "`goldfishh` is no class, did you mean `goldfish`?"),
            ("crane", "`crane` is the name of several classes: `n02012849` and `n03126707`"),
            ("flying pig of Ulm", "`flying pig of Ulm` is no class"),
        ] {
            assert_eq!(index.find(text).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn a_text_that_is_a_name_and_another_class_s_number_is_refused() {
        let classes =
            |names: &[&str]| Classes(names.iter().map(|name| Class::parse(name)).collect());
        let backwards = classes(&["2", "1", "0"]);
        assert_eq!(backwards.index().class("1", 0).unwrap(), 1);
        let error = backwards.index().class("2", 0).unwrap_err().to_string();
        assert!(
            error.starts_with("`2` is the name of class 0 and the number of class 2"),
            "{error}"
        );
        // Names that count from 1 are numbers that do.
        let from_one = classes(&["1", "2", "3"]);
        assert_eq!((from_one.index().first_number(), backwards.index().first_number()), (1, 0));
        assert_eq!(from_one.index().class("3", 1).unwrap(), 2);
        assert!(from_one.index().class("2", 0).is_err());
        // A number beyond the classes is a name alone.
        let digits = classes(&["7", "8"]);
        assert_eq!(digits.index().class("8", 0).unwrap(), 1);
        let words = classes(&["cat", "dog"]);
        assert_eq!(
            (words.index().class("dog", 0).unwrap(), words.index().class("1", 0).unwrap()),
            (1, 1)
        );
        assert_eq!(
            words.index().class("0", 1).unwrap_err().to_string(),
            "found 0, but classes are counted from 1 (`first_label`)"
        );
    }

    #[test]
    fn a_file_may_have_names_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("names.txt");
        fs::write(&path, "cat, black\nn02012849 crane, bird\n\u{3b1}\n").unwrap();
        let classes = Classes::read(&path).unwrap();
        assert_eq!(
            (0..3).map(|n| classes.name(n)).collect::<Vec<_>>(),
            ["cat, black", "crane", "α"]
        );
        assert_eq!(classes.index().find("bird").unwrap(), 1);
        for (text, expected) in [("", "the file is empty"), ("cat\n\ndog\n", "line 2 is empty")] {
            fs::write(&path, text).unwrap();
            assert!(Classes::read(&path).unwrap_err().to_string().contains(expected));
        }
    }
}
