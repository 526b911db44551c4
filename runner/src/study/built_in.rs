//! The studies that are part of the program.

/// A study that is part of the program.
pub struct BuiltIn {
    /// The study's name for `runner run`.
    pub name: &'static str,
    /// The study's TOML. Its first line is a comment that says what the study is.
    pub text: &'static str,
}

/// The studies that are part of the program.
pub const BUILT_IN: [BuiltIn; 4] = [
    BuiltIn { name: "mini", text: include_str!("../../studies/mini.toml") },
    BuiltIn { name: "mini-quick", text: include_str!("../../studies/mini-quick.toml") },
    BuiltIn { name: "eccv2018", text: include_str!("../../studies/eccv2018.toml") },
    BuiltIn { name: "modern", text: include_str!("../../studies/modern.toml") },
];

impl BuiltIn {
    /// The built-in study of that name.
    pub fn find(name: &str) -> Option<&'static Self> {
        BUILT_IN.iter().find(|study| study.name == name)
    }

    /// One line about the study.
    pub fn summary(&self) -> &'static str {
        self.text.lines().next().unwrap_or_default().trim_start_matches(['#', ' '])
    }
}
