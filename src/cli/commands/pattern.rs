//! Which cells a user means by `--only`, or by `--cell`.

/// Matches the ids that hold a text, or that fit it as a glob.
pub struct Pattern<'a> {
    text: &'a str,
    glob: Option<glob::Pattern>,
}

impl<'a> Pattern<'a> {
    /// Any text is a pattern; one that is no glob is only looked for.
    pub fn new(text: &'a str) -> Self {
        Self { text, glob: glob::Pattern::new(text).ok() }
    }

    /// Whether an id is meant.
    pub fn matches(&self, id: &str) -> bool {
        id.contains(self.text) || self.glob.as_ref().is_some_and(|glob| glob.matches(id))
    }
}
