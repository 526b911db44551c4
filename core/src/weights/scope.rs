//! What stands around the names of all tensors in a file: a scope that something put before them
//! (`module.`, `model.`, `_orig_mod.`, `state_dict.`, `import/`, also several in a row), and
//! TensorFlow's `:0` after them.

use super::conventions::{Dialect, Role};
use super::graph::Graph;
use super::note::Note;
use super::source::{Misfit, Source};
use std::cell::OnceCell;
use std::collections::BTreeSet;
use tch::Tensor;

/// What TensorFlow puts after the name of a variable's first output.
const OUTPUT: &str = ":0";

/// A source whose names all have something around them that networks may not know.
struct Scoped {
    source: Box<dyn Source>,
    names: BTreeSet<String>,
    /// The scopes that all names begin with, the shortest first: none, `module.`, `module.model.`.
    scopes: Vec<String>,
    /// What all names end with.
    ending: &'static str,
    /// The scope that the network does not know. The first name that is found decides.
    chosen: OnceCell<String>,
}

/// The same source, which also knows its names without what stands around all of them.
pub(super) fn around(source: Box<dyn Source>) -> Box<dyn Source> {
    let names: BTreeSet<String> = source.names().into_iter().collect();
    let scopes = scopes(&names);
    let outputs = !names.is_empty() && names.iter().all(|name| name.ends_with(OUTPUT));
    if scopes.len() == 1 && !outputs {
        return source;
    }
    let ending = if outputs { OUTPUT } else { "" };
    Box::new(Scoped { source, names, scopes, ending, chosen: OnceCell::new() })
}

/// The scopes that all names begin with, the shortest first. The first one is empty.
fn scopes(names: &BTreeSet<String>) -> Vec<String> {
    let common = common_scope(names.iter().map(String::as_str));
    let ends = common.char_indices().filter(|(_, c)| matches!(c, '.' | '/')).map(|(at, _)| at + 1);
    std::iter::once(0).chain(ends).map(|end| common[..end].to_owned()).collect()
}

/// The longest scope that all names begin with; empty where there is none.
pub(super) fn common_scope<'a>(mut names: impl Iterator<Item = &'a str>) -> &'a str {
    let Some(first) = names.next() else { return "" };
    let shared = names.fold(first.len(), |shared, name| {
        let alike = first.bytes().zip(name.bytes()).take_while(|(a, b)| a == b).count();
        shared.min(alike)
    });
    let bytes = &first.as_bytes()[..shared];
    let end = bytes.iter().rposition(|byte| matches!(byte, b'.' | b'/')).map_or(0, |at| at + 1);
    &first[..end]
}

/// What names begin with, in a sentence; `None` where that would not help.
pub(super) fn beginnings(names: &[String]) -> Option<String> {
    /// Greatest number of scopes that are named.
    const NAMED: usize = 4;

    let common = common_scope(names.iter().map(String::as_str));
    if !common.is_empty() {
        return Some(format!("all names in the file begin with `{common}`"));
    }
    let first = |name: &String| Some(format!("`{}`", &name[..=name.find(['.', '/'])?]));
    let scopes: BTreeSet<String> = names.iter().map(first).collect::<Option<_>>()?;
    let scopes: Vec<String> = scopes.into_iter().collect();
    (2..=NAMED)
        .contains(&scopes.len())
        .then(|| format!("names in the file begin with {}", scopes.join(" or ")))
}

impl Scoped {
    /// The file's own name of a tensor, or of the beginning of names.
    fn own(&self, name: &str) -> String {
        if self.chosen.get().is_none() {
            let fits =
                |scope: &&String| self.names.contains(&format!("{scope}{name}{}", self.ending));
            if let Some(scope) = self.scopes.iter().find(fits) {
                let _ = self.chosen.set(scope.clone());
            }
        }
        let scope = self.chosen.get().map(String::as_str).unwrap_or_default();
        let whole = format!("{scope}{name}{}", self.ending);
        // A beginning of names has no end.
        if self.names.contains(&whole) { whole } else { format!("{scope}{name}") }
    }
}

impl Source for Scoped {
    fn tensor(&self, name: &str, shape: &[i64], role: Role) -> Result<Tensor, Misfit> {
        self.source.tensor(&self.own(name), shape, role)
    }

    fn names(&self) -> Vec<String> {
        self.source.names()
    }

    fn values(&self) -> u64 {
        self.source.values()
    }

    fn own_name(&self, name: &str) -> String {
        self.own(name)
    }

    fn dialect(&self) -> Dialect {
        self.source.dialect()
    }

    fn graph(&self) -> Option<&Graph> {
        self.source.graph()
    }

    fn note(&self) -> Option<&Note> {
        self.source.note()
    }

    fn description(&self) -> String {
        self.source.description()
    }

    fn training(&self) -> bool {
        self.source.training()
    }

    fn spare(&self, start: &str) {
        self.source.spare(&self.own(start));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::Weights;
    use tch::{Device, Kind};

    /// Tensors of two values with these names.
    struct Named(&'static [&'static str]);

    impl Source for Named {
        fn tensor(&self, name: &str, shape: &[i64], _: Role) -> Result<Tensor, Misfit> {
            if self.0.contains(&name) {
                Ok(Tensor::ones(shape, (Kind::Float, Device::Cpu)))
            } else {
                Err(Misfit::Missing)
            }
        }

        fn names(&self) -> Vec<String> {
            self.0.iter().map(|&name| name.to_owned()).collect()
        }
    }

    /// Reads `a/weights` and `a/biases`; nobody asks for what is below `aux`.
    fn read(names: &'static [&'static str]) -> Result<(), String> {
        let weights = Weights::new(Named(names), Device::Cpu);
        weights.root().at("aux").spare();
        for name in ["weights", "biases"] {
            let _ = weights.root().at("a").tensor(name, &[2], Role::Bias);
        }
        weights.finish().map_err(|error| error.to_string())
    }

    #[test]
    fn what_stands_around_all_names_is_taken_off() {
        for names in [
            &["a/weights", "a/biases"][..],
            &["x/a/weights", "x/a/biases", "x/aux/weights"],
            &["x/y/a/weights", "x/y/a/biases"],
            &["model.a/weights", "model.a/biases"],
            &["a/weights:0", "a/biases:0", "aux/weights:0"],
            &["state_dict.module.a/weights:0", "state_dict.module.a/biases:0"],
            &["a/a/weights", "a/a/biases"],
        ] {
            assert_eq!(read(names), Ok(()), "{names:?}");
        }
    }

    #[test]
    fn what_stands_around_some_names_is_told() {
        let error = read(&["x/a/weights", "y/a/biases"]).unwrap_err();
        assert!(error.starts_with("4 tensors do not fit the network"), "{error}");
        assert!(error.ends_with("\nnames in the file begin with `x/` or `y/`"), "{error}");
        let error = read(&["x/b/weights", "x/b/biases"]).unwrap_err();
        assert!(error.ends_with("\nall names in the file begin with `x/b/`"), "{error}");
        // Once chosen, a scope stands for all names.
        let error = read(&["a/a/weights", "a/biases"]).unwrap_err();
        assert!(error.contains("missing     a/"), "{error}");
    }
}
