//! Which members take part: those that a study names, and those that join them from the registry.
//!
//! A list (models, attacks or metrics) that a study leaves out is everything registered that fits.
//! Where a study names its members, what plugin libraries bring joins them if the study is built
//! in, and otherwise only if `include` asks for it. `include` keeps what one of its patterns
//! matches; kinds that no pattern matches or names stay whole. `exclude` then drops what it
//! matches.

use crate::study::options::StudyOptions;
use crate::study::part::{LeftOut, MemberKind};
use crate::study::refusal::Refusal;
use crate::study::syntax::{File, Named};
use anyhow::{Context, Result, anyhow};
use gauntlet_core::params::suggestion;
use gauntlet_core::registry::Entry;
use std::cell::Cell;
use std::ops::Range;
use toml::Spanned;

/// The members of one kind.
pub(super) struct Selected<'a, C> {
    /// Those that the study names.
    pub named: Vec<&'a C>,
    /// Those that join them, if they fit.
    pub joining: Vec<&'a Entry>,
}

/// A member that may take part.
struct Candidate<'a> {
    label: &'a str,
    name: &'a str,
    /// Whether it takes part when no pattern matches it.
    wanted: bool,
}

/// A pattern of `include` or `exclude`: `kind:name`, or a name alone. The name may have `*`, `?`
/// and `[…]` in it.
struct Pattern {
    text: String,
    kind: Option<MemberKind>,
    glob: glob::Pattern,
    /// Whether it has matched any member.
    used: Cell<bool>,
    place: Place,
}

/// Where a pattern was found.
enum Place {
    /// In the study's text, at this span.
    Study(Range<usize>),
    /// On the command line, as an option of this name.
    Option(&'static str),
}

impl Pattern {
    fn parse(text: &str, place: Place) -> Result<Self> {
        let (kind, name) = match text.split_once(':') {
            None => (None, text),
            Some((kind, name)) => {
                let singular = kind.strip_suffix('s').unwrap_or(kind);
                let found = MemberKind::ALL.iter().find(|known| singular == known.name());
                (
                    Some(*found.with_context(|| {
                        format!("`{text}`: `{kind}` is no kind: use `model`, `attack` or `metric`")
                    })?),
                    name,
                )
            }
        };
        let glob = glob::Pattern::new(name).with_context(|| format!("`{text}` is no pattern"))?;
        Ok(Self { text: text.to_owned(), kind, glob, used: Cell::new(false), place })
    }

    fn matches(&self, kind: MemberKind, candidate: &Candidate) -> bool {
        let matches = self.kind.is_none_or(|own| own == kind)
            && (self.glob.matches(candidate.label) || self.glob.matches(candidate.name));
        self.used.set(self.used.get() || matches);
        matches
    }
}

/// Decides which members take part, by `include` and `exclude` of a study and the command line.
pub(super) struct Selection<'a> {
    refusal: &'a Refusal<'a>,
    built_in: bool,
    include: Vec<Pattern>,
    exclude: Vec<Pattern>,
    /// The labels of all members that patterns could match.
    seen: Vec<String>,
    /// Kind and label of the members that joined.
    pub joined: Vec<(MemberKind, String)>,
    /// The members that could take part and do not.
    pub left_out: Vec<LeftOut>,
}

impl<'a> Selection<'a> {
    /// Patterns of the study, and of `options`: their `include` replaces the study's, their
    /// `exclude` is added. Selected from plugin libraries join a study that is `built_in`.
    ///
    /// # Errors
    /// When a pattern cannot be parsed.
    pub fn new(
        refusal: &'a Refusal<'a>,
        file: &File,
        options: &StudyOptions,
        built_in: bool,
    ) -> Result<Self> {
        let study = |texts: &[Spanned<String>]| -> Result<Vec<Pattern>> {
            let parse = |text: &Spanned<String>| {
                Pattern::parse(text.get_ref(), Place::Study(text.span()))
                    .map_err(|error| refusal.at(&text.span(), error))
            };
            texts.iter().map(parse).collect()
        };
        let given = |texts: &[String], option: &'static str| -> Result<Vec<Pattern>> {
            texts
                .iter()
                .map(|text| Pattern::parse(text, Place::Option(option)).context(option))
                .collect()
        };
        let include = if options.include.is_empty() {
            study(&file.include)?
        } else {
            given(&options.include, "--include")?
        };
        let mut exclude = study(&file.exclude)?;
        exclude.extend(given(&options.exclude, "--exclude")?);
        Ok(Self {
            refusal,
            built_in,
            include,
            exclude,
            seen: Vec::new(),
            joined: Vec::new(),
            left_out: Vec::new(),
        })
    }

    /// The members of a kind that take part. `named` are those that the study names, if it has such
    /// a list. `registered` are all entries of the kind, each with whether it takes long: entries
    /// that do take part only if they are named or included.
    pub fn members<'m, C: Named>(
        &mut self,
        kind: MemberKind,
        named: Option<&'m [C]>,
        registered: impl Iterator<Item = (&'m Entry, bool)>,
    ) -> Selected<'m, C> {
        let listed = named.is_some();
        let named = named.unwrap_or_default();
        let objection = |entry: &Entry, costly: bool| match entry.library {
            Some(_) if listed && !self.built_in => Some(format!(
                "the study names its {kind}s: name it there too, or say `--include '{kind}:*'`"
            )),
            None if costly => {
                Some(format!("it takes long: name it in the study, or say `--include '{kind}:*'`"))
            }
            _ => None,
        };
        let others: Vec<(&Entry, Option<String>)> = registered
            .filter(|(entry, _)| named.iter().all(|choice| choice.name() != entry.name))
            .filter(|(entry, _)| !listed || entry.library.is_some())
            .map(|(entry, costly)| (entry, objection(entry, costly)))
            .collect();
        let named_candidates = named.iter().map(|choice| Candidate {
            label: choice.label(),
            name: choice.name(),
            wanted: true,
        });
        let other_candidates = others.iter().map(|(entry, objection)| Candidate {
            label: &entry.name,
            name: &entry.name,
            wanted: objection.is_none(),
        });
        let chosen =
            self.choose(kind, &named_candidates.chain(other_candidates).collect::<Vec<_>>());
        let (of_named, of_others) = chosen.split_at(named.len());
        let mut joining = Vec::new();
        for ((entry, objection), chosen) in others.into_iter().zip(of_others) {
            match objection {
                _ if *chosen => joining.push(entry),
                Some(reason) => self.leave_out(kind, &entry.name, reason),
                None => {} // left out by a pattern, which the user knows
            }
        }
        Selected {
            named: named
                .iter()
                .zip(of_named)
                .filter(|(_, chosen)| **chosen)
                .map(|(choice, _)| choice)
                .collect(),
            joining,
        }
    }

    /// Which of the candidates of a kind take part.
    fn choose(&mut self, kind: MemberKind, candidates: &[Candidate]) -> Vec<bool> {
        self.seen.extend(candidates.iter().map(|candidate| candidate.label.to_owned()));
        // No pattern is skipped: `check` must know of each whether it matches any member.
        let matching = |pattern: &Pattern| -> Vec<bool> {
            candidates.iter().map(|candidate| pattern.matches(kind, candidate)).collect()
        };
        let speaks = |pattern: &Pattern, matches: &[bool]| {
            pattern.kind == Some(kind) || matches.contains(&true)
        };
        let include: Vec<Vec<bool>> = self
            .include
            .iter()
            .map(|pattern| (pattern, matching(pattern)))
            .filter(|(p, m)| speaks(p, m))
            .map(|(_, m)| m)
            .collect();
        let exclude: Vec<Vec<bool>> = self.exclude.iter().map(matching).collect();
        let any = |patterns: &[Vec<bool>], n: usize| patterns.iter().any(|matches| matches[n]);
        let wanted =
            |n: usize| if include.is_empty() { candidates[n].wanted } else { any(&include, n) };
        (0..candidates.len()).map(|n| wanted(n) && !any(&exclude, n)).collect()
    }

    /// Notes a member that does not take part.
    pub(super) fn leave_out(&mut self, kind: MemberKind, name: &str, reason: String) {
        self.left_out.push(LeftOut { kind, name: name.to_owned(), reason });
    }

    /// The members that could take part and do not, a line each, with the reason.
    pub fn reasons(&self) -> String {
        let line = |out: &LeftOut| format!("\n  {} {}: {}", out.kind, out.name, out.reason);
        self.left_out.iter().map(line).collect()
    }

    /// Checks that every pattern has matched a member.
    ///
    /// # Errors
    /// When one has not; the error names it and what was probably meant.
    pub fn check(&self) -> Result<()> {
        let Some(pattern) =
            self.include.iter().chain(&self.exclude).find(|pattern| !pattern.used.get())
        else {
            return Ok(());
        };
        let name = pattern.text.rsplit(':').next().unwrap_or_default();
        let known: Vec<&String> = self.seen.iter().filter(|seen| *seen != name).collect();
        let hint = suggestion(name, &known);
        let error = anyhow!("`{}` matches nothing that could take part{hint}", pattern.text);
        Err(match &pattern.place {
            Place::Study(span) => self.refusal.at(span, error),
            Place::Option(option) => error.context(*option),
        })
    }
}
